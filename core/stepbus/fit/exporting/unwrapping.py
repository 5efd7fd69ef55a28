"""From the model that a fit trains back to the model as it was before plugins changed it, with the weights of the fit.

`transform_model` gets a copy, which shares the arrays: whatever becomes of the fit, the model that it started with is
whole, and the next `train` begins with that one. What else a fit does to a model, the freezing of its phases, is undone
as well.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field

from stepbus.base import ModelError, PluginFailure, did_you_mean, error_words, listed
from stepbus.fit import put_tensors, tensors_of

if TYPE_CHECKING:
    from stepbus.fit import Fitting

TRANSFORM, EXPORT, FREEZE = "transform_model", "transform_export", "trained_parameters"


@define(eq=False)
class Origin:
    """What a fit has to give back.

    Args:
        model: The model as it was before plugins changed it; None where they do not.
        frozen: Each module with the names of its parameters that were frozen before.
        done: Whether the session has the model of the export.
        stored: The tensors of a checkpoint, by the stem of their file: name -> bytes.
    """

    model: Any = None
    frozen: tuple[tuple[Any, set[str]], ...] = ()
    done: bool = False
    stored: dict[str, dict[str, int]] = field(factory=dict)


def set_apart(session: Fitting, model: Any, *, kept: bool) -> Any:
    """Return the model that plugins may change, and keep the other one as what the fit is to end with.

    Args:
        session: The fit.
        model: The model, with the weights that the fit starts from.
        kept: Whether somebody else has the model too, so that its arrays stay in it.

    Raises:
        ModelError: It cannot be copied.
    """
    if not session.bus.has(TRANSFORM):
        if session.bus.has(FREEZE):
            modules = [module for _, module in model.named_modules()]
            session.origin.frozen = tuple((module, set(module._no_grad)) for module in modules)
        return model
    session.origin.model = model
    shared = {id(array): array for _, _, array in _arrays(model)}
    try:
        changing = copy.deepcopy(model, dict(shared))
    except Exception as error:
        who = listed(member.name for member in session.bus.members_with(TRANSFORM))
        raise ModelError(
            f"the model cannot be copied ({error_words(error)}), and {who} may change a copy only ({TRANSFORM}); let "
            f"copy.deepcopy(model) work, or switch {who} off"
        ) from error
    if not kept:
        _empty(model)
    return changing


def _arrays(model: Any) -> list[tuple[Any, Any, Any]]:
    """Return each array of a model with what holds it and its place there."""
    import mlx.core as mx

    from stepbus.compute import leaves

    return [(holder, key, value) for holder, key, value in leaves(model) if isinstance(value, mx.array)]


def _empty(model: Any) -> None:
    """Let a model hold no memory: its arrays become zeros that nobody computes, of the same shapes and kinds."""
    import mlx.core as mx

    for holder, key, array in _arrays(model):
        holder[key] = mx.zeros(array.shape, array.dtype)


def plain_of(session: Fitting) -> Any:
    """Return the model of a fit as it was before plugins changed it."""
    return session.model if session.origin.model is None else session.origin.model


def exported_tensors(session: Fitting, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what the export would hold of weights, once it is known to have a place in the plain model.

    Args:
        session: The fit.
        own: Tensors of the model that is trained; None takes the present ones.

    Raises:
        PluginFailure: A tensor has no place there, or one is missing or of another shape or kind.
    """
    own = tensors_of(session.model) if own is None else dict(own)
    if session.origin.done or not (session.bus.has(TRANSFORM) or session.bus.has(EXPORT)):
        return own
    changed: dict[str, str] = {}  # tensor -> who gave it last
    labels = {member.name: member.label for member in session.bus.members}
    before = dict(own)

    def told(member: str, given: Mapping[str, Any]) -> None:
        nonlocal before
        for name in before.keys() | given.keys():
            if given.get(name) is not before.get(name):
                changed[str(name)] = labels[member]
        before = dict(given)

    found = dict(session.bus.thread(EXPORT, told=told, trainer=session, tensors=own))
    _check(session, found, own, changed)
    return found


