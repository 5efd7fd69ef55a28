"""`stepbus plugins list`."""

from __future__ import annotations

import argparse
import shutil
import sys

from stepbus.cli.commands.printing import show


def plugins_list(arguments: argparse.Namespace) -> None:
    """List the installed plugins and those that a configuration names; imports none that is not switched on there."""
    from stepbus.author import inventory, named, requirements, table

    chosen, hooks, _ = named(arguments.config, load=arguments.config is not None)
    rows = inventory(chosen)
    if arguments.requirements:
        show("\n".join(requirements(rows, hooks)))
    elif arguments.json:
        import attrs

        from stepbus.base import strict_json

        show(strict_json([attrs.asdict(row) for row in rows]))
    else:
        from stepbus.config.discovery import package_names

        show(table(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
        if names := package_names.listing():
            show(names)
