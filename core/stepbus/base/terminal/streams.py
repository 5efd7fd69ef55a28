"""Standard streams as a command needs them: open, able to take every character, and quiet about a reader who left."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import sys
import traceback
import warnings
from typing import Any, TextIO

from stepbus.base import ON_WRITING, printable, remedy_of, without_secrets

# What the user can mend by naming another place; a full disk or a failing one is no bad input.
_PLACES = {
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.EISDIR),
    *(errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO),
}
closed: set[int] = set()  # the standard streams that the caller left closed: what is written there reaches nobody
nowhere: list[TextIO] = []  # what stands for them
ESCAPE = "stepbus.escape"  # the name of how characters that a stream lacks are written


def prepare() -> None:
    """Make the standard streams usable, whatever the caller has left of them."""
    if warnings.showwarning is _usual:
        warnings.showwarning = _show_warning
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened, a checkpoint perhaps, would be taken for the terminal by libraries.
            os.open(os.devnull, os.O_RDWR)
            closed.add(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere.append(open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
            setattr(sys, name, nowhere[-1])
        elif getattr(stream, "errors", None) in ("strict", "surrogateescape"):  # the second in the locale C
            # UTF-8 too: it has no place for half a character, which a file's name may hold.
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors=ESCAPE)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Say a warning of ours as one sentence, without the line of code that gave it."""
    if category.__name__ == "BackendWarning" and file is None:
        print(f"stepbus: {message}", file=sys.stderr)
    else:
        _usual(message, category, filename, lineno, file, line)


_usual = warnings.showwarning


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return characters that a terminal lacks as JSON writes them, so that JSON stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = (f"\\u{int.from_bytes(units[place : place + 2], 'big'):04x}" for place in range(0, len(units), 2))
    return "".join(escaped), error.end


codecs.register_error(ESCAPE, _escape)


def end(message: str, code: int) -> int:
    """Print the last sentence of a command, and return its exit code."""
    leave_pipe()
    with contextlib.suppress(BrokenPipeError):
        print(f"stepbus: {printable(message)}", file=sys.stderr)
    return code


def end_of(error: OSError) -> int:
    """Tell a refusal of the system in one sentence, and return the exit code."""
    if error.strerror is None:
        return report(error)  # no refusal of the system, but a library's word
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
        return end("the working directory was removed; change to one that is there", 2)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    bad_input = error.filename is not None and error.errno in _PLACES
    remedy = f"; {remedy_of(error)}" if error.errno in ON_WRITING else ""
    return end(without_secrets(f"{place}the system says: {error.strerror}{remedy}"), 2 if bad_input else 1)


def _is_nowhere() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd is the same
    except FileNotFoundError:
        return True
    return False


def report(error: Exception) -> int:
    """Print a fault of the program with its traceback, and return the exit code."""
    leave_pipe()
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    return 1


def leave_pipe() -> None:
    """Write what is buffered, or forget it where the reader has left or the disk is full: it has nowhere to go."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
