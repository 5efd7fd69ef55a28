"""A look at what is free, once the first fit of a run has its model, before anything is trained."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from stepbus.fit import tensors_of
from stepbus.fit.exporting import TRAINING
from stepbus.fit.using import averages_of
from stepbus.run.room.beside import Tensors
from stepbus.run.room.estimating import estimate, tensor_file, too_little

if TYPE_CHECKING:
    from stepbus.fit import FitSession
    from stepbus.kernel import Run

_looked: WeakSet[Run] = WeakSet()


def look(session: FitSession) -> None:
    """Say once where the disk has less room than a run may take from now on; nothing is refused, it is an estimate.

    Args:
        session: A fit, its model and its optimizer in place.
    """
    run = session.run
    if run in _looked:
        return
    _looked.add(run)
    sizes = {stem: tensor_file(names) for stem, names in session.origin.stored.items()}
    training = sizes.get(TRAINING, 0)
    tensors = Tensors(
        sizes["model"],
        _bytes(session.optimizer.arrays()),
        session.bus.may_ask("best"),
        any(averages_of(member.plugin, member.label) for member in session.members),
        training,
        _bytes(tensors_of(session.model)) if training else None,
    )
    found = estimate(session, session.builder.exported(session), tensors, len(run.fits))
    if said := too_little(found.most - _used(run.directory), found.free, run.directory):
        session.message(said, "warning")


def _bytes(arrays: Mapping[str, Any]) -> int:
    return tensor_file({name: array.nbytes for name, array in arrays.items()})


def _used(folder: Path) -> int:
    """Return the bytes of the files that a run has already, each counted once."""
    found: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with suppress(OSError):
            each = path.lstat()
            if stat.S_ISREG(each.st_mode):
                found[each.st_dev, each.st_ino] = each.st_size
    return sum(found.values())
