"""Synthetic text-to-SQL examples: databases, SQL shapes, phrasings."""
