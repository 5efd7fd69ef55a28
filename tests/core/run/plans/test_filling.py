"""Fits that are filled once the fits before them are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus import Axis, DataError, Fit, FitResult, PluginError, Rows, hookimpl, import_module, join_rows
from stepbus.testing import planned, play

ROUNDS: Any = import_module(f"{__file__.partition('/core/')[0]}/fixtures/rounds.py")


def rows(name: str, number: int) -> Rows:
    frame = pd.DataFrame({"text": [f"{name} {n}" for n in range(number)], "label": [str(n % 2) for n in range(number)]})
    return Rows(frame, np.arange(number), f"{name}.csv", name, np.arange(1, number + 1))


@pytest.fixture
def sets() -> dict[str, Rows]:
    return {"train": rows("train", 8), "validation": rows("dev", 4), "test": rows("test", 6)}


SCRIPT: dict[str, Any] = {"metrics": [{"eval_loss": 0.5}]}


def fills(function: Callable[..., Any]) -> tuple[type, type]:
    """Return the plugin of two rounds, and one that fills the second with a function of fit and results."""

    class Fills:
        scope = "run"

        @hookimpl
        def fill_fit(self, fit: Fit, results: Mapping[str, FitResult]) -> Any:
            return function(fit, results)

    return ROUNDS.Rounds, Fills


def test_two_rounds_in_milliseconds(sets: dict[str, Rows]) -> None:
    played = play(ROUNDS.Rounds, sets=sets, **SCRIPT)
    first, second = played.run.results
    assert [(each.fit.name, len(each.fit.sets["train"]), each.steps) for each in (first, second)] == [
        ("round-1", 8, 10),
        ("round-2", 14, 5),
    ]
    trained = second.fit.sets["train"]
    assert trained.where(8) == "test.csv, row 1"
    said = first.predictions["test"].values
    assert trained.cells("label")[8:] == ["0" if no > yes else "1" for no, yes in said.tolist()]
    assert {*trained.cells("label")[8:]} == {"0", "1"}
    assert played.trainer.starts_from == str(first.model_path)
    assert played.result is not None
    assert [part.fit.name for part in played.result.parts] == ["round-1", "round-2"]
    assert played.run.fits[1] is second.fit


def test_only_fits_that_come_after_others_are_filled_and_with_their_results(sets: dict[str, Rows]) -> None:
    asked: list[tuple[str, list[str], bool]] = []

    def function(fit: Fit, results: Mapping[str, FitResult]) -> None:
        asked.append((fit.name, list(results), hasattr(results, "__setitem__")))

    play(*fills(function), sets=sets, **SCRIPT)
    assert asked == [("round-2", ["round-1"], False)]


def test_a_resumed_run_fills_its_fits_again(sets: dict[str, Rows]) -> None:
    def trained(played: Any) -> list[int]:
        return [len(result.fit.sets["train"]) for result in played.run.results]

    cut = play(ROUNDS.Rounds, sets=sets, interrupt_at=3, **SCRIPT)
    assert [event.name for event in cut.events].count("fill_fit") == 0
    again = play(ROUNDS.Rounds, sets=sets, resume_from=cut.checkpoints[-1], **SCRIPT)
    assert trained(again) == [8, 14]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "fit 'round-2': expected name as in the plan, 'round-2', got 'other'; leave it"),
        ({"seed": 3}, "expected seed as in the plan, 42, got 3"),
        ({"scope": {}}, "expected scope as in the plan, {'round': 1}, got {}"),
        ({"after": ()}, "expected after as in the plan, ('round-1',), got ()"),
        ({"starts_from": ""}, "expected starts_from as in the plan, 'round-1', got ''"),
        ({"overrides": {}}, "expected overrides as in the plan, {'optimizer.learning_rate': 0.001"),
        ({"sets": {}}, "expected the sets train, validation and test, got none; add rows to those there are"),
    ],
)
def test_what_the_plan_has_said_stays(change: dict[str, Any], words: str, sets: dict[str, Rows]) -> None:
    with pytest.raises(PluginError) as caught:
        play(*fills(lambda fit, results: evolve(fit, **change)), sets=sets, **SCRIPT)
    assert str(caught.value).startswith(f"fills, {__name__}: fill_fit: ")
    assert words in str(caught.value)


def test_rows_are_rows_and_scored_ones_stay(sets: dict[str, Rows]) -> None:
    def with_set(name: str, value: Any) -> tuple[type, type]:
        return fills(lambda fit, results: evolve(fit, sets={**fit.sets, name: value}))

    with pytest.raises(PluginError, match=r"sets\.train: expected Rows, got DataFrame"):
        play(*with_set("train", sets["train"].frame), sets=sets, **SCRIPT)
    with pytest.raises(PluginError, match=r"sets\.test: expected the rows of the plan, which are scored or predicted"):
        play(*with_set("test", sets["test"].take([0, 1])), sets=sets, **SCRIPT)
    played = play(*with_set("validation", sets["validation"].take([3])), sets=sets, **SCRIPT)  # which decides
    assert len(played.run.results[1].predictions["validation"].row_ids) == 1


def test_a_plan_does_not_fill(sets: dict[str, Rows]) -> None:
    fits = planned(ROUNDS.Rounds, sets=sets, **SCRIPT)
    assert [(fit.name, len(fit.sets["train"])) for fit in fits] == [("round-1", 8), ("round-2", 8)]


def test_a_bag_beside_rounds_and_an_auxiliary_fit(sets: dict[str, Rows]) -> None:
    played = play(ROUNDS.Helps, ROUNDS.Rounds, (ROUNDS.Bag, {"size": 3}), ROUNDS.BagMean, sets=sets, **SCRIPT)
    assert [fit.name for fit in played.run.fits] == [
        "helps",
        *[f"round-1-bag-{n}" for n in range(3)],
        *[f"round-2-bag-{n}" for n in range(3)],
    ]
    assert [len(fit.sets["train"]) for fit in played.run.fits] == [8, 8, 8, 8, 14, 14, 14]
    assert played.result is not None
    assert [part.fit.name for part in played.result.parts] == ["bag", "bag"]
    assert [[each.fit.seed for each in part.parts] for part in played.result.parts] == [[42, 43, 44]] * 2


def test_join_rows_by_their_spelling() -> None:
    ours, more = rows("train", 2), rows("test", 3)
    typed = evolve(more, frame=more.frame.assign(label=[0.0, 1.0, None]))
    joined = join_rows(ours, typed, {"label": [1, 0, 1]})
    assert joined.cells("label") == ["0", "1", "1", "0", "1"]
    assert joined.cells("text") == ["train 0", "train 1", "test 0", "test 1", "test 2"]
    with pytest.raises(DataError, match="expected 3 values, a row each, got 1"):
        join_rows(ours, more, {"label": ["1"]})


def test_the_axis_of_the_fixture_is_its_own() -> None:
    assert ROUNDS.Bag.grows == (Axis("bag", combined_by="bag_mean", after="member"),)


def test_a_run_is_cut_in_its_second_round_and_goes_on(sets: dict[str, Rows]) -> None:
    whole = play(ROUNDS.Rounds, sets=sets, **SCRIPT)
    cut = play(ROUNDS.Rounds, sets=sets, interrupt_at=("round-2", 3), **SCRIPT)
    assert (cut.status, cut.trainer.fit_name, cut.state.step) == ("interrupted", "round-2", 3)
    again = play(ROUNDS.Rounds, sets=sets, resume_from=cut.checkpoints[-1], **SCRIPT)
    assert again.moves == [f"{what} {number}" for number in (4, 5) for what in ("launch", "read")]
    for one, other in zip(whole.run.results, again.run.results, strict=True):
        assert one.fit.sets["train"].cells("label") == other.fit.sets["train"].cells("label")
        assert one.steps == other.steps
