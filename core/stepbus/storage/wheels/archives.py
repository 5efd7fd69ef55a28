"""Zip archives of strangers: every entry is looked at before one is read, and what is read is bounded and checked.

Nothing is extracted by the archive's own word: who calls names the files, and where each is to lie.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from stepbus.base import MAX_NAME, BadInput, one_line
from stepbus.storage import BLOCK, Written, write_file

MAX_ENTRIES = 20_000
MAX_DIRECTORY = 16 * 2**20  # bytes of the list of entries, which is read at once
# An entry is refused when it holds more than this many bytes, and more than so many times its packed size.
LARGE = 64 * 2**20
RATIO = 200
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|[A-Za-z]:")
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of a zip entry's flags: plainly, strongly, with a hidden directory


@frozen
class Checked:
    """What an entry has to be by the word of a list that came along, such as a wheel's RECORD.

    Args:
        algorithm: A name that hashlib knows.
        digest: The digest of the content.
    """

    algorithm: str
    digest: bytes


class _Bounded(io.BufferedReader):
    """A file that is never read in one piece: `zipfile` would read a list of entries of any size at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        unknown = size is None or size < 0
        content = super().read(MAX_DIRECTORY + 1 if unknown else min(size or 0, MAX_DIRECTORY + 1))
        if len(content) > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its list of entries is longer than {MAX_DIRECTORY / 2**20:.0f} MB")
        return content


@contextmanager
def opened(path: Path, error: type[BadInput], place: str) -> Iterator[tuple[zipfile.ZipFile, dict[str, int]]]:
    """Open an archive after looking at all its entries, and turn what goes wrong within the block into one sentence.

    Args:
        path: The file.
        error: What to raise.
        place: What messages call the archive.

    Returns:
        The archive, and the size of each file in it by name; folders are left out.

    Raises:
        BadInput: In the given kind: it is damaged, or an entry leads elsewhere, is no plain file, is encrypted, comes
            twice or is packed in a way that is not read here.
    """
    try:
        with _Bounded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
            size = os.fstat(file.fileno()).st_size
            if not all(0 <= entry.header_offset < size for entry in archive.infolist()):
                raise zipfile.BadZipFile("an entry begins outside of it")
            yield archive, _looked_at(archive.infolist(), error, place)
    except RuntimeError as failed:  # zipfile's word for a wrong password; encrypted entries were refused before
        raise error(f"{place}: expected a whole zip archive, got one that cannot be read ({failed})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError) as failed:
        raise error(f"{place}: expected a whole zip archive, got a damaged one ({one_line(str(failed))})") from None


def _looked_at(entries: list[zipfile.ZipInfo], error: type[BadInput], place: str) -> dict[str, int]:
    if len(entries) > MAX_ENTRIES:
        raise error(f"{place}: expected at most {MAX_ENTRIES:,} entries, got {len(entries):,}")
    files: dict[str, int] = {}
    folders: set[str] = set()
    for entry in entries:
        name = entry.orig_filename  # zipfile cuts the other one at a NUL
        if (reason := _reason(entry, name)) is not None:
            raise error(f"{place}: expected plain files within the archive, got {one_line(name)!r}, {reason}")
        if name.endswith("/"):
            folders.add(name[:-1])
            continue
        if name in files:
            raise error(f"{place}: expected each file once, got {name!r} again")
        files[name] = entry.file_size
    folders |= {name[:at] for name in files for at in range(len(name)) if name[at] == "/"}
    if both := sorted(folders & files.keys()):
        raise error(f"{place}: expected a file or a folder, got {both[0]!r} as both")
    return files


def _reason(entry: zipfile.ZipInfo, name: str) -> str | None:
    """Return why an entry is not taken as a plain file or folder within the archive."""
    parts = name.removesuffix("/").split("/")
    if name.startswith("/"):
        return "an absolute path"
    if ".." in parts:
        return "which leads out of it"
    if _ODD.search(name) or "" in parts or "." in parts or any(len(part.encode()) > MAX_NAME for part in parts):
        return "which is no plain path"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
        return "a special file"
    if entry.flag_bits & _ENCRYPTED:
        return "which is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"which is packed by method {entry.compress_type}, and not by deflate"
    return None


def read_entry(archive: zipfile.ZipFile, name: str, limit: int, error: type[BadInput], place: str) -> bytes:
    """Return the content of a small file of an archive.

    Args:
        archive: What `opened` gave.
        name: The file.
        limit: Bytes that it may have.
        error: What to raise.
        place: What messages call the archive.

    Raises:
        BadInput: In the given kind: it is larger.
    """
    size = archive.getinfo(name).file_size
    if size > limit:
        raise error(f"{place}: {name}: expected at most {limit:,} bytes, got {size:,}")
    return b"".join(_blocks(archive, name))


def write_entry(
    archive: zipfile.ZipFile, name: str, target: Path, error: type[BadInput], place: str, checked: Checked | None = None
) -> Written:
    """Write one file of an archive and bring it to the disk.

    Args:
        archive: What `opened` gave.
        name: The file.
        target: Where; a name that does not exist yet, in a folder that does.
        error: What to raise.
        place: What messages call the archive.
        checked: What it has to be besides what the archive itself says.

    Returns:
        Size and digest of what was written.

    Raises:
        BadInput: In the given kind: it unpacks to more than is sane, or is not what it has to be.
        OSError: The file system refuses.
    """
    entry = archive.getinfo(name)
    if entry.file_size > most(entry.compress_size):
        raise error(
            f"{place}: {name}: expected at most {RATIO} times its packed size of {entry.compress_size:,} bytes, got "
            f"{entry.file_size:,}"
        )
    digest = hashlib.new(checked.algorithm) if checked is not None else None

    def noted() -> Iterator[bytes]:
        for block in _blocks(archive, name):
            if digest is not None:
                digest.update(block)
            yield block

    written = write_file(target, noted())
    if written.size != entry.file_size:
        raise error(f"{place}: {name}: expected {entry.file_size:,} bytes, got {written.size:,}")
    if checked is not None and digest is not None and digest.digest() != checked.digest:
        raise error(f"{place}: {name}: the content is not what was packed (its {checked.algorithm} differs)")
    return written


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """Yield the content of a file; zipfile gives no more than the entry says, and holds it against its CRC."""
    with archive.open(name) as file:
        while block := file.read(BLOCK):
            yield block


def most(packed: int) -> int:
    """Return how many bytes may come out of so many packed ones."""
    return max(LARGE, RATIO * packed)


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user may still write where a folder lies."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
