"""The sections of a configuration as classes for Python, each of which lies over others and changes what it names."""
