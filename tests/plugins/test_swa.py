"""Stochastic weight averaging against PyTorch's and against a mean by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepbus import BadInput, import_module
from stepbus.testing import assert_conforms
from stepbus_plugins.swa import Swa

averages = import_module(str(Path(__file__).parents[1] / "fixtures" / "averages.py"))


def swa(**settings: Any) -> Swa:
    return Swa(Swa.Config(**settings))


def close(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys()
    for name in found:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=5e-7, err_msg=name)


@pytest.mark.parametrize("compiled", [True, False])
def test_it_is_pytorchs_mean(compiled: bool) -> None:
    close(averages.averaged(swa(from_step=5, every=3), compiled=compiled), averages.arrays_of("swa"))


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        ({}, [5, 10, 15, 20]),
        ({"from_epoch": 3}, [15, 20]),
        ({"from_epoch": 4}, [20]),
        ({"from_epoch": 3, "every": 2}, [12, 14, 16, 18, 20]),
        ({"from_step": 0, "every": 1}, list(range(1, 21))),
        ({"from_step": 7}, [12, 17]),
        ({"every": 6}, [6, 12, 18]),
    ],
)
def test_it_is_the_mean_of_the_weights_at_these_updates(settings: dict[str, Any], points: list[int]) -> None:
    wanted = {name: values[points].astype(np.float64).mean(axis=0) for name, values in averages.PATH.items()}
    close(averages.averaged(swa(**settings)), wanted)


def test_until_it_begins_the_weights_are_those_of_the_update_and_the_first_one_is_taken_to_the_bit() -> None:
    for updates in (1, 4, 5):
        found = averages.averaged(swa(), updates=updates)
        assert all(np.array_equal(found[name], values[updates]) for name, values in averages.PATH.items())
    found = averages.averaged(swa(), updates=9)  # between two of them the mean stays as it is
    assert all(np.array_equal(found[name], values[5]) for name, values in averages.PATH.items())


def test_what_never_moved_keeps_its_bits_and_what_began_late_counts_with_where_it_stood() -> None:
    found, path = averages.averaged(swa()), averages.PATH
    assert np.array_equal(found["frozen.bias"], path["frozen.bias"][0])
    np.testing.assert_allclose(
        found["late.weight"], path["late.weight"][[5, 10, 15, 20]].astype(np.float64).mean(axis=0), atol=5e-7
    )


@pytest.mark.parametrize(
    ("settings", "path", "words"),
    [
        (
            {"from_epoch": 5},
            "from_epoch",
            "expected an epoch of the fit, which has 4, got 5; nothing would be averaged",
        ),
        ({"from_step": 20}, "from_step", "expected fewer than the 20 updates of the fit, got 20; nothing would be"),
    ],
)
def test_a_mean_that_never_begins_is_a_problem_of_the_plan(settings: dict[str, Any], path: str, words: str) -> None:
    training = SimpleNamespace(training=SimpleNamespace(num_epochs=4))
    plan = SimpleNamespace(total_steps=20, config=training)
    (problem,) = swa(**settings).validate_plan(plan)  # type: ignore[misc]
    assert problem.path == f".{path}"
    assert problem.message.startswith(words)
    assert swa(from_epoch=4).validate_plan(plan) is None
    assert swa(from_step=19).validate_plan(plan) is None


def test_both_beginnings_are_refused() -> None:
    config = Swa.Config(from_epoch=1, from_step=2)
    assert config.problems() == [("from_step", "expected from_epoch or from_step, got both; leave one out")]
    assert Swa.Config(from_step=2).problems() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"from_epoch": 4}, "one set of weights alone"), ({"every": 21}, "no weights"), ({"from_epoch": 3}, "")],
)
def test_a_mean_of_nothing_or_of_one_is_said(settings: dict[str, Any], said: str) -> None:
    fit = averages.trainer()
    swa(**settings).on_fit_start(fit, fit.state)
    assert [words.removeprefix("plugins.swa: ").partition(" will")[0] for words, _ in fit.said] == [said] * bool(said)


def test_epochs_that_nobody_can_count_want_steps() -> None:
    with pytest.raises(BadInput, match=r"^\.: expected from_step and every, in updates, because nobody can"):
        swa().after_update(averages.trainer(steps_per_epoch=0))
    fit = averages.trainer(steps_per_epoch=0)
    assert swa(from_step=3, every=2).rhythm(fit.state) == (3, 2)


def test_fits_of_another_rhythm_are_not_alike() -> None:
    one, other = (averages.trainer(steps_per_epoch=steps) for steps in (5, 6))
    assert swa().trace_key(one) == swa(from_epoch=1, every=5).trace_key(one)
    assert swa().trace_key(one) != swa().trace_key(other)


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(Swa, {"from_step": 1, "every": 2})
