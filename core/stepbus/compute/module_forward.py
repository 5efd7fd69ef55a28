"""Any `mlx.nn.Module` as a model: its loss, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import ModelError
from stepbus.compute.checks import handed_out
from stepbus.compute.forward import Arrays, RowLoss
from stepbus.compute.module_calls import InWords, ModuleCall, Signature, kind_words, shape_words

Loss = Callable[[Any, Any], Any]


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
            raise ModelError(f"loss: expected a function of outputs and labels, got {kind_words(loss)}")
        if loss is None and not self.signature.takes_labels:
            raise ModelError(
                f"loss: expected a function of outputs and labels, because the call of {self.name} takes no labels to "
                "compute a loss with, got none; give it: create_trainer(model, loss=nn.losses.cross_entropy)"
            )

    # -- what is traced -----------------------------------------------------------------------------------------------

    def calling(self, model: Any) -> ModuleCall:
        """Return the module as a loss calls it in training, in the precision of the training."""
        return self._call(model, self.precision)

    def loss_of(self, model: Any) -> RowLoss:
        """Return the loss of a batch, see `Forward`; one number for the whole batch counts for each row."""
        return lambda forward, batch: (self._scored(forward, batch)[0], {})

    def outputs(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        """Return row losses [B] (0 without labels), predictions [B, …] and outputs [B, …]."""
        call = self._call(model, mx.float32)
        if "labels" in batch:
            losses, found = self._scored(call, batch)
        else:
            losses, found = mx.zeros_like(batch["weights"]), call.unscored(batch)
        if found is None:
            if self.task is not None:
                raise ModelError(
                    f"{self.name}: expected outputs beside the loss, for data.task is {self.task}, got the loss alone; "
                    "return loss and outputs, or leave data.task out"
                )
            found = mx.zeros((len(losses), 0))
        return losses, self._meant(found), found

    def _call(self, model: Any, precision: mx.Dtype) -> ModuleCall:
        own = self.loss is None
        return ModuleCall(model, self.signature, own_loss=own, precision=precision, once=self._once, learn=self.learn)

    def _scored(self, forward: Callable[[Arrays], mx.array], batch: Arrays) -> tuple[mx.array, mx.array | None]:
        """Return row losses and outputs of a batch with labels."""
        rows = len(batch["weights"])
        if self.loss is not None:
            found = forward(batch)
            with InWords(f"the loss of outputs {shape_words(found)} and labels {shape_words(batch['labels'])}"):
                loss = self.loss(*handed_out([found, batch["labels"]]))  # which it may write into
            return self._of_rows(loss, rows), found
        if not isinstance(forward, ModuleCall):
            raise ModelError(
                f"{self.name} computes its own loss, so a plugin cannot hand it outputs of its own; give the loss "
                "beside the module: create_trainer(model, loss=nn.losses.cross_entropy)"
            )
        given, outputs = forward.scored(batch)
        return self._of_rows(given, rows), outputs

    def _of_rows(self, loss: Any, rows: int) -> mx.array:
        if not isinstance(loss, mx.array):
            raise ModelError(f"the loss of {self.name}: expected an array, got {kind_words(loss)}")
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
            f"the loss of {self.name}: expected one number, or one for each of {rows} rows, got {shape_words(loss)}; "
            "take the mean over the other axes"
        )

    def _meant(self, outputs: mx.array) -> mx.array:
        """Return probabilities [B, K], or values, of outputs."""
        if self.task is None:
            return outputs
        columns = outputs.reshape(outputs.shape[0], -1)
        width = columns.shape[1]
        if outputs.ndim > 2 or width == 0 or (self.task == "binary" and width > 2):
            wanted = "[B], [B, 1] or [B, 2]" if self.task == "binary" else "[B, K]"
            raise ModelError(
                f"{self.name}: expected outputs {wanted}, for data.task is {self.task}, got {shape_words(outputs)}"
            )
        if self.task == "regression":
            return columns
        if self.task == "multilabel":
            return mx.sigmoid(columns)
        if width == 1 and self.task == "binary":
            second = mx.sigmoid(columns)
            return mx.concatenate([1 - second, second], axis=1)
        return mx.softmax(columns, axis=-1)

    def _once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.say(text)
