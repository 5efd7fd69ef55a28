"""The axes of a plan: declared, ranked and combined, or refused before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from stepbus import Axis, ConfigError, Fit, PluginError, PluginFailure, grow, hookimpl
from stepbus.testing import planned, play


def grows(name: str, *axes: Axis, place: str = "", combines: bool = True) -> type:
    """Return a plugin class that makes two fits of each along an axis, the first that it declares if none is named."""
    axis = place or axes[0].name

    def expand_fits(self: Any, fits: list[Fit]) -> list[Fit]:
        def several(fit: Fit) -> list[Fit]:
            return [evolve(fit, name=f"{fit.name}-{axis}-{n}", scope={**fit.scope, axis: n}) for n in (0, 1)]

        return grow(fits, several)

    def combine_results(self: Any, results: list[Any]) -> Any:
        return results[-1]

    parts: dict[str, Any] = {"scope": "run", "grows": axes, "expand_fits": hookimpl(expand_fits)}
    if combines:
        parts["combine_results"] = hookimpl(combine_results)
    return type(name, (), parts)


class Mean:
    scope = "run"

    @hookimpl
    def combine_results(self, results: list[Any]) -> Any:
        return evolve(results[0], metrics={"eval_loss": float(len(results))})


def refused(*plugins: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        planned(*plugins)
    return str(caught.value)


def test_a_sound_plan() -> None:
    assert [fit.name for fit in planned(grows("Folds", Axis("fold")))] == ["fit-fold-0", "fit-fold-1"]


def test_an_axis_that_nobody_declares() -> None:
    assert refused(grows("Folds", place="fold")) == (
        "plugins.folds: fit 'fit-fold-0' has a place on the axis 'fold', which no plugin of the plan declares; write "
        f"grows = (Axis('fold'),) in the class of the one that grows it (folds, {__name__})"
    )
    assert "(did you mean 'member'?)" in refused(grows("Bag", Axis("member"), place="membre"))


def test_two_plugins_that_grow_one_axis() -> None:
    found = refused(grows("One", Axis("member")), grows("Two", Axis("member"), place="member"))
    assert found.startswith("plugins.two: expected one plugin that grows the plan along member, got one, ")
    assert "and two, " in found
    assert found.endswith("; switch all but one off")


def test_an_axis_that_nobody_combines() -> None:
    found = refused(grows("Folds", Axis("fold"), combines=False))
    assert found.startswith("plugins.folds: folds, ")
    assert "grows the plan along fold, and has no combine_results; write combine_results in it, or name who" in found


def test_a_combiner_that_is_not_on_or_cannot() -> None:
    class Watches:
        scope = "run"

        @hookimpl
        def on_run_start(self) -> None: ...

    away = refused(grows("Folds", Axis("fold", combined_by="meen"), combines=False), Mean)
    assert (
        "and 'meen' is to combine it, which is not switched on (did you mean 'mean'?); add plugins: {meen: {}}" in away
    )
    cannot = refused(grows("Folds", Axis("fold", combined_by="watches"), combines=False), Watches)
    assert "which is to combine it, has no combine_results; write combine_results in it" in cannot


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        (Axis("fold", after="member"), "the axis fold has its place; leave after='member' out"),
        (Axis("bag"), "the axis bag is a new one; say what it comes after: Axis('bag', after=\"member\")"),
        (
            Axis("bag", after="membre"),
            "comes after 'membre', which is no axis (did you mean 'member'?); known are fold",
        ),
        (Axis("bag", after="bag"), "the axis bag comes after bag, which comes after it; name one of fold"),
    ],
)
def test_an_axis_without_a_place(axis: Axis, words: str) -> None:
    assert words in refused(grows("Bag", axis))


@pytest.mark.parametrize("wrong", ["fold", ("fold",), 3])
def test_grows_is_a_tuple_of_axes(wrong: Any) -> None:
    cls = grows("Folds", Axis("fold"))
    cls.grows = wrong  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=r'folds, .*: expected grows = \(Axis\("name"\),\), got'):
        planned(cls)


def test_inner_axes_are_combined_first_and_each_by_its_own() -> None:
    asked: list[tuple[str, str, list[str]]] = []

    def combines(cls: type) -> type:
        def combine_results(self: Any, axis: str, results: list[Any]) -> Any:
            asked.append((type(self).__name__, axis, [each.fit.name for each in results]))
            return results[-1]

        cls.combine_results = hookimpl(combine_results)  # type: ignore[attr-defined]
        return cls

    # Whichever comes first in the configuration: fold, bag after member, round.
    played = play(
        combines(grows("Rounds", Axis("round"))),
        combines(grows("Bag", Axis("bag", after="member"))),
        combines(grows("Folds", Axis("fold"))),
    )
    assert [(who, axis, len(names)) for who, axis, names in asked] == [
        *[("Folds", "fold", 2)] * 4,
        *[("Bag", "bag", 2)] * 2,
        ("Rounds", "round", 2),
    ]
    assert asked[0][2] == ["fit-round-0-bag-0-fold-0", "fit-round-0-bag-0-fold-1"]
    assert played.result is not None
    assert (played.result.fit.scope, len(played.result.parts)) == ({}, 2)
    assert [part.fit.scope for part in played.result.parts] == [{"round": 0}, {"round": 1}]


def test_only_the_declared_combiner_is_asked() -> None:
    class Meddles:
        scope = "run"

        @hookimpl(tryfirst=True)
        def combine_results(self) -> Any:
            raise AssertionError("it was asked")

    played = play(Meddles, grows("Folds", Axis("fold", combined_by="mean")), Mean)
    assert played.result is not None
    assert played.result.metrics == {"eval_loss": 2.0}
    (said,) = [text for text in played.messages if "meddles" in text]
    assert "has combine_results and is not asked, because no axis of the plan is combined by it" in said
    assert [event.arguments["axis"] for event in played.events if event.name == "combine_results"] == ["fold"]


def test_nothing_from_the_combiner_is_an_error_that_names_it() -> None:
    class Nothing:
        scope = "run"

        @hookimpl
        def combine_results(self) -> None: ...

    words = r"nothing, .*: combine_results gave nothing for fit-fold-0, fit-fold-1 along fold, which it is to combine"
    with pytest.raises(PluginFailure, match=words):
        play(grows("Folds", Axis("fold", combined_by="nothing"), combines=False), Nothing)


def test_auxiliary_fits_are_in_the_plan_and_in_no_combination() -> None:
    class Helps:
        scope = "run"

        @hookimpl(tryfirst=True)
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            return [evolve(fits[0], name="helps", auxiliary=True), *fits]

    class Alone(Helps):
        @hookimpl(tryfirst=True)
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            return [evolve(fits[0], name="helps", auxiliary=True)]

    played = play(grows("Folds", Axis("fold")), Helps)
    assert [result.fit.name for result in played.run.results] == ["helps", "fit-fold-0", "fit-fold-1"]
    assert played.result is not None
    assert [part.fit.name for part in played.result.parts] == ["fit-fold-0", "fit-fold-1"]
    assert played.run.first.fit.name == "fit-fold-0"
    assert "expected a fit that predicts for the run, got auxiliary ones alone (alone, " in refused(Alone)


def test_a_declared_axis_without_a_fit_is_said() -> None:
    class Forgets:
        scope = "run"
        grows = (Axis("member"),)

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> None:
            grow(fits, lambda fit: [evolve(fit, name=f"m{n}", seed=n, scope={"member": n}) for n in (0, 1)])

        @hookimpl
        def combine_results(self, results: list[Any]) -> Any:
            return results[0]

    said = play(Forgets, epochs=1).messages
    assert [text for text in said if "made no fit along it" in text] == [
        f"forgets, {__name__} declares the axis member and made no fit along it; if it was to make some, let its "
        'expand_fits return them, each with a place: scope=fit.scope | {"member": 0}'
    ]
    assert not any("made no fit" in text for text in play(grows("Bag", Axis("member")), epochs=1).messages)
