"""nan_guard: what counts as bad, when it acts, what it says."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Control, StepbusError, StepResult, TrainingState
from stepbus_plugins.nan_guard import NanGuard


def fit(**settings: Any) -> tuple[NanGuard, SimpleNamespace]:
    said: list[tuple[str, str]] = []
    trainer = SimpleNamespace(
        control=Control(asking="nan_guard"), said=said, message=lambda text, level="info": said.append((text, level))
    )
    return NanGuard(NanGuard.Config(**settings)), trainer


def step(guard: NanGuard, trainer: SimpleNamespace, number: int, loss: float, norm: float | None = 1.0) -> None:
    result = StepResult(
        loss=loss,
        weight=8.0,
        sequences=8,
        tokens=80,
        learning_rate=3e-4,
        scalars={} if norm is None else {"gradient_norm": norm},
    )
    trainer.control.step = number
    guard.on_step_end(trainer, TrainingState(step=number), result)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_bad_loss_raises_and_says_what_to_try(loss: float) -> None:
    guard, trainer = fit()
    step(guard, trainer, 1, 0.7)
    with pytest.raises(StepbusError) as caught:
        step(guard, trainer, 2, loss)
    assert str(caught.value) == (
        f"the loss is {loss} at step 2; the last finite loss was 0.7 at step 1; learning rate 0.0003; "
        "try a lower optimizer.learning_rate, a longer warm-up or gradient_clipping"
    )


def test_a_bad_gradient_norm_counts_even_when_the_loss_is_finite() -> None:
    guard, trainer = fit()
    with pytest.raises(StepbusError, match=r"gradient norm is inf at step 1; it was never finite; .* broken inputs"):
        step(guard, trainer, 1, 0.7, math.inf)


def test_without_gradient_clipping_there_is_no_norm_to_look_at() -> None:
    guard, trainer = fit()
    step(guard, trainer, 1, 0.7, None)
    assert guard.last_loss == 0.7


def test_patience_counts_consecutive_steps_only() -> None:
    guard, trainer = fit(patience=2)
    step(guard, trainer, 1, math.nan)
    step(guard, trainer, 2, 0.5)
    step(guard, trainer, 3, math.nan)
    with pytest.raises(StepbusError, match=r"at step 4 \(2 bad steps in a row\)"):
        step(guard, trainer, 4, math.nan)


def test_stop_asks_for_the_end_and_nothing_else() -> None:
    guard, trainer = fit(policy="stop")
    step(guard, trainer, 1, math.nan)
    assert trainer.control.why("stop").startswith("nan_guard at step 1: the loss is nan")
    assert trainer.control.best == []


def test_warn_speaks_once_per_streak() -> None:
    guard, trainer = fit(policy="warn")
    for number, loss in enumerate([0.5, math.nan, math.nan, 0.5, math.nan], start=1):
        step(guard, trainer, number, loss)
    assert [level for _, level in trainer.said] == ["warning", "warning"]
    assert "at step 2" in trainer.said[0][0]
    assert "at step 5" in trainer.said[1][0]
    assert trainer.control.stop == []


def test_a_resumed_fit_goes_on_counting() -> None:
    guard, trainer = fit(patience=2)
    step(guard, trainer, 1, 0.25)
    step(guard, trainer, 2, math.nan)
    resumed, trainer = fit(patience=2)
    resumed.load_state_dict(json.loads(json.dumps(guard.state_dict())))
    with pytest.raises(StepbusError, match=r"the last finite loss was 0\.25 at step 1"):
        step(resumed, trainer, 3, math.nan)
