"""Rows of held-out sets that stand in the training rows too: counted, named, and said once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import ConfigError, Fit, create_trainer, hookimpl
from stepbus.plan.planning import describe_plan
from stepbus.testing import assert_conforms
from stepbus_plugins.near_duplicates import NearDuplicates
from stepbus_plugins.near_duplicates.similar import RUN, neighbours, normalised

Make = Callable[..., dict[str, Any]]
WORDS = "the a film was and very it plot cast end good bad dull great long short new old first last".split()  # noqa: SIM905


def sentences(number: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(8, 16))) for _ in range(number)]


def jaccard(one: str, other: str) -> float:
    """Return the share of runs in common, counted by hand."""
    first, second = ({text[at : at + RUN] for at in range(len(text) - RUN + 1)} for text in (one, other))
    return len(first & second) / len(first | second)


def test_what_is_near_is_what_shares_enough_runs() -> None:
    texts = sentences(60)
    texts += [f"{text} again" for text in texts[:10]] + [text.replace("film", "movie") for text in texts[20:40]]
    texts = list(dict.fromkeys(texts))
    wanted = {
        (one, other): jaccard(texts[one], texts[other])
        for one in range(len(texts))
        for other in range(one + 1, len(texts))
        if jaccard(texts[one], texts[other]) >= 0.8
    }
    assert len(wanted) > 10
    found = neighbours(texts, 0.8)
    pairs = {(one, other): near for one, others in found.items() for other, near in others.items() if one < other}
    assert pairs == pytest.approx(wanted)


def test_short_and_equal_texts_have_no_neighbours() -> None:
    assert neighbours(["a", "ab", "abc", ""], 0.5) == {}
    assert neighbours(sentences(5), 1.0) == {}
    assert neighbours([], 0.5) == neighbours(["only one text"], 0.5) == {}
    assert normalised("  A\tGood \n Film ") == "a good film"


class Heard:
    """Writes down what is said."""

    scope = "run"

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if "stands in the training" in text or "stand in the training" in text or "nothing is compared" in text:
            self.said.append(f"{level}: {text}")


def said(fits: list[Fit], settings: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> list[str]:
    """Return what the plugin says of a plan."""
    from types import SimpleNamespace

    heard: list[str] = []
    section = SimpleNamespace(**({"label": "label", "id": None, "group": None, "text": "text"} | (data or {})))
    run = SimpleNamespace(
        fits=fits,
        config=SimpleNamespace(data=SimpleNamespace(settings=section)),
        message=lambda text, level="info": heard.append(f"{level}: {text}"),
    )
    NearDuplicates(NearDuplicates.Config(**(settings or {}))).on_run_start(run)
    return heard


def rows(name: str, texts: list[str], **more: Any) -> Any:
    from stepbus.config.sections import DataSettings
    from stepbus.text.rows.table import read_rows

    frame = pd.DataFrame({"text": texts, "label": [0] * len(texts), **more})
    return read_rows(frame, name=name, config=DataSettings())


def test_rows_are_counted_and_named() -> None:
    train = sentences(30)
    held = [train[3].upper(), f"{train[7]} too", "something else entirely, never seen", *sentences(4, seed=9)]
    fit = Fit("fit", {"train": rows("train", train), "validation": rows("validation", held)}, 0)
    [line] = said([fit])
    assert line.startswith(
        "warning: validation: 2 rows of 7 stand in the training rows too (1 exactly, 1 nearly): scores of these say "
        "nothing of new rows; take them out"
    )
    assert f"validation frame, row 1 ({train[3][:79]!r}" in line or f"row 1 ({train[3]!r})" in line
    assert "is the same text as train frame, row 4" in line
    assert "validation frame, row 2" in line and "% the text of train frame, row 8" in line
    [bare] = said([fit], {"examples": 0, "threshold": 1.0})
    assert "(1 exactly, 0 nearly)" in bare and "\n" not in bare


def test_rows_to_predict_are_no_scores_and_nothing_found_is_said() -> None:
    train = sentences(12)
    sets = {"train": rows("train", train), "test": rows("test", train[:2]), "validation": rows("v", sentences(3, 5))}
    first, second = said([Fit("fit", sets, 0)])
    assert first.startswith("warning: test: 2 rows of 2 stand in the training rows too (2 exactly, 0 nearly): what is")
    assert "take them out" not in first
    assert second == "info: validation: no row of 3 stands in the training rows too"


def test_folds_are_said_once_and_each_row_counts_once() -> None:
    texts = sentences(10)
    whole = rows("train", [*texts, texts[0], f"{texts[1]} too"])
    halves = [np.arange(12) % 2 == half for half in (0, 1)]
    fits = [
        Fit(
            f"fold-{place}",
            {"train": whole.take(np.flatnonzero(~held)), "validation": whole.take(np.flatnonzero(held), "validation")},
            0,
            {"fold": place},
        )
        for place, held in enumerate(halves)
    ]
    # Rows 0 and 10 are in one half, 1 and 11 in the other: nothing is shared. Cut otherwise, everything is.
    assert said(fits) == ["info: validation: no row of 12 stands in the training rows too"]
    halves = [np.arange(12) < 6, np.arange(12) >= 6]
    fits = [
        Fit(fit.name, {"train": whole.take(np.flatnonzero(~held)), "validation": whole.take(np.flatnonzero(held))}, 0)
        for fit, held in zip(fits, halves, strict=True)
    ]
    [line] = said(fits)
    assert line.startswith("warning: validation: 4 rows of 12 stand in the training rows too (2 exactly, 2 nearly)")


def test_labels_and_ids_are_no_part_of_a_table() -> None:
    def table(name: str, ids: list[int], labels: list[int]) -> Any:
        from stepbus.config.sections import DataSettings
        from stepbus.text.rows.table import read_rows

        frame = pd.DataFrame({"key": ids, "sex": ["male", "female"], "age": [22, 38], "label": labels})
        return read_rows(frame, name=name, config=DataSettings(id="key"))

    sets = {"train": table("train", [1, 2], [0, 1]), "validation": table("validation", [3, 4], [1, 0])}
    [line] = said([Fit("fit", sets, 0)], data={"text": None, "id": "key"})
    assert "validation: 2 rows of 2 stand in the training rows too (2 exactly" in line
    [only] = said([Fit("fit", sets, 0)], {"columns": ["age"]}, data={"text": None, "id": "key"})
    assert "('22')" in only


def test_a_run_and_a_plan_say_it(tiny_config: Make, review_files: Any) -> None:
    lines = review_files["train"].read_text().splitlines()
    review_files["dev"].write_text("\n".join(lines[:6]) + "\n")
    tree = tiny_config(plugins={"progress": False, "near_duplicates": {}}, training={"max_steps": 1})
    heard = Heard()
    create_trainer(config=tree, plugins=[heard]).train()
    assert len(heard.said) == 1
    assert heard.said[0].startswith("warning: validation: 5 rows of 5 stand in the training rows too")


def test_a_column_that_is_not_there_is_a_problem(tiny_config: Make) -> None:
    tree = tiny_config(plugins={"progress": False, "near_duplicates": {"columns": ["texts"]}})
    [problem] = describe_plan(tree)["problems"]
    assert problem["path"] == "plugins.near_duplicates.columns"
    assert problem["message"] == "expected a column, got 'texts'; there are text, label"
    with pytest.raises(ConfigError, match=r"expected a share from 0.3 to 1"):
        create_trainer(config=tiny_config(plugins={"near_duplicates": {"threshold": 0.1}})).train()


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(NearDuplicates)
