"""The classic shape of a metric: update, compute, reset."""

from __future__ import annotations

import inspect
from typing import Any

import attrs

from stepbus.base.components import TASKS as TASKS
from stepbus.base.components import Component


@attrs.define(frozen=True, kw_only=True)
class NoSettings:
    """A component that has no settings."""


class Metric:
    """A metric of one's own: fill in `update` and `compute`, and `reset` where there is something to forget.

    stepbus calls it as `metric(labels, predictions)` with a whole set at once, never with single batches. Where rows
    have weights, an `update` with a third argument called `weights` gets them: float64 [N].
    """

    def update(self, predictions: Any, targets: Any) -> None:
        """Take in rows.

        Args:
            predictions: [N, K] probabilities, or [N] values.
            targets: [N] class numbers, [N, K] 0/1, or [N] values.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update(predictions, targets); write it")

    def compute(self) -> float | dict[str, float]:
        """Return the metric of all rows taken in since the last reset, or several by suffix."""
        raise NotImplementedError(f"{type(self).__name__} has no compute(); write it")

    def reset(self) -> None:
        """Forget all rows."""

    def __call__(self, labels: Any, predictions: Any, weights: Any = None) -> float | dict[str, float]:
        """Return the metric of a whole set.

        Args:
            labels: [N] class numbers, [N, K] 0/1, or [N] values.
            predictions: [N, K] probabilities, or [N] values.
            weights: What each row counts, [N], for an `update` that takes it.

        Raises:
            TypeError: There are weights, and `update` takes none.
        """
        argument = weights_argument(self)
        if weights is not None and not argument:
            raise TypeError(f"{type(self).__name__}.update has no argument weights")
        self.reset()
        self.update(predictions, labels, **({} if weights is None else {argument: weights}))
        return self.compute()

    @classmethod
    def component(
        cls, name: str, *, greater_is_better: bool | None, tasks: tuple[str, ...] = TASKS, config: type | None = None
    ) -> Component:
        """Return the component that a plugin class lists under `components`.

        Args:
            name: How `training.metrics` names it.
            greater_is_better: Its direction; None for one that cannot be monitored.
            tasks: The tasks it can be computed for.
            config: The attrs class of its settings, given to the constructor; none: the constructor takes nothing.
        """
        metadata = {"tasks": tasks, "greater_is_better": greater_is_better, "default": ()}

        def build(settings: Any) -> Metric:
            return cls() if config is None else cls(settings)  # type: ignore[call-arg]  # the subclass's constructor

        return Component("metric", name, config or NoSettings, build, metadata)


def weights_argument(metric: Any) -> str:
    """Return the argument that a metric takes the weights of rows by, or "" where it takes none.

    Args:
        metric: What is called with labels and predictions. It takes weights where its call (of a `Metric`: its
            `update`) has an argument called `weights`, or `sample_weight` as the functions of scikit-learn have.
    """
    metric = inspect.unwrap(metric)
    metric = inspect.unwrap(metric)
    own = isinstance(metric, Metric) and type(metric).__call__ is Metric.__call__
    try:
        found = inspect.signature(metric.update if own else metric).parameters
    except (TypeError, ValueError):  # a builtin that does not say what it takes
        return ""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = (name for name in ("weights", "sample_weight") if name in found and found[name].kind in named)
    return next(known, "")
