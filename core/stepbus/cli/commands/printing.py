"""Printing what a command has to say, such that nothing of it is lost in silence and no failure is a traceback."""

from __future__ import annotations

import sys
from typing import TextIO

from stepbus.base import ESCAPE, leave_pipe


def show(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Print a line or several; `flush`, at a command's end, brings them to their reader.

    Args:
        text: What to print; characters that the stream cannot write are escaped as JSON escapes them.
        stream: Where; standard output if not given.
        end: What follows it.

    Raises:
        StepbusError: Standard output cannot be written.
        BrokenPipeError: Its reader has left.
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:  # it was closed before we began
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, ESCAPE).decode(encoding), end=end, file=stream)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise _lost(error) from error


def flush(stream: TextIO | None) -> None:
    """Bring what was printed to its reader now: at the interpreter's end a failure would be a traceback.

    Raises:
        StepbusError: The stream cannot be written.
        BrokenPipeError: Its reader has left.
    """
    try:
        if stream is not None:
            stream.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        raise _lost(error) from error


def _lost(error: OSError | ValueError) -> Exception:
    from stepbus.base import StepbusError

    if isinstance(error, ValueError):  # code in this process has closed it, such as a plugin
        return StepbusError(
            "standard output cannot be written: it was closed meanwhile; look for who calls its close()"
        )
    leave_pipe()
    return StepbusError(f"standard output cannot be written: {error.strerror}")
