"""`stepbus contracts`."""

from __future__ import annotations

import argparse

from stepbus.cli.commands.printing import show


def contracts(arguments: argparse.Namespace) -> None:
    """Print what each kind of component gets and gives and what hooks are given, or one of them."""
    from stepbus.author import kinds

    if arguments.markdown:
        show(kinds.as_markdown(), end="")
    elif arguments.name is not None:
        show(kinds.as_text(arguments.name))
    else:
        show("\n\n".join(map(kinds.as_text, kinds.names())))
