"""The batches of a loader as the data of a fit."""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError, DataError, counted
from stepbus.fit.loaders.batches import LoaderBatch, as_values, digest_of
from stepbus.fit.loaders.sets import Check, LoaderSet, Reader
from stepbus.fit.loaders.shared import reading
from stepbus.fit.loaders.sources import Loader
from stepbus.fit.loaders.trail import Expected, Trail

if TYPE_CHECKING:
    from stepbus.config import Config

log = logging.getLogger(__name__)


class LoaderData:
    """What a fit trains on and scores, where its batches come from loaders.

    Args:
        config: The configuration.
        loaders: Set name -> its loader, `train` among them; none only serves further ones.
        task: What the labels are, or None.
        facts: Name -> what a resume compares besides: digests of the module's code and of the loss.
        check: What else is to be checked of each batch, given where it stands.
        unlabelled: The sets whose labels are not read.

    Raises:
        DataError: A loader cannot be used.
    """

    codec: Any = None

    def __init__(
        self,
        config: Config,
        loaders: Mapping[str, Loader],
        task: str | None = None,
        facts: Mapping[str, str] | None = None,
        check: Check | None = None,
        unlabelled: Collection[str] = (),
    ) -> None:
        self.config, self.loaders, self.task, self.check = config, dict(loaders), task, check
        self.facts = dict(facts or {})
        self.window = int(config.training.gradient_accumulation_steps)
        # The loop takes two windows ahead of the one that is launched.
        self.trail = Trail(recent=3 * self.window)
        self.readers = {
            name: Reader(loader, task, labelled=name not in unlabelled, check=check) for name, loader in loaders.items()
        }
        self.sets = {name: LoaderSet(reader) for name, reader in self.readers.items() if name != "train"}
        self._expected: Expected | None = None
        self._length_told = False
        # Of a list, every batch is looked at before anything is trained.
        read = {name: digest_of(self.readers[name].epoch(0)) for name, each in self.loaders.items() if each.is_list}
        self._digests = {name: digest for name, (digest, _) in read.items()}
        self.rows = {name: rows for name, (_, rows) in read.items()}

    @property
    def notes(self) -> list[str]:
        """What a user should know of it."""
        train, validation = self.loaders.get("train"), self.loaders.get("validation")
        if train is not None and validation is not None and train.source is validation.source:
            return ["validation: it is the loader of the training batches: its scores say nothing of new rows"]
        return []

    def describe(self) -> dict[str, str]:
        """Return what a user wants to see of it before the first step, in words, by name."""
        batches = self.loaders["train"].count()
        said = "as many as the loader gives" if batches is None else f"{counted(batches, 'batch', 'batches')} an epoch"
        return {"labels": self.task or "as the batches have them", "batches": said}

    def named_rows(self, batch: LoaderBatch) -> list[Any]:
        """Return what names each row of a training batch: its id, else its place among the rows of the epoch."""
        named: list[Any] = (batch.rows if batch.ids is None else batch.ids).tolist()
        return named

    def count_steps(self) -> tuple[int, int]:
        """Return the updates of an epoch, 0 where the loader does not say, and those of the whole fit.

        Raises:
            DataError: Nothing says how many there are.
        """
        training, batches = self.config.training, self.loaders["train"].count()
        if batches is None:
            if training.max_steps is None:
                raise DataError(
                    "training.max_steps: expected how many updates to do, because the training loader has no len(), "
                    "got none"
                )
            return 0, training.max_steps
        if batches < 1:
            raise DataError(f"train: expected at least one batch, got a loader of length {batches}")
        per_epoch = -(-batches // self.window)
        total = training.num_epochs * per_epoch
        return per_epoch, total if training.max_steps is None else min(total, training.max_steps)

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[list[LoaderBatch]]]:
        """Give the accumulation windows of an epoch.

        Args:
            epoch: The epoch, from 0.
            start: Windows of it that are already done; they are read again, and have to be the same.

        Raises:
            CheckpointError: They are others.
        """
        expected, self._expected = self._expected, None
        if expected is not None:
            self._read_again(expected, epoch, whole=start == 0)
        batches = self._read(epoch)
        try:
            if expected is not None and start:
                for _ in islice(batches, start * self.window):
                    pass
                expected.check_start(epoch, self.trail, start * self.window)
            yield self._windows(batches, epoch, start)
        finally:
            batches.close()

    def _windows(self, batches: Iterator[LoaderBatch], epoch: int, number: int) -> Iterator[list[LoaderBatch]]:
        """Give the windows of an epoch from one on; something in each has to count.

        Raises:
            DataError: All rows of one weigh 0, so that it has no loss.
        """
        while window := list(islice(batches, self.window)):
            number += 1
            if not any(as_values(batch.arrays["weights"]).any() for batch in window):
                raise DataError(
                    f"train: epoch {epoch + 1}, update {number}: expected a row of a weight above 0, got 0 for all of "
                    f"{sum(batch.sequences for batch in window)}; leave such batches out"
                )
            yield window

    def _read(self, epoch: int) -> Generator[LoaderBatch]:
        """Give the batches of an epoch, and keep their digests."""
        self.trail.begin()
        with closing(self.readers["train"].epoch(epoch)) as batches:
            first = next(batches)  # by now the loader was told its epoch
            with reading(self.loaders["train"].source):
                for batch in chain([first], batches):
                    self.trail.add(batch)
                    yield batch
        self.trail.end()
        told, found = self.loaders["train"].count(), self.trail.batches
        if told not in (None, found) and not self._length_told:
            self._length_told = True
            log.warning(
                "train: epoch %d had %s, and len() of the loader says %d: the fit still ends after the updates that "
                "were planned by it",
                epoch + 1, counted(found, "batch", "batches"), told,
            )  # fmt: skip

    def _read_again(self, expected: Expected, epoch: int, *, whole: bool) -> None:
        """Read what training saw before an epoch again, as far as it is needed: to compare it, or to get there.

        Args:
            expected: What training saw.
            epoch: The epoch to go on with.
            whole: Whether it begins anew, so that nothing of it can be compared.
        """
        again = range(epoch)
        if self.loaders["train"].knows_epochs:
            again = range(epoch - 1, epoch) if whole and epoch else range(0)
            self.trail.epochs = expected.epochs[: again.start if again else epoch]
        for each in again:
            for _ in self._read(each):
                pass
            expected.check_epoch(each, self.trail, with_marks=whole and each == epoch - 1)

    def digests(self) -> dict[str, str]:
        """Return set name -> a digest of all batches of a list, the number of batches of others; and further facts."""
        counts = {
            name: f"{batches} batches"
            for name, loader in self.loaders.items()
            if name not in self._digests and (batches := loader.count()) is not None
        }
        return {**counts, **self._digests, **self.facts}

    def progress(self) -> dict[str, Any]:
        """Return the digests of what was read of the training set."""
        return self.trail.state_dict()

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Take over what `progress` returned.

        Raises:
            CheckpointError: It is something else, or the loader is read once.
        """
        if self.loaders["train"].reads_once:
            raise CheckpointError(
                "train: expected a loader that can be read again from its beginning, because a resume does so, got an "
                "iterator; hand over a function that returns a new one, a list, or an object with __iter__"
            )
        self._expected = Expected(saved, "train")

    def other(self, source: Any, name: str, *, labelled: bool) -> LoaderSet:
        """Return a further loader as a set to score or to predict.

        Args:
            source: The loader.
            name: What it is for, in messages.
            labelled: Whether labels are wanted.
        """
        return LoaderSet(Reader(Loader(source, name), self.task, labelled=labelled, check=self.check))
