"""What each command does: `stepbus.cli.main` parses, one module here acts, imported when it is typed.

A command takes the parsed arguments and returns its exit code, or None for 0.
"""
