"""SQL: parsing, features, extraction, safe execution, result comparison. Knows no model and no dataset."""
