"""Rows of text as the data of a fit: encoded once, dealt into batches of few shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.device import choice
from stepbus.text.batches import Batch, Prefetch, accumulated, epoch_order, eval_order, plan_shapes
from stepbus.text.labels import ClassCounts, labels_in_words, weights_in_words
from stepbus.text.rows import read_rows, refuse_weightless, rows_that_count, weighed

if TYPE_CHECKING:
    from stepbus.base import IntArray
    from stepbus.config import Config, DataSettings
    from stepbus.text.batches import ShapePlan
    from stepbus.text.encoder import RowEncoder
    from stepbus.text.labels import LabelCodec
    from stepbus.text.rows import Rows
    from stepbus.text.tokens import Limits, Tokens

    Array = np.ndarray[Any, Any]


def epoch_shapes(config: Config, lengths: IntArray, limits: Limits) -> ShapePlan:
    """Return the batches of an epoch.

    Args:
        config: The configuration.
        lengths: Tokens of each training row, int [N].
        limits: What the model's tables hold.
    """
    settings = config.data.settings
    return plan_shapes(
        lengths,
        batch_size=settings.batch_size,
        tokens_per_batch=settings.tokens_per_batch,
        bucket_multiple=choice.length_multiple(),
        longest=limits.positions,
    )


def count_steps(config: Config, shapes: ShapePlan) -> tuple[int, int]:
    """Return the updates of an epoch and those of the whole fit."""
    training = config.training
    batches = shapes.epoch_batches(drop_last=config.data.settings.drop_last)
    per_epoch = -(-batches // training.gradient_accumulation_steps)
    total = training.num_epochs * per_epoch
    return per_epoch, total if training.max_steps is None else min(total, training.max_steps)


class TextSet:
    """A set of encoded rows that is scored or predicted.

    Args:
        tokens: The rows.
        encoder: What encoded them.
        settings: Section `data`.
        targets: Labels in their own unit, [N] or [N, K]; None without.
        weights: What each row counts in metrics, [N]; None counts all alike.
    """

    def __init__(
        self,
        tokens: Tokens,
        encoder: RowEncoder,
        settings: DataSettings,
        targets: Array | None = None,
        weights: Array | None = None,
    ) -> None:
        self.tokens, self.encoder, self.settings = tokens, encoder, settings
        self.targets, self.weights = targets, weights

    @property
    def row_ids(self) -> Array:
        """What names each row, [N]."""
        return self.tokens.row_ids

    @property
    def weight(self) -> float:
        """Sum of the rows' weights."""
        return float(self.tokens.weights.sum(dtype=np.float64))

    @contextmanager
    def batches(self) -> Iterator[Iterator[Batch]]:
        """Give every row once, from the shortest to the longest."""
        settings, tokens = self.settings, self.tokens
        shapes = plan_shapes(
            tokens.lengths,
            batch_size=settings.eval_batch_size or settings.batch_size,
            bucket_multiple=choice.length_multiple(),
            longest=self.encoder.limits.positions,
        )
        order = eval_order(shapes, tokens.lengths)
        with Prefetch(tokens, order, size=settings.prefetch_size, workers=settings.num_workers) as batches:
            yield iter(batches)

    def to_units(self, values: Array) -> Array:
        """Return what the model says, [N, K], in the unit of the labels."""
        return self.encoder.codec.to_units(values)


