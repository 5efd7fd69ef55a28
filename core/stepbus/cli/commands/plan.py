"""`stepbus plan`."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys

from stepbus.cli.commands.printing import show


def plan(arguments: argparse.Namespace) -> int:
    """Say what a configuration would do, before weights are loaded; exit code 2 where it cannot be done."""
    from stepbus.plan import describe_plan

    # What a plugin prints while it is imported or asked belongs to nobody's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        found = describe_plan(arguments.config, arguments.overrides)
    if arguments.json:
        from stepbus.base import strict_json

        show(strict_json(found))
    else:
        from stepbus.plan import render

        show(render(found, shutil.get_terminal_size().columns if sys.stdout.isatty() else 100))
    return 0 if found["ok"] else 2
