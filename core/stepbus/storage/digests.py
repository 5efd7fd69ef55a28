"""Digests of what is finished: JSON documents that carry their own, and the files that a document vouches for."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepbus.base import CheckpointError, open_file
from stepbus.storage.durable import BLOCK, Written, from_json, to_json

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def document_digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON document, its own digest left out."""
    return hashlib.sha256(to_json({key: document[key] for key in document if key != "digest"}).encode()).hexdigest()


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON document with its own digest at its end, as `unsealed` wants it.

    Raises:
        ValueError: Something in it is no JSON value.
    """
    return {**document, "digest": document_digest(document)}


def unsealed(content: bytes) -> dict[str, Any]:
    """Return the document that `sealed` made and `to_json` wrote, if not one bit of it has changed.

    Args:
        content: A file's whole content.

    Raises:
        ValueError: It is no such document, and why.
    """
    document = from_json(content)
    if not isinstance(document, dict):
        raise ValueError(f"expected a mapping, got {type(document).__name__}")
    if "digest" not in document:
        raise ValueError("it has no digest of itself; an older stepbus wrote it, or it was changed")
    if document["digest"] != document_digest(document):
        raise ValueError("its digest does not match")
    # Blanks, and the spelling of numbers and letters, are no part of the digest.
    if content != to_json(document).encode():
        raise ValueError("its bytes are not those that were written")
    return document


def hash_file(path: Path, size: int) -> Written:
    """Return size and digest of a plain file; where the size is not the expected one, without reading it.

    Args:
        path: The file; a link is not followed.
        size: The size that is expected, in bytes.

    Raises:
        CheckpointError: It is missing, no plain file, or cannot be read.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(BLOCK, size + 1)))
    try:
        with os.fdopen(open_file(path, CheckpointError, links=False), "rb", buffering=0) as file:
            found = os.fstat(file.fileno()).st_size
            while found == size and (count := file.readinto(buffer)):
                digest.update(buffer[:count])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    return Written(found, digest.hexdigest())


def check_file(path: Path, wanted: Written) -> None:
    """Hold a file against its size and digest.

    Args:
        path: The file; a link is not followed.
        wanted: What was written.

    Raises:
        CheckpointError: It is not what was written, and why.
    """
    found = hash_file(path, wanted.size)
    if found.size != wanted.size:
        raise CheckpointError(f"{path}: expected {wanted.size} bytes, got {found.size}")
    if found.sha256 != wanted.sha256:
        raise CheckpointError(f"{path}: the content is not what was written (its SHA-256 differs)")


def written_from(entry: Any) -> Written:
    """Return size and digest as a document has them.

    Raises:
        ValueError: It has none.
    """
    size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
    if type(size) is not int or size < 0 or not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"expected a size in bytes and a SHA-256, got {str(entry)[:80]!r}")
    return Written(size, sha256)


def written_table(table: Any) -> dict[str, Written]:
    """Return file name -> size and digest, as a document has them.

    Raises:
        ValueError: It is no such table, or names a file by more than a plain name.
    """
    if not isinstance(table, dict):
        raise ValueError("it lists no files")
    if odd := [name for name in table if not PLAIN_NAME.fullmatch(name)]:
        raise ValueError(f"it lists a file by more than a plain name, {odd[0][:80]!r}")
    return {name: written_from(entry) for name, entry in table.items()}
