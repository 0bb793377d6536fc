"""Training: stages, methods, checkpoints, the trainer process."""
