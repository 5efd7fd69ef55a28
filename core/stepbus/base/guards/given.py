"""What a hook gives to be used later, when no guard is around it, says whom it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepbus.base.guards.makers import Maker


class GivenFunction:
    """A function that a hook gave, with whom it comes from.

    Args:
        function: The function.
        maker: Whose it is.
    """

    def __init__(self, function: Callable[..., Any], maker: Maker) -> None:
        self.function, self.maker = function, maker

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function gives."""
        return self.function(*arguments)


class GivenMapping(dict[Any, Any]):
    """A mapping that a hook gave, with whom it comes from in `maker`."""

    maker: Maker


def _signed(value: Any, maker: Maker) -> Any:
    """Return what a hook gave with whom it comes from; what carries that already, and None, as it is."""
    if value is None or isinstance(value, GivenFunction | GivenMapping):
        return value
    if not isinstance(value, Mapping):
        return GivenFunction(value, maker)
    found = GivenMapping(value)
    found.maker = maker
    return found


# Hooks whose results are used later, when no guard is around them.
USED_LATER = frozenset({"parameter_groups", "transform_gradients", "wrap_loss", "wrap_gradient", "training_step"})


def signed(hook: str, function: Callable[..., Any], maker: Maker, *, around: bool = False) -> Callable[..., Any]:
    """Return a hook implementation whose results say whom they come from, where they are used later.

    Args:
        hook: The hook.
        function: Its implementation, checked; or the second half of a wrapper.
        maker: Whose it is.
        around: It is such a half.
    """
    if hook not in USED_LATER:
        return function

    def implementation(*arguments: Any) -> Any:
        given = function(*arguments)
        if not around:
            return _signed(given, maker)
        return ([_signed(each, maker) for each in given[0]] if given[0] is not None else None), *given[1:]

    return implementation
