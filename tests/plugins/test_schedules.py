"""Schedules against the rates of transformers and PyTorch, and what a plan refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import Plan, StepbusError, TrainingState, create_trainer, hookimpl
from stepbus.testing import play
from stepbus_plugins.schedules import Schedules

PARTS = {part.name: part for part in Schedules.components}
CURVES = [name for name in PARTS if name != "reduce_on_plateau"]

# transformers 5.23, PyTorch 2.13: each schedule stepped 12 times over SGD with lr=2e-3, get_last_lr() before each step.
WARM = [0.0, 0.0006666666666666666, 0.0013333333333333333]
PEER = {
    # get_linear_schedule_with_warmup(optimizer, 3, 12)
    "linear": [
        *WARM, 0.002, 0.0017777777777777776, 0.0015555555555555557, 0.0013333333333333333, 0.0011111111111111111,
        0.0008888888888888888, 0.0006666666666666666, 0.0004444444444444444, 0.0002222222222222222,
    ],
    # get_cosine_schedule_with_warmup(optimizer, 3, 12)
    "cosine": [
        *WARM, 0.002, 0.0019396926207859084, 0.001766044443118978, 0.0015, 0.0011736481776669307,
        0.0008263518223330697, 0.0005000000000000002, 0.0002339555568810221, 6.0307379214091684e-05,
    ],
    # get_polynomial_decay_schedule_with_warmup(optimizer, 3, 12, lr_end=1e-4, power=2.0)
    "polynomial": [
        *WARM, 0.002, 0.0016012345679012345, 0.0012493827160493828, 0.0009444444444444447, 0.0006864197530864199,
        0.0004753086419753086, 0.0003111111111111112, 0.00019382716049382714, 0.00012345679012345682,
    ],
    # get_constant_schedule_with_warmup(optimizer, 3)
    "constant": [*WARM, *[0.002] * 9],
}  # fmt: skip


def built(name: str, **options: Any) -> Any:
    schedule = PARTS[name].build(PARTS[name].config(**options))
    if name == "exponential":
        schedule.on_fit_start(TrainingState(steps_per_epoch=4))
    return schedule


@pytest.mark.parametrize("name", PEER)
@pytest.mark.parametrize("warmup", [{"warmup_steps": 3}, {"warmup_ratio": 0.25}, {"warmup_ratio": 0.2}])
def test_equal_to_transformers_at_every_step(name: str, warmup: dict[str, Any]) -> None:
    schedule = built(name, **warmup, **({"min_lr": 1e-4} if name == "polynomial" else {}))
    assert [schedule.rate(step, 12, 2e-3) for step in range(12)] == pytest.approx(PEER[name], rel=1e-12)


def test_exponential_is_multiplied_by_gamma_each_epoch() -> None:
    rates = [built("exponential", gamma=0.5).rate(step, 12, 0.8) for step in range(12)]
    assert rates[::4] == pytest.approx([0.8, 0.4, 0.2])
    assert rates[2] == pytest.approx(0.8 * math.sqrt(0.5))
    assert built("exponential", gamma=0.5, decay_steps=2).rate(4, 12, 0.8) == pytest.approx(0.2)
    assert built("exponential", gamma=0.5, min_lr=0.3).rate(11, 12, 0.8) == 0.3
    alone = PARTS["exponential"].build(PARTS["exponential"].config())
    with pytest.raises(StepbusError, match=r"decay_steps: expected a number"):
        alone.rate(1, 12, 0.8)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(CURVES), st.integers(1, 60), st.integers(0, 60), st.floats(1e-6, 1.0), st.floats(0.0, 1.0))
def test_a_pure_function_that_rises_then_falls_within_its_bounds(
    name: str, total: int, warmup: int, base: float, share: float
) -> None:
    least = share * base
    schedule = built(name, warmup_steps=min(warmup, total), **({"min_lr": least} if name != "constant" else {}))
    rates = [schedule.rate(step, total, base) for step in range(total)]
    assert rates == [schedule.rate(step, total, base) for step in range(total)]
    top = min(warmup, total)
    assert all(a < b for a, b in pairwise(rates[:top]))
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(rates[top:]))
    assert all(least * (1 - 1e-12) <= rate <= base * (1 + 1e-12) for rate in rates[top:])
    assert schedule.rate(total + 5, total, base) >= 0  # past the end it stays put


def test_min_lr_is_a_rate_and_never_lifts_a_lowered_base() -> None:
    assert built("linear", min_lr=1e-3).rate(12, 12, 2e-3) == 1e-3
    assert built("linear", min_lr=1e-3).rate(6, 12, 5e-4) == 5e-4


# What torch.optim.lr_scheduler.ReduceLROnPlateau(SGD(lr=1.0), factor=0.5, patience=1, cooldown=…, min_lr=0.1) makes of
# these losses (PyTorch 2.13).
LOSSES = [1.0, 0.9, 0.95, 0.9, 0.89999, 0.7, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, math.nan, 0.6, 0.65, 0.65, 0.65, 0.65]
PLATEAU = {
    0: [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    2: [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125, 0.125, 0.125, 0.1, 0.1, 0.1],
}


def fit(base: float = 1.0, monitor: str = "eval_loss", greater: bool | None = False) -> Any:
    messages: list[str] = []
    return SimpleNamespace(
        monitor=monitor,
        directions={monitor: greater},
        optimizer=SimpleNamespace(learning_rate=base),
        message=messages.append,
        messages=messages,
    )


@pytest.mark.parametrize("cooldown", PLATEAU)
@pytest.mark.parametrize("resume_at", [0, 3, 4, 8, 12])
def test_plateau_as_pytorch_counts_and_across_resumes(cooldown: int, resume_at: int) -> None:
    options = {"factor": 0.5, "patience": 1, "cooldown": cooldown, "min_lr": 0.1}
    schedule, trainer, rates = built("reduce_on_plateau", **options), fit(), []
    for number, loss in enumerate(LOSSES):
        if number == resume_at:
            saved = json.loads(json.dumps(schedule.state_dict()))
            schedule = built("reduce_on_plateau", **options)
            schedule.load_state_dict(saved)
        schedule.on_metrics(trainer, TrainingState(step=number), {"eval_loss": loss})
        rates.append(trainer.optimizer.learning_rate)
        assert schedule.rate(number, 99, trainer.optimizer.learning_rate) == rates[-1]
    assert rates == PLATEAU[cooldown]
    assert len(trainer.messages) == len(set(rates)) - 1
    assert "base learning rate 1 -> 0.5 at step 3, eval_loss has stalled" in trainer.messages[0]


def test_plateau_of_a_metric_that_should_rise() -> None:
    schedule, trainer = built("reduce_on_plateau", patience=0, monitor="eval_f1"), fit(monitor="eval_f1", greater=True)
    for value in (0.5, 0.6, 0.6):
        schedule.on_metrics(trainer, TrainingState(), {"eval_f1": value})
    assert trainer.optimizer.learning_rate == 0.5
    absolute = built("reduce_on_plateau", patience=0, threshold=0.2, threshold_mode="abs")
    assert absolute.improves(1.0, False)
    absolute.best = 1.0
    assert not absolute.improves(0.81, False)
    assert absolute.improves(0.79, False)


def test_plateau_says_what_it_misses_at_run_time() -> None:
    with pytest.raises(StepbusError, match=r"watches 'eval_f1', but the evaluation at step 7 gave eval_loss"):
        built("reduce_on_plateau", monitor="eval_f1").on_metrics(fit(), TrainingState(step=7), {"eval_loss": 1.0})


# Two updates an epoch: the means are 3, 3, 1 and 2, so the second and the fourth are no improvement.
BY_EPOCH = [4.0, 2.0, 3.0, 3.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0]


class Rates:
    """Keeps the base rate that each epoch begins with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    @hookimpl
    def on_epoch_start(self, trainer: Any) -> None:
        self.seen.append(trainer.optimizer.learning_rate)


