"""Checkpoints on less disk: one that is only to be used gives up what only going on needs, and equal files are one."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

from attrs import asdict, evolve

from stepbus.base import CheckpointError
from stepbus.storage import BLOCK, Written, fsync_folder, hash_file, sealed, to_json, write_file
from stepbus.storage.checkpoints.removal import Emptying, clear, ours, remove
from stepbus.storage.checkpoints.verification import (
    FORMAT,
    MANIFEST,
    Checkpoint,
    check_listing,
    is_sound,
    read_manifest,
    remember,
    scan,
)

# Names of the files of a whole checkpoint -> those that stay: name -> which of the files it is.
Thinning = Callable[[Collection[str]], Mapping[str, str]]


def thin(checkpoint: Checkpoint, thinning: Thinning, empty: Emptying | None = None) -> Checkpoint:
    """Put in place of a whole checkpoint one that has only what its use needs.

    The new folder is made beside, of links to the files that were verified (of copies, where links do not work), with
    a manifest of its own that says what it lacks. Then the old one gives its name, and is removed.

    Args:
        checkpoint: A sound one; the caller holds the lock of its folder.
        thinning: Which files stay.
        empty: What removes the others; None does it now.

    Returns:
        The thinned one; the same where it has nothing to give up.

    Raises:
        CheckpointError: A file is not what it was.
        OSError: The file system refuses; the whole one stands.
    """
    stay = thinning(checkpoint.files)
    if set(stay) == set(checkpoint.files):
        return checkpoint
    path, identity = checkpoint.path, uuid.uuid4().hex
    beside = path.with_name(f".tmp-{checkpoint.step}-{identity}")
    beside.mkdir()
    try:
        files = {name: checkpoint.files[source] for name, source in stay.items()}
        for name, source in stay.items():
            _take(path / source, beside / name, files[name])
        manifest = {
            "format": FORMAT,
            "step": checkpoint.step,
            "pinned": checkpoint.pinned,
            "files": {name: asdict(written) for name, written in files.items()},
            "facts": checkpoint.facts,
            "lacks": sorted(set(checkpoint.files) - set(stay)),
        }
        fsync_folder(beside)
        write_file(beside / MANIFEST, [to_json(sealed(manifest)).encode()])
        fsync_folder(beside)
        thinned = read_manifest(beside)
        check_listing(thinned)
        # Killed between these two, the whole one gets its name back.
        old = path.rename(path.with_name(f".replaced-{path.name}-{identity}"))
        try:
            beside.rename(path)
        except OSError:
            old.rename(path)
            raise
    except BaseException:
        clear(beside)
        raise
    fsync_folder(path.parent)
    thinned = evolve(thinned, path=path)
    remember(thinned)
    remove(old, empty)
    return thinned


def share_files(folder: Path, other: Path) -> None:
    """Let files of the same bytes be one on the disk, where links work: those of checkpoints, and an exported one.

    Whoever changes one of them in place changes both, which the digests of both tell; nothing of ours does that.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        other: The weights of an exported model; checkpoints have theirs under the same name.

    Raises:
        OSError: The file system refuses.
    """
    known = [checkpoint for checkpoint in map(ours, scan(folder)) if checkpoint is not None]
    _share_with(known, other)
    for checkpoint in known:
        if other.name in checkpoint.files:
            _share_with(known, checkpoint.path / other.name)


def _share_with(known: Iterable[Checkpoint], other: Path) -> None:
    if not stat.S_ISREG(other.lstat().st_mode):
        return
    size = other.lstat().st_size
    for checkpoint in known:
        alike = [name for name, written in checkpoint.files.items() if written.size == size]
        if not alike or not is_sound(checkpoint):
            continue
        digest = hash_file(other, size).sha256
        for name in alike:
            if checkpoint.files[name].sha256 == digest and not _share(other, checkpoint.path / name):
                return
        remember(checkpoint)


def _share(other: Path, file: Path) -> bool:
    """Let a name lead to the bytes of another file; return whether links work."""
    if not file.samefile(other):
        beside = file.parent.with_name(f".tmp-{uuid.uuid4().hex}-shared")
        try:
            os.link(other, beside)
        except (OSError, NotImplementedError):
            return False  # each has its own
        beside.replace(file)
        fsync_folder(file.parent)
    return True


def _take(source: Path, target: Path, wanted: Written) -> None:
    try:
        os.link(source, target)
    except (OSError, NotImplementedError):
        if write_file(target, _blocks(source)) != wanted:
            raise CheckpointError(f"{source}: the content is not what was written (its SHA-256 differs)") from None


def _blocks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
