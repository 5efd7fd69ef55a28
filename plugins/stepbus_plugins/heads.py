"""Heads (what the outputs mean) and poolings (how the tokens' vectors become one), with their losses."""

from __future__ import annotations

from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
from attrs import define

from stepbus import Component, ModelError


@define(frozen=True, kw_only=True)
class NoSettings:
    """For a part that has nothing to set."""


class SoftmaxHead(nn.Linear):
    """One logit a class, classes exclude each other; binary is the case of two, as Hugging Face has it."""

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the cross-entropy of each row, [B].

        Args:
            logits: [B, K].
            labels: Class numbers, int [B].
        """
        logits = logits.astype(mx.float32)
        picked = mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1)
        return mx.logsumexp(logits, axis=-1) - picked

    def predictions(self, logits: mx.array) -> mx.array:
        """Return the probability of each class, [B, K]."""
        return mx.softmax(logits.astype(mx.float32), axis=-1)


class SigmoidHead(nn.Linear):
    """One logit a label, each label true or false by itself."""

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return each row's binary cross-entropy, averaged over its labels, [B].

        Args:
            logits: [B, K].
            labels: 0 or 1, float [B, K].
        """
        logits = logits.astype(mx.float32)
        return mx.mean(mx.logaddexp(logits, mx.array(0.0)) - logits * labels, axis=-1)

    def predictions(self, logits: mx.array) -> mx.array:
        """Return the probability of each label, [B, K]."""
        return mx.sigmoid(logits.astype(mx.float32))


class ValueHead(nn.Linear):
    """One number a row, in the units of the standardised target."""

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return each row's squared error, [B].

        Args:
            logits: [B, 1].
            labels: Standardised targets, float [B] or [B, 1].
        """
        error = logits.astype(mx.float32) - labels.reshape(logits.shape)
        return mx.mean(mx.square(error), axis=-1)

    def predictions(self, logits: mx.array) -> mx.array:
        """Return the values, [B, 1]."""
        return logits.astype(mx.float32)


class ClsPooling(nn.Module):
    """The first token through BERT's pooler, a dense layer and tanh, as in Hugging Face's sequence classifiers."""

    first_token_only = True
    in_encoder = True

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.pooler = {"dense": nn.Linear(hidden_size, hidden_size)}

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """Return [B, D] from hidden [B, L, D]; L may be 1, for nothing but the first token is read."""
        return mx.tanh(self.pooler["dense"](hidden[:, 0]))


class MeanPooling(nn.Module):
    """The mean of the real tokens' vectors; 0 for a row without any."""

    first_token_only = False

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """Return [B, D] from hidden [B, L, D] and mask [B, L] of 0 and 1."""
        weights = mask / mx.maximum(mask.sum(axis=-1, keepdims=True), 1)
        # As a product, [B, 1, L] x [B, L, D]: no masked copy of hidden is made.
        return (weights[:, None, :].astype(hidden.dtype) @ hidden).squeeze(1)


class MaxPooling(nn.Module):
    """Each feature's largest value among the real tokens; 0 for a row without any."""

    first_token_only = False

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """Return [B, D] from hidden [B, L, D] and mask [B, L] of 0 and 1."""
        real = mask[..., None] > 0
        largest = mx.where(real, hidden, mx.finfo(hidden.dtype).min).max(axis=1)
        return mx.where(real.any(axis=1), largest, 0)


class AttentionPooling(nn.Module):
    """A mean of the real tokens with learnt weights, softmax over c · tanh(W h + b); 0 for a row without any.

    Source: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", equations 5 to 7.
    """

    first_token_only = False

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.context = nn.Linear(hidden_size, 1, bias=False)

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """Return [B, D] from hidden [B, L, D] and mask [B, L] of 0 and 1."""
        scores = self.context(mx.tanh(self.dense(hidden))).squeeze(-1).astype(mx.float32)
        # A finite floor, and a product with the mask: with -inf a row without tokens would be NaN.
        weights = mx.softmax(mx.where(mask > 0, scores, -1e9), axis=-1) * mask
        return (weights[:, None, :].astype(hidden.dtype) @ hidden).squeeze(1)


def _softmax(settings: NoSettings, hidden_size: int, outputs: int) -> SoftmaxHead:
    return SoftmaxHead(hidden_size, outputs)


def _binary(settings: NoSettings, hidden_size: int, outputs: int) -> SoftmaxHead:
    if outputs != 2:
        raise ModelError(f"model.head: binary: expected 2 classes in the labels, got {outputs}; use multiclass")
    return SoftmaxHead(hidden_size, outputs)


def _sigmoid(settings: NoSettings, hidden_size: int, outputs: int) -> SigmoidHead:
    return SigmoidHead(hidden_size, outputs)


def _value(settings: NoSettings, hidden_size: int, outputs: int) -> ValueHead:
    if outputs != 1:
        raise ModelError(f"model.head: regression: expected 1 target, got {outputs}")
    return ValueHead(hidden_size, outputs)


def _auto(settings: NoSettings, hidden_size: int, outputs: int) -> Any:
    raise ModelError("model.head: auto stands for the head that fits the labels; without data, name the head itself")


class Heads:
    """Heads binary, multiclass, multilabel and regression, and poolings cls, mean, max and attention."""

    components: ClassVar[list[Component]] = [
        Component("head", "auto", NoSettings, _auto, {"task": None}),
        Component("head", "binary", NoSettings, _binary, {"task": "binary"}),
        Component("head", "multiclass", NoSettings, _softmax, {"task": "multiclass"}),
        Component("head", "multilabel", NoSettings, _sigmoid, {"task": "multilabel"}),
        Component("head", "regression", NoSettings, _value, {"task": "regression"}),
        Component("pooling", "cls", NoSettings, lambda settings, hidden_size: ClsPooling(hidden_size)),
        Component("pooling", "mean", NoSettings, lambda settings, hidden_size: MeanPooling()),
        Component("pooling", "max", NoSettings, lambda settings, hidden_size: MaxPooling()),
        Component("pooling", "attention", NoSettings, lambda settings, hidden_size: AttentionPooling(hidden_size)),
    ]
