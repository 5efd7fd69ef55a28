"""A component tried out with its default settings, on arrays of a few rows, as a fit would use it."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from stepbus.author.kinds.reader_trial import trial_of_reader
from stepbus.base import (
    Component,
    ModelError,
    PluginError,
    PluginFailure,
    Selected,
    StepbusError,
    did_you_mean,
    error_words,
    show_python,
)

ROWS, LENGTH, WIDTH, LAYERS, STEPS = 3, 5, 8, 6, 10
# Task -> outputs of a head for it.
OUTPUTS = {"binary": 2, "multiclass": 3, "multilabel": 2, "regression": 1}


def kind_problem(part: Component) -> str:
    """Return that a component's kind looks like a misspelt one, or nothing; a plugin may have kinds of its own."""
    near = "" if part.kind in TRIALS else did_you_mean(part.kind, TRIALS)
    return f"expected a known kind, got {part.kind!r}{near}; known: {', '.join(TRIALS)}" if near else ""


def trial_problem(part: Component) -> str:
    """Return what is wrong with what a component builds, or nothing; one that needs settings is passed over.

    Args:
        part: The component; its settings and its facts are looked at already.
    """
    if part.kind not in TRIALS:
        return ""  # one that a setting of the plugin's own picks
    try:
        settings = part.config()
    except Exception:
        return ""
    try:
        return TRIALS[part.kind](Selected(part, settings))
    except KeyboardInterrupt:
        raise
    except (PluginError, PluginFailure) as error:
        where = f"the {part.kind} {part.name!r}"
        return str(error).removeprefix(f"{where}: ").removeprefix(f"{where} ")
    except StepbusError:
        return ""  # it refuses on purpose: other settings, or other labels, would do
    except BaseException as error:  # one that exits must not take the command with it
        return error_words(error)


def _scheduler(selected: Selected) -> str:
    from stepbus.compute import Scheduler

    schedule = selected.build_a(Scheduler)
    for step in range(STEPS):
        rate = schedule.rate(step, STEPS, 1e-3)
        if isinstance(rate, bool) or not isinstance(rate, Real) or not math.isfinite(rate) or rate < 0:
            return f"expected its rate of update {step + 1} as a finite number of at least 0, got {show_python(rate)}"
    return ""


def _optimizer(selected: Selected) -> str:
    from stepbus.compute import Optimizer, ParameterUpdater
    from stepbus.device import backend
    from stepbus.fit.using import IN_METADATA

    mx, draw = backend.mx, np.random.default_rng(0)

    def tree(scale: float) -> dict[str, Any]:
        numbers = {"weight": draw.normal(size=(4, ROWS)), "bias": draw.normal(size=4)}
        return {name: mx.array((scale * array).astype(np.float32)) for name, array in numbers.items()}

    parameters: Any = {"dense": tree(1.0)}
    made = ParameterUpdater(selected.build_a(Optimizer), 1e-3, 0.01)
    made.init(parameters)
    before = {name: (array.shape, array.dtype) for name, array in made.arrays().items()}
    for _ in range(2):
        new, done = made.applied({"dense": tree(0.1)}, parameters)
        for name, array in parameters["dense"].items():
            got = new["dense"].get(name)
            if not isinstance(got, mx.array) or got.shape != array.shape:
                return f"update: expected a parameter of shape {list(array.shape)}, got {_shown(got)}"
            if not (np.array(done) and np.isfinite(np.array(got)).all()):
                return "update: expected finite numbers from finite gradients, got others"
        parameters = new
    after = {name: (array.shape, array.dtype) for name, array in made.arrays().items()}
    if before != after:
        name = next(name for name in {**before, **after} if before.get(name) != after.get(name))
        return f"update: expected the state that init gave, with other numbers in it, got another {name}"
    if made.averages.optimizer is None:
        return ""
    if not selected.component.metadata.get("averages"):
        return f"it has weights(parameter, state), and does not declare it; write {IN_METADATA} in its Component"
    flat = {f"dense.{name}": array for name, array in parameters["dense"].items()}
    found = made.averages.of(flat)
    finite = all(np.isfinite(np.array(array)).all() for array in found.values())
    return "" if finite else "weights: expected finite numbers of finite parameters, got others"


