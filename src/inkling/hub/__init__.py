"""Models from folders."""
