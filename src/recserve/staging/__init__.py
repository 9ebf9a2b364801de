"""Joins features, tables and network: decides the cuts, runs each part at its rate, and proves staged = flat."""
