"""Compiled code of the ranker of scored models."""
