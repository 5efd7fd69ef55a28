"""Which code an editable install is: its version stays while its sources change, so they have a digest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import site
import sys
import sysconfig
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from stepbus.base import PluginError

# What changes no result: bytecode, tests, and what tools keep.
_LEFT_OUT = re.compile(r"__pycache__|tests?|\..*")
_TESTS = re.compile(r"test_.*\.py|.*_test\.py|conftest\.py")


def code_version(owner: str, version: str, module: str, *, depth: int = 1) -> str:
    """Return a version that changes when the code does.

    Args:
        owner: The distribution.
        version: Its version, which says it all for one that is installed as it was built.
        module: An imported module of it; its package is what counts.
        depth: How deep that package lies at most: 1 for all of "a" of "a.b.c", 2 for "a.b" alone.

    Raises:
        PluginError: A file of the package cannot be read.
    """
    place = _package(module, depth)
    # What is imported out of an archive is no source that anybody edits.
    if place is None or not place.exists() or not is_editable(owner, place):
        return version
    return f"{version}+editable.{digest_of(place)}"


@cache
def is_editable(owner: str, place: Path) -> bool:
    """Say whether code is used where it is written: by what its installer noted, or by where it lies.

    Args:
        owner: The distribution.
        place: A file or folder of it.
    """
    real = place.resolve()
    try:
        found = distribution(owner)
        noted = json.loads(found.read_text("direct_url.json") or "{}")
        if noted.get("dir_info", {}).get("editable") is True:
            return True
        listed = (real / "__init__.py") if real.is_dir() else real
        # What was copied there is recorded with its digest; a .pth file or a finder is all that -e records.
        if any(file.hash and Path(str(found.locate_file(file))).resolve() == listed for file in found.files or ()):
            return False
    except (PackageNotFoundError, ValueError, AttributeError):
        pass  # nothing was noted that can be read
    # A .pth file, an .egg-link or PYTHONPATH leads elsewhere than to the folders for what is installed.
    return not any(real.is_relative_to(folder) for folder in _installed_folders())


@cache
def _installed_folders() -> tuple[Path, ...]:
    named = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return tuple({Path(folder).resolve() for folder in [*named, site.getusersitepackages()]})


def _package(module: str, depth: int) -> Path | None:
    """Return the folder of the outermost package that has an __init__.py, or the file of a module in none."""
    parts = module.split(".")
    files = [getattr(sys.modules.get(".".join(parts[: end + 1])), "__file__", None) for end in range(len(parts))]
    found = [Path(file) for file in files if file]  # a namespace package has no file, and is nobody's own
    if not found:
        return None
    chosen = found[min(depth, len(found)) - 1]
    return chosen.parent if chosen.name == "__init__.py" else chosen


@cache
def digest_of(place: Path) -> str:
    """Return a digest of the Python sources of a package, or of one file; as they are when it is asked for first.

    Args:
        place: The package's folder, or the file.

    Raises:
        PluginError: A file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in [place] if place.is_file() else _sources(place):
            content = path.read_bytes()
            name = path.relative_to(place).as_posix()
            digest.update(f"{len(name)} {len(content)} {name}".encode("utf-8", "surrogateescape") + content)
    except OSError as error:
        raise PluginError(
            f"{error.filename or place}: the sources of an editable install cannot be read ({error.strerror}); "
            "give access, or install the package without -e"
        ) from error
    return digest.hexdigest()[:12]


def _sources(folder: Path) -> list[Path]:
    found = []

    def refused(error: OSError) -> None:
        raise error

    for above, folders, names in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if not _LEFT_OUT.fullmatch(name)]
        found += [Path(above, name) for name in names if name.endswith(".py") and not _TESTS.fullmatch(name)]
    return sorted(found)
