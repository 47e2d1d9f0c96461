"""The detection data that the project makes itself: scenes of handwritten digits."""
