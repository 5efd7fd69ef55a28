"""What a plan says of scored rows that its weights have seen by then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from stepbus.config import DataSettings
from stepbus.kernel import Fit, Lineage
from stepbus.run.plans.seen_rows import UNKNOWN, sentences
from stepbus.text.rows import read_rows
from stepbus.text.rows.parts.joining import join_rows

SETTINGS = DataSettings(label="label")


def rows(name: str, *words: str) -> Any:
    return read_rows(pd.DataFrame({"text": words, "label": [0] * len(words)}), name=name, config=SETTINGS)


A, B = rows("train", "a", "b", "c", "d"), rows("validation", "e", "f", "g")


def said(*fits: Fit, start: Lineage | None = None) -> list[str]:
    return list(sentences(fits, lambda fit: start or Lineage()))


def test_new_rows_are_not_mentioned() -> None:
    assert said(Fit("fit", {"train": A, "validation": B}, 1)) == []


def test_each_row_counts_once_however_many_fits_score_it() -> None:
    fits = [
        Fit(f"fold-{fold}", {"train": B, "validation": A.take(np.array(held), "validation")}, 1, {"fold": fold})
        for fold, held in enumerate(([0, 1], [2, 3], [0, 1]))
    ]
    start = Lineage.of([A.take(np.array([1, 3]), "train")])
    [sentence] = said(*fits, start=start)
    assert sentence.startswith(
        "the weights to start from have seen 2 of 4 validation rows (50%), such as '1' and '3': "
    )


def test_rows_of_several_sources_are_told_apart() -> None:
    both = join_rows(B, A)
    fit = Fit("fit", {"train": A.take(np.array([2]), "train"), "validation": both}, 1)
    [sentence] = said(fit)
    assert sentence.startswith("1 of 7 validation rows (14%): '2' are training rows as well")
    new = evolve(fit, sets={"train": rows("train", "x", "y"), "validation": both})
    [sentence] = said(new, start=Lineage.of([both]))
    assert sentence.startswith("the weights to start from have seen 7 of 7 validation rows (100%)")
    [sentence] = said(evolve(fit, sets={"train": join_rows(rows("train", "x"), B), "validation": B}))
    assert sentence.startswith("3 of 3 validation rows (100%), such as '0' and '1' are training rows as well")


def test_a_fit_that_starts_from_another_has_seen_its_rows() -> None:
    one = Fit("one", {"train": A, "validation": B}, 1, {"round": 0})
    two = Fit("two", {"train": B, "validation": A}, 1, {"round": 1}, starts_from="one")
    three = Fit("three", {"train": rows("train", "x", "y"), "validation": B}, 1, {"round": 2}, starts_from="two")
    [sentence] = said(one, two, three)
    assert sentence.startswith("the weights to start from have seen 7 of 7 validation rows (100%), such as")
    assert said(one, evolve(two, starts_from="")) == []


def test_what_cannot_be_known_is_said_once_and_of_rows_alone() -> None:
    fits = [Fit(name, {"train": A, "validation": B}, 1) for name in ("one", "two")]
    assert said(*fits, start=Lineage(unknown=True)) == [UNKNOWN]
    loaders = [Fit("fit", {"train": object(), "validation": object()}, 1)]
    assert said(*loaders, start=Lineage(unknown=True)) == []
