"""Rows become tokens: a source of texts, the labels and a tokenizer, and the state that prediction needs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from attrs import evolve

from stepbus.base import DataError, IntArray, ModelError, StepbusError, error_words, show
from stepbus.base.guards import Maker
from stepbus.config import DataSettings
from stepbus.text.labels import ClassCounts, LabelCodec
from stepbus.text.rows import Rows
from stepbus.text.source_checks import check_source, checked_state, checked_texts
from stepbus.text.tokens import (
    Limits,
    TextTokenizer,
    Tokens,
    cache_folder,
    encode_cached,
    padded_right,
    tokenizer_files,
)

VERSION = 1


@runtime_checkable
class TextSource(Protocol):
    """What a component of kind `data` builds: it turns rows into texts.

    It may also have `describe()`: what it was told by the training rows, in words, by name, for the head of a run; and
    `columns`, the names of those that it reads: where there is only one, `trainer.predict` takes bare texts for it.

    Example:
        >>> class Quotes:  # what a component of kind `data` builds
        ...     def fit(self, rows): ...
        ...     def texts(self, rows):
        ...         return [f'"{text}"' for text in rows.cells("text")], None
        ...     def state_dict(self): ...
        ...     def load_state_dict(self, saved): ...
        >>> isinstance(Quotes(), TextSource)
        True
    """

    def fit(self, rows: Rows) -> None:
        """Learn what the texts need, from training rows only."""

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        """Return one text a row, and the second text of each row or None.

        Raises:
            DataError: A row has no text; `rows.error(index, column, …)` says where.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what was learnt, as JSON values."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class RowEncoder:
    """Turns rows into tokens with labels; what it learns, it learns from the training rows.

    Args:
        source: Turns rows into texts.
        folder: The model's folder, which holds the tokenizer.
        codec: Turns labels into arrays.
        config: The data section.
        limits: What the model's tables hold, as far as it is known before its weights.
        maker: How messages name the source, and whom it comes from.

    `opened` is the file that the state came from, where a folder was opened. `counts` is what the training rows count,
    once they are encoded; an older folder does not say it.
    `notes` says in a sentence each what a user should know of the tokenizer and of rows that are cut.

    Raises:
        ModelError: The folder has no tokenizer that can be used.
    """

    def __init__(
        self,
        source: TextSource,
        folder: Path,
        codec: LabelCodec,
        config: DataSettings,
        limits: Limits = Limits(),  # noqa: B008 - it is frozen
        maker: Maker | None = None,
    ) -> None:
        self.maker = maker or Maker(f"the data source {type(source).__name__}")
        check_source(source, self.maker)
        self.source = source
        self.opened: Path | None = None
        self.counts: ClassCounts | None = None
        self.codec = codec
        self.config = config
        self.tokenizer_files = tokenizer_files(folder)
        self.limits = limits
        self.tokenizer = TextTokenizer(self.tokenizer_files, config.max_length, folder)
        self.tokenizer.max_length, cut = limits.longest(config.max_length, self.tokenizer.limit)
        if self.tokenizer.pad_left:
            self.tokenizer_files = padded_right(self.tokenizer_files)
        self.notes = [*self.tokenizer.notes, *([cut] if cut else [])]

    def fit(self, rows: Rows) -> None:
        """Learn labels and template from training rows.

        Raises:
            DataError: The rows cannot be used.
        """
        self.codec.fit(rows)
        with self.maker.calling("fit"):
            self.source.fit(rows)
        self._source_state()  # what no folder could keep is refused before the training, not after it

    def told(self) -> dict[str, str]:
        """Return what the training rows told of themselves, in words, each with the setting that says otherwise."""
        reason, describe = self.codec.reason, getattr(self.source, "describe", None)
        task = {"task": f"{self.codec.task}, told by {reason} (data.task sets another)"} if reason else {}
        return {**task, **(describe() if describe is not None else {})}

    def encode(self, rows: Rows, *, labelled: bool) -> Tokens:
        """Turn rows into tokens.

        Args:
            rows: The rows.
            labelled: Whether labels are wanted; without, label columns need not be there.

        Returns:
            The tokens, with the rows' ids; `truncated` says how many rows were cut.

        Raises:
            DataError: A row has no text or no usable label.
            ModelError: A token has no place in the model's tables.
        """
        labels = self.codec.for_loss(rows) if labelled else None
        texts, pairs = self.texts(rows)
        tokens = self._tokens(rows, texts, pairs)
        tokens = evolve(tokens, labels=labels, row_ids=rows.ids)
        if labelled and rows.weights is not None:
            tokens = evolve(tokens, weights=rows.weights.astype(np.float32))
        self.limits.check(tokens, rows.where, self.tokenizer)
        return tokens

    def _tokens(self, rows: Rows, texts: list[str], pairs: list[str] | None) -> Tokens:
        """Return the tokens of texts, kept on disk; those of a part are taken from those of its whole source."""
        folder = cache_folder(self.config.cache)
        found = None if folder is None or rows.whole is None else self._of_the_source(rows.whole, rows, texts, pairs)
        if found is None:
            return encode_cached(self.tokenizer, texts, pairs, folder)
        every, second, places = found
        part = encode_cached(self.tokenizer, every, second, folder).take(places)
        # As if they had been read by themselves.
        return part if part.types is not None and part.types.any() else evolve(part, types=None)

    def _of_the_source(
        self, whole: Rows, rows: Rows, texts: list[str], pairs: list[str] | None
    ) -> tuple[list[str], list[str] | None, IntArray] | None:
        """Return the texts of a whole source and where those of a part stand in it, or None where they do not."""
        places = np.searchsorted(whole.numbers, rows.numbers)
        if not np.array_equal(whole.numbers[np.minimum(places, len(whole) - 1)], rows.numbers):
            return None
        try:
            every, second = self.texts(whole)
        except Exception:  # a row that is in no set may lack what theirs have, and no plugin need stand that
            return None
        for own, others in ((texts, every), (pairs, second)):
            if own is None or others is None:
                if own is not others:
                    return None
            elif len(others) != len(whole) or own != [others[place] for place in places]:
                return None
        return every, second, places

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        """Return the texts of rows as the source tells them, a list of strings each.

        Raises:
            DataError: A row has no text.
            ModelError: The source cannot work with the state that a folder gave it.
            PluginFailure: The source raised, or gave something else.
        """
        try:
            if self.opened is None:
                with self.maker.calling("texts"):
                    given = self.source.texts(rows)
            else:
                given = self.source.texts(rows)
        except StepbusError:
            raise
        except Exception as error:
            raise ModelError(
                f"{self.opened}: encoder.source: expected what the data component learnt, got something with which it "
                f"tells no text of {rows.source} ({error_words(error)})"
            ) from error
        return checked_texts(given, rows, self.maker)

    def _source_state(self) -> dict[str, Any]:
        with self.maker.calling("state_dict"):
            found = self.source.state_dict()
        return checked_state(found, self.maker)

    def state_dict(self) -> dict[str, Any]:
        """Return what prediction needs beside the configuration and the tokenizer, as JSON values."""
        counts = {} if self.counts is None else {"counts": self.counts.state_dict()}
        return {"version": VERSION, "labels": self.codec.state_dict(), **counts, "source": self._source_state()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            DataError: It was written by another version of stepbus, or does not hold what it should; the key is named.
        """
        if not isinstance(saved, dict):
            raise DataError("expected a mapping of version, labels and source, got something else")
        if saved.get("version") != VERSION:
            raise DataError(
                f"data state: expected version {VERSION}, got {show(saved.get('version'))}; export the model again"
            )
        self.codec.load_state_dict(saved.get("labels", {}))
        self.counts = ClassCounts.from_state(saved["counts"], self.codec) if "counts" in saved else None
        if not isinstance(saved.get("source"), dict):
            raise DataError(f"source: expected a mapping, got {show(saved.get('source'))}")
        self.source.load_state_dict(saved["source"])
