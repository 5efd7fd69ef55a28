"""Class numbers and tokens of batches, held against what the model has: MLX checks no index."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError, counted
from stepbus.fit.loaders.batches import LoaderBatch, as_values
from stepbus.fit.loaders.look_ups import LookUps, look_ups
from stepbus.text.tokens import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepbus.compute.models import Classifier


# The losses of MLX that look labels up among outputs.
_LOOK_UPS = ("cross_entropy", "nll_loss")


class Classes:
    """The classes of a module's outputs, which the first traced step tells, and the labels that have to be among them.

    Args:
        axis: The axis of the outputs that the classes are on.
        only: Whether labels are nothing but class numbers, so that none may be below 0.
        loss: What gets outputs and labels, to see whether it looks labels up; None where the module has its own.
        named: Whether its code, or the module's, names a loss of MLX that looks them up.
        told: Whether labels are classes, whatever the loss does with them.

    Attributes:
        known: How many there are; None before.
    """

    def __init__(
        self, axis: int = -1, *, only: bool = False, loss: Any = None, named: bool = False, told: bool = True
    ) -> None:
        self.axis, self.only, self.loss, self.named, self.told = axis, only, loss, named, told
        self.known: int | None = None
        self._largest, self._where = -1, ""
        self._seen: tuple[str, tuple[int, ...], str] | None = None  # the last batch with labels
        self._lowest: int | None = None  # MLX counts from the end below 0, and reads before the beginning
        self._smallest, self._where_smallest = 0, ""
        self._first = 0  # the label of the first output
        self._traced: tuple[Any, LookUps | None] = None, None

    @classmethod
    def of_loss(cls, model: Any, loss: Any, task: str | None = None) -> Classes | None:
        """Return what checks the labels of a loss that looks them up among outputs; None for any other loss.

        Args:
            model: The module.
            loss: Its loss, or None where the module computes it.
            task: What the labels are, or None; where they are classes, there is always something to check.
        """
        import mlx.nn as nn

        given = loss
        settings: dict[str, Any] = {}
        while isinstance(loss, partial):
            settings, loss = {**loss.keywords, **settings}, loss.func
        if any(loss is getattr(nn.losses, name) for name in _LOOK_UPS):
            axis = settings.get("axis", -1)
            return cls(axis, only=True, loss=given, named=True) if isinstance(axis, int) else None
        named = _names(type(model).__call__ if loss is None else loss, _LOOK_UPS, set())
        classes = task in ("binary", "multiclass")
        return cls(loss=given, named=named, told=classes) if named or classes or given is not None else None

    def check(self, batch: LoaderBatch, where: str) -> None:
        """Refuse labels beyond the classes; those of the first batches are held against them later."""
        if "labels" not in batch.arrays:
            return
        labels = as_values(batch.arrays["labels"])
        self._seen = where, labels.shape, labels.dtype.kind
        if self.only and labels.ndim == 1 and labels.dtype.kind not in "iu":
            raise _not_whole(where, str(labels.dtype))
        if labels.dtype.kind not in "iu" or not labels.size:
            return  # probabilities
        if self.only and labels.min() < 0:
            raise _below_0(where, int(labels.min()))
        largest = int(labels.max())
        if largest > self._largest:
            self._largest, self._where = largest, where
        if (smallest := int(labels.min())) < self._smallest:
            self._smallest, self._where_smallest = smallest, where
        self._compare()

    def learn(self, outputs: tuple[int, ...]) -> None:
        """Take over the shape [B, …] of the module's outputs."""
        width = outputs[self.axis] if -len(outputs) <= self.axis < len(outputs) and len(outputs) > 1 else 1
        found = self._look_ups(outputs)
        if found is not None and found.places is not None:
            if self.told and found.first and self._seen is not None:
                raise DataError(
                    f"{self._seen[0].partition(':')[0]}: labels: expected class numbers from 0, as metrics count them "
                    f"where data.task is set, got a loss whose first output is for the label {found.first}; move the "
                    "labels in the data, and let the loss take them as they are"
                )
            self._first, self.known, self._lowest = found.first, found.first + found.places, found.first - found.places
        elif (self.only and width == 1) or (found is not None and found.computed == 1):
            self.known = 1
        elif self.named and found is None:
            self.known = width
        else:
            self.known = max(width, 2) if self.named or self.told else None
        self._compare()

    def _look_ups(self, outputs: tuple[int, ...]) -> LookUps | None:
        """Return how the loss looks labels up; None where it cannot be said."""
        if self.loss is None or self._seen is None:
            return None
        where, shape, kind = self._seen
        whole = kind in "iub"
        shapes = outputs, (outputs[0], *shape[1:])
        if self._traced[0] != (shapes, whole):
            self._traced = (shapes, whole), look_ups(self.loss, *shapes, whole=whole)
        found = self._traced[1]
        if found is not None and found.crossed:
            raise DataError(
                f"{where.partition(':')[0]}: labels: expected the shape of the outputs, {list(outputs)}, which the "
                f"loss holds them against, got {list(shapes[1])}: each label would meet the outputs of all rows; give "
                "both one shape: outputs.reshape(labels.shape) in the loss"
            )
        if kind == "b" and found is not None and found.places is not None:
            raise _not_whole(where, "bool")
        return found

    def _compare(self) -> None:
        if self._lowest is not None and self._smallest < self._lowest:
            smallest, self._smallest = self._smallest, 0
            raise _below_0(self._where_smallest, smallest, self._first)
        if self.known is not None and self._largest >= self.known:
            largest, self._largest = self._largest, -1
            places = self.known - self._first
            one = ", among which the loss looks them up" if places == 1 or self._first else ""
            mend = "; give it 2 outputs, or take a loss such as nn.losses.binary_cross_entropy" if places == 1 else ""
            has = f"{counted(places, 'output')} from {self._first}" if self._first else "so many outputs"
            raise DataError(
                f"{self._where}: labels: expected class numbers below {self.known}, for the model has {has}{one}, "
                f"got {largest}{mend}"
            )


