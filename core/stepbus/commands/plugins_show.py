"""`stepbus plugins show`."""

from __future__ import annotations

import argparse
from pathlib import Path

from stepbus.commands.printing import show


def plugins_show(arguments: argparse.Namespace) -> None:
    """Show a plugin's settings, hooks and components, and a YAML block to paste."""
    from stepbus.description import describe, render
    from stepbus.errors import PluginError
    from stepbus.paths import is_url
    from stepbus.plugins import load_class
    from stepbus.wording import snake_case

    if is_url(arguments.name):
        raise PluginError(f"expected a plugin's name, module:Class or ./file.py:Class, got {arguments.name!r}")
    use = arguments.name if ":" in arguments.name else None
    loaded = load_class(snake_case(use.rpartition(":")[2]) if use else arguments.name, use, Path.cwd())
    description = describe(loaded, use)
    if arguments.json:
        from stepbus.strict_json import strict_json

        show(strict_json(description))
    else:
        show(render(description))
