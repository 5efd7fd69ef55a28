"""What is wrong between sections, each of which is fine by itself."""

from __future__ import annotations

from typing import Any

from stepbus.base import Problem, counted
from stepbus.base.trees import Node


def check_schedule(config: Any, total_steps: int) -> list[Problem]:
    """Return what is wrong with the schedule once the number of updates is known.

    Args:
        config: The configuration.
        total_steps: Updates of one fit.
    """
    wrong = config.scheduler.settings.never_ends(total_steps, f"the run of {counted(total_steps, 'update')}")
    return [config.locate(Problem("scheduler.warmup_steps", wrong))] if wrong else []


def across(sections: dict[str, Any], tree: Node) -> list[Problem]:
    """Return what is wrong between sections."""
    limit = sections["training"].max_steps
    wrong = limit and sections["scheduler"].settings.never_ends(limit, f"training.max_steps ({limit})")
    if not wrong:
        return []
    mark = (section := tree.value["scheduler"]).value.get("warmup_steps", section).mark
    return [Problem("scheduler.warmup_steps", wrong, mark.file, mark.line)]
