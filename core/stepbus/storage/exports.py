"""Model folders that stepbus wrote: `stepbus.json` says how the model was made, and vouches for every other file.

Its digests are held before anything else in the folder is used. What it does not list, such as a README, is never read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict

from stepbus.base import CheckpointError, ModelError, read_file
from stepbus.storage.checkpoints import MANIFEST, is_sound, read_manifest, step_of, verify
from stepbus.storage.digests import check_file, sealed, unsealed, written_table
from stepbus.storage.durable import Written, from_json, to_json

DESCRIPTION = "stepbus.json"
LINEAGE = "lineage.npz"  # which rows the weights have seen
FORMAT = 2  # of stepbus.json; 1 held the whole configuration
BESIDE = "beside"  # the key of the names of files that nothing reads
REQUIRED = ("config.json", "model.safetensors")
# In a checkpoint: averages of the weights, which are evaluated; training goes on with those of model.safetensors.
AVERAGED = "averaged.safetensors"
# A change within the clock tick of the verification would leave a file's times as they were.
SETTLED = 2 * 10**9  # nanoseconds
# Folders that this process verified, and the state of their files then.
_seen: dict[Path, tuple[object, ...]] = {}


def describe_files(description: Mapping[str, Any], files: Mapping[str, Written], beside: Collection[str] = ()) -> bytes:
    """Return the content of a model folder's stepbus.json.

    Args:
        description: How the model was made.
        files: Every other file -> what was written.
        beside: Those of them that nothing reads, such as a model card: a copy of the folder may do without.

    Raises:
        ValueError: Something in the description is no JSON value, or uses a name of ours.
    """
    if taken := {"files", BESIDE, "digest"} & description.keys():
        raise ValueError(f"{DESCRIPTION}: expected a description without the key {min(taken)!r}")
    table = {name: asdict(written) for name, written in sorted(files.items())}
    more = {BESIDE: sorted(beside)} if beside else {}
    return to_json(sealed({**description, **more, "files": table})).encode()


def verify_folder(folder: Path) -> frozenset[str] | None:
    """Check a model folder byte by byte, if stepbus wrote it, before anything in it is used.

    Links are followed to plain files, of which the hub's cache is made: the content is what counts.

    Args:
        folder: A model folder, or a checkpoint.

    Returns:
        The names of the files that may be read; None for a folder that others wrote, which has no stepbus.json.

    Raises:
        ModelError: A file is missing, damaged or no file, or the folder has no digests.
    """
    if not os.path.lexists(folder / DESCRIPTION):
        return None
    try:
        if _is_checkpoint(folder):
            return _verified_checkpoint(folder.resolve())
        return check_export(folder)[0]
    except CheckpointError as error:
        raise ModelError(
            f"{error}; take the folder from a copy or train again, or name a copy without {DESCRIPTION} as "
            "model.pretrained to use its weights as they are"
        ) from error


def check_export(folder: Path) -> tuple[frozenset[str], str]:
    """Hold every file of an exported model against stepbus.json.

    Args:
        folder: The model folder.

    Returns:
        The names of its files, and the digest of stepbus.json, which stands for all of them.

    Raises:
        CheckpointError: The first thing that is wrong, and the file it is wrong in.
    """
    document, files = _listing(folder)
    # What nothing reads, such as a model card, is its owner's to edit or to leave out.
    free = {
        name for name in document.get(BESIDE, ()) if not os.path.lexists(folder / name) or (folder / name).is_file()
    }
    files = {name: written for name, written in files.items() if name not in free}
    digest, began = document["digest"], time.time_ns()
    state = _state(folder, files)
    if state is None or _seen.get(folder.resolve()) != (digest, state):
        for name in sorted(files):
            _followed(folder / name, partial(check_file, wanted=files[name]))
        if state is not None and max(max(times) for *_, times in state) < began - SETTLED:
            _seen[folder.resolve()] = (digest, state)
    return frozenset({*files, DESCRIPTION}), digest


def is_averaged(folder: Path) -> bool:
    """Return whether a folder is a checkpoint whose model is used with averages of the weights, in `AVERAGED`.

    Args:
        folder: A model's folder or a checkpoint, verified.
    """
    return (folder / AVERAGED).is_file() and os.path.lexists(folder / DESCRIPTION) and _is_checkpoint(folder)


def files_of(folder: Path) -> frozenset[str]:
    """Return the names of the files that stepbus wrote into an exported model, unread; others are somebody's own.

    Raises:
        CheckpointError: Its stepbus.json cannot be read or is damaged.
    """
    return frozenset(_listing(folder)[1])


def _listing(folder: Path) -> tuple[dict[str, Any], dict[str, Written]]:
    """Return what stepbus.json says, and its table of files."""
    place, content = folder / DESCRIPTION, _description(folder)
    try:
        document = unsealed(content)
        files = written_table(document.get("files"))
        if unlisted := [name for name in REQUIRED if name not in files]:
            raise ValueError(f"it does not list {unlisted[0]}")
        if DESCRIPTION in files:
            raise ValueError("it lists itself")
        beside = document.get(BESIDE, [])
        if not isinstance(beside, list) or not all(isinstance(name, str) and name in files for name in beside):
            raise ValueError(f"{BESIDE} names something else than its files")
        if needed := {*REQUIRED, LINEAGE} & set(beside):
            raise ValueError(f"{BESIDE} names {min(needed)}")
    except ValueError as error:
        raise CheckpointError(f"{place}: expected how the model was made, got a damaged file ({error})") from error
    return document, files


def _is_checkpoint(folder: Path) -> bool:
    """Say whether a folder with a stepbus.json is a checkpoint, whose manifest vouches for it."""
    try:
        document = from_json(_description(folder))
    except (CheckpointError, ValueError):
        document = None
    if isinstance(document, dict) and "files" in document:
        return False
    return os.path.lexists(folder / MANIFEST) or step_of(folder.resolve().name) is not None


def _verified_checkpoint(folder: Path) -> frozenset[str]:
    checkpoint = read_manifest(folder)
    return frozenset((checkpoint if is_sound(checkpoint) else verify(folder)).files)


def _description(folder: Path) -> bytes:
    content: bytes = _followed(folder / DESCRIPTION, partial(read_file, error=CheckpointError, links=False))
    return content


def _followed(path: Path, use: Callable[[Path], Any]) -> Any:
    """Use the file that a path leads to; what is wrong is said of the path."""
    real = Path(os.path.realpath(path))
    try:
        return use(real)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{real}: ')}") from error
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _state(folder: Path, names: Iterable[str]) -> tuple[tuple[int, int, int, tuple[int, int]], ...] | None:
    """Return what changes when a file does: device, number, size and times; None where one is missing."""
    try:
        found = [(folder / name).stat() for name in sorted(names)]
    except OSError:
        return None
    return tuple((file.st_dev, file.st_ino, file.st_size, (file.st_mtime_ns, file.st_ctime_ns)) for file in found)