@pytest.mark.parametrize(
    ("own", "training", "evaluations"),
    [
        ("train_loss", {}, []),  # no rows to evaluate
        (None, {"monitor": "train_loss"}, []),
        ("train_loss", {"monitor": "train_loss"}, []),
        ("train_loss", {"eval_strategy": "no"}, [{"eval_loss": 0.9}]),
        ("train_loss", {}, [{"eval_loss": 0.9}]),  # counted once, beside what is evaluated
    ],
)
def test_plateau_of_the_training_loss(
    own: str | None, training: dict[str, Any], evaluations: list[dict[str, float]]
) -> None:
    rates, options = Rates(), {"patience": 0, "factor": 0.5, "monitor": own}
    played = play(
        rates, parts={"scheduler.plateau": lambda: built("reduce_on_plateau", **options)}, losses=BY_EPOCH,
        metrics=evaluations, steps_per_epoch=2, epochs=5, **training,
    )  # fmt: skip
    base = rates.seen[0]
    assert rates.seen == [base, base, base / 2, base / 2, base / 4]
    assert played.state.step == 10


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        ({"monitor": "train_loss"}, {"steps_per_epoch": 10}, None),
        ({}, {"monitor": "train_loss", "steps_per_epoch": 100}, None),
        ({"monitor": "train_loss"}, {"steps_per_epoch": 101}, "expected an evaluation to watch, but"),  # no whole epoch
        ({}, {"steps_per_epoch": 10}, "expected an evaluation to watch, but"),
        ({"monitor": "train_los"}, {"steps_per_epoch": 10}, "got 'train_los' (did you mean 'train_loss'?)"),
    ],
)
def test_what_a_plateau_can_watch_without_rows(
    options: dict[str, Any], changes: dict[str, Any], words: str | None
) -> None:
    facts = {"has_validation": False, "metrics": {"eval_loss": False, "train_loss": False}} | changes
    problems = Schedules().validate_plan(plan("reduce_on_plateau", options, **facts))
    assert [words in problem.message for problem in problems] == ([] if words is None else [True])


