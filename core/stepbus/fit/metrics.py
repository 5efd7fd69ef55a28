"""The metrics of a task, picked from what the plugins offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.base import ConfigError, Problem, Selected, listed, show

if TYPE_CHECKING:
    from stepbus.config import Config


def chosen_metrics(config: Config, task: str | None) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
    """Return the metrics of a task, built, and the direction of everything that will be computed.

    Args:
        config: The configuration; `training.metrics` names them, or the task's own are taken.
        task: binary, multiclass, multilabel or regression; without one there is the loss alone.

    Raises:
        ConfigError: A metric is not for the task, or there is none that it could be for.
    """
    if task is None and config.training.metrics:
        words = (
            "expected data.task beside it (binary, multiclass, multilabel or regression), because batches do not say "
            "what their labels are, got none; set it, or leave metrics out"
        )
        raise ConfigError([config.locate(Problem("training.metrics", words))])
    offered = [part for part, _ in config.components if part.kind == "metric"]
    usual = [Selected(part, part.config()) for part in offered if task in part.metadata.get("default", ())]
    chosen = usual if config.training.metrics is None else config.training.metrics
    directions: dict[str, bool | None] = {"eval_loss": False}
    built: list[tuple[str, Any]] = []
    for place, selected in enumerate(chosen):
        if task not in selected.component.metadata["tasks"]:
            tasks = ", ".join(selected.component.metadata["tasks"])
            words = f"{selected.name} is for {tasks}, and this data is {task}; leave it out"
            raise ConfigError([config.locate(Problem("training.metrics", words))])
        if any(name == selected.name for name, _ in built):
            others = [part.name for part in offered if part.name.startswith(f"{selected.name}_")]
            instead = f", or take {listed(others, 'or')}" if others else ""
            words = f"expected each metric once, for its name is that of its score, got {selected.name} again"
            raise ConfigError(
                [config.locate(Problem(f"training.metrics[{place}]", f"{words}; leave one out{instead}"))]
            )
        built.append((selected.name, selected.build()))
        directions[f"eval_{selected.name}"] = selected.component.metadata["greater_is_better"]
    monitor, wished = config.training.monitor, config.training.greater_is_better
    if wished is not None:
        known = directions.get(monitor)
        if known is not None and known != wished:
            better = "more" if known else "less"
            words = f"expected {show(known)}, because {better} {monitor} is better, got {show(wished)}; leave it out"
            raise ConfigError([config.locate(Problem("training.greater_is_better", words))])
        directions[monitor] = wished
    return built, directions
