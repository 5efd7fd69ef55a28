"""Head and loss are asked once before the training: what rows give must be their own, and of the form of the labels.

Padded rows fill a batch up, and their losses weigh 0. A loss or a prediction that looks at other rows would count them
all the same, and no shape tells.
"""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np

from stepbus.base import ModelError
from stepbus.base.guards import Maker
from stepbus.compute import LossFunction
from stepbus.compute.checks import called, maker_of, pooled_width, shape_of, shown

ROWS = 3


def check_head(model: Any) -> None:
    """Ask a head for the losses and the predictions of a few rows that are made up.

    Args:
        model: The classifier, in training mode.

    Raises:
        ModelError: It raised, gave other shapes, or the rows depend on each other.
    """
    maker, draw = maker_of(model, "head"), np.random.default_rng(0)
    width = pooled_width(model.encoder, getattr(model, "pooling", None))
    pooled, others = (mx.array(draw.normal(size=(ROWS, width)).astype(np.float32)) for _ in range(2))
    logits, changed = (called(model, "head", rows) for rows in (pooled, others))
    if shape_of(logits)[:1] != (ROWS,):
        raise maker.fault(f"expected logits for each of {ROWS} rows, got {shown(logits)}", ModelError)
    logits, changed = logits.astype(mx.float32), changed.astype(mx.float32)
    # The rows but for the last one are the same.
    changed = mx.concatenate([logits[:-1], changed[-1:]])
    labels = labels_of(model.task, model.outputs)
    for method, more in (("loss", (labels,)), ("predictions", ())):
        first, second = (_said(model, method, rows, *more) for rows in (logits, changed))
        wanted = (ROWS,) if method == "loss" else (ROWS, model.outputs)
        _look_at(maker, f"{method}: ", wanted, first, second)


def check_loss(loss: LossFunction, maker: Maker, task: str, outputs: int) -> None:
    """Ask a loss for those of a few rows that are made up.

    Args:
        loss: The loss.
        maker: How messages name it, and whom it comes from.
        task: What the labels are.
        outputs: Size of the logits' last axis.

    Raises:
        ModelError: It raised, gave other shapes, or the rows depend on each other.
    """
    draw = np.random.default_rng(0)
    logits, others = (mx.array(draw.normal(size=(ROWS, outputs)).astype(np.float32)) for _ in range(2))
    changed, said = mx.concatenate([logits[:-1], others[-1:]]), list[Any]()
    for rows in (logits, changed):
        mx.random.seed(0)
        with maker.calling("its call", ModelError):
            said.append(loss(rows, labels_of(task, outputs)))
            mx.eval(said[-1])
    _look_at(maker, "", (ROWS,), *said)


def _look_at(maker: Maker, what: str, wanted: tuple[int, ...], first: Any, second: Any) -> None:
    """Refuse what a part said of rows where it has another form, or changes with the last row alone."""
    if shape_of(first) != wanted:
        expected = f"one for each row, [{ROWS}]" if len(wanted) == 1 else f"[B, K], here {list(wanted)}"
        raise maker.fault(f"{what}expected {expected}, got {shown(first)}", ModelError)
    if not mx.issubdtype(first.dtype, mx.floating):
        kind = str(first.dtype).rpartition(".")[2]
        raise maker.fault(f"{what}expected floating-point numbers, got {kind}", ModelError)
    if not np.allclose(np.array(first)[:-1], np.array(second)[:-1], rtol=1e-4, atol=1e-6, equal_nan=True):
        words = "expected each row to say what it says whatever the other rows of the batch are, because some of "
        words += "them are padding, got numbers that change with other rows"
        raise maker.fault(f"{what}{words}; compute along the last axis alone", ModelError)


def _said(model: Any, method: str, *arguments: mx.array) -> Any:
    mx.random.seed(0)  # each step seeds itself; what is drawn here shall be drawn alike
    found = called(model, "head", *arguments, method=method)
    with maker_of(model, "head").calling(method, ModelError):
        mx.eval(found)
    return found


def labels_of(task: str, outputs: int) -> mx.array:
    """Return labels of a few rows, as a loss takes them."""
    if task in ("binary", "multiclass"):
        return mx.array([row % outputs for row in range(ROWS)], dtype=mx.int32)
    shape = (ROWS,) if task == "regression" and outputs == 1 else (ROWS, outputs)
    return mx.ones(shape)
