"""Releases, gates, ledger and promotion."""
