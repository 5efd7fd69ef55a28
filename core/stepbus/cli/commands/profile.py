"""`stepbus profile`."""

from __future__ import annotations

import argparse
import contextlib
import sys

from stepbus.cli.commands.printing import show


def profile(arguments: argparse.Namespace) -> None:
    """Measure where the time of a run goes."""
    from stepbus.plan import profile, render_profile

    # What plugins print while they train belongs to nobody's JSON.
    with contextlib.redirect_stdout(sys.stderr):
        found = profile(arguments.config, arguments.overrides, arguments.steps)
    if arguments.json:
        from stepbus.base import strict_json

        show(strict_json(found))
    else:
        show(render_profile(found))
