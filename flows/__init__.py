"""What Prefect runs: one file a flow."""
