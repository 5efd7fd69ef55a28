"""The parts of a fit, which know no plugin: what it trains on and scores, what computes, and what lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from stepbus.kernel.parts.step_result import StepResult

    Array = np.ndarray[Any, Any]


class LoopSettings(Protocol):
    """Section `training`, as far as the loop reads it."""

    @property
    def log_steps(self) -> int: ...  # updates of a log interval
    @property
    def eval_strategy(self) -> str: ...  # when the set that decides is evaluated: epoch, steps or no
    @property
    def eval_steps(self) -> int | None: ...  # updates between two evaluations, with eval_strategy: steps


class Batch(Protocol):
    """Rows of one shape, collated."""

    @property
    def rows(self) -> Array: ...  # place of each row in its set, int [B]; -1 in padding rows
    @property
    def sequences(self) -> int: ...  # real rows
    @property
    def tokens(self) -> int: ...  # real tokens; rows, where there are no tokens
    @property
    def arrays(self) -> Mapping[str, Any]:
        """Name -> array [B, …] as the device takes it; labels and weights among them, None where there are none."""


class ScoredSet(Protocol):
    """A named set of a fit that is not trained on; what it knows of its rows, it knows once its batches were read."""

    @property
    def row_ids(self) -> Array: ...  # what names each row, [N]
    @property
    def targets(self) -> Array | None: ...  # labels in their own unit, [N] or [N, K]; None without
    @property
    def weights(self) -> Array | None: ...  # what each row counts, [N]; None counts all alike
    @property
    def weight(self) -> float: ...  # sum of the rows' weights

    def batches(self) -> AbstractContextManager[Iterator[Batch]]:
        """Give every row once, in batches."""

    def to_units(self, values: Array) -> Array:
        """Return what the model says, [N, K], in the unit of the targets."""


class FitData(Protocol):
    """What a fit trains on and scores."""

    @property
    def sets(self) -> Mapping[str, ScoredSet]: ...  # name -> a set to score, in order
    @property
    def notes(self) -> Sequence[str]: ...  # what a user should know of it, a sentence each
    @property
    def codec(self) -> Any: ...  # turns labels into numbers and back; None where the batches came with numbers
    @property
    def task(self) -> str | None: ...  # binary, multiclass, multilabel or regression; None where nobody said it
    @property
    def rows(self) -> Mapping[str, int]: ...  # set name -> rows, the training set's too, as far as they are known

    def describe(self) -> dict[str, str]:
        """Return what a user wants to see of it before the first step, in words, by name."""

    def count_steps(self) -> tuple[int, int]:
        """Return the updates of an epoch, and those of the whole fit."""

    def windows(self, epoch: int, start: int) -> AbstractContextManager[Iterator[Sequence[Batch]]]:
        """Give the accumulation windows of an epoch, without the first `start`; the epoch ends when they do."""

    def digests(self) -> Mapping[str, str]:
        """Return set name -> a digest of all that training sees of it, for a later resume to compare."""

    def progress(self) -> Mapping[str, Any]:
        """Return what a checkpoint keeps of where the data stands, as JSON values."""

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Take over what `progress` returned; what is read again has to be the same."""

    def named_rows(self, batch: Any) -> Sequence[Any]:
        """Return what names each row of a training batch, [B]; None for a padding row."""

    def other(self, source: Any, name: str, *, labelled: bool) -> ScoredSet:
        """Return further rows as a set to score, or without labels to predict; `name` is what messages call it."""


class Steps(Protocol):
    """What computes: updates that are launched and come home later, and evaluations."""

    @property
    def traces(self) -> int: ...  # how often a function was traced for this fit

    def launch(self, window: Any, number: int) -> Any:
        """Start the update of a window of batches, counted from 1, and return a ticket; the host does not wait."""

    def read(self, ticket: Any) -> StepResult:
        """Wait for an update and return its numbers."""

    def diagnose(self) -> Any:
        """Return what made the latest update one of numbers that are not finite; None where they are, or unknown."""

    def may_hold_masks(self) -> bool:
        """Return whether a weight may be minus infinity on purpose, so that only `spoiled` can tell."""

    def spoiled(self, averages: Any = None) -> Any:
        """Return which weight, or which average that counts in its place, is not finite; None where all are."""

    def evaluate(self, batch: Any) -> tuple[float, Array, Array]:
        """Return a batch's loss sum by weight, predictions [B, K] and logits [B, K]."""

    def restart_clock(self) -> None:
        """Leave what was not training out of the next update's time."""


class Checkpointer(Protocol):
    """What keeps a fit: checkpoints to go on from, and a model to use."""

    @property
    def failed(self) -> bool: ...  # whether something could not be written, which `poll` and `drain` raise

    def snapshot(self, session: Any, *, optimizer: bool = True) -> Any:
        """Return the fit as it is now, arrays by reference; whatever becomes of it, the snapshot stays."""

    def submit(self, session: Any, snapshot: Any) -> None:
        """Begin to write a snapshot while training goes on; one is written at a time."""

    def poll(self, session: Any) -> list[Path]:
        """Return the checkpoints that became durable since the last call; raise what went wrong, once."""

    def drain(self, session: Any, *, last: bool = False) -> list[Path]:
        """Wait for what is being written, at last for all else that was begun, and return what `poll` would."""

    def save(self, session: Any, folder: Path | None = None, *, optimizer: bool = True) -> Path:
        """Write a checkpoint now, in the fit's own folder or another one, and return where it lies."""

    def load(self, session: Any, path: Path, *, optimizer: bool = True) -> Any:
        """Put back what a checkpoint holds, before the step is compiled."""

    def retire(self, session: Any, retention: Any) -> None:
        """Remove the checkpoints that need not stay."""

    def export(self, session: Any) -> Path:
        """Write the model, and return its folder."""
