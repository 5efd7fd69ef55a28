"""What was found in an update that is not one of finite numbers, as plain values; no MLX here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from attrs import field, frozen

from stepbus.base import StepbusError

# In the order in which an update comes to them.
Kind = Literal[
    "batch", "weight", "input", "activation", "loss", "gradient", "changed_gradient", "update", "state", "average", ""
]


@frozen
class Finding:
    """An array that is not finite.

    Args:
        kind: Where in the step it stands: an array of the batch, a weight before the step, what a module is given, what
            it gives, the row losses, the gradient of a parameter, the same as plugins changed it, a parameter after
            the update, what the optimizer keeps of it, or the average of it that counts in its place.
        name: The array of the batch, the path of the parameter, or the path of the module; "" is the whole model.
        array: Number format and shape: "float32 [29, 16]".
        nan: How many of its numbers are NaN.
        infinite: How many are infinite.
        size: How many it has.
        module: The class of the module; "" where it is none.
        layer: Which layer of the model it belongs to, in words; "" where nobody can tell.
        rows: Which rows of the batch are not finite in it; none where its first axis is not that of the rows.
        batch: Which batch of the accumulation window, from 0.
        call: Which computation of the batch, from 1, where plugins ask for several.
        by: Who changed it last, in words, or what the optimizer calls it; "" for the engine itself.
        later: The first array that it spoiled, in words.
        earlier: An array before it that holds minus infinity, which may be meant, as in a mask, or the cause.
        suspect: The kind of that array.
    """

    kind: Kind
    name: str
    array: str
    nan: int
    infinite: int
    size: int
    module: str = ""
    layer: str = ""
    rows: tuple[int, ...] = ()
    batch: int = 0
    call: int = 1
    by: str = ""
    later: str = ""
    earlier: str = ""
    suspect: Kind = ""


class NotFinite(StepbusError):
    """An array of a step that is looked at is not finite.

    Args:
        finding: The array.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.kind} {finding.name} is not finite")
        self.finding = finding


@frozen(eq=False)
class Found:
    """What came of computing an update again.

    Args:
        step: The update.
        window: Its batches.
        finding: The first array that is not finite; None where everything is.
        losses: Batch of the window -> its rows whose loss is not finite.
        ahead: Updates that were launched since, with whose weights it was computed.
        raised: What it raised, in words; "" where it came to its end.
        overflow: Whether its gradient is finite where the loss is not scaled.
        debug: Whether every update before it was looked at as well.
        wrappers: Who may ask for several computations of a batch, in words.
    """

    step: int
    window: Sequence[Any]
    finding: Finding | None
    losses: dict[int, tuple[int, ...]] = field(factory=dict)
    ahead: int = 0
    raised: str = ""
    overflow: bool = False
    debug: bool = False
    wrappers: str = ""


@frozen
class Diagnosis:
    """What `trainer.explain_step()` tells of the latest update, where its loss, a gradient or a scalar is not finite.

    Args:
        step: The update.
        kind: Where the first array stands that is not finite: batch, weight, input, activation, loss, gradient,
            changed_gradient, update, state or average; "" where none was found.
        name: Its name: an entry of the batch, a parameter, or the path of a module.
        layer: The layer of the model that it belongs to, in words, or "".
        rows: What names the rows whose own numbers are not finite; none where it is no matter of rows.
        batch: What names all rows of the update.
        set: The set that they are of.
        overflow: Whether the loss scale alone made it so.
        words: All of it, as a part of a sentence.
        advice: What to try, likewise.

    Example:
        >>> class Explains(Callback):
        ...     def on_step_end(self, trainer):
        ...         print(trainer.explain_step())  # a Diagnosis where something is not finite
        >>> _ = create_trainer(config="run.yaml", callbacks=[Explains()], max_steps=1, nan_guard=False).train()
        None
    """

    step: int
    kind: Kind
    name: str
    layer: str
    rows: tuple[Any, ...]
    batch: tuple[Any, ...]
    set: str
    overflow: bool
    words: str
    advice: str
