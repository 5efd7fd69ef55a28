"""What BERT's encoder is made of: embeddings, attention and feed-forward, with Hugging Face's parameter names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from stepbus_plugins.bert.plain import Kernels

ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "relu": nn.relu,
}

Keys = Iterator[mx.array | None]


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, added and normalised."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], size)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], size)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], size)
        self.LayerNorm = nn.LayerNorm(size, eps=config["layer_norm_eps"])

    def __call__(self, words: mx.array, token_type_ids: mx.array | None, ops: Kernels) -> mx.array:
        types = self.token_type_embeddings
        rest = self.position_embeddings.weight[: words.shape[1]]
        rest = rest + (types.weight[0] if token_type_ids is None else types(token_type_ids))
        norm = self.LayerNorm
        return ops.add_norm(words, mx.broadcast_to(rest, words.shape), norm.weight, norm.bias, norm.eps)


class Output(nn.Module):
    """A projection, added to its block's input and normalised."""

    def __init__(self, config: dict[str, Any], inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
        self.dropout = config["hidden_dropout_prob"]

    def __call__(self, x: mx.array, residual: mx.array, ops: Kernels, keys: Keys) -> mx.array:
        norm = self.LayerNorm
        projected = ops.linear(x, self.dense.weight, self.dense.bias)
        return ops.add_norm(projected, residual, norm.weight, norm.bias, norm.eps, self.dropout, next(keys))


class SelfAttention(nn.Module):
    """Attention of every head over the sequence."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.dropout = config["attention_probs_dropout_prob"]

    def __call__(self, x: mx.array, bias: mx.array, first_token_only: bool, ops: Kernels, keys: Keys) -> mx.array:
        if first_token_only:
            queries = self._heads([self.query], x[:, :1], ops)
            q, k, v = *queries, *self._heads([self.key, self.value], x, ops)
        else:
            q, k, v = self._heads([self.query, self.key, self.value], x, ops)
        mixed = ops.attention(q, k, v, bias, self.dropout, next(keys))
        return mixed.swapaxes(1, 2).reshape(x.shape[0], -1, x.shape[2])

    def _heads(self, projections: list[Any], x: mx.array, ops: Kernels) -> list[mx.array]:
        """Return each projection of `x` as contiguous heads [B, H, L, d], all from one product."""
        weight = mx.concatenate([projection.weight for projection in projections])
        shift = mx.concatenate([projection.bias for projection in projections])
        y = ops.linear(x, weight, shift).reshape(*x.shape[:2], len(projections), self.heads, -1)
        # Copied once here; each product with a transposed operand would copy it again.
        return [mx.contiguous(part.squeeze(2).swapaxes(1, 2)) for part in mx.split(y, len(projections), axis=2)]


class Layer(nn.Module):
    """Attention and feed-forward, each with its residual."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = {"self": SelfAttention(config), "output": Output(config, size)}
        self.intermediate = {"dense": nn.Linear(size, inner)}
        self.output = Output(config, inner)
        self.activation = ACTIVATIONS.get(config.get("hidden_act", "gelu"))

    def __call__(self, x: mx.array, bias: mx.array, first_token_only: bool, ops: Kernels, keys: Keys) -> mx.array:
        mixed = self.attention["self"](x, bias, first_token_only, ops, keys)
        x = self.attention["output"](mixed, x[:, :1] if first_token_only else x, ops, keys)
        dense = self.intermediate["dense"]
        inner = ops.linear(x, dense.weight, dense.bias)
        inner = self.activation(inner) if self.activation else ops.gelu(inner)
        return self.output(inner, x, ops, keys)
