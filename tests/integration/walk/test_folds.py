"""The walk: cross-validation and out-of-fold predictions (lines 63 to 70, 79, 170)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import create_trainer, hookimpl, open_trainer


def folds(train_once: Any, **settings: Any) -> Any:
    data = {"validation": None, "batch_size": 8}
    if settings.get("strategy") == "group":
        data["group"] = "who"
    more = {"progress": False, "cross_validation": {"folds": 2, **settings}}
    return train_once(data=data, training={"num_epochs": 1}, plugins=more)


def held_out(done: Any) -> list[list[int]]:
    """Return the rows that each fold held out."""
    return [sorted(map(int, part.predictions["validation"].row_ids)) for part in done.result.parts]


@pytest.mark.parametrize(
    ("number", "strategy"),
    [
        pytest.param(63, "kfold", id="line-63"),
        pytest.param(64, "stratified", id="line-64"),
        pytest.param(65, "group", id="line-65"),
        pytest.param(66, "time_series", id="line-66"),
        pytest.param(66, "timeseries", id="line-66-as-the-original-spells-it"),
    ],
)
def test_strategies(number: int, strategy: str, train_once: Any, world: Any) -> None:
    done = folds(train_once, strategy=strategy)
    rows = world.frame("train")
    parts = held_out(done)
    together = sorted(row for part in parts for row in part)
    assert len(parts) == 2 and len(set(together)) == len(together)
    if number == 66:
        assert parts[0][-1] < parts[1][0] and 0 not in together  # later rows only, and the first train
        return
    assert together == list(range(32))
    if number == 64:
        assert [rows["label"][part].mean() for part in parts] == [0.5, 0.5]
    if number == 65:
        groups = [set(rows["who"][part]) for part in parts]
        assert not groups[0] & groups[1]


@pytest.mark.parametrize("number", [pytest.param(number, id=f"line-{number}") for number in (67, 170)])
def test_out_of_fold_predictions(number: int, train_once: Any) -> None:
    done = folds(train_once)
    written = pd.read_csv(done.folder / "out_of_fold.csv")
    kept = done.result.predictions["validation"]
    assert len(written) == 32
    np.testing.assert_allclose(written["probability_1"], kept.values[:, 1], rtol=1e-6)
    for part in done.result.parts:  # each row by the fold that did not see it
        own = part.predictions["validation"]
        at = np.searchsorted(kept.row_ids, own.row_ids)
        np.testing.assert_array_equal(kept.values[at], own.values)


def test_line_068_a_model_for_each_fold(train_once: Any, world: Any) -> None:
    done = folds(train_once)
    places = [done.folder / "fits" / f"fold-{number}" / "model" for number in (1, 2)]
    first, second = (open_trainer(place).predict(world.frame("dev")) for place in places)
    assert first.shape == second.shape == (16, 2)
    assert not np.array_equal(first, second)


def test_line_069_metrics_over_the_folds(train_once: Any) -> None:
    done = folds(train_once)
    each = [part.metrics["eval_accuracy"] for part in done.result.parts]
    assert done.result.metrics["cv_accuracy_mean"] == pytest.approx(np.mean(each))
    assert done.result.metrics["cv_accuracy_sd"] == pytest.approx(np.std(each, ddof=1))
    kept = done.result.predictions["validation"]
    assert done.result.metrics["oof_accuracy"] == pytest.approx((kept.values.argmax(axis=1) == kept.labels).mean())


def test_line_070_the_folds_predict_together(train_once: Any, world: Any) -> None:
    done = folds(train_once)
    rows = world.frame("dev")
    each = [fit.predict(rows) for fit in done.trainer.fits]
    np.testing.assert_allclose(done.trainer.predict(rows), np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(open_trainer(done.folder).predict(rows), done.trainer.predict(rows))


def test_line_079_feature_engineering(world: Any, tmp_path: Path) -> None:
    """What a hook learns on training rows is in the texts of every set, and of those that are predicted later."""

    class Counts:
        """Writes a word before each text: whether it is longer than the mean of the training rows."""

        mean = 0.0

        @hookimpl
        def prepare_data(self, sets: Any) -> Any:
            from attrs import evolve

            if "train" in sets:
                self.mean = float(sets["train"].frame["text"].str.len().mean())
            told = {}
            for name, rows in sets.items():
                words = ["great" if len(text) > self.mean else "poor" for text in rows.frame["text"]]
                told[name] = evolve(rows, frame=rows.frame.assign(text=words))
            return told

        def state_dict(self) -> dict[str, float]:
            return {"mean": self.mean}

        def load_state_dict(self, saved: dict[str, float]) -> None:
            self.mean = saved["mean"]

    trainer = create_trainer(config=world.tree(tmp_path, training={"max_steps": 2}), plugins=[Counts])
    trainer.train()
    long, short = trainer.predict(pd.DataFrame({"text": ["the film " * 40, "a film " * 40, "it", "the"]})).tolist()[::2]
    answers = trainer.predict(pd.DataFrame({"text": ["the film " * 40, "a film " * 40, "it", "the"]}))
    np.testing.assert_array_equal(answers[0], answers[1])  # both are only long
    np.testing.assert_array_equal(answers[2], answers[3])
    assert long != short
