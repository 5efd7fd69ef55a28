"""Documents that carry their own digest, and files held against theirs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from stepbus import CheckpointError
from stepbus.storage.digests import check_file, hash_file, sealed, unsealed, written_from
from stepbus.storage.durable import Written, to_json

DOCUMENT = {"name": "ä", "numbers": [1, 2.5, float("nan")], "none": None}


def test_a_sealed_document_comes_back_and_its_digest_is_that_of_its_json() -> None:
    content = to_json(sealed(DOCUMENT)).encode()
    again = unsealed(content)
    assert again.pop("digest") == hashlib.sha256(to_json(DOCUMENT).encode()).hexdigest()
    assert to_json(again) == to_json(DOCUMENT)


def test_every_single_bit_counts() -> None:
    content = to_json(sealed(DOCUMENT)).encode()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            unsealed(bytes(changed))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "Expecting value"),
        (b"[]", "expected a mapping, got list"),
        (b"{}\n", "it has no digest of itself"),
        (to_json({**sealed(DOCUMENT), "more": 1}).encode(), "its digest does not match"),
        (to_json(sealed(DOCUMENT)).replace(" ", "").encode(), "its bytes are not those that were written"),
        (to_json(sealed(DOCUMENT)).encode() + b" ", "its bytes are not those that were written"),
        (b"\xff", "codec can't decode"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_sealed_document(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unsealed(content)


@pytest.mark.parametrize("content", [b"", b"a", bytes(4 * 2**20), os.urandom(4 * 2**20 + 1)])
def test_a_file_is_what_was_written_or_not(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    wanted = Written(len(content), hashlib.sha256(content).hexdigest())
    assert hash_file(path, len(content)) == wanted
    check_file(path, wanted)
    path.write_bytes(content + b"a")
    with pytest.raises(CheckpointError, match=rf"f: expected {len(content)} bytes, got {len(content) + 1}"):
        check_file(path, wanted)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"f: the content is not what was written \(its SHA-256 differs\)"):
        check_file(path, Written(len(content), "0" * 64))
    path.unlink()
    with pytest.raises(CheckpointError, match="f: the file is missing"):
        check_file(path, wanted)


@pytest.mark.parametrize("entry", [None, 3, {}, {"size": -1, "sha256": "0" * 64}, {"size": 1, "sha256": "0"}])
def test_what_is_no_size_and_digest(entry: Any) -> None:
    with pytest.raises(ValueError, match="expected a size in bytes and a SHA-256, got"):
        written_from(entry)
