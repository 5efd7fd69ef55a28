"""`stepbus config show` and `presets`."""

from __future__ import annotations

import argparse

from stepbus.cli.commands.printing import show as say


def show(arguments: argparse.Namespace) -> None:
    """Print a configuration with its bases, defaults and overrides merged."""
    from stepbus.base.trees import to_yaml
    from stepbus.config import load_config

    say(to_yaml(load_config(arguments.config, arguments.overrides).resolved()), end="")


def presets(_: argparse.Namespace) -> None:
    """List the presets."""
    from stepbus.config.discovery import preset_names, preset_summary

    names = preset_names()
    width = max(map(len, names))
    for name in names:
        say(f"{name:<{width}}  {preset_summary(name)}")
