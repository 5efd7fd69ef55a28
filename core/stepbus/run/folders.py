"""Which folder a run lies in: a free one for a new run, and the one that is meant by what a user names to resume.

Runs of one output folder are numbered: NAME, NAME-2, NAME-3, … A new one takes the number above the highest, so that
the newest run is always the one with the highest number.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from stepbus.base import CheckpointError, from_here, read_file, remedy_of, usable
from stepbus.run.files import ADVICE, FITS, WRITTEN, strangers
from stepbus.run.files import CHECKPOINTS as CHECKPOINTS
from stepbus.run.files import RUN_FILE as RUN_FILE
from stepbus.run.keeping import BEGUN, ROWS, without_run
from stepbus.storage import (
    LOCK,
    FolderHeld,
    Written,
    is_leftover,
    lock_folder,
    remove_made,
    sealed,
    to_json,
    unsealed,
    written_table,
)
from stepbus.storage.checkpoints import step_of

CONFIG_FILE = "config.yaml"


def free_folder(wanted: Path, taken: frozenset[Path] = frozenset()) -> Path:
    """Return `wanted`, or the next of wanted-2, wanted-3, … above every run that lies there.

    Args:
        wanted: The configured output folder.
        taken: Folders that have no run yet and are taken all the same.
    """
    used = [number for number, folder in _series(wanted) if _has_run(folder) or folder in taken]
    if not used:
        return wanted
    number = max(used) + 1
    while _holds_something(folder := _numbered(wanted, number)) or folder in taken:
        number += 1
    return folder


@frozen
class Claim:
    """A folder that a new run holds.

    Args:
        folder: The folder.
        made: What was created for the run so far: missing folders, the lock's file, what the run is.
    """

    folder: Path
    made: list[Path]

    def give_up(self, fit_folder: Path) -> None:
        """Remove what was made, unless something of the run is left that another one could not write over.

        Args:
            fit_folder: The folder of the first fit.
        """
        remove_made([self.folder / FITS, fit_folder, *(fit_folder / name for name in (CHECKPOINTS, BEGUN, ROWS))])
        if not any(os.path.lexists(self.folder / name) for name in WRITTEN if self.folder / name not in self.made):
            remove_made(self.made)


@contextmanager
def claim(wanted: Path) -> Iterator[Claim]:
    """Hold a free folder for a new run, as long as the block lasts.

    The folder is looked for again once it is held: another run may have taken it, or finished in it, meanwhile.

    Args:
        wanted: The configured output folder.

    Raises:
        CheckpointError: It cannot be written, or something that no run wrote stands where this one would write.
    """
    with ExitStack() as stack:
        yield _hold_free(wanted, stack)


def _hold_free(wanted: Path, stack: ExitStack) -> Claim:
    taken: set[Path] = set()
    while True:
        folder = free_folder(wanted, frozenset(taken))
        try:
            made = stack.enter_context(lock_folder(folder))
        except FolderHeld:
            taken.add(folder)
            continue
        # Only who holds a folder begins a run in it: what is not there now does not come.
        if free_folder(wanted, frozenset(taken)) == folder:
            _refuse_foreign(folder, made)
            return Claim(folder, made)
        remove_made(made)
        stack.close()


def _refuse_foreign(folder: Path, made: list[Path]) -> None:
    for path in strangers(folder, [name for name in WRITTEN if name != LOCK]):
        remove_made(made)
        raise CheckpointError(f"{path}: this run would write here, and no run of this folder wrote it; {ADVICE}")


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Say in one sentence where a file of a run could not be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{place}: cannot be written ({error.strerror or error}); "
            + remedy_of(error, "set environment.output_dir to a folder that can be written")
        ) from error


def newest_run(wanted: Path) -> Path:
    """Return the run of an output folder with the highest number.

    Raises:
        CheckpointError: There is none.
    """
    runs = [(number, folder) for number, folder in _series(wanted) if _has_run(folder)]
    if not runs:
        raise CheckpointError(
            f"{wanted}: there is no run to resume here; leave --resume (in Python: resume) out to start one"
        )
    return max(runs)[1]


def find_run(given: bool | str | Path, wanted: Path) -> tuple[Path, bool | Path]:
    """Return the folder of the run to go on with, and the checkpoint in it that was named, or True for the newest.

    Args:
        given: True for the newest run of the output folder; or the path of a run, of a fit, or of a checkpoint.
        wanted: The configured output folder.

    Raises:
        CheckpointError: There is no run, or the path is nothing that can be resumed.
    """
    if given is True:
        return newest_run(wanted), True
    path = from_here(usable(given, CheckpointError, "resume"))  # type: ignore[arg-type]  # False never comes here
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such run or checkpoint; name one that is there")
    if _has_run(path):
        return path, True
    real = path.resolve()
    for folder in real.parents:
        if _has_run(folder):
            return folder, _inside(path, folder, real)
    raise CheckpointError(
        f"{path}: expected a run's folder or one of its checkpoints, found no {RUN_FILE}{without_run(real)}"
    )


def _inside(path: Path, run: Path, real: Path) -> bool | Path:
    """Return the checkpoint that a path inside a run stands for, or True where it is the folder of a fit."""
    fits = [fit["name"] for fit in read_run(run)["facts"]["fits"]]
    parts = real.relative_to(run).parts
    if parts[0] == FITS and parts[1:2] and parts[1] in fits:
        if len(parts) == 2:
            return True
        if len(parts) == 4 and parts[2] == CHECKPOINTS and step_of(parts[3]) is not None:
            return real
    fit = f"{run}/{FITS}/{fits[0] if len(fits) == 1 else 'NAME'}"
    raise CheckpointError(
        f"{path}: nothing to resume from; expected a run ({run}), a fit's folder ({fit}), or a checkpoint "
        f"({fit}/{CHECKPOINTS}/step-NNNNNNNN){without_run(real)}"
    )


def run_documents(
    run_id: str,
    facts: dict[str, Any],
    config: str,
    writes: Sequence[str] = (),
    earlier: Sequence[dict[str, Any]] = (),
) -> dict[str, bytes]:
    """Return the files that say what a run is: name -> content.

    Args:
        run_id: The run's own number.
        facts: What a resume compares.
        config: Its configuration, for people to read.
        writes: Patterns of the files that its plugins write.
        earlier: The facts before each change that was allowed, oldest first.
    """
    echo = config.encode()
    files = {CONFIG_FILE: asdict(Written(len(echo), hashlib.sha256(echo).hexdigest()))}
    said: dict[str, Any] = {"id": run_id, "writes": list(writes), "facts": facts, "files": files}
    if earlier:
        said["earlier"] = list(earlier)
    return {RUN_FILE: to_json(sealed(said)).encode(), CONFIG_FILE: echo}


def read_run(directory: Path) -> dict[str, Any]:
    """Return what a run's folder says it is.

    Raises:
        CheckpointError: Its file is not what was written.
    """
    path = directory / RUN_FILE
    mend = "bring it back from a copy of the run, or start a new run without --resume (in Python: resume)"
    try:
        found = unsealed(read_file(path, CheckpointError, links=False))
        found["id"], [fit["name"] for fit in found["facts"]["fits"]], written_table(found["files"])[CONFIG_FILE]
        [facts["config"] for facts in found.get("earlier", [])]
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {mend}") from error
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing; {mend}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected what a run is, got a damaged file ({error}); {mend}") from error
    return found


def _has_run(folder: Path) -> bool:
    return os.path.lexists(folder / RUN_FILE)


def _numbered(wanted: Path, number: int) -> Path:
    if wanted.name in ("", ".."):  # "." and "..": the folder's own name counts
        wanted = wanted.resolve()
    if not wanted.name:
        raise CheckpointError(f"{wanted}: this folder has a run already, and no name to number the next one by")
    return wanted.with_name(f"{wanted.name}-{number}")


def _series(wanted: Path) -> list[tuple[int, Path]]:
    """Return what is called like the runs of an output folder, with its number; the folder itself has number 1."""
    found = [(1, wanted)]
    named = wanted.resolve() if wanted.name in ("", "..") else wanted
    pattern = re.compile(rf"{re.escape(named.name)}-([1-9][0-9]*)")
    try:
        names = [path.name for path in named.parent.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return found
    except OSError as error:
        raise CheckpointError(f"{named.parent}: cannot be read ({error.strerror})") from error
    matches = [match for name in names if (match := pattern.fullmatch(name))]
    return found + [(int(match[1]), _numbered(wanted, int(match[1]))) for match in matches if int(match[1]) > 1]


def _holds_something(folder: Path) -> bool:
    """Say whether something of somebody else's stands at a name: anything but a folder of ours with no run in it."""
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return True
        return any(entry.name != LOCK and not is_leftover(entry) for entry in folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError:
        return True
