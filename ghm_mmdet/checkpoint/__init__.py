"""Checkpoints: safe loading, saving that a kill cannot tear, resuming."""
