"""The features of stepbus, one module or folder each."""
