"""Poolings: how the tokens' vectors become one."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn


def _mean(hidden: mx.array, mask: mx.array) -> mx.array:
    weights = mask / mx.maximum(mask.sum(axis=-1, keepdims=True), 1)
    # As a product, [B, 1, L] x [B, L, D]: no masked copy of hidden is made.
    return (weights[:, None, :].astype(hidden.dtype) @ hidden).squeeze(1)


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
        return _mean(hidden, mask)


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


class WeightedLayers(nn.Module):
    """The mean of the real tokens' vectors in all layers, gamma · Σ s_j h_j with learnt weights s = softmax(w).

    Source: Peters et al. 2018, "Deep contextualized word representations" (ELMo), equation 1; h_0 is the embeddings.

    Args:
        layers: How many layers the encoder has.
    """

    all_layers = True

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = mx.zeros((layers + 1,))
        self.gamma = mx.ones((1,))

    def __call__(self, hidden: list[mx.array], mask: mx.array) -> mx.array:
        """Return [B, D] from a list of hidden [B, L, D] and mask [B, L] of 0 and 1."""
        shares = (self.gamma * mx.softmax(self.weights.astype(mx.float32))).astype(hidden[0].dtype)
        # Of the means, and not of every token: a sum does not mind which comes first.
        means = [_mean(each, mask) for each in hidden]
        return (shares[:, None, None] * mx.stack(means)).sum(axis=0)


class LastFour(nn.Module):
    """The vectors of the last four layers beside each other, the top one last, of the first token or as means.

    Source: Devlin et al. 2019, "BERT", section 5.3: the best of their features without fine-tuning.

    Args:
        hidden_size: Width of a layer's vector.
        first: Whether the first token is read, instead of the mean of the real ones.
    """

    all_layers = True

    def __init__(self, hidden_size: int, first: bool) -> None:
        super().__init__()
        self.output_size = 4 * hidden_size
        self.first_token_only = first

    def __call__(self, hidden: list[mx.array], mask: mx.array) -> mx.array:
        """Return [B, 4 D] from a list of hidden [B, L, D] and mask [B, L] of 0 and 1."""
        parts = [each[:, 0] if self.first_token_only else _mean(each, mask) for each in hidden[-4:]]
        return mx.concatenate(parts, axis=-1)
