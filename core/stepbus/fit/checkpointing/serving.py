"""What a boundary does about checkpoints: it tells of the one that became durable, and begins the next."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stepbus.fit.computing import spoiled, spoiled_words
from stepbus.storage.checkpoints import NotFiniteError

if TYPE_CHECKING:
    from stepbus.fit import Fitting


def serve(session: Fitting) -> None:
    """Tell of the checkpoint that became durable, and begin to write another if one was asked for.

    Args:
        session: The fit, at a boundary.
    """
    disk, control = session.disk, session.control
    _tell(session, disk.poll)
    if not control.checkpoint:
        return
    _tell(session, disk.drain)
    session.asked_by, session.unsaved = control.why("checkpoint"), False
    control.checkpoint.clear()
    # The thread that writes looks whether weights are finite, and training does not wait for that; where only MLX can
    # tell, it does.
    if session.steps.may_hold_masks() and (words := spoiled(session)):
        _refuse(session, session.state.step, words)
        return
    snapshot = disk.snapshot(session)
    try:
        disk.submit(session, snapshot)
    except NotFiniteError as found:
        _refuse(session, found.step, spoiled_words(found))
    session.steps.restart_clock()


def settle(session: Fitting) -> None:
    """Wait for the checkpoint that is being written and tell of it, so that nothing is at the disk any more.

    Args:
        session: The fit.
    """
    _tell(session, partial(session.disk.drain, last=True))
    session.disk.drain(session, last=True)  # for what of older ones is still to be removed


def settle_at_last(session: Fitting) -> list[BaseException]:
    """Do so for a fit that has ended, whether or not it failed, and return what was raised."""
    try:
        settle(session)
    except BaseException as error:
        return [error]
    return []


def _tell(session: Fitting, ask: Callable[[Fitting], list[Path]]) -> None:
    """Retire what need not stay besides new checkpoints, and tell the plugins of them."""
    try:
        written = ask(session)
    except NotFiniteError as found:
        _refuse(session, found.step, spoiled_words(found))
        return
    for path in written:
        session.disk.retire(session, session.hook.checkpoint_retention(trainer=session))
        session.hook.on_checkpoint(trainer=session, state=session.state, checkpoint=path)
        session.steps.restart_clock()


def _refuse(session: Fitting, step: int, words: str) -> None:
    session.unsaved = True
    text = f"no checkpoint of step {step} is written, because {words}; it was asked for by {session.asked_by}"
    session.message(text, "warning")
