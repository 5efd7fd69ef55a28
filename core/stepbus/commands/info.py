"""`stepbus info`."""

from __future__ import annotations

import argparse
import sys


def info(_: argparse.Namespace) -> None:
    """Print versions, device, BLAS and memory."""
    from stepbus import __version__, backend

    facts = {"stepbus": __version__, "python": sys.version.split()[0], **backend.describe()}
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")
