"""The files of a run beside its tensors, in bytes: tokenizers, settings, tables of rows, predictions, histories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.fit import computing_facts, plugin_table
from stepbus.fit.opened import prediction_tree
from stepbus.storage import to_json

if TYPE_CHECKING:
    from stepbus.fit import Exported, FitSession
    from stepbus.kernel import Fit

# Bytes, as runs have them: what a manifest or stepbus.json says of a file, and an array of a .npz beside its numbers.
_OF_A_FILE, _OF_AN_ARRAY = 126, 262
# Of a logged record: its line in history.jsonl and in history.csv, and its place in result.json and in state.json.
_LOGGED_LINES, _LOGGED_KEPT, _LOGGED_STATE = 398 + 189, 165, 180
# Of a metric and of an evaluation beside it, in the same places.
_METRIC_LINES, _METRIC_KEPT, _METRIC_STATE = 32 + 19, 37, 39
_EVALUATED_LINES, _EVALUATED_KEPT, _EVALUATED_STATE = 110 + 45, 60, 66
_EPOCH_LINES, _EPOCH_KEPT, _EPOCH_STATE = 80 + 50, 90, 95
# What is always there: ends and heads of histories, fit.json, result.json, tables of metrics; the same of a run's own.
_OF_A_FIT, _OF_A_SET, _OF_A_RESULT = 230 + 460 + 700, 260, 1500 + 170
_OF_A_RUN, _FIT_IN_RUN = 2000, 330
_OF_A_STATE, _OF_A_MANIFEST, _OF_A_DESCRIPTION = 900, 280, 130
# A row in a table of predictions.
_PREDICTED_ROW = 40


@frozen
class Tensors:
    """The files of tensors, in bytes.

    Args:
        weights: The exported model's, which a checkpoint has too.
        optimizer: The optimizer's state and what plugins keep with it.
        keeps_best: Whether a plugin may ask for the best weights, which checkpoints then keep beside the present ones.
        averages: Whether averages of the weights are evaluated, which checkpoints have besides.
        training: The tensors that a checkpoint has besides where a model is exported as something else than is trained.
        best: The best weights where they lie beside the present ones; None: those that an exported model would have.
    """

    weights: int
    optimizer: int
    keeps_best: bool = False
    averages: bool = False
    training: int = 0
    best: int | None = None


@frozen
class Beside:
    """The files beside tensors, in bytes.

    Args:
        checkpoint: Those of a whole checkpoint.
        to_use: Those of one that is there to be used only.
        model: Those of an exported model.
        fit: Those of a fit that come while it trains: its rows and its history.
        done: Those that come when it is done: its predictions and its result.
        run: Those of the run itself.
    """

    checkpoint: int = 0
    to_use: int = 0
    model: int = 0
    fit: int = 0
    done: int = 0
    run: int = 0


def beside(session: FitSession, exported: Exported, tensors: Tensors) -> Beside:
    """Return the sizes of the other files of a fit and of its run.

    Args:
        session: The fit, its data prepared.
        exported: What its model's folder holds beside weights.
        tensors: The files of tensors.
    """
    config, fit, count = session.config, session.fit, len(session.directions) + 1
    plugins = _said(plugin_table(session.members))
    facts = plugins + _said(config.deciding()) + _said(computing_facts(config)) + _said(session.data.digests())
    described = plugins + _said(prediction_tree(config, session.data.task)) + _said(exported.state)
    described += _OF_A_DESCRIPTION + 36 * count
    copied = _said(exported.config, nested=False) + sum(len(content) for content in exported.files.values())
    seen = _lineage(session)
    carried = copied + described + seen
    names = len(exported.files) + 3  # config.json, stepbus.json and lineage.npz
    tensor_files = 2 + tensors.keeps_best + tensors.averages + bool(tensors.training)
    logged, evaluated, epochs = _records(session)
    state = _OF_A_STATE + 40 * count + logged * _LOGGED_STATE + evaluated * (_EVALUATED_STATE + count * _METRIC_STATE)
    state += epochs * _EPOCH_STATE
    to_use = carried + _OF_AN_ARRAY + facts + _OF_A_MANIFEST + _OF_A_FILE * (names + 2)
    lines = logged * _LOGGED_LINES + evaluated * (_EVALUATED_LINES + count * _METRIC_LINES)
    lines += epochs * _EPOCH_LINES
    result = _OF_A_RESULT + 36 * count + logged * _LOGGED_KEPT + evaluated * (_EVALUATED_KEPT + count * _METRIC_KEPT)
    result += epochs * _EPOCH_KEPT
    return Beside(
        to_use + state + _OF_A_FILE * tensor_files,
        to_use,
        carried + _OF_A_FILE * names,
        _OF_A_FIT + 36 * count + lines + _rows(fit),
        result + _predictions(session),
        _OF_A_RUN + facts + _said(config.deciding()) + _FIT_IN_RUN * len(session.run.fits) + _of_all(session),
    )


def _said(value: Any, *, nested: bool = True) -> int:
    """Return the bytes of a value in a file of JSON, within another one or by itself."""
    content = to_json(value)
    return len(content) + (2 * content.count("\n") if nested else 0)


def _records(session: FitSession) -> tuple[int, int, int]:
    """Return how many records a fit logs, how many evaluations it has, and how many epochs end in it."""
    training, state = session.config.training, session.state
    total, per_epoch = state.total_steps, state.steps_per_epoch
    every = training.eval_steps if training.eval_strategy == "steps" else per_epoch
    seen = session.fit.monitored is not None and training.eval_strategy != "no" and every
    return total // training.log_steps, total // every if seen else 0, total // per_epoch if per_epoch else 0


def _ids(ids: Any) -> int:
    """Return the bytes of row ids in a file; those that are text are told by the first ones."""
    if ids.dtype.kind != "O":
        return int(ids.nbytes)
    first = ids[:100].tolist()
    return round(len(ids) * (sum(len(str(each)) + 7 for each in first) / max(len(first), 1)))


def _rows(fit: Fit) -> int:
    """Return the bytes of rows.npz: source, place and mark of each row, and its id where that is not its number."""
    total = 0
    for rows in fit.sets.values():
        total += _OF_A_SET
        if not hasattr(rows, "pieces"):
            continue
        total += len(rows) * (4 + 8 + 8) + 3 * _OF_AN_ARRAY
        if rows.ids.dtype.kind == "O" or not np.array_equal(rows.ids, np.arange(len(rows))):
            total += _ids(rows.ids) + _OF_AN_ARRAY
        kept = [array for name in ("weights", "soft") if (array := getattr(rows, name)) is not None]
        total += sum(array.nbytes + _OF_AN_ARRAY for array in kept)
    return total


def _answers(session: FitSession, name: str) -> int:
    """Return the bytes of the predictions of a set."""
    rows, fit = session.fit.sets[name], session.fit
    if not hasattr(rows, "pieces"):
        return 0
    outputs = max(int(getattr(getattr(session.data, "codec", None), "outputs", 1)), 2)
    columns = 3 if fit.is_labelled(name) else 2
    return len(rows) * (4 * outputs + 4 * (columns - 2)) + _ids(rows.ids) + columns * _OF_AN_ARRAY


def _scored(session: FitSession) -> list[str]:
    fit = session.fit
    return [name for name in fit.sets if {"score", "predict"} & set(fit.roles_of(name))]


def _predictions(session: FitSession) -> int:
    return sum(_answers(session, name) for name in _scored(session))


def _of_all(session: FitSession) -> int:
    """Return the bytes of the run's own predictions: of rows to predict, and of those that its fits share out."""
    fits, total = [fit for fit in session.run.fits if not fit.auxiliary], 0
    for name in _scored(session):
        rows = session.fit.sets[name]
        if not hasattr(rows, "pieces"):
            continue
        if session.fit.is_labelled(name):
            dealt = sum(len(fit.sets[name]) for fit in fits if name in fit.sets) if len(fits) > 1 else 0
            total += dealt * _PREDICTED_ROW
        else:
            total += _answers(session, name) + len(rows) * _PREDICTED_ROW
    return total


def _lineage(session: FitSession) -> int:
    """Return the bytes of lineage.npz: digests of rows, and their places as ranges."""
    names = {name for name in session.fit.sets if "train" in session.fit.roles_of(name)}
    if session.fit.monitored is not None and session.run.deciding:
        names.add(session.fit.monitored)
    places: dict[str, list[Any]] = {}
    for name in names:
        for piece, _ in getattr(session.fit.sets[name], "pieces", ()):
            places.setdefault(piece.source_key, []).append(piece.places)
    total = _OF_AN_ARRAY
    for found in places.values():
        rows = np.unique(np.concatenate(found))
        ranges = 1 + int(np.count_nonzero(np.diff(rows) != 1))
        total += 8 * len(rows) + 16 * ranges + 2 * _OF_AN_ARRAY + 20
    return total
