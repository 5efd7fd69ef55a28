"""What a loss does with labels, read from its graph: looks them up, which MLX does unchecked, or crosses all rows."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

# What gives the numbers on as they are.
_SAME = {"AsType", "Broadcast", "Contiguous", "Copy", "ExpandDims", "Flatten", "Reshape", "Squeeze", "StopGradient"}
_SAME |= {"Transpose", "Unflatten"}


@frozen
class LookUps:
    """How a loss looks labels up.

    Args:
        places: The length of an axis whose places labels are, as they are or moved by a number, as in `labels - 1`;
            None where there is none, the one that ends with the least label where there are several.
        first: The label of its first place.
        computed: The least length of an axis whose places were computed from labels in another way.
        crossed: Whether the label of each row meets the outputs of all: [B, 1] and [B] make [B, B].
    """

    places: int | None = None
    first: int = 0
    computed: int | None = None
    crossed: bool = False


def look_ups(loss: Any, outputs: Sequence[int], labels: Sequence[int], *, whole: bool = True) -> LookUps | None:
    """Return what a loss does with labels; None where it cannot be traced by itself.

    Args:
        loss: A function of outputs and labels.
        outputs: The shape of outputs.
        labels: That of labels.
        whole: Whether they are whole numbers.
    """
    found: list[dict[str, Any]] = []

    def trace() -> None:
        try:
            # As on the CPU: for a GPU, MLX's cross-entropy is one operation, which shows no look-up.
            with mx.stream(mx.cpu):
                given = mx.zeros(tuple(outputs)), mx.zeros(tuple(labels), mx.int32 if whole else mx.float32)
                mx.export_function(found.append, lambda *arrays: loss(*arrays), *given)
        except Exception:  # the step itself says what is wrong with it
            found.clear()

    # A thread has random numbers of its own: those of the training stay where they are.
    thread = threading.Thread(target=trace)
    thread.start()
    thread.join()
    return _of_graph(found) if found else None


def _of_graph(parts: list[dict[str, Any]]) -> LookUps:
    """Return which places the second input of an exported function is taken for."""
    shapes: dict[str, tuple[int, ...]] = {}
    sides, stretched, crossed = dict[str, set[int]](), dict[str, tuple[int, ...]](), False
    constants, found, others = dict[str, int](), list[tuple[int, int]](), list[int]()
    moved, computed = dict[str, int](), set[str]()  # the label that a 0 among them was
    for part in parts:
        if part["type"] == "inputs":
            shapes |= {name: shape for name, shape, _ in part["inputs"]}
            moved[part["inputs"][1][0]] = 0
            sides |= {name: {side} for side, (name, *_) in enumerate(part["inputs"])}
        elif part["type"] == "constants":
            shapes |= {name: tuple(array.shape) for name, array in part["constants"]}
            constants |= {name: array.item() for name, array in part["constants"] if _is_whole(array)}
        elif part["type"] == "primitive":
            names = [name for name, *_ in part["inputs"]]
            after = {name: shape for name, shape, _ in part["outputs"]}
            shapes |= after
            sides |= dict.fromkeys(after, set().union(*(sides.get(name, set()) for name in names)))
            if part["name"] == "Broadcast":
                stretched |= dict.fromkeys(after, shapes[names[0]])
            if len(names) == 2 and sorted(sides.get(name, set()) == {0} for name in names) == [False, True]:
                met = any(sides.get(name) == {1} for name in names)
                crossed = crossed or (met and _crosses(*(stretched.get(name, ()) for name in names)))
            for index, axis in zip(names[1:], _axes(part), strict=False):
                length = shapes[names[0]][axis]
                if index in moved:
                    found.append((length, moved[index]))
                elif index in computed:
                    others.append(length)
            if part["name"] in _SAME and names[0] in constants:
                constants |= dict.fromkeys(after, constants[names[0]])
            elif (way := _way(part["name"], names, moved, constants)) is not None:
                moved |= dict.fromkeys(after, way)
            elif computed.union(moved).intersection(names):
                computed.update(after)
    places, first = min(found, key=sum, default=(None, 0))
    return LookUps(places, first, min(others, default=None), crossed)


def _way(name: str, names: Sequence[str], moved: Mapping[str, int], constants: Mapping[str, int]) -> int | None:
    """Return which label an operation's 0 was; None where its result is no label moved by a number."""
    if name in _SAME and names[0] in moved:
        return moved[names[0]]
    if name == "Add" and names[0] in constants and names[1] in moved:
        names = names[::-1]
    if name not in ("Add", "Subtract") or names[0] not in moved or names[1] not in constants:
        return None
    return moved[names[0]] + constants[names[1]] * (1 if name == "Subtract" else -1)


def _is_whole(array: mx.array) -> bool:
    return array.size == 1 and mx.issubdtype(array.dtype, mx.integer)


def _crosses(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Say whether a column and a row of as many numbers, at least two, were stretched to meet."""
    rows = max((*one, *other), default=0)
    return rows > 1 and (rows, 1) in (one, other) and any(each in ((rows,), (1, rows)) for each in (one, other))


def _axes(part: dict[str, Any]) -> list[int]:
    """Return the axis of the first input that each further one gives places of."""
    arguments = part["arguments"]
    if part["name"] == "Gather":
        return list(arguments[0])
    return [arguments[0]] if part["name"] == "GatherAxis" else []
