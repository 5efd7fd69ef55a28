"""Signals during a run: one that sets a flag, and the error that the flag ends in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.errors import Interrupted

if TYPE_CHECKING:
    from stepbus.run import Run


@contextmanager
def noted_signals(run: Run) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `run.signal`, which the next boundary reads; a second one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may have handlers; the caller's own stay in charge
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: Any) -> None:
        run.signal = number
        signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def interrupted(number: int, directory: Path, *, saved: bool) -> Interrupted:
    """Return the error of a run that a signal ended.

    Args:
        number: The signal.
        directory: The run's folder.
        saved: Whether the fit that was cut wrote a checkpoint for that.
    """
    kept = "a checkpoint was written" if saved else "what is finished is kept"
    name = signal.Signals(number).name
    return Interrupted(f"interrupted by {name}; {kept}: go on with `stepbus train … --resume {directory}`", int(number))
