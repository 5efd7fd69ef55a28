"""Any `mlx.nn.Module` as a model: how it is called on a batch, and what its answer means."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

from stepbus.base import ModelError, StepbusError, error_words, listed
from stepbus.compute.forward import Arrays

# What a batch says of its rows, besides what a model computes with.
OF_ROWS = ("labels", "weights", "ids")
Loss = Callable[[Any, Any], Any]


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


class ModuleForward:
    """A module of the user's, with a loss beside it or one that it computes itself.

    Args:
        model: The module.
        loss: Called with outputs and labels; gives the loss of each row [B], or their mean. None: the module is called
            with `labels`, and returns its loss, or loss and outputs.
        task: What the labels are: it turns outputs into probabilities or values; None leaves them as they are.
        precision: The number format of the training's computation, into which inputs are put as well.
        say: Told once what somebody should know.
        weighted: Whether rows came with weights.
        learn: Told the shape of outputs, before the loss takes labels for places in them.

    Raises:
        ModelError: There is no loss.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss | None = None,
        task: str | None = None,
        precision: str = "float32",
        *,
        say: Callable[[str], None] = lambda text: None,
        weighted: Callable[[], bool] = lambda: False,
        learn: Callable[[tuple[int, ...]], None] | None = None,
    ) -> None:
        self.signature, self.loss, self.task = Signature.of(model), loss, task
        self.say, self.weighted, self.learn = say, weighted, learn
        self.precision: mx.Dtype = getattr(mx, precision)
        self.name = type(model).__name__
        self._said: set[str] = set()
        if loss is not None and not callable(loss):
            raise ModelError(f"loss: expected a function of outputs and labels, got {_kind(loss)}")
        if loss is None and not self.signature.takes_labels:
            raise ModelError(
                f"loss: expected a function of outputs and labels, because the call of {self.name} takes no labels to "
                "compute a loss with, got none; give it: create_trainer(model, loss=nn.losses.cross_entropy)"
            )

    # -- what is traced -----------------------------------------------------------------------------------------------

    def losses(self, model: Any, batch: Arrays) -> mx.array:
        """Return the loss of each row, float32 [B]; one number for the whole batch counts for each of them."""
        if self.precision != mx.float32:
            batch = {name: self._lowered(name, array) for name, array in batch.items()}
        return self._scored(model, batch)[0]

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B] (0 without labels), predictions [B, …] and outputs [B, …]."""
        if "labels" in batch:
            losses, found = self._scored(model, batch)
        else:
            losses, found = mx.zeros_like(batch["weights"]), self._unscored(model, batch)
        if found is None:
            if self.task is not None:
                raise ModelError(
                    f"{self.name}: expected outputs beside the loss, for data.task is {self.task}, got the loss alone; "
                    "return loss and outputs, or leave data.task out"
                )
            found = mx.zeros((len(losses), 0))
        return losses, self._meant(found), found

    def _scored(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array | None]:
        """Return row losses and outputs of a batch with labels."""
        rows = len(batch["weights"])
        if self.loss is not None:
            found = self._checked(self._called(model, batch, labels=self.signature.needs_labels), rows)
            with _Words(f"the loss of outputs {_shape(found)} and labels {_shape(batch['labels'])}"):
                loss = self.loss(found, batch["labels"])
            return self._of_rows(loss, rows), found
        answer = self._called(model, batch, labels=True)
        if not isinstance(answer, tuple | list):
            return self._of_rows(answer, rows), None
        if len(answer) != 2:
            raise ModelError(f"{self.name}: expected a loss, or loss and outputs, got {len(answer)} values")
        return self._of_rows(answer[0], rows), self._checked(answer[1], rows)

    def _unscored(self, model: Any, batch: Arrays) -> mx.array:
        if self.signature.needs_labels:
            raise ModelError(
                f"{self.name}: expected a call that works without labels to predict with, got one that needs them; "
                "write labels=None in it, and return the outputs then"
            )
        answer = self._called(model, batch, labels=False)
        last = answer[-1] if isinstance(answer, tuple | list) and answer else answer
        return self._checked(last, len(batch["weights"]))

    def _called(self, model: Any, batch: Arrays, *, labels: bool) -> Any:
        placed, named = arguments(self.signature, batch, labels=labels)
        if unused := sorted(batch.keys() - {*placed, *named, *OF_ROWS}):
            self._once(f"{listed(unused)} of the batches: the call of {self.name} takes nothing of that name")
        shapes = ", ".join(f"{name} {_shape(batch[name])}" for name in (*placed, *named))
        with _Words(f"{self.name} called with {shapes}"):
            return model(*(batch[name] for name in placed), **{name: batch[name] for name in named})

    def _of_rows(self, loss: Any, rows: int) -> mx.array:
        if not isinstance(loss, mx.array):
            raise ModelError(f"the loss of {self.name}: expected an array, got {_kind(loss)}")
        losses: mx.array = loss.astype(mx.float32)
        if losses.ndim == 0:
            if self.weighted():
                self._once(
                    f"the loss of {self.name} is one number for a whole batch, so the weights of its rows only count "
                    "as their sum; a loss for each row ([B]) is weighed row by row"
                )
            return mx.broadcast_to(losses, (rows,))
        if losses.size == rows and losses.shape[0] == rows:
            return losses.reshape(rows)
        raise ModelError(
            f"the loss of {self.name}: expected one number, or one for each of {rows} rows, got {_shape(loss)}; take "
            "the mean over the other axes"
        )

    def _checked(self, outputs: Any, rows: int) -> mx.array:
        if not isinstance(outputs, mx.array):
            raise ModelError(f"{self.name}: expected its call to return outputs as one array, got {_kind(outputs)}")
        if outputs.ndim == 0 or outputs.shape[0] != rows:
            raise ModelError(
                f"{self.name}: expected outputs for each of {rows} rows, got the shape {_shape(outputs)}"
                + ("; a model that computes its own loss takes no loss= beside it" if outputs.ndim == 0 else "")
            )
        if self.learn is not None:
            self.learn(tuple(outputs.shape))
        return outputs.astype(mx.float32) if mx.issubdtype(outputs.dtype, mx.floating) else outputs

    def _meant(self, outputs: mx.array) -> mx.array:
        """Return probabilities [B, K], or values, of outputs."""
        if self.task is None:
            return outputs
        columns = outputs.reshape(outputs.shape[0], -1)
        width = columns.shape[1]
        if outputs.ndim > 2 or width == 0 or (self.task == "binary" and width > 2):
            wanted = "[B], [B, 1] or [B, 2]" if self.task == "binary" else "[B, K]"
            raise ModelError(
                f"{self.name}: expected outputs {wanted}, for data.task is {self.task}, got {_shape(outputs)}"
            )
        if self.task == "regression":
            return columns
        if self.task == "multilabel":
            return mx.sigmoid(columns)
        if width == 1 and self.task == "binary":
            second = mx.sigmoid(columns)
            return mx.concatenate([1 - second, second], axis=1)
        return mx.softmax(columns, axis=-1)

    def _lowered(self, name: str, array: mx.array) -> mx.array:
        floats = name not in OF_ROWS and mx.issubdtype(array.dtype, mx.floating)
        return array.astype(self.precision) if floats else array

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)


class _Words:
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


def _shape(array: mx.array) -> str:
    return str(list(array.shape))


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
