"""Heads: what the outputs mean, and their losses."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


class SoftmaxHead(nn.Linear):
    """One logit a class, classes exclude each other; binary is the case of two, as Hugging Face has it."""

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the cross-entropy of each row, [B].

        Args:
            logits: [B, K].
            labels: Class numbers, int [B]; or soft labels, the probability of each class, float [B, K].
        """
        logits = logits.astype(mx.float32)
        if labels.ndim == 2:
            return mx.logsumexp(logits, axis=-1) - (labels * logits).sum(axis=-1)
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
            labels: 0 or 1, or soft labels between them, float [B, K].
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
