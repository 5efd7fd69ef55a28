"""The lock of a folder: one process writes there, and one that died holds nothing."""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stepbus.base import CheckpointError, remedy_of

LOCK = ".lock"
_MOST_TRIES = 100  # each means that somebody removed the folder in the same moment
_held: set[int] = set()


class FolderHeld(CheckpointError):
    """Somebody alive holds a folder."""


@contextmanager
def lock_folder(path: Path, *, create: bool = True) -> Iterator[list[Path]]:
    """Hold a folder for one process, as long as the block lasts; a holder that died holds nothing.

    Args:
        path: The folder.
        create: Whether to create it where it is missing.

    Returns:
        What was created for it, outermost first: missing folders, and the file of the lock.

    Raises:
        FolderHeld: Somebody alive holds it; the message names the process.
        CheckpointError: It cannot be written.
    """
    made: list[Path] = []
    try:
        descriptor = _acquire(path, made, create=create)
    except OSError as error:
        remove_made(made)
        got = "a file, or a link that leads nowhere" if isinstance(error, FileExistsError) else f"'{error.strerror}'"
        raise CheckpointError(
            f"{path}: expected a folder that can be written, got {got}; "
            + remedy_of(error, "set environment.output_dir to another", "mend it")
        ) from error
    except BaseException:
        remove_made(made)
        raise
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        _held.add(descriptor)
        yield made
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _acquire(path: Path, made: list[Path], *, create: bool) -> int:
    """Return the descriptor of a folder's locked file, and note what was created for it."""
    for _ in range(_MOST_TRIES):
        if create:
            _make_folders(path, made)
        with suppress(FileNotFoundError):  # a run that was refused has just taken its folder away
            descriptor, new = _open(path / LOCK)
            try:
                _hold(path, descriptor, damaged=not create)
                # A lock on a file that is no longer there would hold nothing.
                if os.path.samestat((path / LOCK).lstat(), os.fstat(descriptor)):
                    if new:
                        made.append(path / LOCK)
                    return descriptor
            except BaseException as error:
                if new and not isinstance(error, FolderHeld):
                    made.append(path / LOCK)
                os.close(descriptor)
                raise
            os.close(descriptor)
        if not create and not path.is_dir():
            break
    raise CheckpointError(f"{path}: the folder was removed while this run began; start it again")


def _open(file: Path) -> tuple[int, bool]:
    """Return the descriptor of a lock's file, and whether it is new."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        return os.open(file, flags), False


def _hold(path: Path, descriptor: int, *, damaged: bool) -> None:
    """Lock the file of a folder's lock; in a folder that a run is known to lie in, it may be damaged."""
    regular = _is_file(descriptor)
    written = os.pread(descriptor, 20, 0).decode("ascii", "replace") if regular else "?"
    if not re.fullmatch(r"[0-9]*\n?", written) and not (damaged and regular and len(written) < 20):
        raise CheckpointError(
            f"{path / LOCK}: expected the lock of a run, got something else; move it away or set "
            "environment.output_dir to another folder"
        )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = written.strip() or "unknown"
        who = "this very process" if pid == str(os.getpid()) else f"process {pid}"
        raise FolderHeld(
            f"{path}: {who} is running in this folder; wait for its end, stop it, or set environment.output_dir "
            "to another"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: its file system cannot lock files ({error.strerror})") from error


def _is_file(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _make_folders(path: Path, made: list[Path]) -> None:
    """Create a folder and the missing ones above it, and note which these were, outermost first."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():
                raise
        except FileNotFoundError:
            return  # the one above was just removed; who asks tries again
        else:
            made.append(folder)


def remove_made(made: Iterable[Path]) -> None:
    """Remove files and folders that were created in vain, the last first; a folder with anything in it stays."""
    for path in reversed(list(made)):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()


def _forget_locks() -> None:
    """Let go of what a fork inherited: a worker that outlives its dead parent must not hold the folder."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_locks)
