"""Fits that come to the same weights are said before the first of them begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus import Axis, Fit, grow, hookimpl
from stepbus.run.plans.alike import alike
from stepbus.testing import play
from stepbus.testing.script import ScriptedRows
from stepbus.text.rows.table import Rows

SAID = "train on the same rows with the same seed"


def rows(texts: list[str], weights: Any = None) -> Rows:
    frame = pd.DataFrame({"text": texts})
    return Rows(frame, np.arange(len(frame)), "a.csv", "train", np.arange(1, len(frame) + 1), weights=weights)


class Members:
    """Three members, the seeds of which are given."""

    scope = "run"
    grows = (Axis("member"),)

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds

    @hookimpl
    def expand_fits(self, fits: list[Fit]) -> list[Fit]:
        return grow(
            fits,
            lambda fit: [
                evolve(fit, name=f"m-{n}", seed=seed, scope={"member": n}) for n, seed in enumerate(self.seeds)
            ],
        )

    @hookimpl
    def combine_results(self, results: list[Any]) -> Any:
        return results[0]


@pytest.mark.parametrize(
    ("seeds", "named"),
    [
        ((7, 7, 7), "m-0, m-1 and m-2"),
        ((7, 8, 7), "m-0 and m-2"),
        ((1,) * 6, "m-0, m-1, m-2 and 3 more"),
        ((1, 2, 3), ""),
    ],
)
def test_members_of_one_seed(seeds: tuple[int, ...], named: str) -> None:
    said = [text for text in play(Members(*seeds), epochs=1).messages if SAID in text]
    assert [text.partition(" train on")[0] for text in said] == ([named] if named else [])


def test_what_makes_fits_different() -> None:
    held, other = ScriptedRows("validation", 4), ScriptedRows("validation", 5)
    train = rows(["a", "b"])
    base = Fit("a", {"train": train, "validation": held}, 1)
    same = [
        evolve(base, name="b"),
        evolve(base, name="b", sets={"train": rows(["a", "b"]), "validation": ScriptedRows("validation", 4)}),
        evolve(base, name="b", sets={**base.sets, "test": held}),
        evolve(base, name="b", scope={"member": 1}, auxiliary=True),
    ]
    different = [
        evolve(base, name="b", seed=2),
        evolve(base, name="b", overrides={"optimizer.learning_rate": 0.1}),
        evolve(base, name="b", starts_from="elsewhere"),
        evolve(base, name="b", sets={**base.sets, "train": rows(["a", "c"])}),
        evolve(base, name="b", sets={**base.sets, "train": rows(["a"])}),
        evolve(base, name="b", sets={**base.sets, "train": rows(["a", "b"], np.array([1.0, 2.0]))}),
        evolve(base, name="b", sets={**base.sets, "validation": other}),
        evolve(base, name="b", sets={**base.sets, "stop": held}),
    ]
    assert [len([*alike([base, fit], fills=False)]) for fit in same] == [1] * len(same)
    assert [len([*alike([base, fit], fills=False)]) for fit in different] == [0] * len(different)
    later = [evolve(base, name=name, after=("first",)) for name in ("b", "c")]
    assert [len([*alike(later, fills=fills)]) for fills in (False, True)] == [1, 0]