def _not_whole(where: str, kind: str) -> DataError:
    return DataError(
        f"{where}: labels: expected class numbers from 0, which the loss looks up, got {kind} values; turn them into "
        "whole numbers"
    )


def _below_0(where: str, label: int, first: int = 0) -> DataError:
    return DataError(
        f"{where}: labels: expected class numbers from {first}, which the loss looks up, got {label}; leave such rows "
        "out, or give them any class and the weight 0"
    )


def _names(function: Any, names: Collection[str], seen: set[Any]) -> bool:
    """Say whether a function of the caller's, or one that it calls by its name, names any of some functions of MLX."""
    if not inspect.isfunction(function) or function in seen:
        return False
    seen.add(function)
    if not set(names).isdisjoint(function.__code__.co_names):
        return True
    found = inspect.getclosurevars(function)
    called = [*found.globals.values(), *found.nonlocals.values()]
    return any(getattr(each, "__name__", "") in names or _names(each, names, seen) for each in called)


def token_check(model: Classifier) -> Callable[[LoaderBatch, str], None]:
    """Return what refuses batches that a classifier cannot compute with, given where they stand.

    Args:
        model: The classifier.
    """
    limits = Limits.of(model.config)

    def check(batch: LoaderBatch, where: str) -> None:
        for name in ("input_ids", "attention_mask"):
            if name not in batch.arrays:
                raise DataError(f"{where}: expected {name} [B, L], which the model computes with, got none")
        ids = as_values(batch.arrays["input_ids"])
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            array = batch.arrays.get(name)
            if array is not None and (tuple(array.shape) != ids.shape or len(ids.shape) != 2):
                raise DataError(f"{where}: {name}: expected [B, L] like input_ids, got {list(array.shape)}")
        _below(ids, limits.tokens, f"{where}: input_ids", "vocab_size")
        if "token_type_ids" in batch.arrays:
            _below(
                as_values(batch.arrays["token_type_ids"]), limits.types, f"{where}: token_type_ids", "type_vocab_size"
            )
        if limits.positions is not None and ids.shape[1] > limits.positions:
            raise DataError(
                f"{where}: expected at most {limits.positions} tokens a row, the positions of the model, got "
                f"{ids.shape[1]}; cut the rows"
            )
        if "labels" in batch.arrays:
            _check_labels(model, as_values(batch.arrays["labels"]), f"{where}: labels")

    return check


def _check_labels(model: Classifier, labels: Any, where: str) -> None:
    if model.task in ("binary", "multiclass"):
        if labels.ndim == 2 and labels.dtype.kind == "f":  # soft ones
            if labels.shape[1] != model.outputs:
                raise DataError(f"{where}: expected probabilities [B, {model.outputs}], got {list(labels.shape)}")
            return
        if labels.ndim != 1:
            raise DataError(f"{where}: expected class numbers [B], got the shape {list(labels.shape)}")
        _below(labels, model.outputs, where, "the model's outputs")
    elif labels.reshape(len(labels), -1).shape[1] != model.outputs:
        raise DataError(
            f"{where}: expected {model.outputs} a row, as many as the model has outputs, got {labels.shape}"
        )


def _below(numbers: Any, most: int | None, where: str, what: str) -> None:
    """Refuse what is no index of a table."""
    if numbers.dtype.kind not in "iu":
        raise DataError(f"{where}: expected whole numbers, got {numbers.dtype} values")
    if numbers.min() < 0 or (most is not None and numbers.max() >= most):
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise DataError(
            f"{where}: expected numbers from 0 to {'the last' if most is None else most - 1} ({what}), got {wrong}"
        )
