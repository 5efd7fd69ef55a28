"""Texts become token ids, by the Rust tokenizer of the model's folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from attrs import evolve, field, frozen

from stepbus.errors import ModelError
from stepbus.exports import verify_folder
from stepbus.tokenizer_guard import (
    MAX_ID,
    guarded,
    json_mapping,
    load_tokenizer,
    read_files,
    token_of,
    without_panic_reports,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IntArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.integer[Any]]]
LabelArray: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[Any]]

CHUNK = 2048
# What a Hugging Face folder may hold about its tokenizer; export copies what is there.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@frozen(eq=False)
class Tokens:
    """Tokenized rows, end to end: N rows of T tokens in all.

    Args:
        ids: Token ids, int32 [T].
        offsets: Where each row starts, int64 [N + 1].
        types: Token types, uint8 [T], or None where all are 0.
        labels: int32 [N], float32 [N, K] or float32 [N]; None without labels.
        weights: Weight of each row in loss and metrics, float32 [N].
        row_ids: What names each row in predictions, [N].
        truncated: Rows cut to the longest length.
        pad_id: Id of the padding token.
    """

    ids: IntArray
    offsets: IntArray
    types: IntArray | None = None
    labels: LabelArray | None = None
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = field()
    row_ids: np.ndarray[tuple[int, ...], np.dtype[Any]] = field()
    truncated: int = 0
    pad_id: int = 0

    @weights.default
    def _all_one(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.ones(len(self.offsets) - 1, dtype=np.float32)

    @row_ids.default
    def _positions(self) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        return np.arange(len(self.offsets) - 1, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def digest(self) -> str:
        """Return a SHA-256 of everything that training sees of these rows: tokens, labels, weights and ids."""
        found = hashlib.sha256("\0".join(map(str, self.row_ids.tolist())).encode())
        for array in (self.ids, self.offsets, self.types, self.labels, self.weights):
            if array is not None:
                found.update(f"{array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    @property
    def lengths(self) -> IntArray:
        """Tokens of each row, special ones included, int64 [N]."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | IntArray) -> Tokens:
        """Return some rows, in the order given.

        Args:
            indices: Row positions, int [M].

        Returns:
            M rows; `truncated` is not known for a part and stays that of the whole.
        """
        rows = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return evolve(
            self,
            ids=self.ids[source],
            offsets=offsets,
            types=None if self.types is None else self.types[source],
            labels=None if self.labels is None else self.labels[rows],
            weights=self.weights[rows],
            row_ids=self.row_ids[rows],
        )


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Return what an exported model needs to be tokenized again, by file name.

    Args:
        folder: A Hugging Face model folder with a tokenizer.json, or with a vocab.txt of WordPiece.

    Returns:
        File names and contents; always with a tokenizer.json, made from vocab.txt where the folder has none.

    Raises:
        ModelError: The folder has neither, or is not what stepbus wrote.
    """
    ours = verify_folder(folder)
    files = read_files(folder, tuple(name for name in TOKENIZER_FILES if ours is None or name in ours))
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        json_mapping(files, name, f"{folder}/")
    if "tokenizer.json" not in files:
        if "vocab.txt" not in files:
            raise ModelError(f"{folder}: expected a tokenizer.json or a vocab.txt, got neither")
        with guarded(str(folder / "vocab.txt"), "be read"):
            files["tokenizer.json"] = _from_vocabulary(files).to_str(pretty=False).encode()
    return files


def _from_vocabulary(files: dict[str, bytes]) -> Tokenizer:
    """Build BERT's WordPiece tokenizer (Devlin et al. 2018) from vocab.txt and what tokenizer_config.json says."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    settings = json_mapping(files, "tokenizer_config.json")
    words = files["vocab.txt"].decode("utf-8").splitlines()
    vocabulary = {word: position for position, word in enumerate(words)}
    special = {
        name: token_of(settings, name, "tokenizer_config.json") or f"[{name.upper()}]"
        for name in ("unk", "sep", "pad", "cls", "mask")
    }
    for name in ("unk", "sep", "cls", "pad"):
        if special[name] not in vocabulary:
            raise ModelError(f"vocab.txt: expected the token {special[name]}, got a vocabulary without it")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=bool(settings.get("tokenize_chinese_chars", True)),
        strip_accents=settings.get("strip_accents"),
        lowercase=bool(settings.get("do_lower_case", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special['cls']} $A {special['sep']}",
        pair=f"{special['cls']} $A {special['sep']} $B:1 {special['sep']}:1",
        special_tokens=[(special[name], vocabulary[special[name]]) for name in ("cls", "sep")],
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in special.values() if token in vocabulary])
    return tokenizer


