"""Compiled parts of the item store."""
