"""The gradient norms of a detector: collecting them, their log, their pictures."""
