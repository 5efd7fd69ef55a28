"""What a package can add to stepbus: a plugin, a component, a command, a preset and a name.

pyproject.toml has an entry point for each. Nothing is imported until a configuration, a command line or an import
names it, so this file imports nothing either.
"""
