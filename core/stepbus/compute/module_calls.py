"""Any `mlx.nn.Module` on a batch: which entries its call takes, and what it answers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

from stepbus.base import ModelError, StepbusError, error_words, listed
from stepbus.compute.checks import handed_out
from stepbus.compute.forward import Arrays

# What a batch says of its rows, besides what a model computes with.
OF_ROWS = ("labels", "weights", "ids")


@frozen
class Signature:
    """What a module's call takes.

    Args:
        names: Its named parameters, in order.
        required: Those without a default.
        leading: The first one that may be given by position, or "" where there is none.
        everything: Whether it takes any keyword.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    leading: str
    everything: bool

    @classmethod
    def of(cls, model: Any) -> Signature:
        """Return what a module's call takes; one that does not say it takes a single input."""
        try:
            found = list(inspect.signature(model.__call__).parameters.values())
        except (TypeError, ValueError, AttributeError):
            return cls(("x",), ("x",), "x", everything=False)
        kinds = inspect.Parameter
        named = [each for each in found if each.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
        placed = [each for each in found if each.kind not in (kinds.KEYWORD_ONLY, kinds.VAR_KEYWORD)]
        required = [each for each in found if each.default is kinds.empty]
        return cls(
            tuple(each.name for each in named),
            tuple(each.name for each in required if each.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)),
            placed[0].name if placed else "",
            any(each.kind == kinds.VAR_KEYWORD for each in found),
        )

    @property
    def takes_labels(self) -> bool:
        """Whether the call can be given labels."""
        return self.everything or "labels" in self.names

    @property
    def needs_labels(self) -> bool:
        """Whether it cannot do without them."""
        return "labels" in self.required


def arguments(signature: Signature, names: Collection[str], *, labels: bool) -> tuple[list[str], list[str]]:
    """Return which entries of a batch a module gets by position and which by keyword.

    Args:
        signature: What its call takes.
        names: The entries of the batch.
        labels: Whether it is given the labels.

    Raises:
        ModelError: The two do not fit together.
    """
    inputs = [name for name in names if name not in OF_ROWS]
    offered = {name for name in names if labels or name != "labels"}
    given = [name for name in names if name in offered and (name in signature.names)]
    if signature.everything:
        given += [name for name in inputs if name not in given]
        if labels and "labels" in names and "labels" not in given:
            given.append("labels")
    missing = [name for name in signature.required if name not in given]
    if not missing and [name for name in given if name not in ("labels", "weights")]:
        return [], given
    if len(inputs) == 1 and signature.leading and (missing or [signature.leading]) == [signature.leading]:
        return inputs, [name for name in given if name not in (*inputs, signature.leading)]
    said = listed(signature.required) if signature.required else "nothing that the batch has"
    raise ModelError(
        f"expected the entries of a batch to be named like what the model's call takes ({said}), or a single one, got "
        f"{listed(inputs) if inputs else 'none'}; rename them"
    )


