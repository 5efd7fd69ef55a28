"""Clipping against float64 NumPy, and that a norm that is no number stays visible."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stepbus import Optimizer, ParameterUpdater
from stepbus.compute.checks import all_finite
from stepbus_plugins.gradient_clipping import GradientClipping


class Plain(Optimizer):
    """Subtracts the gradient."""

    def init(self, parameter: mx.array) -> dict[str, mx.array]:
        return {}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        return parameter - gradient, state


class Fit:
    """What the plugin sees of a trainer."""

    def __init__(self, parameters: Any) -> None:
        self.optimizer = ParameterUpdater(Plain(), 1.0)
        self.optimizer.init(parameters)


def clipped(gradients: Any, *, compiled: bool = False, **options: Any) -> tuple[list[np.ndarray[Any, Any]], float]:
    clip = GradientClipping(GradientClipping.Config(**options)).transform_gradients(Fit(gradients))
    after, scalars = (mx.compile(clip) if compiled else clip)(gradients)
    assert list(scalars) == ["gradient_norm"]
    assert scalars["gradient_norm"].dtype == mx.float32
    return [np.array(array) for _, array in tree_flatten(after)], scalars["gradient_norm"].item()


def gradients(seed: int, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"table": (300, 16), "norm": {"weight": (16,)}, "layers": [{"weight": (16, 16)}, {"bias": (1,)}]}

    def fill(shape: Any) -> Any:
        if isinstance(shape, tuple):
            return mx.array((scale * rng.normal(size=shape)).astype(np.float32))
        return {k: fill(v) for k, v in shape.items()} if isinstance(shape, dict) else [fill(v) for v in shape]

    return fill(shapes)


def reference(tree: Any) -> tuple[list[np.ndarray[Any, Any]], float]:
    arrays = [np.array(array, dtype=np.float64) for _, array in tree_flatten(tree)]
    return arrays, math.sqrt(sum(float((array**2).sum()) for array in arrays))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3), st.floats(1e-2, 1e2))
def test_by_norm(seed: int, scale: float, max_norm: float) -> None:
    given_tree = gradients(seed, scale)
    arrays, norm = reference(given_tree)
    after, logged = clipped(given_tree, max_norm=max_norm)
    assert logged == pytest.approx(norm, rel=1e-5)
    factor = min(1.0, max_norm / (norm + 1e-6))
    for before, now in zip(arrays, after, strict=True):
        np.testing.assert_allclose(now, before * factor, rtol=1e-5)


def test_compiled_is_the_same() -> None:
    (eager, eager_norm), (compiled, compiled_norm) = (clipped(gradients(1), compiled=now) for now in (False, True))
    assert compiled_norm == eager_norm
    for before, now in zip(eager, compiled, strict=True):
        assert np.array_equal(before, now)


def test_a_small_gradient_is_left_as_it_is() -> None:
    given_tree = gradients(0, 1e-4)
    after, _ = clipped(given_tree)
    for (_, before), now in zip(tree_flatten(given_tree), after, strict=True):
        assert np.array_equal(np.array(before), now)


def test_by_value_then_by_norm() -> None:
    given_tree = {"a": mx.array([3.0, -4.0, 0.1]), "b": mx.array([[0.0, 12.0]])}
    after, norm = clipped(given_tree, max_norm=None, max_value=0.5)
    assert norm == 13.000384330749512  # of what came in; sqrt(169.01) in float32
    assert [now.tolist() for now in after] == [[0.5, -0.5, np.float32(0.1)], [[0.0, 0.5]]]
    after, norm = clipped(given_tree, max_norm=0.5, max_value=0.5)
    assert norm == 13.000384330749512
    assert math.sqrt(sum(float((now**2).sum()) for now in after)) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 3e38])
def test_a_norm_that_is_no_number_is_seen_and_hides_nothing(bad: float) -> None:
    given_tree = {"a": mx.array([1.0, 2.0]), "b": mx.array([[bad, 2.0]])}
    after, norm = clipped(given_tree)
    assert not math.isfinite(norm)
    assert after[0].tolist() == [1.0, 2.0]
    assert np.array_equal(after[1], np.array([[bad, 2.0]], np.float32), equal_nan=True)


def test_the_norm_of_a_large_table_keeps_its_digits() -> None:
    table = np.random.default_rng(0).normal(size=(20000, 384)).astype(np.float32)
    _, norm = clipped({"table": mx.array(table)})
    assert norm == pytest.approx(float(np.linalg.norm(table.astype(np.float64))), rel=1e-5)


def test_half_precision_gradients_keep_their_type() -> None:
    given_tree = {"a": mx.full((300, 300), 2.0, dtype=mx.float16)}
    clip = GradientClipping(GradientClipping.Config()).transform_gradients(Fit(given_tree))
    after, scalars = clip(given_tree)
    assert after["a"].dtype == mx.float16
    assert scalars["gradient_norm"].item() == pytest.approx(600.0)  # the sum of squares, 360000, is past float16


def test_a_plan_that_clips_nothing_is_refused() -> None:
    (problem,) = GradientClipping(GradientClipping.Config(max_norm=None)).validate_plan()
    assert str(problem).startswith(".: expected max_norm or max_value, got neither")
    assert GradientClipping(GradientClipping.Config()).validate_plan() == []


def test_the_norm_costs_no_second_pass_beside_the_engines_look_at_the_gradients(tmp_path: Path) -> None:
    fit = Fit(gradients(0))
    clip = GradientClipping(GradientClipping.Config(max_norm=1.0)).transform_gradients(fit)

    def passes(step: Any) -> int:
        graph = tmp_path / "graph.dot"
        mx.export_to_dot(str(graph), mx.compile(step)(gradients(1)))
        return len(re.findall(r'label *= *"Sum', graph.read_text()))

    def both(given: Any) -> Any:
        finite, (after, named) = all_finite(given, over=fit.optimizer.map), clip(given)
        return finite, after, named

    assert passes(both) - passes(clip) < 2  # that of all arrays together
    assert passes(clip) > 2
