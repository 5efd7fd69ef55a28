"""`stepbus info`."""

from __future__ import annotations

import argparse
import sys

from stepbus.cli.commands.printing import show


def info(_: argparse.Namespace) -> None:
    """Print versions, device, BLAS and memory: first what the last bits of a result depend on."""
    from stepbus.device import backend, choice, conditions

    known = conditions.current()
    rest = {name: value for name, value in backend.describe_machine().items() if name not in known}
    lines = {"stepbus": known.pop("stepbus"), "python": sys.version.split()[0], **known, **rest}
    lines["precision"] = f"auto is {choice.effective_precision('auto')} here"
    width = max(map(len, lines))
    for name, value in lines.items():
        show(f"{name:<{width}}  {value}")
