"""The exponential moving average against PyTorch's and against float64 by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepbus import import_module
from stepbus.testing import assert_conforms
from stepbus_plugins.ema import Ema

averages = import_module(str(Path(__file__).parents[1] / "fixtures" / "averages.py"))


def ema(**settings: Any) -> Ema:
    return Ema(Ema.Config(**settings))


def by_hand(decay: float, *, warmup: bool = False, from_step: int = 0, updates: int = averages.UPDATES) -> Any:
    """The definition, in float64."""
    found = {name: values[from_step].astype(np.float64) for name, values in averages.PATH.items()}
    for number in range(1, updates - from_step + 1):
        kept = min(decay, (1 + number) / (10 + number)) if warmup else decay
        found = {
            name: kept * mean + (1 - kept) * averages.PATH[name][from_step + number] for name, mean in found.items()
        }
    return found


def close(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name].dtype == np.float32
        # Numbers of size 1: a few roundings of float32 (6e-8) in each of 20 updates, which the decay forgets.
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=5e-7, err_msg=name)


@pytest.mark.parametrize("compiled", [True, False])
def test_it_is_pytorchs_average(compiled: bool) -> None:
    close(averages.averaged(ema(decay=0.9, warmup=False), compiled=compiled), averages.arrays_of("ema_plain"))
    close(averages.averaged(ema(decay=0.9), compiled=compiled), averages.arrays_of("ema"))


@pytest.mark.parametrize(
    "settings",
    [
        {"decay": 0.999, "warmup": False},
        {"decay": 0.999, "warmup": True},
        {"decay": 0.5, "warmup": True},
        {"decay": 0.9, "warmup": False, "from_step": 7},
        {"decay": 0.9, "warmup": True, "from_step": 19},
    ],
)
def test_it_is_the_definition_in_float64(settings: dict[str, Any]) -> None:
    close(averages.averaged(ema(**settings)), by_hand(**settings))


@pytest.mark.parametrize("settings", [{"from_step": 12}, {"decay": 0.0, "warmup": False}])
def test_before_it_begins_the_weights_are_those_of_the_update_to_the_bit(settings: dict[str, Any]) -> None:
    found = averages.averaged(ema(**settings), updates=11)
    assert all(np.array_equal(found[name], values[11]) for name, values in averages.PATH.items())


def test_what_never_moved_keeps_its_bits_and_what_began_late_is_averaged_from_where_it_stood() -> None:
    found = averages.averaged(ema(decay=0.9))
    path = averages.PATH
    assert np.array_equal(found["frozen.weight"], path["frozen.weight"][0])
    assert np.array_equal(path["late.weight"][0], path["late.weight"][8])
    early = averages.averaged(ema(decay=0.9), updates=8)
    assert np.array_equal(early["late.weight"], path["late.weight"][0])
    assert not np.array_equal(found["late.weight"], path["late.weight"][0])


def test_the_arrays_are_float32_whatever_the_weights_are() -> None:
    import mlx.core as mx

    low = {"w": mx.array([1.0, 2.0], dtype=mx.bfloat16)}
    fit = averages.trainer()
    fit.optimizer.trained = lambda model: low
    arrays, follow, weights = ema(decay=0.99, warmup=False).after_update(fit)
    for _ in range(3):
        arrays = follow({"w": mx.array([2.0, 2.0], dtype=mx.bfloat16)}, arrays)
    found = weights(low, arrays)["w"]
    assert found.dtype == mx.float32
    np.testing.assert_allclose(np.array(found), [2 - 0.99**3, 2.0], rtol=1e-6)


def test_an_average_that_never_begins_is_a_problem_of_the_plan() -> None:
    plan = SimpleNamespace(total_steps=20)
    assert ema(from_step=19).validate_plan(plan) is None
    (problem,) = ema(from_step=20).validate_plan(plan)  # type: ignore[misc]
    assert (problem.path, problem.message) == (
        ".from_step",
        "expected fewer than the 20 updates of the fit, got 20; the average would never begin",
    )
    assert ema(from_step=20).validate_plan(SimpleNamespace(total_steps=0)) is None  # nobody can count them


def test_an_average_that_hardly_moves_is_said() -> None:
    fit = averages.trainer()
    ema(decay=0.999, warmup=False).on_fit_start(fit, fit.state)
    assert fit.said == [
        (
            "plugins.ema.decay: 98% of the average will still be the weights that it begins with, after 20 updates at "
            "0.999; lower decay, or set warmup: true",
            "warning",
        )
    ]
    for settings in ({"decay": 0.999}, {"decay": 0.9, "warmup": False}):
        fit = averages.trainer()
        ema(**settings).on_fit_start(fit, fit.state)
        assert fit.said == []


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(Ema, {"decay": 0.9, "warmup": False, "from_step": 1})


def test_nothing_of_it_is_imported_with_a_configuration() -> None:
    assert "stepbus_plugins.ema" in sys.modules  # and it names no MLX at its top
    assert not hasattr(sys.modules["stepbus_plugins.ema"], "mx")
