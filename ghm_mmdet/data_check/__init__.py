"""What a run needs of its config and data, looked at before the run starts."""
