"""The metrics of a task, picked from what the plugins offer."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import (
    ConfigError,
    PluginError,
    PluginFailure,
    Problem,
    Selected,
    StepbusError,
    error_words,
    listed,
    show,
    show_python,
    weights_argument,
)
from stepbus.base.guards import Maker, as_read_only

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.kernel import Fit, FitData


# Rows that a metric is rehearsed on; of more, a part is drawn.
REHEARSED = 10_000


class CheckedMetric:
    """A metric as it is called: what it raises or gives is looked at, and names whom it comes from.

    Args:
        metric: The function of labels and predictions.
        maker: Whose it is.
    """

    def __init__(self, metric: Any, maker: Maker) -> None:
        self.metric, self.maker = metric, maker
        self.__wrapped__ = metric  # what `inspect.signature` asks

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Return what the metric says of a whole set."""
        return self.metric(*arguments, **keywords)


def metric_values(
    metrics: Sequence[tuple[str, Any]], labels: Any, predictions: Any, weights: Any = None
) -> dict[str, float]:
    """Return every metric of predictions that are in the label's own unit, without prefix.

    Args:
        metrics: Name -> what computes it; one that gives a mapping gives several.
        labels: [N] or [N, K].
        predictions: [N, K] probabilities, or [N] values.
        weights: What each row counts, [N], for the metrics that take weights; None counts all alike.

    Raises:
        PluginFailure: A metric raised, `sys.exit` included, or gave no number, or a name that another one has.
    """
    found: dict[str, float] = {}
    labels, predictions, weights = as_read_only(labels), as_read_only(predictions), as_read_only(weights)
    for name, metric in metrics:
        provider = metric.maker.provider if isinstance(metric, CheckedMetric) else ""
        maker = Maker(f"the metric {name!r}", provider, "mend it, or leave it out of training.metrics")
        argument = "" if weights is None else weights_argument(metric)
        try:
            value = metric(labels, predictions, **({argument: weights} if argument else {}))
        except (KeyboardInterrupt, MemoryError, StepbusError):
            raise
        except BaseException as error:
            words = f"{maker.said} raised {error_words(error)}; {maker.mend}"
            raise PluginFailure(maker.signed(words)) from error
        for inner, score in (value if isinstance(value, dict) else {name: value}).items():
            if not isinstance(inner, str):
                raise maker.fault(f"expected texts as names of its numbers, got {show_python(inner)}")
            if inner in found or inner == "loss":
                raise maker.fault(f"expected a name of its own for its number, got {inner!r}, which is there already")
            found[inner] = _number(score, value, maker)
    return found


def rehearse(metrics: Sequence[tuple[str, Any]], data: FitData, fit: Fit) -> None:
    """Ask each metric once before the training, on real labels and made-up predictions: what it says is thrown away.

    A metric that raises or gives no number would otherwise end a run at its first evaluation, hours later.

    Args:
        metrics: Name -> what computes it.
        data: The data of a fit.
        fit: What says which of its sets is scored.

    Raises:
        PluginFailure: A metric raised, or gave no number.
    """
    found = [data.sets[name].targets for name in fit.with_role("score") if name in data.sets]
    labels = next((labels for labels in found if labels is not None), None)
    if labels is None or not len(labels):
        return
    draw = np.random.default_rng(0)
    places = np.sort(draw.permutation(len(labels))[:REHEARSED])
    labels = np.asarray(labels)[places]
    if data.task in ("binary", "multiclass"):
        said = draw.uniform(0.1, 1.0, size=(len(labels), data.codec.outputs))
        said /= said.sum(axis=1, keepdims=True)
    else:
        said = draw.permutation(labels) if data.task == "regression" else draw.uniform(0.1, 0.9, size=labels.shape)
    metric_values([pair for pair in metrics if isinstance(pair[1], CheckedMetric)], labels, said.astype(np.float32))


def _number(score: Any, value: Any, maker: Maker) -> float:
    """Return one number that a metric gave; NaN says that it is undefined on these rows."""
    if isinstance(score, Real | np.number) and not isinstance(score, bool | complex | np.complexfloating):
        return float(score)
    if isinstance(score, np.ndarray) or not hasattr(score, "shape") or score.shape != ():
        raise maker.fault(f"expected a number, or numbers by name, from it, got {show_python(value)}")
    return float(score)  # an array of the device


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
    providers = [(part, who) for part, who in config.components if part.kind == "metric"]
    offered = [part for part, _ in providers]
    usual = [Selected(part, part.config(), who) for part, who in providers if task in part.metadata.get("default", ())]
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
        metric = selected.build()
        if not callable(metric):
            words = f"expected its build to return a function of labels and predictions, got {show_python(metric)}"
            raise selected.maker.fault(words, PluginError)
        built.append((selected.name, CheckedMetric(metric, selected.maker)))
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
