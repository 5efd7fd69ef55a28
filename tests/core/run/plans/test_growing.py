"""Plans that grow: the order of axes, and what comes after a fit that was made into several."""

from __future__ import annotations

from attrs import evolve

from stepbus import Axis, Fit, grow
from stepbus.run.plans.growing import ranked


def test_new_axes_have_the_place_that_they_name() -> None:
    assert ranked() == ["fold", "repeat", "member", "round", "trial"]
    new = [Axis("c", after="b"), Axis("a", after="member"), Axis("b", after="member"), Axis("fold")]
    assert ranked(new) == ["fold", "repeat", "member", "a", "b", "c", "round", "trial"]
    assert ranked([Axis("x", after="y"), Axis("y", after="x")])[-2:] == ["x", "y"]


def plan() -> list[Fit]:
    """Return a round, one that goes on from it, and an auxiliary fit."""
    return [
        Fit("one", {}, 1, {"round": 0}),
        Fit("two", {}, 1, {"round": 1}, after=("one", "helps"), starts_from="one"),
        Fit("helps", {}, 1, auxiliary=True),
    ]


def folds(fit: Fit) -> list[Fit]:
    return [evolve(fit, name=f"{fit.name}-{n}", scope={**fit.scope, "fold": n}) for n in (0, 1)]


def rounds(fit: Fit) -> list[Fit]:
    one, two = (evolve(fit, name=f"{fit.name}-{word}", scope={**fit.scope, "round": n}) for n, word in enumerate("ab"))
    return [one, evolve(two, after=(*two.after, one.name), starts_from=one.name)]


def test_each_fold_of_a_round_comes_after_the_same_fold() -> None:
    found = {fit.name: (fit.after, fit.starts_from) for fit in grow(plan(), folds)}
    assert found == {
        "one-0": ((), ""),
        "one-1": ((), ""),
        "two-0": (("one-0", "helps"), "one-0"),
        "two-1": (("one-1", "helps"), "one-1"),
        "helps": ((), ""),
    }


def test_the_order_of_two_plugins_makes_no_other_plan() -> None:
    whole = [Fit("fit", {}, 1)]
    one, other = grow(grow(whole, folds), rounds), grow(grow(whole, rounds), folds)

    def wired(fits: list[Fit]) -> set[tuple[object, ...]]:
        places = {fit.name: tuple(sorted(fit.scope.items())) for fit in fits}
        return {
            (places[fit.name], tuple(places[name] for name in fit.after), places.get(fit.starts_from)) for fit in fits
        }

    assert wired(one) == wired(other)
    assert len(wired(one)) == 4


def test_what_comes_after_all_of_several_names_them_all_and_starts_from_none() -> None:
    def only_the_first(fit: Fit) -> list[Fit]:
        return folds(fit) if fit.name == "one" else [fit]

    _, _, two, _ = grow(plan(), only_the_first)
    assert two.after == ("one-0", "one-1", "helps")
    assert two.starts_from == "one"  # of which there is none any more, and the plan says so
