"""What weights have seen, kept where they are: in a model, in its folder and in checkpoints; and what to say of it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from stepbus.base import ModelError, read_foreign
from stepbus.kernel import Lineage
from stepbus.storage import LINEAGE, verify_folder

BEFORE = "before.npz"  # in a checkpoint: what its fit had started with
MOST_BYTES = 2**30
MOST_ROWS = 10**9
_CONTENTS = ".contents"  # behind the digest of a source: digests of the rows
_ATTRIBUTE = "_stepbus_lineage"


def lineage_of(model: Any) -> Lineage:
    """Return which rows the weights of a model have seen, as far as stepbus trained them."""
    found = getattr(model, _ATTRIBUTE, None)
    return found if isinstance(found, Lineage) else Lineage()


def put_lineage(model: Any, lineage: Lineage) -> None:
    """Note which rows the weights of a model have seen; it goes where the model goes, copies included."""
    object.__setattr__(model, _ATTRIBUTE, lineage)  # no part of the parameter tree


# -- files ------------------------------------------------------------------------------------------------------------


def packed(lineage: Lineage) -> bytes:
    """Return it as the content of a file: numbers of rows as ranges, digests of sources and rows; no path, no cell."""
    arrays: dict[str, Any] = {key: _ranges(places) for key, places in lineage.rows.items()}
    arrays |= {f"{key}{_CONTENTS}": keys for key, keys in lineage.contents.items()}
    content = io.BytesIO()
    np.savez(content, **{"unknown": np.array(lineage.unknown), **arrays})
    return content.getvalue()


def _ranges(places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return sorted places as ranges [R, 2], each from one up to but not including another."""
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts, lasts = places[np.concatenate([[0], breaks + 1])], places[np.concatenate([breaks, [len(places) - 1]])]
    return np.stack([starts, lasts + 1], axis=1)


def unpacked(content: bytes) -> Lineage:
    """Return what `packed` gave.

    Raises:
        ValueError: It is something else; anybody may have made it.
    """
    ranges, contents = {}, {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if odd := [each.filename for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]:
            raise ValueError(f"{odd[0]}: expected numbers as they are, got a packed file")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        unknown = arrays["unknown"]
        if unknown.shape != () or unknown.dtype != np.dtype(bool):
            raise ValueError("unknown: expected true or false, got something else")
        for key in arrays:
            if key.endswith(_CONTENTS):
                contents[key.removesuffix(_CONTENTS)] = _contents(key, arrays[key])
            elif key != "unknown":
                ranges[key] = _in_order(key, arrays[key])
    if contents.keys() - ranges.keys():
        raise ValueError("expected digests of rows that have numbers, got others")
    # Before any is laid out: a few ranges may stand for gigabytes of places.
    if sum(int(each[:, 1].sum() - each[:, 0].sum()) for each in ranges.values()) > MOST_ROWS:
        raise ValueError(f"expected at most {MOST_ROWS:,} rows, got more")
    return Lineage({key: _places(each) for key, each in ranges.items()}, bool(unknown), contents)


def _contents(key: str, found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if found.dtype != np.dtype(np.uint64) or found.ndim != 1 or (found[1:] <= found[:-1]).any():
        raise ValueError(f"{key}: expected digests of rows in order, got {found.dtype} {list(found.shape)}")
    return found


def _in_order(key: str, ranges: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if ranges.dtype != np.dtype(np.int64) or ranges.ndim != 2 or ranges.shape[1] != 2:
        raise ValueError(f"{key}: expected ranges of rows, got {ranges.dtype} {list(ranges.shape)}")
    ends = ranges.reshape(-1)
    # In order they do not overlap, so their sum is at most where the last one ends.
    if len(ends) and (ends[0] < 0 or ends[-1] > MOST_ROWS or (ends[1:] <= ends[:-1]).any()):
        raise ValueError(f"{key}: expected ranges of rows that lie after each other, got others")
    return ranges


def _places(ranges: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    lengths = ranges[:, 1] - ranges[:, 0]
    before = np.cumsum(lengths) - lengths
    return np.repeat(ranges[:, 0] - before, lengths) + np.arange(lengths.sum())


def lineage_in(folder: Path) -> Lineage:
    """Return what the weights in a folder have seen; nothing is known of a model that stepbus did not write.

    Args:
        folder: A model's folder or a checkpoint.

    Raises:
        ModelError: The folder, or its lineage, is damaged.
    """
    names, place = verify_folder(folder), folder / LINEAGE
    if names is None:
        return Lineage()
    if LINEAGE not in names:
        return Lineage(unknown=True)  # an older stepbus wrote it
    return _read(place)


def before_in(checkpoint: Path) -> Lineage:
    """Return what the weights had seen before the fit of a checkpoint, which is verified.

    Raises:
        ModelError: It is damaged.
    """
    place = checkpoint / BEFORE
    return _read(place) if place.is_file() else Lineage()


def _read(place: Path) -> Lineage:
    content = read_foreign(place, ModelError, MOST_BYTES)
    try:
        return unpacked(content)
    except (ValueError, KeyError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(
            f"{place}: expected the rows that the model has seen, got a damaged file ({error}); take the folder from a "
            "copy, or train again"
        ) from error


def lineage_at(source: str | None) -> Lineage:
    """Return what the weights have seen that a configuration names, which are not loaded.

    Args:
        source: What `model.pretrained` says; None for new weights.
    """
    if source is None:
        return Lineage()
    from stepbus.compute import find_folder

    return lineage_in(find_folder(source))
