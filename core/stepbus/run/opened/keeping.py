"""RUN/predict.json: how the models of a run predict together, and what they said of its rows to predict.

Its arrays lie beside it, in predict.safetensors (what plugins remember) and predict.npz (predictions). The file itself
is written last and removed first, so a run that has none has not come to its end.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict

from stepbus.base import CheckpointError, ModelError, read_file, values_without_secrets
from stepbus.fit.opened import plugin_tree
from stepbus.fit.plugins import state_of
from stepbus.fit.predicting import takes_part
from stepbus.kernel import Fit
from stepbus.run import PREDICT_FILE, folders, ledger
from stepbus.run.plans import predicted_sets
from stepbus.run.prediction import Predicting, Together
from stepbus.storage import (
    Written,
    check_file,
    encode_state,
    fsync_folder,
    sealed,
    tensor_files,
    unsealed,
    write_bytes_atomically,
    write_json_atomically,
    written_from,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepbus.kernel import FitResult, Member, Predictions

ARRAYS, PREDICTED = "predict.safetensors", "predict.npz"
FORMAT = 1


def keep(run: Predicting, result: FitResult) -> None:
    """Write how the models of a run predict together; its fits are done.

    Args:
        run: The run.
        result: Its result.

    Raises:
        CheckpointError: It cannot be written.
    """
    with folders.writing(run.directory):
        (run.directory / PREDICT_FILE).unlink(missing_ok=True)
        fsync_folder(run.directory)
        members = [member for member in run.bus.members if takes_part(member.plugin, of_run=True)]
        states, arrays = _states(run, members)
        together = Together.of_run(run)
        predicted = {name: result.predictions[name] for name in predicted_sets(run.fits)}
        files = {}
        if arrays:
            files[ARRAYS] = _write_arrays(run.directory, arrays)
        if predicted:
            content = ledger.packed(predicted)
            write_bytes_atomically(run.directory / PREDICTED, content)
            files[PREDICTED] = Written(len(content), hashlib.sha256(content).hexdigest())
        for name in {ARRAYS, PREDICTED} - files.keys():
            (run.directory / name).unlink(missing_ok=True)
        known = {choice.name: plugin_tree(run.config, choice) for choice in run.config.plugins}
        document = {
            "format": FORMAT,
            "run": run.id,
            # In the order in which they are combined, which JSON's readers keep.
            "axes": [{"name": axis, "combined_by": name} for axis, name in together.combiners.items()],
            "fits": [
                {"name": fit.name, "seed": fit.seed, "scope": fit.scope, "model": digest}
                for fit, digest in zip(together.fits, _models(run, together), strict=True)
            ],
            # None of one that was passed in Python, or is a module of hooks: nothing here can make it again.
            "plugins": values_without_secrets({member.name: known.get(member.name) for member in members}),
            # As run.json has it: of the code that ran, whatever its files have become meanwhile.
            "code": {each.name: each.version for each in run.planners if each.name in {m.name for m in members}},
            "states": states,
            "decisions": run.decisions,
            "test": values_without_secrets(run.config.data.settings.test),
            "files": {name: asdict(written) for name, written in files.items()},
        }
        write_json_atomically(run.directory / PREDICT_FILE, sealed(document))


def _states(run: Predicting, members: Sequence[Member]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what plugins remember as JSON values, by name, and its arrays."""
    names = {member.name for member in members}
    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, state in state_of(run.bus).items():
        if name in names:
            plain[name], found = encode_state(name, state)
            arrays |= found
    return plain, arrays


def _models(run: Predicting, together: Together) -> list[str]:
    """Return the digest of the model of each fit that takes part."""
    return [ledger.kept_model(run.directory_of(fit), fit.name, run.id) or "" for fit in together.fits]


def _write_arrays(folder: Path, arrays: dict[str, Any]) -> Written:
    new = folder / f".tmp-{ARRAYS}"
    new.unlink(missing_ok=True)
    written = tensor_files.write_tensors(new, arrays)
    new.replace(folder / ARRAYS)
    fsync_folder(folder)
    return written


def read(folder: Path) -> dict[str, Any]:
    """Return what predict.json of a run says.

    Raises:
        ModelError: The run has not come to its end, or the file is damaged.
    """
    place = folder / PREDICT_FILE
    if not os.path.lexists(place):
        raise ModelError(
            f"{folder}: expected {PREDICT_FILE}, which a run writes at its end, found none; go on with `stepbus train "
            f"… --resume {folder}`, or name the model of one fit"
        )
    try:
        said = unsealed(read_file(place, ModelError, links=False))
        if said["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {said['format']!r}")
        fits_of(said)
        combiners_of(said)
        for name in ("plugins", "states", "decisions", "files"):
            if not isinstance(said[name], dict):
                raise ValueError(f"{name}: expected a mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{place}: {_damaged(error)}; {_again(folder)}") from error
    return said


def fits_of(said: dict[str, Any]) -> list[Fit]:
    """Return the fits that predict.json names, without rows."""
    found = []
    for each in said["fits"]:
        scope = {str(axis): int(place) for axis, place in each["scope"].items()}
        found.append(Fit(str(each["name"]), {}, int(each["seed"]), scope))
    if not found:
        raise ValueError("it names no fit")
    return found


def combiners_of(said: dict[str, Any]) -> dict[str, str]:
    """Return axis -> the plugin that combines what lies along it, as predict.json says."""
    return {str(each["name"]): str(each["combined_by"]) for each in said["axes"]}


def read_arrays(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of what plugins remember.

    Raises:
        ModelError: They are not what was written.
    """
    if ARRAYS not in said["files"]:
        return {}
    try:
        check_file(folder / ARRAYS, written_from(said["files"][ARRAYS]))
        tensor_files.check_tensors(folder / ARRAYS)
        return dict(tensor_files.read_tensors(folder / ARRAYS))
    except (CheckpointError, OSError, ValueError) as error:
        raise ModelError(f"{error}; {_again(folder)}") from error


def read_predicted(folder: Path, said: dict[str, Any]) -> dict[str, Predictions]:
    """Return what the models of a run said of its rows to predict, by set name.

    Raises:
        ModelError: It is not what was written.
    """
    if PREDICTED not in said["files"]:
        return {}
    place = folder / PREDICTED
    try:
        wanted = written_from(said["files"][PREDICTED])
        check_file(place, wanted)
        return ledger.unpacked(read_file(place, CheckpointError, wanted.size, links=False))
    except CheckpointError as error:
        raise ModelError(f"{error}; {_again(folder)}") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{place}: expected predictions, got something else ({error}); {_again(folder)}") from error


def _damaged(error: Exception) -> str:
    return f"expected how the models of a run predict together, got a damaged file ({error})"


def _again(folder: Path) -> str:
    return f"`stepbus train … --resume {folder}` writes it anew"
