"""Where results are written: a file that is replaced whole, a device or a pipe that is written to, standard output.

Nothing but a plain file is ever replaced, a link stays and its target is replaced, and what a reader would miss (the
rows that were read, a model's files, a run's records) is refused.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from stepbus.base import BadInput, is_url, possible_files, remedy_of, terminal, usable
from stepbus.run import files as run_files
from stepbus.storage import fsync_folder, write_file

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
STDOUT = 1
CLOSED = OSError(errno.EBADF, "it is closed")


@frozen
class Output:
    """A place that can be written.

    Args:
        name: The place as it was given, for messages.
        suffix: What is written there, one of `SUFFIXES`.
        path: The file that is replaced, or the device or pipe that is written to, links followed.
        replaced: Whether it is a plain file.
        descriptor: A file of this process that is open already, in place of a path.
        standard: Whether it is `-`: Python's standard output, whatever that is.
    """

    name: str
    suffix: str
    path: str = ""
    replaced: bool = False
    descriptor: int | None = None
    standard: bool = False

    @property
    def on_stdout(self) -> bool:
        """Whether what is printed would run into it."""
        if self.standard:
            return True
        with suppress(OSError):
            found = os.stat(self.path) if self.descriptor is None else os.fstat(self.descriptor)  # noqa: PTH116
            return os.path.samestat(found, os.fstat(STDOUT))
        return False


def find_output(given: str | Path, inputs: Sequence[object] = (), *, of_run: bool = False) -> Output:
    """Return where results go, having refused what must not be written; nothing is created or opened.

    Args:
        given: A file ending in .csv, .tsv, .jsonl or .parquet, a device or pipe, or `-` for standard output.
        inputs: What is read or was read; files among them are refused under any name.
        of_run: Whether it is a run that writes, to a file of its own.

    Raises:
        BadInput: It is no path, a folder, an input, a file of a model or of a run, has another ending, or cannot be
            written.
    """
    usable(given)
    name = os.fspath(given)
    if name == "-":
        if sys.stdout is None or sys.stdout in terminal.nowhere:
            raise unwritable("standard output", CLOSED)
        _refuse_inputs(name, inputs, _stat_of(STDOUT))
        return Output(name, ".csv", standard=True)
    if is_url(given):
        raise BadInput(f"{name}: expected a file to write, got a URL; name a file of this machine")
    path = os.path.expanduser(name)  # noqa: PTH111 - a Path would drop what only text can say
    try:
        if os.path.basename(path) in ("", ".", "..") or os.path.isdir(path):  # noqa: PTH112, PTH119
            raise BadInput(f"{name or repr(name)}: expected a file to write, got a folder; name a file in it")
        descriptor = _own_descriptor(path)
        if descriptor is not None:
            if descriptor in terminal.closed:
                raise unwritable(name, CLOSED)
            _refuse_inputs(name, inputs, os.fstat(descriptor))
            return Output(name, ".csv", descriptor=descriptor)
        found = os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise unwritable(name, error) from error
    # A run does not wait for somebody to read a pipe that lies where its own file goes: that is replaced.
    own = of_run and found is not None and stat.S_ISFIFO(found.st_mode)
    if found is not None and not own and not stat.S_ISREG(found.st_mode):
        return Output(name, _suffix(path) or ".csv", path)
    _refuse_inputs(name, inputs, found)
    suffix = _suffix(path)
    if suffix is None:
        ending = Path(path).suffix
        raise BadInput(
            f"{name}: expected a file ending in {', '.join(SUFFIXES)}, got {ending or 'no ending'!r}; "
            "what is written follows the ending"
        )
    target = Path(os.path.realpath(path))
    if not of_run and (reason := run_files.belongs_to(target)) is not None:
        raise BadInput(f"{name}: expected a file that is no part of a model or a run, got {reason}; name another")
    _check_writable(name, target, found)
    return Output(name, suffix, str(target), replaced=True)


def write_output(output: Output, blocks: Iterable[bytes]) -> None:
    """Write to a place that `find_output` found; a plain file holds the old content until all of it is written.

    Raises:
        BadInput: It cannot be written; a plain file is as it was.
        BrokenPipeError: Who read standard output has left.
    """
    try:
        if output.standard:
            _to_stdout(blocks)
        elif output.replaced:
            _replace(Path(output.path), blocks)
        else:
            _into(output, blocks)
    except BrokenPipeError as error:
        if output.on_stdout:
            raise
        raise unwritable(output.name, error) from error
    except OSError as error:
        raise unwritable("standard output" if output.standard else output.name, error) from error


def unwritable(name: str, error: Exception) -> BadInput:
    """Return the sentence about a place that the system refuses."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    remedy = remedy_of(error, "name another output", "mend it")
    return BadInput(f"{name}: expected a file that can be written, got '{reason}'; {remedy}")


