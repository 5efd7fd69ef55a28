"""What a model's tables hold: rows of tokens are measured against it before any of their numbers reaches a kernel.

MLX checks no index: one beyond a table reads or writes whatever lies there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.base import ModelError

if TYPE_CHECKING:
    from stepbus.text.tokens.arrays import Tokens
    from stepbus.text.tokens.encode import TextTokenizer


@frozen
class Limits:
    """The sizes of a model's tables; None where they are not known.

    Args:
        tokens: Rows of the table of word embeddings: token ids are below it.
        types: Rows of the table of token types.
        positions: Rows of the table of positions: the longest sequence, padding included.
    """

    tokens: int | None = None
    types: int | None = None
    positions: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any], folder: str | None = None) -> Limits:
        """Return the limits that a model's config.json names.

        Args:
            config: Its content.
            folder: Where it lies, for messages.

        Raises:
            ModelError: Its padding token is none of the table's.
        """

        def size(name: str) -> int | None:
            value = config.get(name)
            return value if isinstance(value, int) and not isinstance(value, bool) else None

        limits = cls(size("vocab_size"), size("type_vocab_size"), size("max_position_embeddings"))
        pad = config.get("pad_token_id")
        if limits.tokens is not None and pad is not None and not _within(pad, limits.tokens):
            place = "config.json" if folder is None else f"{folder}: config.json"
            raise ModelError(
                f"{place}: pad_token_id: expected an id from 0 to {limits.tokens - 1}, for vocab_size is "
                f"{limits.tokens}, got {pad!r}; write the tokenizer's own, or null"
            )
        return limits

    def longest(self, asked: int, tokenizer: int | None = None) -> tuple[int, str | None]:
        """Return the longest row in tokens, and a sentence where that is less than was asked for.

        Args:
            asked: The setting data.max_length.
            tokenizer: The limit that the tokenizer's own files set.
        """
        found, reason = asked, None
        if tokenizer is not None and tokenizer < found:
            found, reason = tokenizer, f"the tokenizer's model_max_length is {tokenizer}"
        if self.positions is not None and self.positions < found:
            found, reason = self.positions, f"the model has {self.positions} positions"
        if reason is None:
            return asked, None
        return found, f"rows are cut to {found} tokens in place of data.max_length {asked}: {reason}"

    def check(self, tokens: Tokens, where: Callable[[int], str], tokenizer: TextTokenizer | None = None) -> None:
        """Refuse rows that a table has no place for.

        Args:
            tokens: The rows.
            where: Says where a row stands, by its place among them.
            tokenizer: What made them, which knows the words.

        Raises:
            ModelError: An id, a type or the number of tokens is beyond its table.
        """
        if not len(tokens.ids):
            return
        for wrong in (int(tokens.ids.argmax()), int(tokens.ids.argmin())):
            self._check_id(int(tokens.ids[wrong]), where(_row(tokens, wrong)), tokenizer)
        self._check_id(tokens.pad_id, "padding", tokenizer)
        if tokens.types is not None and self.types is not None:
            most = int(tokens.types.max())
            if most >= self.types:
                row = _row(tokens, int(tokens.types.argmax()))
                raise ModelError(
                    f"{where(row)}: expected token types below {self.types}, the rows of the model's table "
                    f"(type_vocab_size), got type {most} for its second text; "
                    "join both texts in one column, write model_input_names without token_type_ids into "
                    "tokenizer_config.json, or take a model with more types"
                )
        longest = int(tokens.lengths.max())
        if self.positions is not None and longest > self.positions:
            raise ModelError(
                f"data.max_length: expected at most the model's {self.positions} positions, got a row of {longest}"
            )

    def _check_id(self, number: int, where: str, tokenizer: TextTokenizer | None) -> None:
        if number >= 0 and (self.tokens is None or number < self.tokens):
            return
        word = None if tokenizer is None else tokenizer.word(number)
        named = "" if word is None else f" of the token {word!r}"
        if number < 0:
            raise ModelError(f"{where}: expected token ids of at least 0, got {number}")
        raise ModelError(
            f"{where}: expected token ids below {self.tokens}, the rows of the model's table (vocab_size), got id "
            f"{number}{named}; train with model.resize_embeddings: true, which adds rows for it, or take the tokenizer "
            "that belongs to the model"
        )


def _within(value: object, size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def _row(tokens: Tokens, position: int) -> int:
    """Return which row holds the token at a position of all rows' tokens."""
    return int(np.searchsorted(tokens.offsets, position, side="right")) - 1
