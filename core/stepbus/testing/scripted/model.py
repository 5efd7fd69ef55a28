"""The model of a scripted fit as plugins see it, and what stands in for the functions of a step: none computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from stepbus.base import PluginError, PluginFailure, did_you_mean, show_python
from stepbus.testing.scripted.parameters import scripted_parameters

REAL = "tiny_fit trains a real one, in a second or two"


class ScriptedModel:
    """A model whose weights are the number of updates they have seen.

    Args:
        starts_from: The folder of the model that it starts from; "" starts anew.
    """

    def __init__(self, starts_from: str = "") -> None:
        self.step, self.starts_from = 0, starts_from

    def tensors(self) -> dict[str, Any]:
        """Return the weights."""
        return {"step": self.step}

    def load_tensors(self, tensors: Mapping[str, Any], *, source: str = "", strict: bool = False) -> None:
        """Put weights back."""
        self.step = tensors["step"]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a tiny encoder and a head: NumPy arrays, which no update changes."""
        return scripted_parameters()

    trainable_parameters = parameters

    def __call__(self, *arguments: Any, **keywords: Any) -> NoReturn:
        """Compute nothing.

        Raises:
            PluginError: Always.
        """
        raise PluginError(f"a scripted model computes nothing; {REAL}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        near = did_you_mean(name, ("parameters", "trainable_parameters"))
        raise AttributeError(f"a scripted model has parameters and no modules, and so no {name!r}{near}; {REAL}")


def uncomputed(what: str) -> Any:
    """Return what stands in for a function of a step, for who puts another one around it.

    Args:
        what: The function: "loss(forward, batch)".
    """

    def function(*arguments: Any, **keywords: Any) -> NoReturn:
        raise PluginError(f"a scripted run calls no {what}; {REAL}")

    return function


def check_arrays(member: str, given: Any) -> None:
    """Refuse what `after_update` cannot keep: anything but arrays by name, in dictionaries.

    Args:
        member: The plugin that gave it.
        given: (arrays, function) or (arrays, function, weights).

    Raises:
        PluginFailure: There is something else among the arrays.
    """
    waiting = [("arrays", given[0])]
    for where, value in waiting:
        if isinstance(value, Mapping):
            if names := [name for name in value if not isinstance(name, str)]:
                raise PluginFailure(
                    f"{member}: after_update: {where}: expected texts as names, got {show_python(names[0])}"
                )
            waiting += [(f"{where}.{name}", inner) for name, inner in value.items()]
        elif not (hasattr(value, "shape") and hasattr(value, "dtype")):
            expected = "expected a dictionary of arrays, or of dictionaries of arrays"
            raise PluginFailure(f"{member}: after_update: {where}: {expected}, got {show_python(value)}")
