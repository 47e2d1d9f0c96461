"""The steps that the command-line tools share, one per module. Importing this package imports nothing heavy."""
