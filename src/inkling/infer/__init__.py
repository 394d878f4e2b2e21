"""A model to text."""
