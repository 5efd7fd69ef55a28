"""The functions of `transform_gradients`, one after the other, and what each of them may give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from mlx.utils import tree_flatten

from stepbus.base import error_words, show_python
from stepbus.base.guards import Maker
from stepbus.compute.checks.parts import handed_out, kind_of

# What a record of the log has anyway.
TAKEN = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "skipped_steps",
    "loss_scale",
    "sequences_per_second",
    "tokens_per_second",
)


CALL = "its function of gradients"


def transformed(
    transforms: Sequence[Any],
    gradients: Any,
    named: Mapping[str, Maker] | None = None,
    saw: Callable[[Maker, Any], None] | None = None,
) -> tuple[Any, dict[str, mx.array]]:
    """Return gradients after all functions, and their named numbers; called where a step is traced.

    Args:
        transforms: The functions, in order; one may say in `maker` who made it.
        gradients: A tree of arrays; each function gets containers of its own.
        named: The named numbers that there are already, with who gave them.
        saw: Told what each of them gave.

    Raises:
        PluginFailure: One of them raised, or gave other gradients than it was given, or a name that is taken.
    """
    scalars: dict[str, mx.array] = {}
    givers = dict(named or {})
    for transform in transforms:
        maker: Maker = getattr(transform, "maker", Maker("a function of transform_gradients"))
        with maker.calling(CALL):
            changed = _called(maker, transform, handed_out(gradients))
        found, own = changed if isinstance(changed, tuple) and len(changed) == 2 else (changed, {})
        _check_gradients(maker, gradients, found)
        gradients = found
        if saw is not None:
            saw(maker, gradients)
        if not isinstance(own, Mapping):
            raise maker.fault(
                f"expected (gradients, {{name: scalar array}}), got {show_python(own)} beside the gradients"
            )
        for name, value in own.items():
            check_name(maker, name)
            if not isinstance(value, mx.array) or value.size != 1:
                got = f"an array {list(value.shape)}" if isinstance(value, mx.array) else show_python(value)
                raise maker.fault(f"expected the scalar {name!r} as an array of one number, got {got}")
            if name in givers:
                raise maker.fault(
                    f"expected a name of its own for a scalar, got {name!r}, which {_who(givers[name])} has"
                )
            givers[name], scalars[name] = maker, value.astype(mx.float32).reshape(())
    return gradients, scalars


def _called(maker: Maker, transform: Any, gradients: Any) -> Any:
    try:
        return transform(gradients)
    except (AttributeError, TypeError) as error:
        if not any(word in str(error) for word in ("'dict'", "'list'", "sequence")):
            raise
        words = "gradients are a tree, dictionaries and lists with arrays at the ends: mlx.utils.tree_map reaches each"
        raise maker.fault(f"{CALL} raised {error_words(error)}; {words}") from error


def _who(maker: Maker) -> str:
    return maker.provider or maker.said


def check_name(maker: Maker, name: Any) -> None:
    """Refuse a name that no scalar of a step can have.

    Args:
        maker: Who gave it.
        name: The name.

    Raises:
        PluginFailure: It is no text, or the log has it anyway.
    """
    if not isinstance(name, str):
        raise maker.fault(f"expected a text as the name of a scalar, got {show_python(name)}")
    if name in TAKEN:
        raise maker.fault(f"expected a name of its own for a scalar, got {name!r}, which the log has anyway")


def _check_gradients(maker: Maker, before: Any, after: Any) -> None:
    given: Any = tree_flatten(before)
    expected = dict(given)
    found: dict[str, Any] = dict(tree_flatten(after)) if isinstance(after, dict | list) else {}
    if not found and expected:
        got = "none" if isinstance(after, dict | list) else show_python(after)
        raise maker.fault(f"expected gradients, or (gradients, {{name: scalar array}}), got {got}")
    if missing := sorted(expected.keys() - found.keys()):
        got = f"got {len(found)} of them, and none of {missing[0]!r}"
        raise maker.fault(f"expected the gradient of each of {len(expected)} parameters, {got}")
    for name in sorted(found.keys() - expected.keys()):
        raise maker.fault(f"expected the gradients that it was given, got one of {name!r} too")
    for name, own in expected.items():
        new = found[name]
        if not isinstance(new, mx.array) or (new.shape, new.dtype) != (own.shape, own.dtype):
            raise maker.fault(f"expected the gradient of {name!r} as {_said(own)}, got {_said(new)}")


def _said(value: Any) -> str:
    return kind_of(value) if isinstance(value, mx.array) else show_python(value)
