"""What training has seen of a loader, as digests: a resume reads it again, and it has to be the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from stepbus.base import CheckpointError, as_list, count, fields_of, named, text
from stepbus.fit.loaders.batches import LoaderBatch

_MEND = "give the loader of the run back; one whose order is random has to make it from the epoch (epoch, or set_epoch)"


class Trail:
    """The digest of the present epoch's batches, at some of them, and that of each epoch before.

    Args:
        recent: Of how many batches back the digest is known; further back, of those whose number is a power of 2.
    """

    def __init__(self, recent: int) -> None:
        self.recent = recent
        self.epochs: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Begin an epoch."""
        self._digest = hashlib.blake2b(digest_size=16)
        self.batches, self.marks = 0, dict[int, str]()

    def add(self, batch: LoaderBatch) -> None:
        """Add a batch to the present epoch."""
        batch.add_to(self._digest)
        self.batches += 1
        self.marks[self.batches] = self._digest.hexdigest()
        old = self.batches - self.recent
        if old in self.marks and old & (old - 1):
            del self.marks[old]

    def end(self) -> None:
        """End the present epoch; its marks stay until the next begins."""
        self.epochs.append(self._digest.hexdigest())

    def state_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"epochs": list(self.epochs), "marks": {str(at): mark for at, mark in self.marks.items()}}


class Expected:
    """What a checkpoint says that training had seen.

    Args:
        saved: What `Trail.state_dict` returned.
        name: The set, for messages.

    Raises:
        CheckpointError: It is something else; the key is named.
    """

    def __init__(self, saved: Mapping[str, Any], name: str) -> None:
        found, self.name = fields_of(saved, "data", ("epochs", "marks")), name
        self.epochs = [
            text(each, f"data.epochs[{place}]") for place, each in enumerate(as_list(found["epochs"], "data.epochs"))
        ]
        marks = named(found["marks"], "data.marks", text)
        self.marks = {count(int(at) if at.isdecimal() else None, "data.marks"): mark for at, mark in marks.items()}

    def check_epoch(self, epoch: int, trail: Trail, *, with_marks: bool) -> None:
        """Hold a whole epoch that was read again against what training saw.

        Args:
            epoch: The epoch, from 0.
            trail: What was read.
            with_marks: Whether the marks are those of this epoch.
        """
        if epoch >= len(self.epochs):
            raise CheckpointError(f"data.epochs: expected a digest of epoch {epoch + 1}, got {len(self.epochs)} in all")
        if trail.epochs[epoch] != self.epochs[epoch]:
            raise self._other(epoch, trail, self.marks if with_marks else {}, "")

    def check_start(self, epoch: int, trail: Trail, start: int) -> None:
        """Hold the beginning of an epoch that was read again against what training saw.

        Args:
            epoch: The epoch, from 0.
            trail: What was read.
            start: Batches of it that training has seen.
        """
        if trail.batches < start:
            raise CheckpointError(
                f"{self.name}: epoch {epoch + 1}, batch {trail.batches + 1}: expected the {start} batches that the run "
                f"was trained on, got {trail.batches}; {_MEND}"
            )
        if start not in self.marks:
            raise CheckpointError(f"data.marks: expected the digest of {start} batches, got none")
        if trail.marks[start] != self.marks[start]:
            raise self._other(
                epoch, trail, {at: mark for at, mark in self.marks.items() if at <= start}, f" of {start}"
            )

    def _other(self, epoch: int, trail: Trail, marks: Mapping[int, str], of: str) -> CheckpointError:
        """Return what is wrong, with the batches among which the first other one is."""
        same = [at for at, mark in marks.items() if trail.marks.get(at) == mark]
        other = [at for at, mark in marks.items() if at in trail.marks and trail.marks[at] != mark]
        if other:
            first, last = max([at for at in same if at < min(other)], default=0) + 1, min(other)
            place = f", batch {first}" if first == last else f", batch {first} to {last}"
        else:
            place = f", after batch {max(same)}" if same else ""
        return CheckpointError(
            f"{self.name}: epoch {epoch + 1}{place}{of}: expected the batches that the run was trained on, got others; "
            f"{_MEND}"
        )
