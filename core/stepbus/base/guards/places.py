"""Where in a plugin's own files something was raised."""

from __future__ import annotations

import sys
import traceback

_CORE = frozenset({"stepbus", "mlx", "pluggy", *sys.stdlib_module_names}) - {"__main__"}


def raised_at(error: BaseException) -> str:
    """Return the innermost line of the code that core called, as ", at FILE:LINE"; "" where only core's own ran.

    Args:
        error: What was raised, where it was caught by whoever called that code.
    """
    first, found = "", ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        # Of a package all files are its own; a file that stands alone has a name without dots.
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        first = first or (package if package not in _CORE else "")
        if first and package == first:
            found = f", at {frame.f_code.co_filename}:{line}"
    return found
