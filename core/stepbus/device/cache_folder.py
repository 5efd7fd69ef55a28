"""The user's cache folder, and files in it that are checked before use: nobody else's, and whole.

What lies there is loaded as code (compiled kernels) or read as data (tokens). So a folder counts only where it belongs
to this user and nobody else may write in it, and a library only where it ends with the digest that its writer put
there: one that is empty, cut, flipped, renamed or planted has none that fits.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

MARK = b"stepbus\0"  # stands before the digest; a loader of libraries ignores what follows the last section
ANOTHER = "remove it, or name another by XDG_CACHE_HOME (tokens: data.cache)"
LIMIT = 64 << 20  # bytes; a kernel has some 16 KiB


def root() -> Path:
    """Return where caches lie: $XDG_CACHE_HOME/stepbus or ~/.cache/stepbus.

    Raises:
        OSError: The user has no home.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The standard says to pass over a relative one.
        return (given if given.is_absolute() else Path.home() / ".cache") / "stepbus"
    except RuntimeError as error:
        raise OSError(
            "there is no home folder to keep a cache in; set XDG_CACHE_HOME to a folder of your own"
        ) from error


def own_folder(folder: Path, *names: str) -> Path:
    """Return a folder of this user's own, made with mode 700 where it is missing.

    Args:
        folder: Where to begin; what stands above it may be a link, and need not be the user's own.
        *names: Folders within one another below it; each is checked.

    Raises:
        OSError: One of them is a link, somebody else's, open to others, or cannot be made; the message says which.
    """
    _make(folder.parent)
    above = folder.parent.resolve()
    mode = above.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise OSError(f"{above}: everybody may write in it (mode {mode & 0o777:o}), so {folder.name} is not safe there")
    for name in ("", *names):
        folder = folder / name
        _make(folder)
        _require_own(folder)
    return folder


def _make(folder: Path) -> None:
    try:
        missing = [folder] if folder.is_symlink() or folder.parent.exists() else [folder, *folder.parents]
        for path in reversed(missing):
            with suppress(FileExistsError):
                path.mkdir(mode=0o700)  # `parents=True` would make those above by the umask
    except OSError as error:
        raise OSError(f"{folder}: cannot be made ({error.strerror})") from error


def _require_own(folder: Path) -> None:
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise OSError(f"{folder}: expected a folder of your own, got a link; {ANOTHER}")
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(f"{folder}: expected a folder of your own, got a file; {ANOTHER}")
    if found.st_uid != os.geteuid():
        raise OSError(f"{folder}: expected a folder of your own, got one of {_user(found.st_uid)}; {ANOTHER}")
    if found.st_mode & 0o022:
        raise OSError(
            f"{folder}: others may write in it (mode {found.st_mode & 0o777:o}), so nothing in it can be trusted; "
            f"remove it, or say chmod go-w {folder} once you know what lies there"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(f"{folder}: cannot be written")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def own_file(path: Path) -> int | None:
    """Open a plain file that belongs to this user, and that nobody else may write.

    Returns:
        Its descriptor, or None where something else stands there, or nothing.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
        return descriptor
    os.close(descriptor)
    return None


def _seal(name: str, content: bytes) -> bytes:
    # The name belongs to it: a whole file under another's name would be the wrong kernel.
    return MARK + hashlib.sha256(name.encode("utf-8", "surrogateescape") + b"\0" + content).digest()


def read_sealed(path: Path) -> bytes | None:
    """Return the content of a file that `write_sealed` wrote under this name, or None where it is anything else."""
    descriptor = own_file(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = file.read(LIMIT + 1) if os.fstat(descriptor).st_size <= LIMIT else b""
    content, seal = found[:-40], found[-40:]
    return content if seal == _seal(path.name, content) else None


def write_sealed(path: Path, content: bytes, work: Path | None = None) -> None:
    """Write a file with its digest at its end; a reader sees all of it or nothing, and a kill leaves nothing cut.

    Args:
        path: Where; whatever stands there is replaced.
        content: What `read_sealed` gives back.
        work: A folder of the same file system for the unfinished file; None takes the file's own.

    Raises:
        OSError: The file system refuses.
    """
    descriptor, name = tempfile.mkstemp(prefix=".tmp-", dir=work or path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content + _seal(path.name, content))
        if path.is_dir() and not path.is_symlink():
            remove(path)
        os.replace(name, path)  # noqa: PTH105  # a name, not a Path
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def remove(path: Path) -> None:
    """Remove whatever stands somewhere; a link itself, never what it points at; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
