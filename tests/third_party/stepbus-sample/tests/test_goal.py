from __future__ import annotations

import math
from typing import Any

import pytest
from stepbus import ConfigError
from stepbus.testing import assert_conforms, play

from stepbus_sample.goal import StopAtGoal, reached

RISING: list[dict[str, float]] = [{"eval_accuracy": value} for value in (0.5, 0.9, 0.7, 0.92, 0.95)]
GOAL: dict[str, Any] = {"metric": "eval_accuracy", "goal": 0.9}
SCRIPT: dict[str, Any] = {"metrics": RISING, "epochs": 5, "directions": {"eval_loss": False, "eval_accuracy": True}}


def test_a_goal_is_reached_from_the_side_that_is_worse() -> None:
    assert reached(0.9, 0.9, True) and not reached(0.8, 0.9, True)
    assert reached(0.1, 0.2, False) and not reached(0.3, 0.2, False)
    assert not reached(math.nan, 0.9, True) and not reached(math.nan, 0.9, False)


def test_it_stops_at_the_goal_and_says_why() -> None:
    played = play((StopAtGoal, GOAL), **SCRIPT)
    assert played.stopped_by == "stop_at_goal at step 10: eval_accuracy is 0.9, the goal was 0.9"
    assert played.names.count("on_epoch_end") == 2


def test_the_goal_may_have_to_hold() -> None:
    played = play((StopAtGoal, {**GOAL, "evaluations": 2}), **SCRIPT)
    assert played.state.step == 25
    assert "eval_accuracy is 0.95" in played.stopped_by


def test_the_count_goes_on_after_a_resume() -> None:
    plugin = (StopAtGoal, {**GOAL, "evaluations": 2})
    first = play(plugin, interrupt_at=22, **SCRIPT)
    second = play(plugin, resume_from=first.checkpoints[-1], **SCRIPT)
    assert first.plugin_states == {"stop_at_goal": {"in_a_row": 1}}
    assert second.state.step == 25 and "stop_at_goal at step 25" in second.stopped_by


def test_a_metric_that_nobody_computes_is_found_before_the_run() -> None:
    with pytest.raises(ConfigError, match=r"stop_at_goal\.metric: .* got 'eval_acuracy' \(did you mean 'eval_accuracy"):
        play((StopAtGoal, {**GOAL, "metric": "eval_acuracy"}), **SCRIPT)


def test_a_run_without_evaluations_is_refused() -> None:
    with pytest.raises(ConfigError, match="stop_at_goal: expected an evaluation to watch"):
        play((StopAtGoal, GOAL))


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(StopAtGoal, {"metric": "eval_loss", "goal": 0.73, "evaluations": 2})