class TextTokenizer:
    """Turns texts or pairs of texts into token ids, cut to a longest length.

    Args:
        files: Contents of the tokenizer's files by name, as `tokenizer_files` returns them.
        max_length: Longest row in tokens, special ones included.
        folder: Where the files lie, for messages.

    Raises:
        ModelError: tokenizer.json cannot be understood.
    """

    def __init__(self, files: dict[str, bytes], max_length: int, folder: Path | None = None) -> None:
        place = "" if folder is None else f"{folder}/"
        self.source, self.file = files["tokenizer.json"], f"{place}tokenizer.json"
        self.max_length = max_length
        self._tokenizer = load_tokenizer(self.source, self.file)
        settings = json_mapping(files, "tokenizer_config.json", place)
        pad = token_of(settings, "pad", f"{place}tokenizer_config.json") or "[PAD]"
        pad_id = self._tokenizer.token_to_id(pad)
        self.pad_id = 0 if pad_id is None else pad_id
        with guarded(self.file, "frame a text"):
            probes = {1: self._tokenizer.encode("a"), 2: self._tokenizer.encode("a", "a")}
            self._frames = {texts: _Frame.read(probe) for texts, probe in probes.items()}

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """Tokenize rows.

        Too long ones are cut as transformers' `longest_first` does. The cut is made here: the library keeps every
        overflowing piece, and for a pair every combination of pieces, which takes minutes for two long documents.

        Args:
            texts: One text a row.
            pairs: The second text of each row, or None.

        Returns:
            The rows, without labels.

        Raises:
            ModelError: `max_length` leaves no room for text beside the special tokens.
        """
        sides = [texts] if pairs is None else [texts, pairs]
        frame = self._frames[len(sides)]
        if len(frame.text_types) != len(sides):
            raise ModelError(f"{self.file}: expected a post_processor that puts both texts of a pair into a row")
        room = self.max_length - sum(len(run) for run in frame.ids)
        if room < len(sides):
            raise ModelError(
                f"data.max_length: expected room for text beside {self.max_length - room} special tokens, "
                f"got {self.max_length}"
            )
        ids: list[IntArray] = []
        types: list[IntArray] = []
        lengths: list[int] = []
        truncated = 0
        for start in range(0, len(texts), CHUNK):
            chunks = [list(side[start : start + CHUNK]) for side in sides]
            with guarded(self.file, "encode the rows"), without_panic_reports():
                encoded = [self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False) for chunk in chunks]
            for row in zip(*encoded, strict=True):
                pieces = [piece.ids for piece in row]
                kept = cut([len(piece) for piece in pieces], room)
                truncated += sum(kept) < sum(len(piece) for piece in pieces)
                ids.append(frame.ids[0])
                types.append(frame.types[0])
                if max(map(max, filter(None, pieces)), default=0) > MAX_ID:
                    raise ModelError(f"{self.file}: expected token ids of at most {MAX_ID:,}, got a larger one")
                for side, size in enumerate(kept):
                    ids += [np.array(pieces[side][:size], dtype=np.int32), frame.ids[side + 1]]
                    types += [np.full(size, frame.text_types[side], dtype=np.uint8), frame.types[side + 1]]
                lengths.append(sum(kept) + self.max_length - room)
        every_type = np.concatenate(types) if types else np.zeros(0, np.uint8)
        return Tokens(
            ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            types=every_type if every_type.any() else None,
            truncated=truncated,
            pad_id=self.pad_id,
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
