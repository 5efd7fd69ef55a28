"""`stepbus plugins doctor`."""

from __future__ import annotations

import argparse

from stepbus.cli.commands.printing import show


def plugins_doctor(arguments: argparse.Namespace) -> int:
    """Import each plugin by itself and say what is wrong; exit code 2 where something is."""
    from stepbus.author import examine, render_report
    from stepbus.base import BadInput

    if not arguments.timeout > 0:
        raise BadInput(f"--timeout: expected seconds above 0, got {arguments.timeout:g}")
    report = examine(arguments.config, arguments.timeout)
    if arguments.json:
        import attrs

        from stepbus.base import strict_json

        show(strict_json({"ok": report.ok, **attrs.asdict(report)}))
    else:
        show(render_report(report))
    return 0 if report.ok else 2
