"""What is said of rows that were seen before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepbus.fit.seen.meetings import Meeting, meeting, seen_in
from stepbus.kernel import Fit, FitResult, Lineage
from stepbus.testing.script import ScriptedRows


@pytest.mark.parametrize(
    ("count", "total", "examples", "said"),
    [
        (9, 44, ("3", "7"), "9 of 44 validation rows (20%), such as '3' and '7'"),
        (1, 1_000, ("x",), "1 of 1,000 validation rows (less than 1%): 'x'"),
        (2, 2, ("1", "2"), "2 of 2 validation rows (100%), such as '1' and '2'"),
    ],
)
def test_how_many_were_seen_is_said_in_words(count: int, total: int, examples: Any, said: str) -> None:
    assert Meeting(count, total, examples).said("validation rows") == said


def test_rows_are_counted_and_named() -> None:
    rows = ScriptedRows("validation", 6)
    lineage = Lineage({rows.source_key: np.array([1, 4, 5, 9])})
    found = meeting(lineage, rows)
    assert (found.count, found.total, found.examples) == (3, 6, ("validation-1", "validation-4"))
    assert not meeting(Lineage(), rows)


def test_only_sets_that_score_or_decide_are_looked_at() -> None:
    sets = {name: ScriptedRows(name, 4) for name in ("train", "validation", "stop", "test")}
    fit = Fit("fit", sets, 1)
    assert [name for name, _ in seen_in(Lineage.of(sets.values()), fit)] == ["validation", "stop"]


def test_a_result_says_what_its_reader_must_know() -> None:
    fit = Fit("fit", {"train": ScriptedRows("train", 2), "stop": object(), "validation": object()}, 1)
    result = FitResult(
        fit, selected={"stop": "early_stopping at step 3"}, seen={"validation": "1 of 2 rows (50%): 'a'"}
    )
    assert result.notices == ["validation: its weights had seen 1 of 2 rows (50%): 'a' before they were scored"]
    result.selected["validation"] = "mine at step 4"
    assert result.notices[0] == "validation: selected on it, by mine at step 4"
    assert FitResult(fit, parts=(result,)).notices == [f"fit: {notice}" for notice in result.notices]
