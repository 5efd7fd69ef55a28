"""What a checkpoint is, and the proof that a folder is one."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import CheckpointError, read_file, require_file
from stepbus.storage import (
    Written,
    check_file,
    check_tensors,
    from_json,
    read_tensors,
    to_json,
    written_table,
)
from stepbus.storage import document_digest as manifest_digest

if TYPE_CHECKING:
    import mlx.core as mx


MANIFEST = "manifest.json"
FORMAT = 1
# What macOS puts into folders that people look at: no damage.
LITTER = re.compile(r"\.DS_Store|\._.*")
_STEP = re.compile(r"step-([0-9]{8,})")
# Folders that this process verified, and the state of their files then: retirement need not read them again.
_seen: dict[Path, tuple[Checkpoint, tuple[object, ...]]] = {}


@frozen
class Checkpoint:
    """A checkpoint that was verified.

    Args:
        path: Its folder.
        step: Optimizer updates done.
        pinned: Whether retirement leaves it alone.
        facts: What its snapshot gave for a resume to compare.
        files: File name -> size and digest.
        digest: SHA-256 over everything else but the path.
        lacks: Names of files that a whole checkpoint has and this one does not: it is to be used, not to go on from.
    """

    path: Path
    step: int
    pinned: bool
    facts: dict[str, Any]
    files: dict[str, Written]
    digest: str
    lacks: tuple[str, ...] = ()


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies, or would lie."""
    return folder / f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """Return the step that a folder's name stands for, or None: `old-step-900` and `step-5.bak` are no checkpoints."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match and name == f"step-{int(match[1]):08d}" else None


def scan(folder: Path) -> list[Path]:
    """Return what is named like a checkpoint, by step; nothing is verified."""
    if not folder.is_dir():
        return []
    steps = {path: step for path in folder.iterdir() if (step := step_of(path.name)) is not None}
    return sorted(steps, key=steps.__getitem__)


def verify(path: Path) -> Checkpoint:
    """Check a checkpoint byte by byte, before anything in it is used.

    Args:
        path: Its folder. A link is refused: resolve it first where it is to be trusted.

    Returns:
        What its manifest says, now known to be true.

    Raises:
        CheckpointError: The first thing that is wrong, and the file it is wrong in.
    """
    checkpoint = read_manifest(path)
    check_listing(checkpoint)
    for name in sorted(checkpoint.files):
        wanted, file = checkpoint.files[name], path / name
        check_file(file, wanted)
        if file.suffix == ".safetensors":
            check_tensors(file)
    if step_of(path.name) not in (None, checkpoint.step):
        raise CheckpointError(f"{path}: expected the checkpoint of that step, got the one of step {checkpoint.step}")
    remember(checkpoint)
    return checkpoint


def remember(checkpoint: Checkpoint) -> None:
    """Note that a checkpoint was verified as its files are now, and forget those beside it that are gone."""
    for path in list(_seen):
        if path.parent == checkpoint.path.parent and not os.path.lexists(path):
            _seen.pop(path, None)
    _seen[checkpoint.path] = checkpoint, _state(checkpoint)


def recalled(path: Path) -> Checkpoint | None:
    """Return a checkpoint that this process has verified, or None; also where a file of it was touched since.

    Raises:
        OSError: A file of it is missing.
    """
    checkpoint, state = _seen.get(path, (None, None))
    return checkpoint if checkpoint is not None and _state(checkpoint) == state else None


def is_sound(checkpoint: Checkpoint) -> bool:
    """Say whether a checkpoint is valid; hashes it only if this process has not, or a file was touched since."""
    try:
        known = recalled(checkpoint.path)
        return (known is not None and known.digest == checkpoint.digest) or bool(verify(checkpoint.path))
    except (CheckpointError, OSError):
        return False


def _state(checkpoint: Checkpoint) -> tuple[object, ...]:
    files = [(checkpoint.path / name).lstat() for name in (MANIFEST, *checkpoint.files)]
    folder = checkpoint.path.lstat().st_ino  # a link in its place is another
    states = ((file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for file in files)
    return checkpoint.digest, folder, *states


def read_manifest(path: Path) -> Checkpoint:
    """Read a checkpoint's manifest and check it against its own digest; no other file is looked at.

    Raises:
        CheckpointError: The folder is none, or its manifest is missing, damaged or of another format.
    """
    file = path / MANIFEST
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise CheckpointError(f"{path}: expected a checkpoint's folder, got something else (a link, or a file)")
        content = read_file(file, CheckpointError, links=False)
        manifest = from_json(content)
        if not isinstance(manifest, dict) or manifest.get("digest") != manifest_digest(manifest):
            raise ValueError("its digest does not match")
        if content != to_json(manifest).encode():
            raise ValueError("its bytes are not those that were written")
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{file}: expected format {FORMAT}, got {manifest['format']!r}; another version of stepbus wrote it"
            )
        files = written_table(manifest["files"])
        step, pinned, facts = manifest["step"], manifest["pinned"], manifest["facts"]
        lacks = manifest.get("lacks", [])
        if not (isinstance(lacks, list) and all(isinstance(name, str) and name not in files for name in lacks)):
            raise ValueError("lacks names something else than files that are not there")
        if not (type(step) is int and step >= 0 and type(pinned) is bool and type(facts) is dict):
            raise ValueError("step, pinned or facts are of another type")
        if MANIFEST in files:
            raise ValueError("it lists itself")
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename}: expected a finished checkpoint, but this is missing") from error
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file}: expected a whole manifest, got a damaged one ({error})") from error
    return Checkpoint(path, step, pinned, facts, files, manifest["digest"], tuple(lacks))


def check_listing(checkpoint: Checkpoint) -> None:
    """Check that a folder holds the files of its manifest, and nothing else.

    Raises:
        CheckpointError: A file is missing or foreign, or something else stands in its place.
    """
    path = checkpoint.path
    try:
        kinds = {file.name: file.lstat().st_mode for file in path.iterdir()}
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    for name in sorted({*checkpoint.files, *kinds}):
        if name not in kinds:
            raise CheckpointError(f"{path / name}: the file is missing")
        require_file(path / name, kinds[name], CheckpointError)
        if name not in checkpoint.files and name != MANIFEST and not LITTER.fullmatch(name):
            raise CheckpointError(f"{path / name}: the file does not belong to this checkpoint")


def read_arrays(checkpoint: Checkpoint, stem: str) -> dict[str, mx.array]:
    """Return the arrays of STEM.safetensors, in memory: the checkpoint may be replaced or removed afterwards.

    Raises:
        CheckpointError: The checkpoint has no such file, or it cannot be read.
    """
    _require(checkpoint, f"{stem}.safetensors")
    return read_tensors(checkpoint.path / f"{stem}.safetensors")


def read_document(checkpoint: Checkpoint, name: str) -> Any:
    """Return the JSON value of a file.

    Raises:
        CheckpointError: The checkpoint has no such file, or it is no longer what was verified.
    """
    wanted, file = _require(checkpoint, name), checkpoint.path / name
    try:
        content = read_file(file, CheckpointError, wanted.size, links=False)
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            raise CheckpointError(f"{file}: the content is not what was written (its SHA-256 differs)")
        return from_json(content)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: expected JSON, got something else ({error})") from error


def _require(checkpoint: Checkpoint, name: str) -> Written:
    if name not in checkpoint.files:
        raise CheckpointError(
            f"{checkpoint.path}: expected the file {name}, but the checkpoint has {', '.join(sorted(checkpoint.files))}"
        )
    return checkpoint.files[name]
