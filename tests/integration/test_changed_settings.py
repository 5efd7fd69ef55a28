"""A run that goes on under other settings: these count from there on, and what cannot be compared is not compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import create_trainer, hookimpl, open_trainer

Tree = Callable[..., dict[str, Any]]
STOPPER = {"progress": False, "early_stopping": {"patience": 9}}


class Words:
    """What was said, and the rate of each update."""

    affects_result = False

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rates: list[float] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.rates.append(state.learning_rate)


def twice(tiny_config: Tree, first: dict[str, Any], then: dict[str, Any]) -> tuple[Any, Words]:
    """Train, and go on with other settings; all else is the same, at a constant rate that makes scores go up and down.

    Args:
        tiny_config: Makes a configuration.
        first: Sections of the first training.
        then: Those of the second.
    """
    words = Words()
    shared = {"optimizer": {"learning_rate": 3e-2}, "scheduler": {"type": "constant"}}
    create_trainer(config=tiny_config(**{**shared, **first})).train()
    trainer = create_trainer(config=tiny_config(**{**shared, **then}), plugins=[words])
    return trainer.train(resume=True, allow_changed=True), words


@pytest.mark.parametrize(("before", "now"), [("eval_auc_roc", "eval_loss"), ("eval_loss", "eval_auc_roc")])
def test_the_best_is_the_best_by_the_metric_of_now(before: str, now: str, tiny_config: Tree) -> None:
    """A value of the old metric was compared with those of the new one, and the wrong weights were exported."""
    result, words = twice(
        tiny_config,
        {"plugins": STOPPER, "training": {"num_epochs": 2, "monitor": before}},
        {"plugins": STOPPER, "training": {"num_epochs": 5, "monitor": now}},
    )
    looked_at = result.history
    if any("the best is looked for from here on" in text for text in words.said):
        looked_at = [record for record in result.history if record["step"] > 22]  # its weights were not kept
    best = (min if now == "eval_loss" else max)(looked_at, key=lambda record: record[now])
    assert (result.best.metric, result.best.step, result.best.value) == (now, best["step"], best[now])
    assert result.metrics[now] == pytest.approx(best[now], abs=1e-6)
    best_there = open_trainer(result.directory, "best").evaluate(tiny_config()["data"]["validation"])
    assert best_there[now] == pytest.approx(best[now], abs=1e-6)


def test_without_a_wish_for_its_weights_the_best_is_named_at_once(tiny_config: Tree) -> None:
    result, _ = twice(
        tiny_config, {"training": {"monitor": "eval_auc_roc"}}, {"training": {"num_epochs": 3, "monitor": "eval_loss"}}
    )
    best = min(result.history, key=lambda record: record["eval_loss"])
    assert (result.best.metric, result.best.step) == ("eval_loss", best["step"])


def test_values_of_another_loss_or_of_other_rows_decide_no_more(tiny_config: Tree, tmp_path: Path) -> None:
    result, words = twice(
        tiny_config,
        {"plugins": STOPPER, "loss": {"type": "focal"}},
        {"plugins": STOPPER, "loss": {"type": "cross_entropy"}, "training": {"num_epochs": 5}},
    )
    # A focal loss is smaller than any cross-entropy of these rows.
    assert min(result.history, key=lambda record: record["eval_loss"])["step"] <= 22
    later = min(result.history[2:], key=lambda record: record["eval_loss"])
    assert (result.best.step, result.metrics["eval_loss"]) == (later["step"], pytest.approx(later["eval_loss"]))
    assert any("was of another loss; the best is looked for from here on" in text for text in words.said)

    rows = Path(tiny_config()["data"]["validation"]).read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join(rows[:1] + [f"{line[:-1]}{1 - int(line[-1])}" for line in rows[1:]]) + "\n")
    plain = {"plugins": STOPPER, "environment": {"output_dir": str(tmp_path / "rows")}}
    result, words = twice(
        tiny_config, plain, {**plain, "data": {"validation": str(other)}, "training": {"num_epochs": 4}}
    )
    later = min(result.history[2:], key=lambda record: record["eval_loss"])
    assert result.best.step == later["step"] > 22
    assert any("was of other rows of validation; the best is looked" in text for text in words.said)


def test_who_waits_for_a_better_value_begins_anew_with_another_metric(tiny_config: Tree) -> None:
    """early_stopping held losses against an area under a curve: none was better, and it stopped."""
    patient = {"patience": 2, "restore_best": False}
    result, words = twice(
        tiny_config,
        {"plugins": {"progress": False, "early_stopping": {**patient, "monitor": "eval_loss"}}},
        {
            "plugins": {"progress": False, "early_stopping": {**patient, "monitor": "eval_auc_roc"}},
            "training": {"num_epochs": 7},
        },
    )
    values = [record["eval_auc_roc"] for record in result.history[2:]]
    best, stalled = -np.inf, 0
    for evaluations, value in enumerate(values, 3):  # noqa: B007
        best, stalled = (value, 0) if value > best else (best, stalled + 1)
        if stalled == 2:
            break
    assert result.steps == 11 * evaluations, (values, words.said)
    said = [text for text in words.said if "has not improved" in text]
    assert all(f"best {best:.6g}" in text for text in said) and bool(said) == (stalled == 2)


def test_the_learning_rate_is_the_one_that_is_set(tiny_config: Tree) -> None:
    """It was said to be changed, written into config.yaml, and all updates went on with the old one."""
    result, words = twice(tiny_config, {}, {"optimizer": {"learning_rate": 1e-7}, "training": {"num_epochs": 3}})
    np.testing.assert_allclose(words.rates, [1e-7] * 11, rtol=1e-6)
    assert "the base learning rate is 1e-07 from here on, as it is set now; it was 0.03" in words.said
    assert result.steps == 33


def test_what_a_plateau_lowered_stays_until_another_schedule_is_set(tiny_config: Tree, tmp_path: Path) -> None:
    plateau = {"type": "reduce_on_plateau", "patience": 0, "factor": 0.1, "threshold": 100.0, "monitor": "eval_loss"}
    place = {"environment": {"output_dir": str(tmp_path / "same")}}
    _, words = twice(
        tiny_config,
        {**place, "scheduler": plateau, "training": {"num_epochs": 3}},
        {**place, "scheduler": plateau, "training": {"num_epochs": 4}},
    )
    assert max(words.rates) < 0.01  # lowered before, and still
    _, words = twice(
        tiny_config, {"scheduler": plateau, "training": {"num_epochs": 3}}, {"training": {"num_epochs": 4}}
    )
    np.testing.assert_allclose(words.rates, [3e-2] * 11, rtol=1e-6)


@pytest.mark.parametrize("size", [8, 2])
def test_other_batches_say_how_many_epochs_come_of_it(size: int, tiny_config: Tree) -> None:
    """Updates are counted: after one epoch of 11, three epochs of 6 are 18, of which two fit into what is left."""
    result, words = twice(
        tiny_config, {"training": {"num_epochs": 1}}, {"data": {"batch_size": size}, "training": {"num_epochs": 3}}
    )
    (said,) = [text for text in words.said if "a fit counts updates" in text]
    now = 44 // size + (44 % size > 0)
    assert f"an epoch has {now} updates now, and had 11 before step 11" in said
    assert result.steps == 3 * now
    done = result.epoch_means[-1]["epoch"]
    assert f"it ends after {done:.3g} epochs in place of 3" in said and done == pytest.approx(1 + (3 * now - 11) / now)
    assert f"training.max_steps: {11 + 2 * now} trains as many" in said
