"""The classic shape of a metric: update, compute, reset."""

from __future__ import annotations

from typing import Any

import attrs

from stepbus.base.components import TASKS as TASKS
from stepbus.base.components import Component


@attrs.define(frozen=True, kw_only=True)
class NoSettings:
    """A component that has no settings."""


class Metric:
    """A metric of one's own: fill in `update` and `compute`, and `reset` where there is something to forget.

    stepbus calls it as `metric(labels, predictions)` with a whole set at once, never with single batches.
    """

    def update(self, predictions: Any, targets: Any) -> None:
        """Take in rows.

        Args:
            predictions: [N, K] probabilities, or [N] values.
            targets: [N] class numbers, [N, K] 0/1, or [N] values.
        """
        raise NotImplementedError

    def compute(self) -> float | dict[str, float]:
        """Return the metric of all rows taken in since the last reset, or several by suffix."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget all rows."""

    def __call__(self, labels: Any, predictions: Any) -> float | dict[str, float]:
        """Return the metric of a whole set.

        Args:
            labels: [N] class numbers, [N, K] 0/1, or [N] values.
            predictions: [N, K] probabilities, or [N] values.
        """
        self.reset()
        self.update(predictions, labels)
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