def _head(selected: Selected) -> str:
    from stepbus.compute.models import built_part, check_head
    from stepbus.device import backend

    mx, draw = backend.mx, np.random.default_rng(0)
    task = selected.component.metadata.get("task") or "binary"
    outputs = OUTPUTS[task]
    head: Any = built_part(selected, WIDTH, outputs)
    logits = head(mx.array(draw.normal(size=(ROWS, WIDTH)).astype(np.float32)))
    if _shape(logits) != (ROWS, outputs):
        return f"expected logits [B, K], here {[ROWS, outputs]}, got {_shown(logits)}"
    try:
        check_head(SimpleNamespace(encoder=SimpleNamespace(hidden_size=WIDTH), head=head, task=task, outputs=outputs))
    except ModelError as error:  # as a run would refuse it
        return str(error).removeprefix(f"the head {type(head).__name__}: ")
    if not np.isfinite(np.array(head.predictions(logits).astype(mx.float32))).all():
        return "predictions: expected finite numbers, got others"
    return ""


def _pooling(selected: Selected) -> str:
    from stepbus.compute.models import build_pooling, check_pooling
    from stepbus.device import backend

    mx, draw = backend.mx, np.random.default_rng(0)
    pooling: Any = build_pooling(selected, WIDTH, LAYERS)
    mask = np.ones((ROWS, LENGTH), np.int32)
    mask[1, 2:], mask[2] = 0, 0
    every = bool(getattr(pooling, "all_layers", False))
    states = [mx.array(draw.normal(size=(ROWS, LENGTH, WIDTH)).astype(np.float32)) for _ in range(1 + every * LAYERS)]
    pooled = pooling(states if every else states[0], mx.array(mask))
    width = getattr(pooling, "output_size", None) or WIDTH
    if _shape(pooled) != (ROWS, width):
        return f"expected [B, D], here {[ROWS, width]}, got {_shown(pooled)}"
    if not np.isfinite(np.array(pooled.astype(mx.float32))).all():
        return "expected finite numbers for a row without any token, as padded rows are, got others"
    try:
        check_pooling(pooling, pooling, selected.maker, WIDTH, LAYERS + 1 if every else None)
    except ModelError as error:  # as a run would refuse it
        return str(error).removeprefix(f"{selected.maker.said}: ")
    return ""


def _loss(selected: Selected) -> str:
    from stepbus.base import Components
    from stepbus.compute import LossFacts, built_loss
    from stepbus.compute.models import check_loss

    for task in selected.component.metadata["tasks"]:
        outputs = OUTPUTS[task]
        counts = None if task == "regression" else (2.0,) * outputs
        facts = LossFacts(task, tuple(map(str, range(outputs))), outputs, counts, 2.0 * outputs)
        loss = built_loss(Components(), selected, facts)
        try:
            if loss is not None:
                check_loss(loss, selected.maker, task, outputs)
        except ModelError as error:  # as a run would refuse it
            return f"{str(error).removeprefix(f'{selected.maker.said}: ')} (for {task})"
    return ""


def _metric(selected: Selected) -> str:
    from stepbus.fit import metric_values

    metric = selected.build()
    draw = np.random.default_rng(0)
    for task in selected.component.metadata["tasks"]:
        rows, outputs = 12, OUTPUTS[task]
        values = draw.random((rows, outputs))
        labels: Any = np.arange(rows) % outputs
        if task == "multilabel":
            labels = (draw.random((rows, outputs)) > 0.5).astype(np.int64)
        elif task == "regression":
            labels, values = draw.normal(size=rows), values[:, 0]
        else:
            values = values / values.sum(axis=1, keepdims=True)
        for name, value in metric_values([(selected.name, metric)], labels, values).items():
            if not isinstance(value, float):
                return f"expected numbers for {task}, got {show_python(value)} as {name}"
    return ""


def _data(selected: Selected) -> str:
    from stepbus.text import TextSource

    part = selected.build()
    missing = [name for name in ("fit", "texts", "state_dict", "load_state_dict") if not hasattr(part, name)]
    if isinstance(part, TextSource):
        return ""
    return f"expected its build to return a stepbus.TextSource, got {type(part).__name__} without {', '.join(missing)}"


def _model(selected: Selected) -> str:
    import inspect

    try:
        inspect.signature(selected.component.build).bind(selected.settings, outputs=2, head=None, seed=0)
    except TypeError as error:
        return f"expected build(settings, *, outputs, head, seed), got one that takes other arguments ({error})"
    except ValueError:
        return ""  # it does not say what it takes
    return ""


def _shape(value: Any) -> tuple[int, ...] | None:
    found = getattr(value, "shape", None)
    return None if found is None else tuple(found)


def _shown(value: Any) -> str:
    shape = _shape(value)
    return f"{list(shape)}" if shape is not None else f"a {type(value).__name__}"


TRIALS: dict[str, Callable[[Selected], str]] = {
    "model": _model,
    "head": _head,
    "pooling": _pooling,
    "loss": _loss,
    "optimizer": _optimizer,
    "scheduler": _scheduler,
    "metric": _metric,
    "data": _data,
    "reader": trial_of_reader,
}
