"""The metrics of a task, picked from what the plugins offer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.base import BadInput, ConfigError, PluginError, Problem, Selected, show, show_python
from stepbus.fit.scoring.metrics import CheckedMetric, of_metric, rehearsed_numbers

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import Fitting


def chosen_metrics(
    config: Config, task: str | None, codec: Any = None
) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
    """Return the metrics of a task, built, and the direction of everything that will be computed.

    Args:
        config: The configuration; `training.metrics` names them, or the task's own are taken.
        task: binary, multiclass, multilabel or regression; without one there is the loss alone.
        codec: Knows the labels, for a metric whose `build` has an argument `codec`; None where they came as numbers.

    Raises:
        ConfigError: Metrics are not for the task, or there is none that they could be for; every problem at once.
    """
    if task is None and config.training.metrics:
        words = (
            "expected data.task beside it (binary, multiclass, multilabel or regression), because batches do not say "
            "what their labels are, got none; set it, or leave metrics out"
        )
        raise ConfigError([config.locate(Problem("training.metrics", words))])
    providers = [(part, who) for part, who in config.components if part.kind == "metric"]
    offered = [part for part, _ in providers]
    usual = [Selected(part, part.config(), who) for part, who in providers if task in part.metadata.get("default", ())]
    chosen = usual if config.training.metrics is None else list(config.training.metrics)
    named = [selected.name for selected in chosen]
    chosen += [
        Selected(part, part.config(), who)
        for part, who in providers
        if part.metadata.get("always") and part.name not in named and task is not None
    ]
    directions: dict[str, bool | None] = {"eval_loss": False, "train_loss": False}
    built: list[tuple[str, Any]] = []
    taken, problems = {"loss"}, list[Problem]()
    for place, selected in enumerate(chosen):
        written = place < len(config.training.metrics or ())
        where = f"training.metrics[{place}]" if written else "training.metrics"
        if task not in selected.component.metadata["tasks"]:
            tasks = ", ".join(selected.component.metadata["tasks"])
            words = f"{selected.name} is for {tasks}, and this data is {task}; leave it out"
            problems.append(Problem(where, words))
            continue
        name = selected.called or selected.name
        if name in taken:
            problems.append(Problem(where, _twice(selected, chosen, [part.name for part in offered])))
            continue
        taken.add(name)
        try:
            metric = selected.build(**({"codec": codec} if _asks_for_codec(selected) else {}))
        except BadInput as error:
            if (found := of_metric(error, where)) is None:
                raise
            problems.append(found)
            continue
        if not callable(metric):
            words = f"expected its build to return a function of labels and predictions, got {show_python(metric)}"
            raise selected.maker.fault(words, PluginError)
        built.append((name, CheckedMetric(metric, selected.maker, where)))
        directions[f"eval_{name}"] = selected.component.metadata["greater_is_better"]
    problems += _against(config, directions)
    if problems:
        raise ConfigError([config.locate(problem) for problem in problems])
    if (wished := config.training.greater_is_better) is not None:
        directions[config.training.monitor] = wished
    return built, directions


def named_directions(session: Fitting) -> dict[str, bool | None]:
    """Return the directions of a fit by the names of its numbers: a metric that gives several gives none by its own.

    Args:
        session: The fit, with its data and metrics; without labels nobody knows what they give.

    Raises:
        ConfigError: `training.greater_is_better` says otherwise than the metric that the watched number is of.
    """
    found = dict(session.directions)
    for name, numbers in rehearsed_numbers(session.metrics, session.data, session.fit).items():
        if name not in numbers:
            greater = found.pop(f"eval_{name}", None)
            for number in (f"eval_{each}" for each in numbers):
                found[number] = found.get(number) if greater is None else greater
    if problems := [session.config.locate(problem) for problem in _against(session.config, found)]:
        raise ConfigError(problems)
    return found


def _against(config: Config, directions: Mapping[str, bool | None]) -> Iterator[Problem]:
    """Yield a problem where the wished direction is not the one that is known."""
    monitor, wished = config.training.monitor, config.training.greater_is_better
    known = directions.get(monitor)
    if wished is not None and known is not None and known != wished:
        better = "more" if known else "less"
        words = f"expected {show(known)}, because {better} {monitor} is better, got {show(wished)}; leave it out"
        yield Problem("training.greater_is_better", words)


def _twice(selected: Selected, chosen: Sequence[Selected], offered: Sequence[str]) -> str:
    """Return that a metric has a name that another one of the run has, and how it gets its own, in words.

    Args:
        selected: The second one.
        chosen: All of the run.
        offered: The names of all metrics that there are.
    """
    name = selected.called or selected.name
    words = f"expected a name of its own for each metric, for it is that of its score, got {name} again"
    if any(other is not selected and other == selected for other in chosen):
        return f"{words}; leave one out"
    own = next((each for each in offered if each.startswith(f"{selected.name}_")), "")
    instead = f", or take {own}" if own and not selected.called else ""
    usual = {each.name: each.default for each in attrs.fields(type(selected.settings))}
    values = [getattr(selected.settings, each) for each in usual if getattr(selected.settings, each) != usual[each]]
    told = [str(value) for value in values if isinstance(value, str | int | float)]
    suggested = "_".join([selected.name, *told]) if told else f"{selected.name}_2"
    while suggested in offered:
        suggested += "_2"
    return f"{words}; give one of them a name: {{type: {selected.name}, name: {suggested}, …}}{instead}"


def _asks_for_codec(selected: Selected) -> bool:
    try:
        return "codec" in inspect.signature(selected.component.build).parameters
    except (TypeError, ValueError):
        return False  # it does not say what it takes
