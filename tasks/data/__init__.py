"""Examples: sources, schemas, prompts, splits, mixture, synthetic data."""
