"""`stepbus plugins show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepbus.cli.commands.printing import show


def plugins_show(arguments: argparse.Namespace) -> None:
    """Show a plugin's settings, hooks and components, and a YAML block to paste."""
    from stepbus.author import describe, render_description
    from stepbus.base import PluginError, is_url, snake_case
    from stepbus.config.discovery import load_class

    if is_url(arguments.name):
        raise PluginError(f"expected a plugin's name, module:Class or ./file.py:Class, got {arguments.name!r}")
    use = arguments.name if ":" in arguments.name else None
    loaded = load_class(snake_case(use.rpartition(":")[2]) if use else arguments.name, use, Path.cwd())
    description = describe(loaded, use)
    if arguments.json:
        from stepbus.base import strict_json

        show(strict_json(description))
    else:
        show(render_description(description))
