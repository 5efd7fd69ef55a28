"""What to do about each refusal of a file system."""

from __future__ import annotations

import errno
import os

import pytest

from stepbus.base.refusals import remedy_of

ELSEWHERE = "name another folder"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room or name another folder"),
        (
            errno.EDQUOT,
            "a disk quota is used up: remove files that count towards it, have it raised or name another folder",
        ),
        (errno.EFBIG, "a limit on the size of a file is in the way: raise it (ulimit -f)"),
        (errno.EROFS, "the file system is mounted read-only: mount it for writing or name another folder"),
        (errno.EACCES, "give access or name another folder"),
        (errno.EPERM, "give access or name another folder"),
        (errno.EIO, "the disk may be failing: look at the system's log or name another folder"),
        (errno.ENOTDIR, "mend that or name another folder"),
    ],
)
def test_each_refusal_has_its_remedy(number: int, remedy: str) -> None:
    assert remedy_of(OSError(number, os.strerror(number)), ELSEWHERE) == remedy


def test_what_is_no_refusal_of_the_system() -> None:
    assert remedy_of(OSError("4096 requested and 0 written")) == "mend that"
    assert remedy_of(ValueError("?"), ELSEWHERE, "mend it") == "mend it or name another folder"
    assert remedy_of(OSError(errno.ENOSPC, "?")) == "make room"
