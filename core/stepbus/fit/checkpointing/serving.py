"""What a boundary does about checkpoints: it tells of the one that became durable, and begins the next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stepbus.fit.computing import spoiled

if TYPE_CHECKING:
    from stepbus.fit import Fitting


def serve(session: Fitting) -> None:
    """Tell of the checkpoint that became durable, and begin to write another if one was asked for.

    Args:
        session: The fit, at a boundary.
    """
    disk, control = session.disk, session.control
    _tell(session, disk.poll(session))
    if not control.checkpoint:
        return
    _tell(session, disk.drain(session))
    asked = control.why("checkpoint")
    control.checkpoint.clear()
    words = spoiled(session)
    session.unsaved = bool(words)
    if words:
        text = f"no checkpoint of step {session.state.step} is written, because {words}; it was asked for by {asked}"
        session.message(text, "warning")
        return
    disk.submit(session, disk.snapshot(session))
    session.steps.restart_clock()


def settle(session: Fitting) -> None:
    """Wait for the checkpoint that is being written and tell of it, so that nothing is at the disk any more.

    Args:
        session: The fit.
    """
    _tell(session, session.disk.drain(session, last=True))
    session.disk.drain(session, last=True)  # for what of older ones is still to be removed


def settle_at_last(session: Fitting) -> list[BaseException]:
    """Do so for a fit that has ended, whether or not it failed, and return what was raised."""
    try:
        settle(session)
    except BaseException as error:
        return [error]
    return []


def _tell(session: Fitting, written: list[Path]) -> None:
    """Retire what need not stay besides new checkpoints, and tell the plugins of them."""
    for path in written:
        session.disk.retire(session, session.hook.checkpoint_retention(trainer=session))
        session.hook.on_checkpoint(trainer=session, state=session.state, checkpoint=path)
        session.steps.restart_clock()
