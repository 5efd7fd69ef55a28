"""Where a fit stands, and what was asked of it, survive JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from stepbus import CheckpointError, Control, StepResult, TrainingState
from stepbus.kernel.state import Best


def test_state_survives_json() -> None:
    state = TrainingState(epoch=1, step=7, step_in_epoch=2, metrics={"eval_loss": 0.5}, best=Best("eval_loss", 0.5, 6))
    state.add_to_interval(StepResult(1.0, 2.0, 2, 9, 0.1, {"gradient_norm": 3.0}))
    other = TrainingState()
    other.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert other == state


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -1), ("step", 10**30), ("step", "3"), ("step", True), ("epoch", 1.5), ("learning_rate", None),
        ("metrics", []), ("metrics", {"a": "b"}), ("history", {}), ("history", [{"epoch": 1.0}]), ("history", [3]),
        ("history", [{"step": 1, "epoch": 1.0, "eval_loss": "low"}]), ("best", {}), ("best", []),
        ("best", {"metric": 1, "value": 0.5, "step": 1}), ("interval", None), ("evaluated", {"test": -1}),
    ],
)  # fmt: skip
def test_a_field_of_another_type_is_named(key: str, value: Any) -> None:
    state = TrainingState(step=7)
    with pytest.raises(CheckpointError, match=rf"^state\.{key}.*: expected "):
        state.load_state_dict({**TrainingState().state_dict(), key: value})
    assert state == TrainingState(step=7)  # nothing of it was taken over


@pytest.mark.parametrize("saved", [None, -1, 10**30, {}, [], "state", {**TrainingState().state_dict(), "more": 1}])
def test_what_is_no_state_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"^state.*: expected "):
        TrainingState().load_state_dict(saved)


@pytest.mark.parametrize(
    "saved",
    [None, -1, {}, [], {**Control().state_dict(), "stop": None}, {**Control().state_dict(), "best": [{}]},
     {**Control().state_dict(), "stop": [{"plugin": "a", "reason": None, "step": 1}]}],
)  # fmt: skip
def test_what_are_no_requests_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"^control.*: expected "):
        Control().load_state_dict(saved)


def test_a_state_from_before_the_first_skipped_update_was_kept_does_not_know_it() -> None:
    saved = TrainingState(step=9, skipped=3, first_skipped=4).state_dict()
    state = TrainingState()
    state.load_state_dict(saved)
    assert (state.skipped, state.first_skipped) == (3, 4)
    del saved["first_skipped"]
    state.load_state_dict(saved)
    assert (state.skipped, state.first_skipped) == (3, 0)


def test_the_interval_is_a_mean_by_weight() -> None:
    state = TrainingState(learning_rate=0.1)
    state.add_to_interval(StepResult(1.0, 1.0, 1, 5, 0.1, {"gradient_norm": 3.0}, 0.5))
    state.add_to_interval(StepResult(4.0, 3.0, 3, 7, 0.1, {"gradient_norm": 2.0}, 1.5))
    record = state.close_interval()
    assert record["loss"] == (1.0 + 12.0) / 4
    assert record["gradient_norm"] == 2.0
    assert record["sequences_per_second"] == 2.0
    assert record["tokens_per_second"] == 6.0
    assert state.interval == {}


def test_a_skipped_update_counts_in_the_mean_where_its_loss_is_a_number() -> None:
    """The log said `loss nan` where a gradient alone had overflowed."""
    for bad in (math.inf, math.nan):
        state = TrainingState()
        state.add_to_interval(StepResult(2.0, 1.0, 1, 5, 0.1, skipped=True))
        state.add_to_interval(StepResult(bad, 4.0, 4, 5, 0.1, skipped=True))
        alone = dict(state.interval)
        state.add_to_interval(StepResult(4.0, 3.0, 3, 7, 0.1))
        record = state.close_interval()
        assert (record["loss"], record["skipped_steps"]) == ((2.0 + 12.0) / 4, 2)
        state.interval = alone
        assert state.close_interval()["loss"] == 2.0


def test_an_interval_without_weight_has_no_loss() -> None:
    state = TrainingState()
    state.add_to_interval(StepResult(math.nan, 0.0, 0, 0, 0.1))
    assert math.isnan(state.close_interval()["loss"])


def test_the_means_of_an_epoch_are_by_weight_and_without_what_was_skipped() -> None:
    state = TrainingState()
    assert math.isnan(state.train_means["train_loss"])
    kept = {"of_loss": ("entropy",)}
    state.add_to_interval(StepResult(1.0, 1.0, 1, 5, 0.1, {"entropy": 8.0, "gradient_norm": 3.0}, **kept))
    state.close_interval()  # a log interval may end within the epoch
    state.add_to_interval(StepResult(4.0, 3.0, 3, 7, 0.1, {"entropy": 4.0, "gradient_norm": 2.0}, **kept))
    state.add_to_interval(StepResult(math.inf, 3.0, 3, 7, 0.1, {"entropy": math.nan}, skipped=True, **kept))
    state.add_to_interval(StepResult(math.nan, 0.0, 3, 7, 0.1, {"entropy": math.nan}, **kept))  # rows of weight 0
    other = TrainingState()
    other.load_state_dict(json.loads(json.dumps(state.state_dict())))
    for each in (state, other):
        each.add_to_interval(StepResult(6.0, 4.0, 4, 7, 0.1))  # a phase whose loss has no such part
        assert each.train_means == {"train_loss": (1 + 12 + 24) / 8, "train_entropy": (8 + 12) / 4}


def test_rows_of_weight_0_leave_the_loss_of_an_interval_a_number() -> None:
    state = TrainingState()
    state.add_to_interval(StepResult(math.nan, 0.0, 3, 5, 0.1))
    state.add_to_interval(StepResult(2.0, 1.0, 1, 5, 0.1))
    assert state.close_interval()["loss"] == 2.0


def test_requests_latch_and_survive_json() -> None:
    control = Control(asking="early_stopping", step=4)
    control.request_stop("enough")
    control.request_best("keeps the best")
    control.request_evaluation()
    other = Control()
    other.load_state_dict(json.loads(json.dumps(control.state_dict())))
    assert other.pending
    assert other.why("stop") == "early_stopping at step 4: enough"
    assert other.why("evaluation") == "early_stopping at step 4"
    assert other.best == control.best


def test_asking_for_the_best_is_no_boundary() -> None:
    control = Control()
    control.request_best("keeps the best")
    assert not control.pending
