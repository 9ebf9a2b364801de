"""Instructions of the ops on numbers."""
