"""The data of a scripted fit: windows that are numbers, and sets of ids with what will be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stepbus.testing.script import scripted_codec, scripted_predictions

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.kernel import Fit


class ScriptedSet:
    """A set whose predictions are scripted: nobody asks for batches of it.

    Args:
        rows: The rows; scripted ones only have ids.
        codec: Their labels.
        labelled: Whether its labels are read.
    """

    weights = None

    def __init__(self, rows: Any, codec: Any, *, labelled: bool = True) -> None:
        self.said = scripted_predictions(rows, codec, labelled=labelled)
        self.row_ids, self.targets, self.weight = self.said.row_ids, self.said.labels, float(len(rows))

    @contextmanager
    def batches(self) -> Iterator[Iterator[Any]]:
        """Give nothing."""
        yield iter(())

    def to_units(self, values: Any) -> Any:
        """Return values as they are."""
        return values


class ScriptedData:
    """Windows that are numbers, and sets that know what will be said of them.

    Args:
        config: The configuration.
        fit: What to do.
        steps_per_epoch: Updates of one epoch.
    """

    notes: Sequence[str] = ()

    def __init__(self, config: Config, fit: Fit, steps_per_epoch: int) -> None:
        self.config, self.fit, self.steps_per_epoch = config, fit, steps_per_epoch
        self.codec = scripted_codec(fit.sets["train"], config.data.settings)
        self.task: str | None = str(self.codec.task)
        self.rows = {name: len(rows) for name, rows in fit.sets.items()}
        self.sets = {
            name: ScriptedSet(rows, self.codec, labelled=fit.is_labelled(name))
            for name, rows in fit.sets.items()
            if name != "train"
        }

    def describe(self) -> dict[str, str]:
        """Return nothing."""
        return {}

    def named_rows(self, batch: Any) -> list[Any]:
        """Return nothing: what is trained on is scripted."""
        return []

    def count_steps(self) -> tuple[int, int]:
        """Return the updates of an epoch, and those of the whole fit."""
        training = self.config.training
        total = training.num_epochs * self.steps_per_epoch
        return self.steps_per_epoch, total if training.max_steps is None else min(total, training.max_steps)

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[Any]]:
        """Give a number in place of each accumulation window."""
        yield iter(range(start, self.steps_per_epoch))

    def digests(self) -> dict[str, str]:
        """Return nothing: no row has content."""
        return {}

    def progress(self) -> dict[str, Any]:
        """Return nothing: the windows of an epoch are always the same."""
        return {}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Take nothing over."""

    def other(self, source: Any, name: str, *, labelled: bool) -> ScriptedSet:
        """Return further rows as a set."""
        return ScriptedSet(source, self.codec, labelled=labelled)
