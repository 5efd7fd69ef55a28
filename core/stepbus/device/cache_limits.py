"""A cache of files that stays small: the one that was used longest ago goes first, and none that a process is at."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

# An unfinished file that nobody holds is what a killed process left; a younger one may be about to be held.
ABANDONED = 3600.0  # seconds


def in_use(descriptor: int) -> None:
    """Say that this process reads or writes an open file, until it is closed, and that it was used now."""
    with suppress(OSError):  # a file system without locks, or one that is read-only: the file is used all the same
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.utime(descriptor)


def make_room(folder: Path, names: re.Pattern[str], unfinished: re.Pattern[str], *, files: int, size: int) -> None:
    """Remove what was used longest ago, until a cache is within its limits; where another process does so, nothing.

    Args:
        folder: The cache, of this user alone; its own lock says who makes room.
        names: What its files are called. Nothing else is touched, nor a link, nor somebody else's file.
        unfinished: What its files are called while they are written.
        files: How many may stay.
        size: Bytes that may stay.

    Raises:
        OSError: The folder cannot be read.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:
            pass  # a file system without locks; a reader keeps what it has opened
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                    continue
                if names.fullmatch(entry.name):
                    found.append((status.st_mtime_ns, status.st_size, entry.name))
                elif unfinished.fullmatch(entry.name) and time.time() - status.st_mtime > ABANDONED:
                    _remove(folder / entry.name)
        number, total = len(found), sum(length for _, length, _ in found)
        for _, length, name in sorted(found):
            if number <= files and total <= size:
                return
            if _remove(folder / name):
                number, total = number - 1, total - length
    finally:
        os.close(held)


def _remove(path: Path) -> bool:
    """Remove a file that no process is at; say whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return not os.path.lexists(path)
    try:
        with suppress(OSError):  # as above
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