class ModuleCall:
    """A module of the user's as a loss calls it: a batch → outputs.

    Args:
        model: The module.
        signature: What its call takes.
        own_loss: Whether it computes its loss itself, from labels that it is given.
        precision: The number format that inputs are put into.
        once: Told what somebody should know; what it was told before, it does not say again.
        learn: Told the shape of outputs.
    """

    def __init__(
        self,
        model: Any,
        signature: Signature,
        *,
        own_loss: bool = False,
        precision: mx.Dtype = mx.float32,
        once: Callable[[str], None] = lambda text: None,
        learn: Callable[[tuple[int, ...]], None] | None = None,
    ) -> None:
        self.model, self.signature, self.own_loss = model, signature, own_loss
        self.precision, self.once, self.learn = precision, once, learn
        self.name = type(model).__name__

    def __call__(self, batch: Arrays) -> mx.array:
        """Return the outputs [B, …] of a batch; a module that computes its loss is given the labels, and has both.

        Raises:
            ModelError: The module gives something else, or its loss alone.
        """
        if not self.own_loss:
            return self.checked(self._answer(batch, labels=self.signature.needs_labels), batch)
        _, outputs = self.scored(batch)
        if outputs is None:
            raise ModelError(
                f"{self.name}: expected outputs beside the loss, for a plugin's loss reads them, got the loss alone; "
                "return loss and outputs"
            )
        return outputs

    def pooled(self, batch: Arrays) -> mx.array:
        """Refuse: what lies under the outputs, only a classifier of text says.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            f"{self.name}: expected a classifier of text, whose pooled vectors a plugin's loss reads, got a module of "
            "one's own, which says its outputs alone; leave that plugin out"
        )

    def logits(self, pooled: mx.array) -> mx.array:
        """Refuse, as `pooled` does.

        Raises:
            ModelError: Always.
        """
        return self.pooled({})

    def head(self, pooled: mx.array) -> mx.array:
        """Refuse, as `pooled` does.

        Raises:
            ModelError: Always.
        """
        return self.pooled({})

    def scored(self, batch: Arrays) -> tuple[Any, mx.array | None]:
        """Return the loss that the module computes itself, and its outputs where it gives them."""
        answer = self._answer(batch, labels=True)
        if not isinstance(answer, tuple | list):
            return answer, None
        if len(answer) != 2:
            raise ModelError(f"{self.name}: expected a loss, or loss and outputs, got {len(answer)} values")
        return answer[0], self.checked(answer[1], batch)

    def unscored(self, batch: Arrays) -> mx.array:
        """Return the outputs [B, …] of a batch without labels.

        Raises:
            ModelError: The call needs labels.
        """
        if self.signature.needs_labels:
            raise ModelError(
                f"{self.name}: expected a call that works without labels to predict with, got one that needs them; "
                "write labels=None in it, and return the outputs then"
            )
        answer = self._answer(batch, labels=False)
        return self.checked(answer[-1] if isinstance(answer, tuple | list) and answer else answer, batch)

    def checked(self, outputs: Any, batch: Arrays) -> mx.array:
        """Return outputs, in float32 where they are floating-point numbers, once they are known to be rows.

        Raises:
            ModelError: They are something else.
        """
        rows = len(batch["weights"])
        if not isinstance(outputs, mx.array):
            raise ModelError(
                f"{self.name}: expected its call to return outputs as one array, got {kind_words(outputs)}"
            )
        if outputs.ndim == 0 or outputs.shape[0] != rows:
            raise ModelError(
                f"{self.name}: expected outputs for each of {rows} rows, got the shape {shape_words(outputs)}"
                + ("; a model that computes its own loss takes no loss= beside it" if outputs.ndim == 0 else "")
            )
        if self.learn is not None:
            self.learn(tuple(outputs.shape))
        return outputs.astype(mx.float32) if mx.issubdtype(outputs.dtype, mx.floating) else outputs

    def _answer(self, batch: Arrays, *, labels: bool) -> Any:
        batch = handed_out(batch)
        if self.precision != mx.float32:
            batch = {name: self._lowered(name, array) for name, array in batch.items()}
        placed, named = arguments(self.signature, batch, labels=labels)
        if unused := sorted(batch.keys() - {*placed, *named, *OF_ROWS}):
            self.once(f"{listed(unused)} of the batches: the call of {self.name} takes nothing of that name")
        shapes = ", ".join(f"{name} {shape_words(batch[name])}" for name in (*placed, *named))
        with InWords(f"{self.name} called with {shapes}"):
            return self.model(*(batch[name] for name in placed), **{name: batch[name] for name in named})

    def _lowered(self, name: str, array: mx.array) -> mx.array:
        floats = name not in OF_ROWS and mx.issubdtype(array.dtype, mx.floating)
        return array.astype(self.precision) if floats else array


class InWords:
    """Turn what a module's own code raises into a sentence.

    Args:
        what: What was done.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, StepbusError):
            raise ModelError(f"{self.what} raised {error_words(error)}") from error


def shape_words(array: mx.array) -> str:
    return str(list(array.shape))


def kind_words(value: Any) -> str:
    return f"a {type(value).__name__}"
