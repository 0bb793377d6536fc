"""The data contract: Great Expectations suites, quarantine, Data Docs."""
