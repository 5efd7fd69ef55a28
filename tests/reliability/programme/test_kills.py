"""A run that is killed between any two file operations, or at any time, resumes to the same bits."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from typing import Any

from configurations import over, sections

FOLDS = {
    **over(sections("cross_validation_of_averages", "every_4_steps"), {"plugins": {"cross_validation": {"folds": 2}}})
}
# Configuration, image that is gone on from, and between which moments a save lies.
SAVED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "first": (sections("dropout"), "", "on_fit_start fit 0", "on_step_end fit 2"),
    "averages and best": (sections("ema"), "on_checkpoint fit 14", "on_step_end fit 15", "on_step_end fit 17"),
    "lora and float16": (sections("all_others"), "on_checkpoint fit 5", "on_step_end fit 6", "on_step_end fit 7"),
    "last, and the model": (sections("early_stopping"), "on_checkpoint fit 21", "on_step_end fit 22", "on_close - 0"),
    "between folds": (FOLDS, "on_checkpoint fold-1 8", "on_step_end fold-1 12", "on_step_end fold-2 1"),
}
EACH = 36  # operations of each, evenly over all of them
AT_RANDOM = 100
SEED = 20240607


# What CI looks at: a whole run of each costs as much as some kills.
LOOKED_AT = ("averages and best", "between folds")


def before_operations() -> list[dict[str, Any]]:
    """Return the cases of kills before file operations, saves in turn."""
    return [
        {"config": name, "from": begin, "moment": first, "until": until, "part": (place + 0.5) / EACH}
        for place in range(EACH)
        for name, (_, begin, first, until) in SAVED.items()
    ]


def at_random() -> list[dict[str, Any]]:
    """Return the cases of kills at any time, one or two in a run: how far it came, and seconds after that."""
    draw = random.Random(SEED)
    return [
        {
            "config": draw.choice(list(SAVED)),
            "moments": sorted((draw.uniform(0.0, 0.9), draw.uniform(0.0, 0.03)) for _ in range(draw.randint(1, 2))),
        }
        for _ in range(AT_RANDOM)
    ]


def test_killed_before_a_file_operation(
    run_points: Callable[..., list[dict[str, Any]]], chosen: Callable[..., list[Any]], full: bool, tally: Any
) -> None:
    cases = chosen([case for case in before_operations() if full or case["config"] in LOOKED_AT], 6)
    results = run_points({name: saved[0] for name, saved in SAVED.items()}, cases)
    wrong = []
    for case, result in zip(cases, results, strict=True):
        what = f"{case['config']}, before operation {result.get('operation')}: {result}"
        with tally("2 SIGKILL before each file operation", f"{case['config']} {case['part']}") as seen:
            seen.went_on()
            if not (
                result["codes"] == [-signal.SIGKILL]
                and result["last"] == 0
                and not result["left"]
                and not result["different"]
            ):
                seen.outcomes = {"lost"}
                wrong.append(what)
    assert not wrong, "\n".join(wrong)
    # Both who computes and who writes beside it were killed.
    assert {result["thread"] for result in results} == {"MainThread", "stepbus-checkpoint"}


def test_killed_at_a_random_time(
    run_points: Callable[..., list[dict[str, Any]]], chosen: Callable[..., list[Any]], full: bool, tally: Any
) -> None:
    cases = chosen([case for case in at_random() if full or case["config"] in LOOKED_AT], 3)
    results = run_points({name: saved[0] for name, saved in SAVED.items()}, cases)
    wrong = []
    for number, (case, result) in enumerate(zip(cases, results, strict=True)):
        with tally("2 SIGKILL at random times", number) as seen:
            seen.went_on()
            # One that was done before stays so.
            if (
                not set(result["codes"]) <= {0, -signal.SIGKILL}
                or result["last"] != 0
                or result["left"]
                or result["different"]
            ):
                seen.outcomes = {"lost"}
                wrong.append(f"{case}: {result}")
    assert not wrong, "\n".join(wrong)
    assert sum(-signal.SIGKILL in result["codes"] for result in results) > 0.8 * len(results)
