"""What a fit was begun with, written down before it starts: fit.json and rows.npz in its folder.

fit.json says what the fit is, and of each set its roles, its sources and digests. rows.npz has, for each set under
NAME/, `source` and `row` (which of the set's sources a row is from, and its place there, from 0), `mark` (a digest of
its content), and `row_ids.KIND`, `weights`, `soft` where there are any.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import asdict, frozen

from stepbus.base import CheckpointError, read_file, values_without_secrets
from stepbus.run.keeping.row_marks import Array, content_of, row_marks
from stepbus.storage import (
    Written,
    check_file,
    from_json,
    sealed,
    to_json,
    unsealed,
    write_bytes_atomically,
    write_json_atomically,
    written_from,
)
from stepbus.text.rows import ids as row_ids

if TYPE_CHECKING:
    from stepbus.kernel import Fit

BEGUN = "fit.json"
ROWS = "rows.npz"


@frozen(eq=False)
class Begun:
    """What a fit was begun with.

    Args:
        said: What fit.json says.
        marks: Set -> the digest of each row; of none where rows.npz is one of before.
        places: Set -> which of its sources each row is from, and its place there.
    """

    said: Mapping[str, Any]
    marks: Mapping[str, Array]
    places: Mapping[str, tuple[Array, Array]]


def described(fit: Fit) -> dict[str, Any]:
    """Return what a fit is beside its rows, as JSON values without passwords."""
    found = {
        "seed": fit.seed,
        "scope": dict(fit.scope),
        "roles": {name: list(fit.roles_of(name)) for name in fit.sets},
        "overrides": {name: _plain(value) for name, value in sorted(fit.overrides.items())},
        "starts_from": fit.starts_from,
        "after": list(fit.after),
        "auxiliary": fit.auxiliary,
    }
    return dict(values_without_secrets(from_json(to_json(found))))


def write(directory: Path, run_id: str, fit: Fit, seen: Mapping[str, str], **more: Any) -> None:
    """Write down what a fit is begun with; the rows first, what vouches for them last.

    Args:
        directory: The fit's folder.
        run_id: The run's number.
        fit: The fit, all its rows in place.
        seen: Set -> a digest of all that training sees of it.
        **more: What else decides what its rows are: JSON values.

    Raises:
        OSError: The file system refuses.
    """
    sets: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, rows in fit.sets.items():
        sets[name] = {"seen": seen.get(name, "")}
        if hasattr(rows, "pieces"):
            kept, told = _kept(rows)
            sets[name] |= told
            arrays |= {f"{name}/{part}": array for part, array in kept.items()}
    content = io.BytesIO()
    np.savez(content, **arrays)
    written = asdict(Written(len(content.getvalue()), hashlib.sha256(content.getvalue()).hexdigest()))
    entry = {"run": run_id, "fit": fit.name, **described(fit), "sets": sets, **more, "rows": written}
    try:
        before = unsealed((directory / BEGUN).read_bytes())
    except (OSError, ValueError):
        before = {}
    if {**before, "earlier": None} == {**sealed({**entry, "earlier": None})}:
        return
    # A kill between the two leaves rows of before, which fit.json knows as such.
    vouched = {**entry, "earlier": before.get("rows")}
    if before:
        write_json_atomically(directory / BEGUN, sealed(vouched))
    write_bytes_atomically(directory / ROWS, content.getvalue())
    write_json_atomically(directory / BEGUN, sealed({**entry, "earlier": None}))


def _kept(rows: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays that are kept of rows, and what is said of them."""
    kept: dict[str, Any] = {"source": np.zeros(len(rows), np.int32), "row": np.zeros(len(rows), np.int64)}
    sources: list[dict[str, str]] = []
    for piece, at in rows.pieces:
        kept["source"][at], kept["row"][at] = len(sources), piece.places
        sources.append({"name": piece.source, "key": piece.source_key})
    kept["mark"] = row_marks(rows)
    if not np.array_equal(rows.ids, np.arange(len(rows))):
        kind, found = row_ids.to_array(rows.ids)
        kept[f"row_ids.{kind}"] = found
    kept |= {name: getattr(rows, name) for name in ("weights", "soft") if getattr(rows, name) is not None}
    told = {"rows": len(rows), "content": content_of(kept["mark"]), "sources": values_without_secrets(sources)}
    return kept, told | ({"classes": list(rows.classes)} if rows.soft is not None else {})


def is_there(directory: Path) -> bool:
    """Whether a fit was begun in a folder, unread."""
    return os.path.lexists(directory / BEGUN)


def digest_of(directory: Path) -> str:
    """Return the digest of what a fit was begun with; "" where there is nothing, or it is damaged."""
    try:
        return str(unsealed((directory / BEGUN).read_bytes())["digest"])
    except (OSError, ValueError, KeyError):
        return ""


def read(directory: Path, name: str, run_id: str) -> Begun:
    """Return what a fit was begun with.

    Args:
        directory: The fit's folder.
        name: The fit's name.
        run_id: The run's number.

    Raises:
        CheckpointError: A file is missing or damaged, or of another fit.
    """
    place = directory / BEGUN
    try:
        said = unsealed(read_file(place, CheckpointError, links=False))
        if (said["run"], said["fit"]) != (run_id, name):
            raise ValueError(f"it is that of {said['fit']}{'' if said['run'] == run_id else ' of another run'}")
        sets = {str(each): dict(told) for each, told in said["sets"].items()}
        wanted, earlier = written_from(said["rows"]), said["earlier"] and written_from(said["earlier"])
        [told["seen"] for told in sets.values()], described_keys(said)
    except FileNotFoundError:
        raise CheckpointError(f"{place}: the file is missing; {_mend(directory)}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_mend(directory)}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{place}: expected what {name} was begun with, got a damaged file ({error}); {_mend(directory)}"
        ) from error
    arrays = _arrays(directory, wanted, earlier, name)
    marks = {key.rpartition("/")[0]: array for key, array in arrays.items() if key.endswith("/mark")}
    places = {each: (arrays[f"{each}/source"], arrays[f"{each}/row"]) for each in marks}
    return Begun({**said, "sets": sets}, marks, places)


def described_keys(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fit.json says of a fit beside its rows."""
    return {key: said[key] for key in ("seed", "scope", "roles", "overrides", "starts_from", "after", "auxiliary")}


def _arrays(directory: Path, wanted: Written, earlier: Written | None, name: str) -> dict[str, Array]:
    path = directory / ROWS
    if earlier is not None:
        try:
            check_file(path, earlier)
        except CheckpointError:
            pass
        else:
            return {}
    try:
        check_file(path, wanted)
        content = read_file(path, CheckpointError, wanted.size, links=False)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays if key.endswith(("/mark", "/source", "/row"))}
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {_mend(directory)}") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path}: expected the rows that {name} was begun with, got something else ({error}); {_mend(directory)}"
        ) from error


def _mend(directory: Path) -> str:
    return f"bring it back from a copy, or remove {directory} to do this fit again"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; of one that JSON has not, its words."""
    try:
        return from_json(to_json(value))
    except (TypeError, ValueError):
        return repr(value)
