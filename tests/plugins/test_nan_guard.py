"""nan_guard: what counts as bad, when it acts, what it says."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Control, Diagnosis, StepbusError, StepResult, TrainingState
from stepbus_plugins.nan_guard import NanGuard


def fit(**settings: Any) -> tuple[NanGuard, SimpleNamespace]:
    said: list[tuple[str, str]] = []
    trainer = SimpleNamespace(
        control=Control(asking="nan_guard"),
        said=said,
        explain_step=lambda: None,
        message=lambda text, level="info": said.append((text, level)),
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


def scaled(number: int, loss: float, scale: float | None, *, overflow: bool = False) -> StepResult:
    sums = {"weight": 8.0, "sequences": 8, "tokens": 80}
    return StepResult(
        loss=loss, learning_rate=3e-4, skipped=True, loss_scale=scale, overflow=overflow, **sums
    )  # fmt: skip


def diagnosis(kind: Any) -> Diagnosis:
    return Diagnosis(2, kind, "head.weight", "layer 2 of 2", (), (1, 2), "train", False, "WORDS", "ADVICE")


def asked(guard: NanGuard, trainer: SimpleNamespace, number: int, found: Any, result: StepResult) -> None:
    trainer.explain_step = lambda: found
    guard.on_step_end(trainer, TrainingState(step=number), result)


def test_what_the_doctor_finds_and_advises_stands_in_the_sentence() -> None:
    guard, trainer = fit()
    step(guard, trainer, 1, 0.7)
    with pytest.raises(StepbusError) as caught:
        asked(guard, trainer, 2, diagnosis("weight"), scaled(2, math.nan, None))
    assert str(caught.value) == (
        "the loss is nan at step 2; WORDS; the last finite loss was 0.7 at step 1; learning rate 0.0003; ADVICE"
    )


def test_an_overflow_under_a_scale_is_no_divergence_until_it_is_1() -> None:
    guard, trainer = fit()
    step(guard, trainer, 1, 0.7)
    for number, loss in enumerate((0.6, math.inf), 2):  # the latter of weights that an overflow moved
        asked(guard, trainer, number, diagnosis("gradient"), scaled(number, loss, 2.0, overflow=True))
    assert (guard.last_loss, guard.last_step) == (0.7, 1)  # an infinite loss is no last finite one
    with pytest.raises(StepbusError, match=r"the last finite loss was 0\.7 at step 1"):
        asked(guard, trainer, 4, diagnosis("gradient"), scaled(4, 0.6, 1.0))


@pytest.mark.parametrize("kind", ["batch", "weight", "input", "activation", "loss", ""])
def test_a_loss_that_is_not_finite_is_no_overflow_whatever_the_scale_is(kind: str) -> None:
    guard, trainer = fit()
    with pytest.raises(StepbusError, match="the loss is nan at step 1; WORDS; it was never finite"):
        asked(guard, trainer, 1, diagnosis(kind), scaled(1, math.nan, 65536.0))


def test_nothing_is_asked_while_all_is_finite() -> None:
    guard, trainer = fit()
    trainer.explain_step = lambda: pytest.fail("it was asked")
    step(guard, trainer, 1, 0.7)
    # Nor where gradients alone overflowed under a scale: the next one is half of it.
    guard.on_step_end(trainer, TrainingState(step=2), scaled(2, 0.7, 65536.0, overflow=True))


def test_weights_are_looked_at_before_scores_once_a_step_and_only_after_a_good_one() -> None:
    guard, trainer = fit(policy="warn")
    asked_for = []
    trainer.explain_step = lambda: asked_for.append(1)  # None: all is finite
    trainer.state = TrainingState(step=3, total_steps=9)
    guard.on_evaluate_start(trainer, TrainingState(step=0))
    assert asked_for == []  # no update was done
    step(guard, trainer, 3, 0.7)
    guard.on_evaluate_start(trainer, trainer.state)
    guard.on_evaluate_start(trainer, trainer.state)
    guard.on_epoch_end(trainer, trainer.state)
    assert asked_for == [1]
    guard.on_step_end(
        trainer, TrainingState(step=4), scaled(4, 0.7, 65536.0, overflow=True)
    )  # skipped, so that it changed no weight
    guard.on_evaluate_start(trainer, TrainingState(step=4))
    assert asked_for == [1]
    step(guard, trainer, 5, 0.7)
    trainer.explain_step = lambda: diagnosis("average")
    guard.on_epoch_end(trainer, TrainingState(step=5, total_steps=9))
    assert trainer.said == [("the weights are not finite after step 5; WORDS; ADVICE", "warning")]


def test_what_an_optimizer_gives_is_no_gradient() -> None:
    guard, trainer = fit()
    with pytest.raises(StepbusError, match=r"^the optimizer gives no finite number at step 2; WORDS; it was never "):
        asked(guard, trainer, 2, diagnosis("state"), scaled(2, 0.7, None))


@pytest.mark.parametrize("asked_before", [True, False])
def test_weights_are_looked_at_where_something_was_asked_for_at_the_boundary(asked_before: bool) -> None:
    guard, trainer = fit()
    trainer.explain_step = lambda: diagnosis("update")
    if not asked_before:  # the next update shows what this one did
        step(guard, trainer, 3, 0.7)
        assert guard.looked_at == 0
        return
    trainer.control.request_stop("enough")
    with pytest.raises(StepbusError, match=r"^the weights are not finite after step 3; WORDS; ADVICE$"):
        step(guard, trainer, 3, 0.7)
