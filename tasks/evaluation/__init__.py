"""Metrics, scorecards, statistics and reports: pure functions of predictions and examples."""
