"""Which files in a folder are a run's, so that nobody else's is ever replaced: the run file says whose the folder is.

A plugin names what it writes in an attribute, as patterns: `writes = ("history.jsonl", "history.csv")`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stepbus.base import PluginError, Problem
from stepbus.compute import own_files
from stepbus.kernel import Run
from stepbus.run.keeping import BEGUN, DELIVERED, ROWS
from stepbus.storage import DESCRIPTION, LINEAGE, LOCK, from_json, sealed, write_json_atomically

if TYPE_CHECKING:
    from stepbus.fit import Prototype

RUN_FILE = "run.json"
PREDICT_FILE = "predict.json"
MODEL = "model"
FITS = "fits"
CHECKPOINTS = "checkpoints"
RESULT = "result.json"
# What core itself writes into the folder of a run or a fit, besides the run file.
WRITTEN = (
    "config.yaml", RESULT, "predictions.npz", MODEL, CHECKPOINTS, FITS, DELIVERED, BEGUN, ROWS, LOCK, PREDICT_FILE,
    "predict.safetensors", "predict.npz",
)  # fmt: skip
# What a model may bring: weights, settings, and whatever a tokenizer is made of.
OF_MODELS = (
    DESCRIPTION, "config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "added_tokens.json",
    "special_tokens_map.json", LINEAGE, "vocab.*", "merges.txt", "*.model",
)  # fmt: skip
HERE = "environment.output_dir"
ADVICE = f"move it away, or set {HERE} to another folder"


class Planned(Run, Protocol):
    """A run whose plan is known, with the prototypes of its plugins."""

    members: list[Prototype]


def written_by_plugins(run: Planned) -> list[str]:
    """Return the patterns of the files that a run's plugins write, each once.

    Raises:
        PluginError: `writes` is no tuple of names.
    """
    return _named(run, "writes")


def _named(run: Planned, attribute: str) -> list[str]:
    found: list[str] = []
    for member in run.members:
        names = getattr(member.plugin, attribute, ())
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            raise PluginError(f'{member.label}: expected {attribute} = ("name", …), got {names!r}')
        found += names
    return list(dict.fromkeys(found))


def problems(run: Planned, wanted: Path) -> list[Problem]:
    """Return a problem for each file that a run would replace and no run wrote; the plan of fits is known.

    Args:
        run: A run whose folder is chosen; what a resumed one wrote stands in its run file.
        wanted: The configured output folder.
    """
    known = read_run_file(run.directory)
    names = written_by_plugins(run)
    if known is None:
        found = _strange_run_files(wanted)
        found += strangers(run.directory, [*WRITTEN, *names])
    else:
        of_fits = [run.directory_of(fit) for fit in run.fits]
        fresh = [name for name in names if name not in known.get("writes", names)]
        found = [path for place in (run.directory, *of_fits) for path in strangers(place, fresh)]
        # The folder of a model is replaced as a whole at the end of its fit; that of a finished one is verified.
        ahead = [place for place in of_fits if not os.path.lexists(place / RESULT)]
        found += [path for place in ahead for path in strangers(place, [MODEL]) if not is_room_for_model(path)]
        exports = _named(run, "exports")
        found += [path for place in ahead for path in own_files(place / MODEL, exports)]
    return [Problem(HERE, f"expected no file of yours where the run writes, got {path}; {ADVICE}") for path in found]


def read_run_file(folder: Path) -> dict[str, Any] | None:
    """Return what the run file of a folder says, or None where there is none that a run wrote."""
    try:
        found = from_json((folder / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"id", "facts"} <= found.keys() else None


def note_writes(run: Planned) -> None:
    """Add to the run file of a resumed run what plugins write that it did not have before."""
    known, names = read_run_file(run.directory), written_by_plugins(run)
    if known is not None and not set(names) <= set(known.get("writes", ())):
        writes = list(dict.fromkeys([*known.get("writes", ()), *names]))
        said = {name: value for name, value in known.items() if name != "digest"}
        write_json_atomically(run.directory / RUN_FILE, sealed({**said, "writes": writes}))


def is_model(folder: Path) -> bool:
    """Whether a folder, which is no link, holds a model that stepbus wrote."""
    return not folder.is_symlink() and (folder / DESCRIPTION).is_file() and (folder / "config.json").is_file()


def is_room_for_model(folder: Path) -> bool:
    """Whether a model may be written where a folder stands: nothing of its files is one that a model would replace."""
    if is_model(folder):
        return True
    return folder.is_dir() and not folder.is_symlink() and not strangers(folder, list(OF_MODELS))


def belongs_to(target: Path) -> str | None:
    """Return in words which model's or run's file a path is, or None.

    Args:
        target: An absolute path without links; it may not exist.
    """
    for folder in target.parents:
        if is_model(folder):
            return f"one in the model folder {folder}"
        known = read_run_file(folder)
        if known is not None:
            first, *rest = target.relative_to(folder).parts
            patterns = [RUN_FILE, *WRITTEN, *known.get("writes", ())]
            # Beside the files of a fit there is room for the user's.
            inside = rest[-1:] if first == "fits" and len(rest) == 2 else [first]
            if any(fnmatchcase(name, pattern) for name in inside for pattern in patterns):
                return f"{target.name!r} of the run {folder}"
    return None


def _strange_run_files(wanted: Path) -> list[Path]:
    """Return the run files, of those that make a run take NAME-2, NAME-3, … in place of NAME, that no run wrote."""
    found, folder, number = [], wanted, 1
    while os.path.lexists(folder / RUN_FILE):
        found += [folder / RUN_FILE] if read_run_file(folder) is None else []
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return found


def strangers(folder: Path, patterns: list[str]) -> list[Path]:
    """Return what in a folder has one of some names; an empty folder and a lock of ours are nothing.

    Args:
        folder: The folder; it may be missing.
        patterns: Names, which may have wildcards.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []  # not there, or no folder: who makes it says so
    return [
        entry
        for entry in entries
        if any(fnmatchcase(entry.name, pattern) for pattern in patterns) and not _is_nothing(entry)
    ]


def _is_nothing(entry: Path) -> bool:
    with suppress(OSError):
        if entry.name == LOCK and entry.is_file() and not entry.is_symlink():
            return entry.stat().st_size <= 20 and re.fullmatch(rb"[0-9]*\n?", entry.read_bytes()) is not None
        if entry.is_dir() and not (entry.name == MODEL and entry.is_symlink()):
            return next(entry.iterdir(), None) is None
    return False
