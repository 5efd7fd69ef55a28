"""The state of an optimizer that a checkpoint kept, beside the one that takes it over."""

from __future__ import annotations

from collections.abc import Mapping

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import CheckpointError


def check_kept(here: Mapping[str, mx.array], kept: Mapping[str, mx.array]) -> None:
    """Refuse the arrays of another state.

    Args:
        here: The arrays of the state, by flat name.
        kept: Those that are to take their places.

    Raises:
        CheckpointError: An array is missing, of another shape or type, or belongs to no parameter.
    """
    _check_plugins({*here}, {*kept})
    wrong = [_mismatch(name, own, kept.get(name)) for name, own in here.items()]
    wrong += [f"{name}: unexpected" for name in kept if name not in here]
    wrong = [text for text in wrong if text]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"the optimizer's state fits neither this optimizer nor this model: {'; '.join(wrong[:5])}{more}"
        )


def _check_plugins(here: set[str], given: set[str]) -> None:
    """Refuse arrays of a plugin that is off now, and none of one that is on now, by the names of all arrays."""
    on, was_on = ({name.split(".")[1] for name in names if name.startswith("plugins.")} for names in (here, given))
    for name in sorted(on ^ was_on):
        found, mend = ("none of", f"switch {name} off") if name in on else ("some of", f"switch {name} on")
        raise CheckpointError(
            f"expected what the plugins keep beside the weights, got {found} {name}; {mend} as it was, or begin anew "
            "with these weights, by model.pretrained"
        )


def _mismatch(name: str, own: mx.array, given: mx.array | None) -> str:
    if given is None:
        return f"{name}: missing"
    if given.shape != own.shape or given.dtype != own.dtype:
        return f"{name}: expected {own.dtype} {list(own.shape)}, got {given.dtype} {list(given.shape)}"
    return ""
