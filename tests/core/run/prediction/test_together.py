"""Predictions of several fits put together: along each axis, innermost first, then finished."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import evolve

from stepbus import DataError, PluginError, PluginFailure, Predictions, hookimpl, mean_predictions
from stepbus.base.requests import Asker
from stepbus.kernel.fits import Fit
from stepbus.run.plans.predicted import predicted_sets
from stepbus.run.prediction.together import Together, as_decision
from stepbus.testing import Recorder, bus_of, play


def said(*values: float, ids: Any = None) -> Predictions:
    array = np.array(values)
    return Predictions(np.arange(len(array)) if ids is None else np.array(ids), array)


class MeanAlong:
    """Take the mean along any axis, and write down what was asked."""

    scope = "run"

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[dict[str, int]]]] = []

    @hookimpl
    def combine_predictions(self, axis: str, predictions: list[Predictions], fits: list[Fit]) -> Predictions:
        self.asked.append((axis, [dict(fit.scope) for fit in fits]))
        return mean_predictions(predictions)


def test_the_mean_of_a_row_depends_on_no_other_row() -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(17, 5)).astype(np.float32)
    whole = mean_predictions([Predictions(np.arange(5), row) for row in values]).values
    alone = [
        mean_predictions([Predictions(np.arange(1), row[place : place + 1]) for row in values]) for place in range(5)
    ]
    assert whole.dtype == np.float32
    assert whole.tobytes() == np.concatenate([each.values for each in alone]).tobytes()
    np.testing.assert_allclose(whole, values.astype(np.float64).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("other", [said(1.0, 2.0, 3.0), said(1.0, 2.0, ids=[1, 0])])
def test_the_mean_of_other_rows_is_refused(other: Predictions) -> None:
    with pytest.raises(DataError, match="expected predictions of the same 2 rows"):
        mean_predictions([said(1.0, 2.0), other])


def test_axes_are_combined_innermost_first() -> None:
    plugin = MeanAlong()
    fits = tuple(Fit(f"{m}-{f}", {}, 0, {"member": m, "fold": f}) for m in range(2) for f in range(2))
    combiners = {"fold": "mean_along", "member": "mean_along"}
    together = Together(bus_of(plugin), fits, combiners, {})
    found = together.combine(None, [said(0.0), said(2.0), said(4.0), said(8.0)])
    assert found.values.tolist() == [3.5]
    assert plugin.asked == [
        ("fold", [{"member": 0, "fold": 0}, {"member": 0, "fold": 1}]),
        ("fold", [{"member": 1, "fold": 0}, {"member": 1, "fold": 1}]),
        ("member", [{"member": 0}, {"member": 1}]),
    ]


def test_nobody_else_is_asked_than_who_combines_the_axis() -> None:
    fits = tuple(Fit(f"f{n}", {}, 0, {"fold": n}) for n in range(2))
    together = Together(bus_of(MeanAlong()), fits, {"fold": "another"}, {})
    with pytest.raises(PluginFailure, match="another combines the fits along fold, and gave no predictions for f0"):
        together.combine(None, [said(0.0), said(2.0)])


def test_a_fit_without_a_place_waits_for_the_outer_axis() -> None:
    fits = (
        Fit("a", {}, 0, {"member": 0, "fold": 0}),
        Fit("b", {}, 0, {"member": 0, "fold": 1}),
        Fit("c", {}, 0, {"member": 1}),
    )
    together = Together(bus_of(MeanAlong()), fits, {"fold": "mean_along", "member": "mean_along"}, {})
    assert together.combine(None, [said(0.0), said(2.0), said(5.0)]).values.tolist() == [3.0]


def test_finishing_is_threaded_and_sees_what_was_decided() -> None:
    class Adds:
        @hookimpl
        def finish_predictions(self, predictions: Predictions, decisions: Any) -> Predictions:
            with pytest.raises(TypeError):
                decisions["adds"] = 3
            return evolve(predictions, values=predictions.values + decisions["adds"])

    class Doubles:
        @hookimpl
        def finish_predictions(self, predictions: Predictions) -> Predictions:
            return evolve(predictions, values=predictions.values * 2)

    together = Together(bus_of(Adds(), Doubles()), (Fit("fit", {}, 0),), {}, {"adds": 1})
    assert together.finish(None, said(1.0, 2.0)).values.tolist() == [4.0, 6.0]


def test_finishing_with_other_rows_names_the_plugin() -> None:
    class Drops:
        @hookimpl
        def finish_predictions(self, predictions: Predictions) -> Predictions:
            return said(1.0)

    with pytest.raises(PluginFailure, match="drops: finish_predictions: expected predictions of the 2 rows"):
        Together(bus_of(Drops()), (Fit("fit", {}, 0),), {}, {}).finish(None, said(1.0, 2.0))


@pytest.mark.parametrize("hook", ["combine_predictions", "finish_predictions"])
def test_something_else_than_predictions_names_the_plugin(hook: str) -> None:
    def given(self: Any) -> Any:
        return [1.0]

    given.__name__ = hook
    plugin = type("Odd", (), {hook: hookimpl(given)})()
    fits = tuple(Fit(f"f{n}", {}, 0, {"fold": n}) for n in range(2))
    combiner = "odd" if hook == "combine_predictions" else "mean_along"
    together = Together(bus_of(plugin, MeanAlong()), fits, {"fold": combiner}, {})
    with pytest.raises(PluginFailure, match=f"Odd .*{hook}: expected a stepbus.Predictions"):
        together.finish(None, together.combine(None, [said(1.0), said(2.0)]))


def test_sets_that_are_scored_somewhere_are_not_only_predicted() -> None:
    rows = {"train": [], "test": []}
    fits = [Fit("a", rows, 0, {"fold": 0}), Fit("b", rows, 0, {"fold": 1})]
    assert predicted_sets(fits) == ["test"]
    scored = evolve(fits[1], roles={"test": ("predict", "score")})
    assert predicted_sets([fits[0], scored]) == []
    assert predicted_sets([fits[0], evolve(fits[1], sets={"train": []})]) == []
    assert predicted_sets([*fits, Fit("other", {"train": []}, 0, auxiliary=True)]) == ["test"]


def test_a_decision_is_kept_as_json_and_belongs_to_who_made_it() -> None:
    with pytest.raises(PluginError, match=r"mine: on_run_end: run.decide: expected JSON values, got something else"):
        as_decision(Asker("mine", label="mine", hook="on_run_end"), {"threshold": object()})

    class Decides:
        scope = "run"

        @hookimpl
        def on_run_start(self, run: Any) -> None:
            run.decide({"threshold": (0.25, 1)})

    class Listens:
        scope = "run"
        heard: Any = None

        @hookimpl
        def finish_predictions(self, decisions: Any) -> None:
            self.heard = dict(decisions)

    listens, recorder = Listens(), Recorder()
    played = play(Decides(), listens, recorder, metrics=[{"eval_loss": 1.0}])
    assert played.result is not None
    assert listens.heard == {"decides": {"threshold": [0.25, 1]}}
    assert "finish_predictions" in recorder.names
