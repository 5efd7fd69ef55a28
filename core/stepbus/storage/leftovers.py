"""What a killed run left half-written: told by exact names of ours, and removed or put back when the next one starts.

Hidden names in the folder of a run or of a fit, ID 32 hexadecimal digits:

    .tmp-ID-NAME      a file that was to replace NAME
    .tmp-model-ID     a model folder that was being written
    .old-model-ID     the model that gave way to it; put back where the new one had not come yet

Those in a folder of checkpoints are listed in `stepbus.storage.checkpoints.writing`. Links are never followed, and a
folder with anything in it that no model has stays, unless the model beside it has the same file: it was carried over.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from stepbus.base import CheckpointError, remedy_of
from stepbus.storage import checkpoints
from stepbus.storage.durable import fsync_folder

MODEL = "model"
_ID = "[0-9a-f]{32}"
_FILE = re.compile(rf"\.tmp-{_ID}-.+", re.DOTALL)
_NEW_MODEL = re.compile(rf"\.tmp-{MODEL}-{_ID}")
_OLD_MODEL = re.compile(rf"\.old-{MODEL}-{_ID}")
# What a model folder is made of: JSON, weights, and a tokenizer's words.
_OF_A_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(json|safetensors|txt|model|npz)|\.DS_Store")


def sweep(run: Path, say: Callable[[str], None] = lambda text: None) -> None:
    """Remove what killed runs left in a run's folder and in those of its fits; the caller holds the run's lock.

    Args:
        run: The run's folder.
        say: Takes one sentence for each model that was put back.

    Raises:
        CheckpointError: The file system refuses.
    """
    try:
        for folder in (run, *_folders(run / "fits")):
            _sweep_folder(folder, say)
            if _kind(folder / "checkpoints") is stat.S_ISDIR:
                checkpoints.sweep(folder / "checkpoints")
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or run}: what a killed run left cannot be removed ({error.strerror or error}); "
            + remedy_of(error)
        ) from error


def is_leftover(path: Path) -> bool:
    """Say whether something in a run's folder is a file or a folder that a killed run left half-written."""
    if _FILE.fullmatch(path.name):
        return _kind(path) is stat.S_ISREG
    if _NEW_MODEL.fullmatch(path.name) or _OLD_MODEL.fullmatch(path.name):
        return _kind(path) is stat.S_ISDIR and _is_model(path)
    return False


def _is_model(folder: Path) -> bool:
    """Say whether a folder holds nothing but what a model is made of, and what was carried over to its successor."""
    return all(
        (_OF_A_MODEL.fullmatch(entry.name) and _kind(entry) is stat.S_ISREG) or _is_carried_over(entry, folder)
        for entry in folder.iterdir()
    )


def _is_carried_over(entry: Path, folder: Path) -> bool:
    """Say whether what somebody put beside a model lies in the model of this name too: the same files, linked."""
    twin = folder.parent / MODEL / entry.relative_to(folder)
    if _kind(entry) is stat.S_ISDIR:
        return _kind(twin) is stat.S_ISDIR and all(_is_carried_over(inner, folder) for inner in entry.iterdir())
    return os.path.lexists(twin) and os.path.samestat(entry.lstat(), twin.lstat())


def put_back(model: Path, *, whatever_it_holds: bool) -> bool:
    """Give a model's folder its name back, where a kill came after it gave way and before its successor had the name.

    The newest of those that gave way is whole, for it was only renamed.

    Args:
        model: The folder's own name.
        whatever_it_holds: Also one with files of the user's beside the model's. That fits whoever is about to write
            this very folder and carries them over; who only looks for leftovers leaves alone what may be another's.

    Returns:
        Whether there was one.

    Raises:
        OSError: The file system refuses.
    """
    if os.path.lexists(model) or not model.parent.is_dir():
        return False
    # By the exact names that we give: whatever else begins so is somebody's own.
    name = re.compile(rf"\.old-{re.escape(model.name)}-{_ID}")
    old = [path for path in model.parent.iterdir() if name.fullmatch(path.name) and _kind(path) is stat.S_ISDIR]
    old = [path for path in old if whatever_it_holds or _is_model(path)]
    if not old:
        return False
    max(old, key=lambda path: path.lstat().st_mtime_ns).rename(model)
    fsync_folder(model.parent)
    return True


def _sweep_folder(folder: Path, say: Callable[[str], None]) -> None:
    if put_back(folder / MODEL, whatever_it_holds=False):
        say(f"{folder / MODEL}: put back after a kill that came before its successor had this name")
    for path in [entry for entry in folder.iterdir() if is_leftover(entry)]:
        if _kind(path) is stat.S_ISREG:
            path.unlink()
            continue
        shutil.rmtree(path)


def _folders(above: Path) -> Iterator[Path]:
    if _kind(above) is stat.S_ISDIR:
        yield from (path for path in sorted(above.iterdir()) if _kind(path) is stat.S_ISDIR)


def _kind(path: Path) -> Callable[[int], bool] | None:
    """Return which of `stat.S_ISREG` and `stat.S_ISDIR` holds for a path, links not followed, or None."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((holds for holds in (stat.S_ISREG, stat.S_ISDIR) if holds(mode)), None)
