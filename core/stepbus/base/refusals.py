"""What to do where the file system refuses: each kind of refusal has its own remedy, and room is the one of few."""

from __future__ import annotations

import errno

REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "a disk quota is used up: remove files that count towards it, have it raised",
    errno.EFBIG: "a limit on the size of a file is in the way: raise it (ulimit -f)",
    errno.EROFS: "the file system is mounted read-only: mount it for writing",
    errno.EACCES: "give access",
    errno.EPERM: "give access",
    errno.EIO: "the disk may be failing: look at the system's log",
}
# Those about what is written, which a library may raise without the name of a file.
ON_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def remedy_of(error: BaseException, elsewhere: str = "", otherwise: str = "mend that") -> str:
    """Return what a user can do about an error of the file system, for the end of a sentence.

    Args:
        error: The error.
        elsewhere: What else helps where another place does: "name another folder".
        otherwise: What to do about an error of another kind.
    """
    number = getattr(error, "errno", None)
    remedy = REMEDIES.get(number, otherwise) if number is not None else otherwise
    # A limit of the process holds in every folder.
    return remedy if not elsewhere or number == errno.EFBIG else f"{remedy} or {elsewhere}"
