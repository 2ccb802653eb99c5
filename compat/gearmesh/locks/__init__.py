"""Who goes first: of several schedulers, Go's among them, one fires what is due."""