def test_a_fit_without_rows_lowers_its_rate_by_the_training_loss(tiny_config: Callable[..., dict[str, Any]]) -> None:
    tree = tiny_config(
        # Nothing is ever 100 % better, so each of the epochs after the first has stalled.
        scheduler={
            "type": "reduce_on_plateau",
            "monitor": "train_loss",
            "patience": 0,
            "factor": 0.5,
            "threshold": 1.0,
        },
        training={"num_epochs": 3},
    )
    del tree["data"]["validation"]
    rates = Rates()
    create_trainer(config=tree, plugins=[rates]).train()
    assert rates.seen == [3e-3, 3e-3, 1.5e-3]


def plan(name: str, options: dict[str, Any], **changes: Any) -> Any:
    chosen = SimpleNamespace(settings=PARTS[name].config(**options))
    optimizer = SimpleNamespace(settings=SimpleNamespace(learning_rate=5e-5))
    facts = {
        "config": SimpleNamespace(scheduler=chosen, optimizer=optimizer),
        "total_steps": 100,
        "has_validation": True,
        "monitor": "eval_loss",
        "metrics": {"eval_loss": False, "eval_accuracy": True, "eval_spread": None},
    }
    return Plan(**{"fits": [], "task": "binary", "rows": {"train": 400}} | facts | changes)


COMPUTED = "computed are eval_accuracy, eval_loss, eval_spread"
UNSEEN = "expected an evaluation to watch, but eval_strategy is no or there are no validation rows"


@pytest.mark.parametrize(
    ("name", "options", "changes", "path", "message"),
    [
        (
            "cosine",
            {"min_lr": 1e-3},
            {},
            "min_lr",
            "expected a rate of at most optimizer.learning_rate (5e-05), got 0.001",
        ),
        (
            "reduce_on_plateau",
            {"monitor": "eval_acuracy"},
            {},
            "monitor",
            f"a metric that this run computes, got 'eval_acuracy' (did you mean 'eval_accuracy'?); {COMPUTED}",
        ),
        (
            "reduce_on_plateau",
            {"monitor": "eval_spread"},
            {},
            "monitor",
            "expected a metric that declares whether greater is better, got 'eval_spread', which does not",
        ),
        ("reduce_on_plateau", {}, {"has_validation": False}, "", UNSEEN),
    ],
)
def test_what_a_plan_refuses(
    name: str, options: dict[str, Any], changes: dict[str, Any], path: str, message: str
) -> None:
    (problem,) = Schedules().validate_plan(plan(name, options, **changes))
    assert problem.path == ".".join(part for part in ("scheduler", path) if part)
    assert message in problem.message


def test_what_a_plan_accepts_and_whose_monitor_it_is() -> None:
    assert Schedules().validate_plan(plan("linear", {"warmup_steps": 100, "min_lr": 5e-5})) == []
    assert Schedules().validate_plan(plan("reduce_on_plateau", {})) == []
    (problem,) = Schedules().validate_plan(plan("reduce_on_plateau", {}, monitor="eval_los"))
    assert problem.path == "training.monitor"
