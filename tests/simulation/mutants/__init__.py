"""Planted protocol bugs: each a small edit of one or a few functions, switched on for one run."""
