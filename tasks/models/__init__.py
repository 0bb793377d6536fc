"""Language models: references, loading, batched generation."""