def _suffix(path: str) -> str | None:
    suffix = Path(path).suffix.lower()
    return suffix if suffix in SUFFIXES else None


def _stat_of(descriptor: int) -> os.stat_result | None:
    with suppress(OSError):
        return os.fstat(descriptor)
    return None


def _refuse_inputs(name: str, inputs: Sequence[object], found: os.stat_result | None) -> None:
    """Refuse a file that is read, by whatever name: a link, another spelling, another case where that is one file."""
    for source in inputs:
        if found is None or not stat.S_ISREG(found.st_mode) or not isinstance(source, str | Path):
            continue
        for file in possible_files(str(source)):
            with suppress(OSError, RuntimeError, ValueError):
                if os.path.samestat(Path(file).expanduser().stat(), found):
                    said = f"expected another file than the rows that were read ({source}), got the same"
                    raise BadInput(f"{name}: {said}")


def _own_descriptor(path: str) -> int | None:
    """Return the number of an open file of this process that a path means: /dev/stdout, /dev/fd/3, /proc/self/fd/3.

    What it stands for must not be opened anew: a plain file would be written from its beginning.
    """
    for _ in range(40):  # as many links as a kernel follows
        folder, last = os.path.split(os.path.abspath(path))  # noqa: PTH100
        here = os.path.realpath(folder).split("/")
        own = here[:3] == ["", "proc", str(os.getpid())] and here[-1] == "fd"
        if last.isdecimal() and (own or here == ["", "dev", "fd"]):
            return int(last)
        if not os.path.islink(path):  # noqa: PTH114
            return None
        path = os.path.join(folder, os.readlink(path))  # noqa: PTH115, PTH118
    return None


def _check_writable(name: str, target: Path, found: os.stat_result | None) -> None:
    """Find out before an hour of predictions, not after it."""
    if found is not None and not (found.st_mode & 0o222 and os.access(target, os.W_OK)):
        raise BadInput(f"{name}: expected a file that can be written, got a read-only one; name another output")
    folder = next(folder for folder in target.parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f"{name}: expected a folder that can be written at {folder}, got none; name another output")


def _replace(path: Path, blocks: Iterable[bytes]) -> None:
    missing = [folder for folder in path.parents if not folder.exists()]
    # The file's own name may be as long as the system allows, so it is no part of this one.
    beside = path.with_name(f".stepbus-{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(beside, blocks)
        if path.is_file():
            old = path.stat()
            with suppress(OSError):  # only root may give a file away
                os.chown(beside, old.st_uid, old.st_gid)
            beside.chmod(stat.S_IMODE(old.st_mode))
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
            for folder in missing:
                folder.rmdir()
        raise
    with suppress(OSError):  # a folder that cannot be read cannot be synced; the file itself was
        fsync_folder(path.parent)


def _into(output: Output, blocks: Iterable[bytes]) -> None:
    if sys.stdout is not None and output.on_stdout:
        sys.stdout.flush()
    if output.descriptor is None:
        descriptor = os.open(output.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
    else:
        descriptor = os.dup(output.descriptor)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(blocks)


def _to_stdout(blocks: Iterable[bytes]) -> None:
    if sys.stdout is None:
        raise CLOSED
    sys.stdout.flush()
    binary = getattr(sys.stdout, "buffer", None)
    for block in blocks:
        if binary is not None:
            binary.write(block)
        else:
            sys.stdout.write(block.decode())
    sys.stdout.flush()
