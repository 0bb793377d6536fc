"""One module per training method: what a recipe may say about a stage of it."""