class TextData:
    """The rows of a fit as tokens; without sets, only what encodes further rows.

    Args:
        config: The configuration.
        encoder: Knows the labels once it has seen the training rows.
        sets: The rows of the fit by set name, `train` among them.
        seed: The fit's own.
        unlabelled: The sets whose labels are not read.

    Raises:
        DataError: A row cannot be used.
    """

    def __init__(
        self,
        config: Config,
        encoder: RowEncoder,
        sets: Mapping[str, Rows],
        seed: int = 0,
        unlabelled: Collection[str] = (),
    ) -> None:
        for name, rows in sets.items():
            if name not in unlabelled:
                refuse_weightless(rows)
        self.config, self.encoder, self.seed = config, encoder, seed
        # Training rows of weight 0 are as if they were not there.
        self.encoded = {name: rows_that_count(rows) if name == "train" else rows for name, rows in sets.items()}
        self.left_out = len(sets["train"]) - len(self.encoded["train"]) if "train" in sets else 0
        if "train" in sets:
            encoder.fit(self.encoded["train"])
        self.tokens = {
            name: encoder.encode(rows, labelled=name not in unlabelled) for name, rows in self.encoded.items()
        }
        # Set name -> labels in their own unit; those of some sets are not read.
        self.targets = {
            name: encoder.codec.targets_in_units(rows) for name, rows in self.encoded.items() if name not in unlabelled
        }
        self.sets = {
            name: TextSet(tokens, encoder, config.data.settings, self.targets.get(name), self.encoded[name].weights)
            for name, tokens in self.tokens.items()
            if name != "train"
        }
        if "train" in sets:
            train = self.tokens["train"]
            assert train.labels is not None  # the training rows have some
            encoder.counts = ClassCounts.of(encoder.codec, train.labels, train.weights)
            self._plan()

    def _plan(self) -> None:
        self.shapes = epoch_shapes(self.config, self.tokens["train"].lengths, self.encoder.limits)

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of the tokenizer and of rows that are cut."""
        return self.encoder.notes

    @property
    def codec(self) -> LabelCodec:
        """What turns labels into numbers and back."""
        return self.encoder.codec

    @property
    def task(self) -> str:
        """What the labels are: binary, multiclass, multilabel or regression."""
        task = self.encoder.codec.task
        assert task is not None  # the codec has seen the training rows
        return task

    @property
    def rows(self) -> dict[str, int]:
        """Set name -> rows."""
        return {name: len(tokens) for name, tokens in self.tokens.items()}

    def describe(self) -> dict[str, str]:
        """Return what a user wants to see of it before the first step, in words, by name."""
        train = self.tokens["train"]
        words = {
            "labels": labels_in_words(self.codec, self.targets["train"]),
            **self.told(),
            "batches": self.shapes.describe(),
        }
        if train.truncated:
            cut = "1 training row is" if train.truncated == 1 else f"{train.truncated:,} training rows are"
            words["cut"] = f"{cut} longer than {self.encoder.tokenizer.max_length} tokens"
        return words

    def told(self) -> dict[str, str]:
        """Return what the training rows told of themselves, and what they count, in words."""
        return {**self.encoder.told(), **weights_in_words(self.config, self.encoded["train"], self.left_out)}

    def named_rows(self, batch: Batch) -> list[Any]:
        """Return what names each row of a training batch; None for a padding row."""
        ids = self.tokens["train"].row_ids.tolist()
        return [ids[row] if row >= 0 else None for row in batch.rows.tolist()]

    def count_steps(self) -> tuple[int, int]:
        """Return the updates of an epoch, and those of the whole fit."""
        return count_steps(self.config, self.shapes)

    def take_limits(self, limits: Limits) -> None:
        """Refuse rows that the tables of the model have no place for, now that it is there.

        Args:
            limits: What they hold.

        Raises:
            ModelError: There is such a row.
        """
        if limits == self.encoder.limits:
            return
        self.encoder.limits = limits  # nothing was known of it before
        for name, tokens in self.tokens.items():
            limits.check(tokens, self.encoded[name].where, self.encoder.tokenizer)
        self._plan()

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[list[Batch]]]:
        """Give the accumulation windows of an epoch, collated ahead by threads.

        Args:
            epoch: The epoch, from 0.
            start: Windows of it that are already done.
        """
        tokens, settings = self.tokens["train"], self.config.data.settings
        size = int(self.config.training.gradient_accumulation_steps)
        order = epoch_order(self.shapes, tokens.lengths, seed=self.seed, epoch=epoch, drop_last=settings.drop_last)
        ahead, workers = settings.prefetch_size, settings.num_workers
        with Prefetch(tokens, order, start=start * size, size=ahead, workers=workers) as batches:
            yield accumulated(batches, size)

    def digests(self) -> dict[str, str]:
        """Return set name -> a digest of all that training sees of it."""
        return {
            name: _digest(tokens, self.encoded[name], self.targets.get(name)) for name, tokens in self.tokens.items()
        }

    def progress(self) -> dict[str, Any]:
        """Return nothing: the order of the rows is a function of seed and epoch."""
        return {}

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Take nothing over."""

    def other(self, source: Any, name: str, *, labelled: bool) -> TextSet:
        """Return further rows as a set to score or to predict.

        Args:
            source: A file, a pandas frame, or rows.
            name: What it is for, in messages.
            labelled: Whether labels are wanted.
        """
        settings = self.config.data.settings
        rows = read_rows(source, name=name, config=settings)
        if not labelled:
            return TextSet(self.encoder.encode(rows, labelled=False), self.encoder, settings)
        rows = weighed(rows, settings, labels=self.encoder.codec.columns)
        refuse_weightless(rows)
        targets = self.encoder.codec.targets_in_units(rows)
        return TextSet(self.encoder.encode(rows, labelled=True), self.encoder, settings, targets, rows.weights)


def _digest(tokens: Tokens, rows: Rows, targets: Array | None) -> str:
    """Return a digest of all that training sees of rows, and metrics where that is more: exact weights, hard labels."""
    found = tokens.digest()
    if targets is None or (rows.weights is None and rows.soft is None):
        return found
    digest = hashlib.sha256(found.encode())
    for array in (rows.weights, targets):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
    return digest.hexdigest()
