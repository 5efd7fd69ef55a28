"""The traceback of an error that is the user's to mend: where it came from in their code, and the sentence."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import FrameType, TracebackType

# Whose frames say nothing to who reads the sentence.
_NOT_THEIRS = ("stepbus", "stepbus_plugins", "pluggy", "IPython", "ipykernel")


def short_traceback(error: BaseException) -> list[str]:
    """Return an error as IPython shows it (its `_render_traceback_`): lines of the user's code, then the words.

    Args:
        error: The error, raised.
    """
    frames = traceback.StackSummary.extract(_theirs(error.__traceback__))
    notes = [line for note in getattr(error, "__notes__", ()) for line in str(note).splitlines()]
    lines = "".join(traceback.format_list(frames)).splitlines()
    return [*lines, *f"{type(error).__name__}: {error}".splitlines(), *notes]


def _theirs(found: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while found is not None:
        name = str(found.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in _NOT_THEIRS:
            yield found.tb_frame, found.tb_lineno
        found = found.tb_next
