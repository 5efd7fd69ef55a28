"""What keeps a fit on disk, with a thread that writes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from attrs import evolve, frozen

from stepbus.base import CheckpointError, remedy_of
from stepbus.device import backend, free_memory
from stepbus.fit import persistence
from stepbus.fit.computing import spoiled, spoiled_arrays, to_look_at
from stepbus.storage import checkpoints

if TYPE_CHECKING:
    from stepbus.base import Retention
    from stepbus.fit import Fitting

# While a snapshot is written, training makes new weights and a new optimizer's state; as much again is left to others.
ROOM = 2
TIGHT = (
    "training waits while a checkpoint is written, because memory is tight: keeping weights and optimizer twice takes "
    "{:,.0f} MB, and {:,.0f} MB are free"
)
_told: WeakSet[Any] = WeakSet()  # the runs in which that was said


@frozen(eq=False)
class Taken:
    """What is to be written.

    Args:
        folder: Where checkpoints lie.
        snapshot: Arrays and documents; in a thread, nothing of it may be MLX's.
        best: Whether it is the best so far.
    """

    folder: Path
    snapshot: checkpoints.Snapshot
    best: bool

    def write(self) -> Path:
        """Write it, and return where it lies."""
        written = checkpoints.write_checkpoint(self.folder, self.snapshot)
        if backend.kernels is not None:
            backend.kernels.keep()  # a process that is killed keeps none at its end
        if self.best:
            checkpoints.mark_best(self.folder, self.snapshot.step)
        return written.path


class DiskCheckpoints:
    """What keeps one fit on disk. One thread writes at most; who reads or removes checkpoints waits for it first."""

    def __init__(self) -> None:
        self.writer = checkpoints.Writer()

    @property
    def failed(self) -> bool:
        """Whether a checkpoint could not be written, which `poll` or `drain` is going to raise."""
        return self.writer.failed

    def snapshot(self, session: Fitting, *, optimizer: bool = True) -> Taken:
        """Return the fit as it is now, to be written whatever becomes of it."""
        folder = persistence.checkpoint_folder(session)
        finite = {} if session.steps.may_hold_masks() else to_look_at(session)
        # Of weights that are spoiled none is going to be written.
        if (words := spoiled_arrays(session)) and not spoiled(session):
            _say_kept(session, words)
        taken = evolve(persistence.snapshot(session, optimizer=optimizer), finite=finite)
        return Taken(folder, checkpoints.held(folder, taken), _is_best(session))

    def submit(self, session: Fitting, snapshot: Taken) -> None:
        """Begin to write a snapshot, or write it now where memory is tight; the one before is waited for."""
        free, size = free_memory(), snapshot.snapshot.size
        tight = free < ROOM * size
        if tight and session.run not in _told:
            _told.add(session.run)
            session.message(TIGHT.format(size / 1e6, free / 1e6))
        self.writer.start(snapshot.write, beside=not tight)

    def poll(self, session: Fitting) -> list[Path]:
        """Return the checkpoints that became durable since the last call; raise what went wrong."""
        return self.writer.written()

    def drain(self, session: Fitting, *, last: bool = False) -> list[Path]:
        """Wait for what is being written, at last for all else that was begun, and return what `poll` would."""
        self.writer.wait(everything=last)
        return self.writer.written()

    def save(self, session: Fitting, folder: Path | None = None, *, optimizer: bool = True) -> Path:
        """Write a checkpoint now, and return its folder."""
        self.writer.wait()
        if words := spoiled_arrays(session):
            _say_kept(session, words)
        taken, own = persistence.snapshot(session, optimizer=optimizer), persistence.checkpoint_folder(session)
        return Taken(folder or own, taken, folder is None and _is_best(session)).write()

    def load(self, session: Fitting, path: Path, *, optimizer: bool = True) -> checkpoints.Checkpoint:
        """Put back what a checkpoint holds."""
        self.writer.wait()
        return persistence.load(session, path, optimizer=optimizer)

    def retire(self, session: Fitting, retention: Retention | None) -> None:
        """Take the names of the checkpoints away that need not stay; a thread removes their files."""
        self.writer.wait()
        persistence.retire(session, retention, lambda trash: self.writer.also(lambda: _empty(trash)))

    def export(self, session: Fitting) -> Path:
        """Write the model, and return its folder."""
        return persistence.export(session)


def _say_kept(session: Fitting, words: str) -> None:
    """Say which array of a plugin is NaN: the weights are what a fit is for, and are kept, whatever follows them."""
    session.message(f"the checkpoint of step {session.state.step} keeps what is no number: {words}", "warning")


def _empty(trash: Path) -> None:
    try:
        checkpoints.empty_trash(trash)
    except OSError as error:
        raise CheckpointError(
            f"{trash.parent}: cannot remove old checkpoints ({error.strerror or error}); {remedy_of(error)}"
        ) from error


def _is_best(session: Fitting) -> bool:
    """Return whether the best evaluation so far is of the present step."""
    best = session.state.best
    return best is not None and best.step == session.state.step
