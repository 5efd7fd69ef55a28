"""The classic shape of a metric: update, compute, reset."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from stepbus.base import Component, PluginError, snake_case
from stepbus.base.guards import TASKS, as_read_only

MOST_NESTED = 4  # a configuration, its sections, their lists, and the settings in them


@attrs.define(frozen=True, kw_only=True)
class NoSettings:
    """A component that has no settings."""


class _Offered:
    """What a class of metrics offers as a plugin, and an instance: itself, under its name."""

    def __get__(self, made: Metric | None, cls: type[Metric]) -> list[Component]:
        if cls is Metric:
            return []
        part = cls.component(cls.called(), greater_is_better=cls.greater_is_better, tasks=cls.tasks)
        # Whoever hands a metric over wants it computed, whatever else `training.metrics` names.
        build = part.build if made is None else lambda settings: made
        always = {"always": True, "is_plugin": made is not None}
        return [attrs.evolve(part, build=build, metadata={**part.metadata, **always})]


class Metric:
    """A metric of one's own: fill in `update` and `compute`, and `reset` where there is something to forget.

    stepbus calls it as `metric(labels, predictions)` with a whole set at once, never with single batches. Where rows
    have weights, an `update` with a third argument called `weights` or `sample_weight` gets them: float64 [N]. Where
    they have none, it gets nothing, or ones, where that argument has no default.

    It is a plugin: in Python the class or an instance stands among `metrics=[…]` (or `plugins=[…]`), in YAML
    `plugins: {mine: {use: ./mine.py:Right}}`, and it is computed beside what `training.metrics` names.

    Attributes:
        name: What its score is called; "" is the name of the class, MeanMargin → mean_margin.
        greater_is_better: Its direction; None cannot be monitored.
        tasks: The tasks that it can be computed for.

    Example:
        >>> class Right(Metric):
        ...     def reset(self):
        ...         self.hits = self.rows = 0
        ...     def update(self, predictions, targets):
        ...         self.hits += int((predictions.argmax(axis=1) == targets).sum())
        ...         self.rows += len(targets)
        ...     def compute(self):
        ...         return self.hits / self.rows
        >>> trainer = create_trainer(config="run.yaml", metrics=["accuracy", Right])
        >>> trainer.train().metrics["eval_right"]
        1.0
    """

    name: ClassVar[str] = ""
    greater_is_better: ClassVar[bool | None] = None
    tasks: ClassVar[tuple[str, ...]] = TASKS
    components: ClassVar[Any] = _Offered()

    @classmethod
    def called(cls) -> str:
        """Return what its score is called.

        Raises:
            PluginError: Its `name` is no name.
        """
        found = cls.name or snake_case(cls.__name__)
        if not isinstance(found, str) or not re.fullmatch(r"[A-Za-z][\w.-]*", found):
            raise PluginError(f"{cls.__name__}: expected name = a text of letters, digits, _, . and -, got {found!r}")
        return found

    def update(self, predictions: Any, targets: Any) -> None:
        """Take in rows.

        Args:
            predictions: [N, K] probabilities, or [N] values.
            targets: [N] class numbers, [N, K] 0/1, or [N] values.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update(predictions, targets); write it")

    def compute(self) -> float | dict[str, float]:
        """Return the metric of all rows taken in since the last reset, or several by name, each a score of its own."""
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
        if weights is not None and not weights_argument(self):
            raise TypeError(f"{type(self).__name__}.update has no argument weights")
        self.reset()
        given = weights_for(self, labels, weights)
        self.update(predictions, labels, **{weights_argument(self): each for each in given.values()})
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
    found = _weights_parameter(metric)
    return "" if found is None else found.name


def weights_for(metric: Any, labels: Any, weights: Any = None) -> dict[str, Any]:
    """Return what a metric is given of the weights of rows, by the name of its argument.

    Args:
        metric: What is called with labels and predictions.
        labels: Those of the rows, [N] or [N, K].
        weights: What each row counts, [N]; None where all count alike, which a metric gets as ones if it must have
            weights.
    """
    found = _weights_parameter(metric)
    if found is None or (weights is None and found.default is not inspect.Parameter.empty):
        return {}
    if weights is None:
        import numpy as np

        weights = as_read_only(np.ones(len(labels)))
    return {"weights" if _is_called_by_update(metric) else found.name: weights}


def _weights_parameter(metric: Any) -> inspect.Parameter | None:
    metric = inspect.unwrap(metric)
    try:
        found = inspect.signature(metric.update if _is_called_by_update(metric) else metric).parameters
    except (TypeError, ValueError):  # a builtin that does not say what it takes
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = (found[name] for name in ("weights", "sample_weight") if name in found and found[name].kind in named)
    return next(known, None)


def _is_called_by_update(metric: Any) -> bool:
    metric = inspect.unwrap(metric)
    return isinstance(metric, Metric) and type(metric).__call__ is Metric.__call__


def metric_given(value: Any) -> type[Metric] | None:
    """Return the class of a metric that was passed in Python, as a class or an instance; None of anything else."""
    cls = value if isinstance(value, type) else type(value)
    return cls if issubclass(cls, Metric) and cls is not Metric else None


def with_metrics(plugins: Iterable[Any], *settings: Any) -> tuple[Any, ...]:
    """Return what was passed in Python as plugins, with the classes and instances of metrics among settings, each once.

    Args:
        plugins: Classes, instances and modules.
        *settings: Mappings, lists, settings objects and whatever they hold.
    """
    passed = [*plugins, *(metric for value in settings for metric in _metrics_in(value))]
    return tuple({id(each): each for each in passed}.values())


def _metrics_in(value: Any, depth: int = 0) -> Iterator[Any]:
    if metric_given(value) is not None:
        yield value
    elif depth <= MOST_NESTED:
        if attrs.has(type(value)):
            value = [getattr(value, each.name, None) for each in attrs.fields(type(value))]
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        for each in inner:
            yield from _metrics_in(each, depth + 1)
