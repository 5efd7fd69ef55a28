"""Writing a checkpoint: whole or not at all, and never at the cost of an older one.

A hidden folder beside, every file synced, the manifest last, read back and verified, then renamed. When one is read,
the truth is a scan plus verification; `LATEST`, `BEST` and the link `best` are hints for people. Whoever writes,
resumes or retires holds the run's folder (`stepbus.storage.lock_folder`). Hidden names in a folder of checkpoints, N a
step:

    .tmp-N-ID                being written; removed at the next retirement, or when the run is started again
    .tmp-ID-NAME             a hint or a file's link that was to replace NAME; removed likewise
    .replaced-step-N-ID      gave its name to a new or thinned one of the same step; removed once that one stands
    .trash-step-N-ID         being removed
    .quarantine-step-N-ID    found damaged; never removed
    .superseded-step-N-ID    later than the checkpoint that a run was told to resume from; never removed
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, evolve, field, frozen

from stepbus.base import CheckpointError, remedy_of
from stepbus.storage import (
    BLOCK,
    PLAIN_NAME,
    HeldArray,
    Written,
    fsync_folder,
    hold,
    sealed,
    to_json,
    write_file,
    write_tensors,
    write_text_atomically,
)
from stepbus.storage.checkpoints.removal import clear, ours, remove
from stepbus.storage.checkpoints.verification import FORMAT, MANIFEST, Checkpoint, checkpoint_path, remember, verify

_FINITE = ""  # no name of a file


@frozen
class Snapshot:
    """What a checkpoint keeps of a moment.

    Args:
        step: Optimizer updates done.
        arrays: File stem -> name -> array, MLX's or NumPy's, evaluated; each stem becomes STEM.safetensors.
        documents: File name -> JSON value.
        copies: File name -> its content, or the file to copy (a tokenizer's).
        facts: JSON values that a resume compares: run id, configuration, plugins with distribution and version, data
            digest (see `compare_facts`).
        lacks: Names of the files that it does without, so that nobody takes it for one to go on from.
        finite: What messages call an array -> it; where one is not finite, nothing is written. `held` makes them ready.
        held: Whether `held` made it. It can be written once: each array is let go of as soon as a file has its bytes,
            so that training may use its memory for what it computes next.
    """

    step: int
    arrays: Mapping[str, dict[str, Any]] = field(factory=dict)
    documents: Mapping[str, Any] = field(factory=dict)
    copies: Mapping[str, Path | bytes] = field(factory=dict)
    facts: Mapping[str, Any] = field(factory=dict)
    lacks: Sequence[str] = ()
    finite: dict[str, Any] = field(factory=dict)
    held: bool = False

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for arrays in self.arrays.values() for array in arrays.values())


class NotFiniteError(Exception):
    """An array that has to be finite is not, for which reason nothing of the snapshot was written.

    Args:
        step: The step of the snapshot.
        name: What messages call the array.
        array: The array.
        nan: How many of its numbers are NaN.
        infinite: How many are infinite.
    """

    def __init__(self, step: int, name: str, array: HeldArray, nan: int, infinite: int) -> None:
        super().__init__(f"step {step}: {name} is not finite")
        self.step, self.name, self.array, self.nan, self.infinite = step, name, array, nan, infinite


def held(folder: Path, snapshot: Snapshot) -> Snapshot:
    """Return a snapshot that stays as it is, whatever becomes of what it was taken of: for a thread to write.

    Args:
        folder: Where it is going to lie, for messages.
        snapshot: The snapshot.

    Raises:
        CheckpointError: A document is no JSON value.
    """
    try:
        documents = {name: _document(name, value) for name, value in snapshot.documents.items()}
    except ValueError as error:
        raise CheckpointError(f"{_what(folder, snapshot)}: {error}") from error
    copies = {**documents, **snapshot.copies}
    arrays = hold({**snapshot.arrays, _FINITE: snapshot.finite})
    finite = arrays.pop(_FINITE)
    return evolve(snapshot, arrays=arrays, documents={}, copies=copies, finite=finite, held=True)


def write_checkpoint(folder: Path, snapshot: Snapshot, *, pinned: bool = False) -> Checkpoint:
    """Write a checkpoint, verify what the disk gives back, and only then give it its name.

    One of the same step gives way, and is removed once the new one stands.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        snapshot: What to keep.
        pinned: Whether retirement leaves it alone.

    Returns:
        The durable checkpoint.

    Raises:
        CheckpointError: It cannot be written or does not read back; every older one stands.
        NotFiniteError: An array that has to be finite is not; nothing was touched.
    """
    _require_finite(snapshot)
    what = _what(folder, snapshot)
    _check_names(what, snapshot)
    beside = folder / f".tmp-{snapshot.step}-{uuid.uuid4().hex}"
    path = checkpoint_path(folder, snapshot.step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        _write_files(beside, snapshot, pinned)
        checkpoint = evolve(verify(beside), path=path)
        old = _give_name(beside, path)
        fsync_folder(folder)
        remember(checkpoint)
        if old is not None:
            remove(old)
        write_text_atomically(folder / "LATEST", f"{path.name}\n")
    except OSError as error:
        clear(beside)
        free = _free(folder) if error.errno == errno.ENOSPC else ""
        raise CheckpointError(
            f"{what}: {error.strerror or error}{free}; "
            + remedy_of(error, "set environment.output_dir to a folder that can be written")
        ) from error
    except (ValueError, CheckpointError) as error:
        clear(beside)
        raise CheckpointError(f"{what}: {error}") from error
    return checkpoint


def _require_finite(snapshot: Snapshot) -> None:
    for name in snapshot.finite:
        if any(counts := snapshot.finite[name].not_finite()):
            raise NotFiniteError(snapshot.step, name, snapshot.finite[name], *counts)
        _let_go(snapshot.finite, name)


def _let_go(arrays: dict[str, Any], name: str) -> None:
    # Not removed: who writes a snapshot twice that was let go of shall get an error and no empty file.
    arrays[name] = None


def _what(folder: Path, snapshot: Snapshot) -> str:
    return f"{folder}: cannot write the checkpoint of step {snapshot.step}"


def _document(name: str, value: Any) -> bytes:
    try:
        return to_json(value).encode()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _check_names(what: str, snapshot: Snapshot) -> None:
    names = [*(f"{stem}.safetensors" for stem in snapshot.arrays), *snapshot.documents, *snapshot.copies]
    # macOS takes Model.json and model.json for one file.
    folded = [name.casefold() for name in (*names, MANIFEST)]
    bad = [name for name in names if not PLAIN_NAME.fullmatch(name) or folded.count(name.casefold()) > 1]
    if bad:
        raise CheckpointError(f"{what}: expected plain file names, each once, got {', '.join(map(repr, bad))}")
    if snapshot.step < 0:
        raise CheckpointError(f"{what}: expected a step of at least 0")


def _write_files(folder: Path, snapshot: Snapshot, pinned: bool) -> None:
    """Write every file, the manifest last, and bring all of it to the disk."""
    files: dict[str, Written] = {}
    for stem, arrays in snapshot.arrays.items():
        file = folder / f"{stem}.safetensors"
        files[file.name] = write_tensors(file, arrays, let_go=partial(_let_go, arrays) if snapshot.held else None)
    for name, value in snapshot.documents.items():
        files[name] = write_file(folder / name, [_document(name, value)])
    for name, source in snapshot.copies.items():
        files[name] = write_file(folder / name, _blocks_of(source))
    manifest = {
        "format": FORMAT,
        "step": snapshot.step,
        "pinned": pinned,
        "files": {name: asdict(written) for name, written in files.items()},
        "facts": snapshot.facts,
    }
    manifest |= {"lacks": list(snapshot.lacks)} if snapshot.lacks else {}
    fsync_folder(folder)
    write_file(folder / MANIFEST, [to_json(sealed(manifest)).encode()])
    fsync_folder(folder)


def _blocks_of(source: Path | bytes) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
        return
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def _give_name(beside: Path, path: Path) -> Path | None:
    """Give a finished folder its name; return where a checkpoint of ours that had it lies now."""
    old = None
    if os.path.lexists(path):
        is_ours = ours(path) is not None
        away = path.with_name(f".{'replaced' if is_ours else 'quarantine'}-{path.name}-{uuid.uuid4().hex}")
        path.rename(away)
        old = away if is_ours else None
    # Killed here, the folder holds no checkpoint of this name: reading and retiring take `.replaced` for it.
    beside.rename(path)
    return old


def _free(folder: Path) -> str:
    with suppress(OSError):
        return f" ({shutil.disk_usage(folder).free / 1e6:.0f} MB free)"
    return ""
