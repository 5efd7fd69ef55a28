"""What a hook may give back; anything else would fail far from the plugin that gave it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepbus.base import show


def _problems(value: Any) -> bool:
    from stepbus.base import Problem

    return isinstance(value, list | tuple) and all(isinstance(each, Problem) for each in value)


def _groups(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(group, Mapping) for group in value.values())


def _fits(value: Any) -> bool:
    from stepbus.kernel.fits import Fit

    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Fit) for each in value)


def _result(value: Any) -> bool:
    from stepbus.kernel.fits import FitResult

    return isinstance(value, FitResult)


def _yes_or_no(value: Any) -> bool:
    # NumPy's own kind, by name: this module is imported with every configuration.
    return isinstance(value, int) or type(value).__name__ in ("bool", "bool_")


def _retention(value: Any) -> bool:
    from stepbus.storage.checkpoints import Retention

    return isinstance(value, Retention)


# Hook -> whether a value will do, and what is expected in words. What other hooks give is not looked at.
RESULTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "validate_plan": (_problems, "a list of stepbus.Problem"),
    "parameter_groups": (_groups, "a mapping from parameter names to mappings of settings"),
    "transform_gradients": (callable, "a function of gradients"),
    "expand_fits": (_fits, "a list of at least one stepbus.Fit"),
    "combine_results": (_result, "a stepbus.FitResult"),
    "is_boundary": (_yes_or_no, "true or false"),
    "checkpoint_retention": (_retention, "a stepbus.Retention"),
}


def checked(hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook implementation that raises TypeError where it gives back what the hook cannot take.

    Args:
        hook: The hook.
        function: Its implementation, which is no wrapper.
    """
    if hook not in RESULTS:
        return function
    fits, expected = RESULTS[hook]

    def implementation(*arguments: Any) -> Any:
        value = function(*arguments)
        if value is None or fits(value):
            return value
        raise TypeError(f"expected {expected} or None from it, got {show(value)}")

    return implementation


def words_of(error: BaseException) -> str:
    """Return the text of an error that a plugin raised; one whose own text fails has none."""
    try:
        return str(error)
    except Exception as inner:
        return f"(its text cannot be had: {type(inner).__name__})"
