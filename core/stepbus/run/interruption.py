"""Signals during a run: one that sets a flag, one that has to wait a moment, and the error that a flag ends in."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import Interrupted, as_written, outcome

if TYPE_CHECKING:
    from stepbus.kernel import Bus, Run

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted_signals(run: Run) -> Iterator[None]:
    """Let SIGINT and SIGTERM set `run.signal`, which the next boundary reads; a second one has its usual effect."""

    def note(number: int, before: Any) -> None:
        run.signal = number
        signal.signal(number, before)

    with _handled(note):
        yield


@contextmanager
def signals_after() -> Iterator[None]:
    """Let SIGINT and SIGTERM have their usual effect after the block, for what must not be cut in two."""
    sent: list[int] = []
    try:
        with _handled(lambda number, _: sent.append(number)):
            yield
    finally:
        for number in sent[:1]:
            signal.raise_signal(number)


@contextmanager
def _handled(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Call a function of the signal and of the handler it had before."""
    # A handler that was not set from Python cannot be put back.
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in NUMBERS}
    try:
        for number in NUMBERS:
            signal.signal(number, lambda number, _: handle(number, before[signal.Signals(number)]))
    except ValueError:
        yield  # only the main thread may have handlers; the caller's own stay in charge
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def close(run: Run, bus: Bus, status: str, failed: BaseException | None) -> None:
    """Say to every plugin that a run is over; what they raise is told after the run's own error.

    Args:
        run: The run.
        bus: Its plugins.
        status: ok, stopped, failed or interrupted.
        failed: The error that the run ends with, if there is one.
    """
    raised = bus.tell_all("on_close", run=run, status=status)
    last = outcome(failed, raised)
    if isinstance(last, KeyboardInterrupt) and last is not failed:
        raise last from failed
    if failed is None:
        for late in raised:
            run.message(str(late), "warning")


def interrupted(number: int, directory: Path, *, saved: bool) -> Interrupted:
    """Return the error of a run that a signal ended.

    Args:
        number: The signal.
        directory: The run's folder.
        saved: Whether the fit that was cut wrote a checkpoint for that.
    """
    kept = "a checkpoint was written" if saved else "what is finished is kept"
    name = signal.Signals(number).name
    command = f"stepbus train … --resume {shlex.quote(as_written(str(directory)))}"
    words = f"interrupted by {name}; {kept}: go on with `{command}`, or in Python with trainer.train(…, resume=True)"
    return Interrupted(words, int(number))
