"""What the command-line tools consist of. Importing this package imports nothing heavy."""
