"""What wrappers of the loss and of the gradient give, looked at where it comes in: when a step is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import PluginError, did_you_mean, show_python
from stepbus.base.guards import Maker
from stepbus.compute.checks import check_name, handed_out, kind_of, shape_of, shown
from stepbus.compute.stepping.naming import Givers
from stepbus.compute.stepping.parts import MOST_NAMED
from stepbus.compute.watching import watching


class Misnamed(PluginError):
    """The engine's value_and_grad was asked for the gradient at a parameter that there is none of.

    Args:
        name: What it was called.
        words: What is wrong.
    """

    def __init__(self, name: Any, words: str) -> None:
        super().__init__(words)
        self.name = name


def checked_loss(given: Any, givers: Givers | None = None) -> Callable[..., Any]:
    """Return a loss that looks at what it gives.

    Args:
        given: The function that a plugin gave, with whom it comes from in `maker`.
        givers: Who gives which named number; told whenever it is called.

    Raises:
        PluginFailure: When it is called: it raised, or gave something else than losses of rows and named scalars.
    """
    maker, givers = _maker(given, "wrap_loss"), givers or Givers()

    def loss(forward: Any, batch: Mapping[str, mx.array]) -> tuple[mx.array, dict[str, mx.array]]:
        with maker.calling("its loss", called_as="loss(forward, batch)"), givers.calling() as inside:
            found = given(forward, dict(batch))
        expected = "expected (row losses [B], {name: scalar array}) from its loss"
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise maker.fault(f"{expected}, got {_said(found)}")
        rows, named = found
        wanted = batch["weights"].shape
        if shape_of(rows) != wanted:
            raise maker.fault(f"{expected}, row losses {list(wanted)} here, got {shown(rows)}")
        if not mx.issubdtype(rows.dtype, mx.floating):
            raise maker.fault(f"{expected}, row losses as floating-point numbers, got {kind_of(rows)}")
        if (watch := watching()) is not None:
            watch.saw_losses(rows, by=maker.said)
        return rows.astype(mx.float32), _checked_named(maker, named, wanted, givers, inside)

    return inner_loss(loss)


def checked_gradient(given: Any, givers: Givers | None = None) -> Callable[..., Any]:
    """Return a value_and_grad that looks at what it gives.

    Args:
        given: The function that a plugin gave, with whom it comes from in `maker`.
        givers: Who gives which named number; told whenever it is called.

    Raises:
        PluginFailure: When it is called: it raised, or gave something else.
    """
    maker, givers = _maker(given, "wrap_gradient"), givers or Givers()

    def value_and_grad(parameters: Mapping[str, mx.array], batch: Mapping[str, mx.array]) -> tuple[Any, ...]:
        how = "value_and_grad(parameters, batch)"
        try:
            with maker.calling("its value_and_grad", called_as=how), givers.calling() as inside:
                found = given(handed_out(dict(parameters)), dict(batch))
        except Misnamed as error:
            if error.name in parameters:  # by whom it was called
                raise
            raise maker.fault(str(error), PluginError) from error
        expected = "expected (total, weight, scalars, gradients) from its value_and_grad"
        if not isinstance(found, tuple | list) or len(found) != 4:
            raise maker.fault(f"{expected}, got {_said(found)}")
        total, weight, named, gradients = found
        for what, value in (("total", total), ("weight", weight)):
            if shape_of(value) != ():
                raise maker.fault(f"{expected}, the {what} as an array of one number, got {shown(value)}")
            if value.dtype != mx.float32:
                raise maker.fault(f"{expected}, the {what} as float32, got {kind_of(value)}")
        if not isinstance(gradients, Mapping):
            raise maker.fault(f"{expected}, the gradients by name, got {_said(gradients)}")
        for name in sorted(gradients.keys() - parameters.keys(), key=str):
            raise maker.fault(f"{expected}, got a gradient of {name!r}{did_you_mean(str(name), list(parameters))}")
        for name, own in parameters.items():
            if name not in gradients:
                raise maker.fault(f"{expected}, got no gradient of {name!r}")
            gradient = gradients[name]
            if shape_of(gradient) != own.shape:
                raise maker.fault(f"{expected}, that of {name!r} {list(own.shape)}, got {shown(gradient)}")
            if gradient.dtype != mx.float32:
                raise maker.fault(f"{expected}, that of {name!r} as float32, got {kind_of(gradient)}")
        if (watch := watching()) is not None:
            watch.saw_tree("gradient", gradients, by=maker.said)
        checked = {name: gradients[name] for name in parameters}
        return total, weight, _checked_named(maker, named, None, givers, inside), checked

    return inner_gradient(value_and_grad)


def inner_loss(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss as a wrapper is given it: one that says how it is called where it is called in another way."""

    def inner(*arguments: Any, **named: Any) -> Any:
        forward, batch = _two("the inner loss", "loss(forward, batch)", arguments, named)
        if not callable(forward) or not isinstance(batch, Mapping):
            got = f"loss({type(forward).__name__}, {type(batch).__name__})"
            raise TypeError(f"the inner loss is called as loss(forward, batch), got {got}")
        found = loss(forward, batch)
        if (watch := watching()) is not None and isinstance(found, tuple):
            watch.saw_losses(found[0])
        return found

    return inner


def inner_gradient(value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
    """Return a value_and_grad as a wrapper is given it, likewise."""
    how = "value_and_grad(parameters, batch)"

    def inner(*arguments: Any, **named: Any) -> Any:
        parameters, batch = _two("the inner value_and_grad", how, arguments, named)
        if not isinstance(parameters, Mapping) or not isinstance(batch, Mapping):
            got = f"value_and_grad({type(parameters).__name__}, {type(batch).__name__})"
            raise TypeError(f"the inner value_and_grad is called as {how}, got {got}")
        return value_and_grad(parameters, batch)

    return inner


def _two(what: str, how: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the two arguments of a call, given in order or by name."""
    names = how.partition("(")[2].rstrip(")").split(", ")
    found = {**dict(zip(names, arguments, strict=False)), **named}
    if len(arguments) + len(named) != 2 or found.keys() != set(names):
        given = [*(type(each).__name__ for each in arguments), *(f"{name}=…" for name in named)]
        raise TypeError(f"{what} is called as {how}, got {how.partition('(')[0]}({', '.join(given)})")
    return found[names[0]], found[names[1]]


def _maker(given: Any, hook: str) -> Maker:
    found: Maker = getattr(given, "maker", Maker(f"a function of {hook}"))
    return found


def _checked_named(
    maker: Maker, named: Any, rows: tuple[int, ...] | None, givers: Givers, inside: list[dict[str, mx.array]]
) -> dict[str, mx.array]:
    if not isinstance(named, Mapping):
        raise maker.fault(f"expected named scalars as {{name: scalar array}}, got {_said(named)}")
    if len(named) > MOST_NAMED:
        raise maker.fault(f"expected at most {MOST_NAMED} named scalars of a loss, got {len(named)}")
    for name, value in named.items():
        check_name(maker, name)
        if shape_of(value) not in ((), rows):
            expected = "of one number" if rows is None else f"of one number, or of one for each row {list(rows)}"
            raise maker.fault(f"expected the scalar {name!r} as an array {expected}, got {shown(value)}")
    givers.check(maker, named, inside)
    return givers.hand_out({name: value.astype(mx.float32) for name, value in named.items()}, maker)


def _said(value: Any) -> str:
    """Return what came in place of several values, in words."""
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return shown(value) if isinstance(value, mx.array) else show_python(value)
