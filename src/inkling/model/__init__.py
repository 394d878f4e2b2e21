"""Ids to logits; ids and targets to a loss. No disk, no network, no ranks."""
