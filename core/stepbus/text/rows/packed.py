"""The bytes of a file, unpacked where it is packed; a packed file that would fill the memory is refused."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from stepbus.base import DataError

# A packed file is refused when it holds more than this many bytes, and more than so many times its own size.
LARGE = 64 * 2**20
RATIO = 200


def unpacked(path: Path) -> bytes:
    """Return what a file holds: its bytes, or those inside a .gz or a .zip file.

    Raises:
        DataError: It is damaged, is packed in another way, or holds several files or too much.
    """
    data = path.read_bytes()
    kind = path.suffix.lower()
    if kind == ".gz":
        data = _gunzip(path, data)
    elif kind == ".zip":
        data = _unzip(path)
    return data


def most(size: int) -> int:
    """Return how many bytes a packed file of a size may hold."""
    return max(LARGE, RATIO * size)


def _gunzip(path: Path, data: bytes) -> bytes:
    """Unpack one or more gzip members, one after the other, as gzip itself does."""
    limit, pieces, found = most(len(data)), [], 0
    if not data:
        raise DataError(f"{path}: expected a gzip file, got an empty file")
    try:
        while data:
            reader = zlib.decompressobj(wbits=31)
            piece = reader.decompress(data, limit - found + 1)
            found += len(piece)
            if found > limit:
                raise _bomb(path, limit)
            if not reader.eof:
                raise DataError(f"{path}: expected a whole gzip file, got one that ends early; fetch it again")
            pieces.append(piece)
            data = reader.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise DataError(f"{path}: expected a gzip file, got a damaged one ({error})") from None
    return b"".join(pieces)


def zip_member(path: Path) -> str:
    """Return the name of the only file in a zip file; what macOS adds to one does not count.

    Raises:
        DataError: It is damaged, or has none or several.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                item.filename
                for item in archive.infolist()
                if not item.is_dir()
                and not item.filename.startswith("__MACOSX/")
                and not Path(item.filename).name.startswith("._")
            ]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a zip file, got a damaged one ({error})") from None
    if len(names) != 1:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "none"
        raise DataError(f"{path}: expected one file inside, got {len(names)}: {listed}; unpack it and name the one")
    return names[0]


def _unzip(path: Path) -> bytes:
    name = zip_member(path)
    limit = most(path.stat().st_size)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name) as file:
            data = file.read(limit + 1)
    except RuntimeError:
        raise DataError(f"{path}: expected a zip file without a password; unpack it") from None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise DataError(f"{path}: expected a zip file, got a damaged one ({error})") from None
    if len(data) > limit:
        raise _bomb(path, limit)
    return data


def _bomb(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path}: expected at most {limit / 2**20:.0f} MB inside, {RATIO} times the file's own size, got more; "
        "unpack it if it is right"
    )
