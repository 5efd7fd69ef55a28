"""What a package can add to stepbus: a plugin, a component, a command and a preset.

pyproject.toml has an entry point for each. Nothing is imported until a configuration or a command line names it, so
this file imports nothing either.
"""
