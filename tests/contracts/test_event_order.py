"""The pseudo-code at the top of events.py, held against what a real run emits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import create_trainer
from stepbus.kernel import events
from stepbus.kernel.hook_checks import SPECIFICATIONS
from stepbus.testing import Recorder, play

ROUNDS = Path(__file__).parents[1] / "fixtures" / "rounds.py"
BESIDE = {"on_message", "on_report", "on_artifact", "on_exception"}


def grammar() -> str:
    """Return the pseudo-code as a regular expression over the names of hooks, each followed by a space."""
    text = (events.__doc__ or "").split("skip them):")[1].split("Beside the order")[0]
    lines = [line for line in text.splitlines() if line.strip()]

    def block(start: int, indent: int) -> tuple[str, int]:
        pattern, index = "", start
        while index < len(lines):
            line = lines[index]
            depth = len(line) - len(line.lstrip())
            if depth < indent:
                break
            word = line.strip()
            if word.endswith(":"):
                inner, index = block(index + 1, depth + 4)
                pattern += f"(?:{inner})" + ("*" if word.startswith("for") else "?")
            else:
                assert word in SPECIFICATIONS, word
                pattern += f"(?:{word} )"
                index += 1
        return pattern, index

    return block(0, 4)[0]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"training": {"num_epochs": 2, "eval_strategy": "steps", "eval_steps": 4, "max_steps": 15}},
        {"training": {"eval_strategy": "no"}, "plugins": {"progress": False, "checkpoint": False}},
        {"training": {"gradient_accumulation_steps": 3}, "plugins": {"progress": False, "early_stopping": {}}},
        {"plugins": {"progress": False, "cross_validation": {"folds": 2}}, "data": {"validation": None}},
        {"plugins": {"progress": False, "rounds": {"use": f"{ROUNDS}:Rounds"}}},
    ],
)
def test_a_run_follows_the_pseudo_code(sections: dict[str, Any], tiny_config: Callable[..., dict[str, Any]]) -> None:
    recorder = Recorder()
    create_trainer(config=tiny_config(**sections), plugins=[recorder]).train()
    heard = [name for name in recorder.names if name not in BESIDE]
    assert heard.count("on_step_end") > 0
    assert re.fullmatch(grammar(), "".join(f"{name} " for name in heard)), heard


@pytest.mark.parametrize(
    "script",
    [
        {"log_steps": 2},
        {"metrics": [{"eval_loss": 0.5}]},
        {"metrics": [{"eval_loss": 0.5}], "eval_strategy": "steps", "eval_steps": 3, "max_steps": 8},
        {"metrics": [{"eval_loss": 0.5}], "eval_strategy": "no"},
    ],
)
def test_a_scripted_run_follows_the_pseudo_code(script: dict[str, Any]) -> None:
    heard = [name for name in play(**script).names if name not in BESIDE]
    assert heard.count("on_step_end") > 0
    assert re.fullmatch(grammar(), "".join(f"{name} " for name in heard)), heard


def test_every_hook_is_in_the_pseudo_code_or_beside_it() -> None:
    assert {name for name in SPECIFICATIONS if f"{name} )" not in grammar()} == BESIDE
    for name in BESIDE:
        assert f"`{name}`" in (events.__doc__ or "")


def test_a_wrong_order_is_noticed() -> None:
    assert not re.fullmatch(grammar(), "on_run_start expand_fits validate_plan on_run_end on_close ")
