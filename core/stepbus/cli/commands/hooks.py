"""`stepbus hooks`."""

from __future__ import annotations

import argparse

from stepbus.base import BadInput, did_you_mean
from stepbus.cli.commands.printing import show


def hooks(arguments: argparse.Namespace) -> None:
    """Print the hook reference, or one hook of it."""
    from stepbus.author import as_markdown, as_text, reference, timeline

    known = reference()
    if arguments.name is not None:
        if arguments.name not in known:
            near = did_you_mean(arguments.name, known)
            raise BadInput(f"there is no hook {arguments.name!r}{near}; `stepbus hooks` prints all")
        show(as_text(known[arguments.name]))
    elif arguments.markdown:
        show(as_markdown(), end="")
    else:
        show("The order of a run:\n\n" + timeline() + "\n")
        show("\n\n".join(map(as_text, known.values())))
