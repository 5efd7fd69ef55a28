"""Poolings: how the tokens' vectors become one."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


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
