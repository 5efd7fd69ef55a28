"""How a command ends: with its exit code, one sentence for an error, and one for SIGINT or SIGTERM at any moment."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False  # `typing` would take longer to import than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

AGAIN = 0.02  # seconds


def ended(command: Callable[[], int], *, last: bool) -> int:
    """Run a command and return its exit code; a signal raises KeyboardInterrupt in it and makes it 130 or 143.

    A library may swallow that or turn it into another error, in an import above all: what was sent decides all the
    same.

    Args:
        command: What to do.
        last: Whether the process ends afterwards, so that a late signal is not to interrupt its end.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    sent: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        sent.append(number)
        if _in_compiled_import(frame):
            send_again()
        else:
            raise KeyboardInterrupt

    def send_again() -> None:
        _thread.start_new_thread(_send_later, (sent[-1], lambda: sys.unraisablehook is ours))

    try:
        before = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # only the main thread may have handlers; the caller's own stay in charge
        before = {}
    hook = sys.unraisablehook

    def ours(raised: sys.UnraisableHookArgs) -> None:
        # What Python cannot raise: an interrupt that fell into a finalizer is lost otherwise.
        if sent and isinstance(raised.exc_value, KeyboardInterrupt):
            send_again()
        else:
            hook(raised)

    sys.unraisablehook = ours
    failed: BaseException | None = None
    code = 1
    try:
        code = command()
    except BaseException as error:
        failed = error
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else signal.SIG_DFL if handler is None else handler)
        sys.unraisablehook = hook
    if sent or isinstance(failed, KeyboardInterrupt):
        _say("interrupted", failed)
        return 128 + (sent[0] if sent else signal.SIGINT)
    return code if failed is None else _code_of(failed)


def _code_of(error: BaseException) -> int:
    """Return the exit code of what a command raised, having said what was said on purpose; raise all else again."""
    from stepbus.base import StepbusError

    if isinstance(error, StepbusError):
        _say(str(error), error)
        return error.exit_code
    from stepbus.base import terminal

    if isinstance(error, BrokenPipeError):
        terminal.leave_pipe()  # the reader of a pipe has left
        return 1
    if isinstance(error, OSError):
        return terminal.end_of(error)
    if isinstance(error, Exception):
        return terminal.report(error)
    raise error


def _say(text: str, error: BaseException | None) -> None:
    """Print a sentence, and those about what went wrong after it; what standard output cannot take is forgotten."""
    from stepbus.base import terminal

    terminal.leave_pipe()  # else Python ends with 120, once it finds that it cannot be written
    notes: Iterable[str] = getattr(error, "__notes__", ())
    try:
        for each in (text, *notes):
            print(f"stepbus: {each}", file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens


def _in_compiled_import(frame: FrameType | None) -> bool:
    """Say whether a compiled module is being imported: C++ may end the process at an error of Python in there."""
    while frame is not None:
        loader = frame.f_locals.get("self") if frame.f_code.co_name in ("create_module", "exec_module") else None
        if type(loader).__name__ == "ExtensionFileLoader":
            return True
        frame = frame.f_back
    return False


def _send_later(number: int, wanted: Callable[[], bool]) -> None:
    time.sleep(AGAIN)
    if wanted():  # the command has not ended meanwhile
        os.kill(os.getpid(), number)