def _check(session: Fitting, found: Mapping[str, Any], own: Mapping[str, Any], changed: Mapping[str, str]) -> None:
    places = tensors_of(plain_of(session))
    for name in sorted({*found, *places}, key=str):
        given, place, who = found.get(name), places.get(name), changed.get(name)
        if place is None:
            if who is None or name in own:
                raise PluginFailure(
                    f"{_transforming(session)}: {TRANSFORM} gave the model the tensor {name!r}, for which the model as "
                    f"it was has no place; let {EXPORT} take it out, such as by merging it into another one"
                )
            near = did_you_mean(str(name), places)
            raise PluginFailure(f"{who}: {EXPORT}: expected tensors that the model has, got {name!r}{near}")
        wanted = f"{name!r} as {_kind(place)}, as the model has it"
        if given is None:
            by = f"{who}: {EXPORT}" if who else f"{_transforming(session)}: {TRANSFORM}"
            mend = "leave it in" if who else f"let {EXPORT} give it back"
            raise PluginFailure(f"{by}: expected {wanted}, got none; {mend}")
        if _kind(given) != _kind(place):
            by = f"{who}: {EXPORT}" if who else f"{_transforming(session)}: {TRANSFORM}"
            raise PluginFailure(f"{by}: expected {wanted}, got {_kind(given)}")


def _kind(value: Any) -> str:
    """Return the shape and the kind of an array, in words."""
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return f"a {type(value).__name__}" if not isinstance(value, int) else f"the number {value}"
    return f"{str(value.dtype).rpartition('.')[2]} {list(value.shape)}"


def _transforming(session: Fitting) -> str:
    return listed(member.label for member in session.bus.members_with(TRANSFORM)) or "a plugin"


def thaw(session: Fitting) -> None:
    """Freeze again what of a model was frozen before the fit, and nothing else."""
    for module, names in session.origin.frozen:
        module._no_grad = set(names)


def unwrap(session: Fitting) -> None:
    """Put the present weights into the model as it was before plugins changed it, which the session has from now on.

    Args:
        session: The fit, with the weights that are exported.
    """
    if session.origin.done or "model" not in vars(session):
        return
    thaw(session)
    own, plain = tensors_of(session.model), plain_of(session)
    found = exported_tensors(session, own)
    changed = found.keys() != own.keys() or any(found[name] is not own[name] for name in found)
    if changed or plain is not session.model:
        put_tensors(plain, found, source="the weights to export", strict=True)
    if plain is not session.model:
        vars(plain).update(_notes(session.model, plain))
        session.traces += session.steps.traces if "steps" in vars(session) else 0
        session.model = plain
        session.steps = session.builder.scoring(session)
    session.origin.done = True
    if changed:
        who = listed(member.name for member in session.bus.members_with(EXPORT))
        session.not_of_step = session.not_of_step or f"{who} changed them for the export"
        session.averages = False  # which are of the parameters that are gone
        session.state.evaluated.clear()
        session.scored.clear()


def _notes(model: Any, plain: Any) -> dict[str, Any]:
    """Return what plugins noted on a model about its weights: private attributes that are plain values."""
    return {
        name: value
        for name, value in vars(model).items()
        if name.startswith("_") and isinstance(value, bool | int | float | str) and name not in vars(plain)
    }


def unwrap_at_last(session: Fitting) -> list[BaseException]:
    """Unwrap a fit that did not come to its end; where that cannot be done, nobody gets its model.

    Args:
        session: The fit.

    Returns:
        What was raised.
    """
    try:
        unwrap(session)
    except Exception as error:
        with suppress(AttributeError):
            session.traces += session.steps.traces
            del session.steps
        return [error]
    return []
