"""SIGTERM and SIGINT at every kind of moment of `stepbus train`: the exit code says so, and the resume is exact."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from configurations import over, sections

CONFIG = over(
    sections("cross_validation", "every_4_steps"),
    {"plugins": {"ema": {"decay": 0.7}}, "training": {"num_epochs": 2}},
)
# Kind of moment -> "HOOK FIT STEP", and the file operation after it, where the signal comes at one.
MOMENTS: dict[str, tuple[str, int]] = {
    "the plan is made": ("expand_fits - 0", 0),
    "rows are prepared": ("prepare_data fold-1 0", 0),
    "the plan is checked": ("validate_plan - 0", 0),
    "the run begins": ("on_run_start - 0", 0),
    "the run's files are written": ("validate_plan - 0", 12),
    "the model is built": ("transform_model fold-1 0", 0),
    "the optimizer is built": ("parameter_groups fold-1 0", 0),
    "a fit begins": ("on_fit_start fold-1 0", 0),
    "the first checkpoint is written": ("on_fit_start fold-1 0", 20),
    "an epoch begins": ("on_epoch_start fold-1 11", 0),
    "the step is traced": ("tracing fold-1 0", 0),
    "an update is launched": ("is_boundary fold-1 8", 0),
    "an update is done": ("on_step_end fold-1 5", 0),
    "the log is written": ("on_log fold-1 6", 0),
    "an evaluation begins": ("on_evaluate_start fold-1 6", 0),
    "predictions are there": ("on_predictions fold-1 6", 0),
    "scores are there": ("on_evaluate fold-1 6", 0),
    "scores decide": ("on_metrics fold-2 9", 0),
    "an epoch ends": ("on_epoch_end fold-2 11", 0),
    "a checkpoint is collected": ("transform_export fold-2 4", 0),
    "a checkpoint is written": ("on_step_end fold-2 4", 30),
    "a checkpoint is durable": ("on_checkpoint fold-1 8", 0),
    "old checkpoints go": ("checkpoint_retention fold-2 8", 0),
    "the last update is done": ("on_step_end fold-2 22", 0),
    "the model is written": ("export_files fold-1 0", 0),
    "a fit ends": ("on_fit_end fold-1 0", 0),
    "between two fits": ("on_fit_result fold-1 0", 0),
    "folds are combined": ("on_result - 0", 0),
    "the run ends": ("on_run_end - 0", 0),
    "plugins are closed": ("on_close - 0", 0),
}
# Before a fit is entered a signal ends the run at once; from then on it waits for a boundary.
AT_ONCE = list(MOMENTS)[:7]


def cases() -> list[dict[str, Any]]:
    """Return the cases: each signal at each kind of moment."""
    return [
        {"config": "folds", "kind": kind, "moment": place, "operation": operation, "sent": int(number)}
        for kind, (place, operation) in MOMENTS.items()
        for number in (signal.SIGTERM, signal.SIGINT)
    ]


def test_a_signal_at_any_moment(
    run_points: Callable[..., list[dict[str, Any]]], chosen: Callable[..., list[Any]], tally: Any
) -> None:
    picked = chosen(cases(), 4)
    wrong = []
    for case, result in zip(picked, run_points({"folds": CONFIG}, picked), strict=True):
        number = signal.Signals(case["sent"])
        try:
            with tally("3 SIGTERM and SIGINT", f"{case['kind']}, {number.name}") as seen:
                assert result["code"] == 128 + number
                assert "Traceback" not in result["said"]
                sentence = next(line for line in result["said"].splitlines() if line.startswith("stepbus: interrupted"))
                if case["kind"] not in AT_ONCE:
                    assert result["begun"]
                    assert f"interrupted by {number.name}; " in sentence
                    assert "--resume" in sentence
                assert result["again"] == 0, result["said_again"]
                assert not result["different"], result["different"]
                seen.refused(sentence)
                seen.went_on()
        except (Exception, AssertionError) as error:
            wrong.append(f"{case['kind']}, {number.name}: {error}\n{result}")
    assert not wrong, "\n".join(wrong)
