"""Texts become token ids, by the Rust tokenizer of the model's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from stepbus.base import IntArray, ModelError
from stepbus.text.tokens.arrays import Tokens as Tokens
from stepbus.text.tokens.build import load_tokenizer
from stepbus.text.tokens.folder import TOKENIZER_FILES as TOKENIZER_FILES
from stepbus.text.tokens.folder import tokenizer_files as tokenizer_files
from stepbus.text.tokens.guard import MAX_ID, check_texts, guarded, without_panic_reports

CHUNK = 2048


class TextTokenizer:
    """Turns texts or pairs of texts into token ids, cut to a longest length.

    Args:
        files: Contents of the tokenizer's files by name, as `tokenizer_files` returns them.
        max_length: Longest row in tokens, special ones included.
        folder: Where the files lie, for messages.

    Raises:
        ModelError: tokenizer.json cannot be understood.
    """

    def __init__(self, files: Mapping[str, bytes], max_length: int, folder: Path | None = None) -> None:
        place = "" if folder is None else f"{folder}/"
        self.file = f"{place}tokenizer.json"
        loaded = load_tokenizer(files, place)
        self._tokenizer = loaded.tokenizer
        self.notes, self.pad_left = list(loaded.notes), loaded.pad_left
        self.limit = loaded.longest
        self.max_length = max_length
        self.pad_id, self.types, self.cut_left = loaded.pad_id, loaded.types, loaded.cut_left
        # Everything that the tokens of a text depend on, beside max_length.
        self.source = f"{self.types} {self.cut_left} {self._tokenizer.encode_special_tokens} ".encode() + b"".join(
            name.encode() + b" " + files[name] for name in TOKENIZER_FILES if name in files
        )
        self._frames = {1: _Frame.read(loaded.probes[0])}
        with suppress(ValueError):  # single texts can be read without it
            check_texts(loaded.probes[1], 2)
            self._frames[2] = _Frame.read(loaded.probes[1])

    def _encode(self, texts: list[str]) -> list[Any]:
        """Return the library's encodings, without special tokens around them."""
        with guarded(self.file, "encode the rows"), without_panic_reports():
            return list(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))

    def word(self, number: int) -> str | None:
        """Return the token of an id, None where there is none."""
        found: str | None = self._tokenizer.id_to_token(number)
        return found

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """Tokenize rows.

        Too long ones are cut as transformers' `longest_first` does, on the folder's side. The cut is made here: the
        library keeps every overflowing piece, and for a pair every combination, which takes minutes for two long
        documents.

        Args:
            texts: One text a row.
            pairs: The second text of each row, or None.

        Returns:
            The rows, without labels.

        Raises:
            ModelError: `max_length` leaves no room for text beside the special tokens.
        """
        sides = [texts] if pairs is None else [texts, pairs]
        frame = self._frames.get(len(sides))
        if frame is None:
            raise ModelError(
                f"{self.file}: expected a post_processor that puts both texts of a pair into a row, once each"
            )
        room = self.max_length - sum(len(run) for run in frame.ids)
        if room < len(sides):
            raise ModelError(
                f"data.max_length: expected room for text beside {self.max_length - room} special tokens, "
                f"got {self.max_length}"
            )
        ids: list[IntArray] = []
        types: list[IntArray] = []
        lengths: list[int] = []
        cut_rows: list[bool] = []
        for start in range(0, len(texts), CHUNK):
            chunks = [list(side[start : start + CHUNK]) for side in sides]
            encoded = [self._encode(chunk) for chunk in chunks]
            for row in zip(*encoded, strict=True):
                pieces = [piece.ids for piece in row]
                kept = cut([len(piece) for piece in pieces], room)
                cut_rows.append(sum(kept) < sum(len(piece) for piece in pieces))
                ids.append(frame.ids[0])
                types.append(frame.types[0])
                if max(map(max, filter(None, pieces)), default=0) > MAX_ID:
                    raise ModelError(f"{self.file}: expected token ids of at most {MAX_ID:,}, got a larger one")
                for side, size in enumerate(kept):
                    piece = pieces[side][len(pieces[side]) - size :] if self.cut_left else pieces[side][:size]
                    ids += [np.array(piece, dtype=np.int32), frame.ids[side + 1]]
                    types += [np.full(size, frame.text_types[side], dtype=np.uint8), frame.types[side + 1]]
                lengths.append(sum(kept) + self.max_length - room)
        every_type = np.concatenate(types) if types else np.zeros(0, np.uint8)
        return Tokens(
            ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            types=every_type if self.types and every_type.any() else None,
            truncated=sum(cut_rows),
            pad_id=self.pad_id,
            cut=np.array(cut_rows, dtype=np.bool_),
        )


@frozen(eq=False)
class _Frame:
    """The special tokens before, between and after the texts, read off an encoded probe.

    Args:
        ids: Special token ids before the first text, after it and after the second.
        types: Their token types.
        text_types: Token type of each text's own tokens.
    """

    ids: list[IntArray]
    types: list[IntArray]
    text_types: list[int]

    @classmethod
    def read(cls, probe: Any) -> _Frame:
        runs: list[list[tuple[int, int]]] = [[]]
        text_types: list[int] = []
        for token, kind, text in zip(probe.ids, probe.type_ids, probe.sequence_ids, strict=True):
            if text is None:
                runs[-1].append((token, kind))
            elif len(text_types) == text:
                text_types.append(kind)
                runs.append([])
        return cls(
            [np.array([token for token, _ in run], dtype=np.int32) for run in runs],
            [np.array([kind for _, kind in run], dtype=np.uint8) for run in runs],
            text_types,
        )


def cut(lengths: list[int], room: int) -> list[int]:
    """Share out the room between one or two texts: the longer one is cut first, as `longest_first` does.

    Args:
        lengths: Tokens of each text.
        room: Tokens that they may have together.

    Returns:
        Tokens that each keeps.
    """
    if sum(lengths) <= room:
        return lengths
    if len(lengths) == 1:
        return [room]
    short, long = sorted(lengths)
    long = max(short, room - short)
    if short + long > room:
        short, long = room // 2, room - room // 2
    return [long, short] if lengths[0] > lengths[1] else [short, long]
