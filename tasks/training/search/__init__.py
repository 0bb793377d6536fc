"""Searching a recipe's values: the space, the stages of the search, its budget, and what to try next."""
