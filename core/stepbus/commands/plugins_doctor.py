"""`stepbus plugins doctor`."""

from __future__ import annotations

import argparse

from stepbus.commands.printing import show


def plugins_doctor(arguments: argparse.Namespace) -> int:
    """Import each plugin by itself and say what is wrong; exit code 2 where something is."""
    from stepbus.doctor import examine, render

    report = examine(arguments.config)
    if arguments.json:
        import attrs

        from stepbus.strict_json import strict_json

        show(strict_json({"ok": report.ok, **attrs.asdict(report)}))
    else:
        show(render(report))
    return 0 if report.ok else 2
