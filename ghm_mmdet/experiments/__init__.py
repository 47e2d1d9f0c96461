"""Studies of the losses, and measurements of time and memory."""
