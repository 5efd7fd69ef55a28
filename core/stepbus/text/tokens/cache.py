"""Tokens kept on disk, so that the second run of the same texts need not tokenize. No pickle; nothing is trusted.

A part of a source (a split, a fold) is taken from the tokens of the whole source, so that other seeds and other folds
need no other file. What was used longest ago goes where there are more than MOST_FILES files or MOST_BYTES bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stepbus.base import is_url
from stepbus.device import cache_folder as own
from stepbus.device import cache_limits
from stepbus.text.tokens.arrays import Tokens
from stepbus.text.tokens.encode import TextTokenizer

# Part of the key: raise it when the same texts would give other tokens.
VERSION = 1
MOST_FILES = 64
MOST_BYTES = 4 << 30
_NAMES = re.compile(r"[0-9a-f]{64}\.npz")
_UNFINISHED = re.compile(r"\.tmp-.+\.npz")

log = logging.getLogger(__name__)
_refused: set[Path] = set()


def encode_cached(
    tokenizer: TextTokenizer, texts: Sequence[str], pairs: Sequence[str] | None, folder: Path | None
) -> Tokens:
    """Tokenize rows, or read what an earlier run made of the same texts.

    Args:
        tokenizer: What tokenizes.
        texts: One text a row.
        pairs: The second text of each row, or None.
        folder: Folder of the cache; None does without.

    Returns:
        The rows, without labels.
    """
    if folder is None or not _is_own(folder):
        return tokenizer.encode(texts, pairs)
    key = cache_key(texts, pairs, tokenizer.source, tokenizer.max_length)
    path = folder / f"{key}.npz"
    tokens = _read(path, key, len(texts), tokenizer.pad_id)
    if tokens is None:
        tokens = tokenizer.encode(texts, pairs)
        _write(path, key, tokens)
    return tokens


def cache_folder(setting: bool | str) -> Path | None:
    """Return where tokens are cached: the folder given, or $STEPBUS_CACHE, or ~/.cache/stepbus (XDG), or nowhere."""
    if setting is False:
        return None
    if isinstance(setting, str):
        return Path(setting)
    root = os.environ.get("STEPBUS_CACHE")
    if root and is_url(root):  # a path would make folders of it, password included
        log.warning("the tokens cannot be cached: STEPBUS_CACHE: expected a folder of this machine, got a URL")
        return None
    if root:
        return Path(root) / "tokens"
    try:
        return own.root() / "tokens"
    except OSError as error:
        log.warning("the tokens cannot be cached: %s", error)
        return None


def _is_own(folder: Path) -> bool:
    """Make the folder, and say once where it is a link, somebody else's or open to others: rows could be planted."""
    try:
        if folder == cache_folder(True) and folder.parent == own.root():
            own.own_folder(folder.parent, folder.name)  # what holds it is ours to check too
        else:
            own.own_folder(folder)
    except OSError as error:
        if folder not in _refused:
            log.warning("the tokens cannot be cached: %s", error)
        _refused.add(folder)
        return False
    return True


def cache_key(texts: Sequence[str], pairs: Sequence[str] | None, tokenizer: bytes, max_length: int) -> str:
    """Return the SHA-256 of everything that the tokens depend on."""
    digest = hashlib.sha256(
        f"{VERSION} with cuts {max_length} {len(texts)} {pairs is not None} {len(tokenizer)} ".encode()
    )
    digest.update(tokenizer)
    for column in (texts, pairs or ()):
        for text in column:
            data = text.encode("utf-8", "surrogatepass")
            # The length in front keeps ["ab", "c"] apart from ["a", "bc"].
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def _digest(key: str, *arrays: np.ndarray[Any, Any]) -> str:
    digest = hashlib.sha256(f"{key} {[array.shape for array in arrays]} ".encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(path: Path, key: str, rows: int, pad_id: int) -> Tokens | None:
    """Return the cached rows, or None where there are none that can be trusted."""
    descriptor = own.own_file(path)
    if descriptor is None:
        if os.path.lexists(path):
            log.warning("%s: the cached tokens are no file of your own; tokenizing again", path)
        return None
    try:
        with os.fdopen(descriptor, "rb") as file:
            cache_limits.in_use(descriptor)
            with np.load(file, allow_pickle=False) as saved:
                ids, offsets, types, cut = (saved[name] for name in ("ids", "offsets", "types", "cut"))
                digest = str(saved["digest"])
    except Exception as error:  # whatever is wrong with the file, tokenizing again is the cure
        log.warning("%s: the cached tokens cannot be read (%s); tokenizing again", path, error)
        return None
    if digest != _digest(key, ids, offsets, types, cut) or len(offsets) != rows + 1:
        log.warning("%s: the cached tokens are not what was written; tokenizing again", path)
        return None
    truncated = int(cut.sum())
    kinds = types if len(types) else None
    return Tokens(ids=ids, offsets=offsets, types=kinds, truncated=truncated, cut=cut, pad_id=pad_id)


def _write(path: Path, key: str, tokens: Tokens) -> None:
    """Write beside and rename, so that no reader ever sees half a file; a cache that cannot be written is no error."""
    types = tokens.types if tokens.types is not None else np.zeros(0, np.uint8)
    cut = tokens.cut if tokens.cut is not None else np.zeros(len(tokens), np.bool_)
    arrays: tuple[np.ndarray[Any, Any], ...] = (tokens.ids, tokens.offsets, types, cut)
    digest = _digest(key, *arrays)
    temporary = None
    if sum(array.nbytes for array in arrays) > MOST_BYTES:
        log.warning(
            "%s: these tokens are not cached, because they take more than %d GiB", path.parent, MOST_BYTES >> 30
        )
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".tmp-", suffix=".npz", delete=False) as file:
            temporary = Path(file.name)
            cache_limits.in_use(file.fileno())
            np.savez(file, ids=tokens.ids, offsets=tokens.offsets, types=types, cut=cut, digest=np.str_(digest))
        temporary.replace(path)
        cache_limits.make_room(path.parent, _NAMES, _UNFINISHED, files=MOST_FILES, size=MOST_BYTES)
    except OSError as error:
        log.warning("%s: the tokens cannot be cached (%s)", path, error)
        if temporary is not None:
            temporary.unlink(missing_ok=True)
