"""What BERT's encoder is made of: embeddings, attention and feed-forward, with Hugging Face's parameter names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from stepbus_plugins.bert.calling import first_rows, is_linear, normed, projected
from stepbus_plugins.bert.plain import Kernels

ACTIVATIONS: dict[str, Callable[[mx.array], mx.array]] = {
    "gelu_new": nn.gelu_approx,
    "gelu_pytorch_tanh": nn.gelu_approx,
    "relu": nn.relu,
}

Keys = tuple[mx.array | None, ...]  # one for each mask of dropout; None drops nothing
MASKS = 3  # of a layer: attention weights, attention's output, feed-forward's output


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
        rest = first_rows(self.position_embeddings, words.shape[1])
        rest = rest + (first_rows(types, 1)[0] if token_type_ids is None else types(token_type_ids))
        return normed(self.LayerNorm, words, mx.broadcast_to(rest, words.shape), ops)


class Output(nn.Module):
    """A projection, added to its block's input and normalised."""

    def __init__(self, config: dict[str, Any], inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
        self.dropout = config["hidden_dropout_prob"]

    def __call__(self, x: mx.array, residual: mx.array, ops: Kernels, key: mx.array | None) -> mx.array:
        return normed(self.LayerNorm, projected(self.dense, x, ops), residual, ops, self.dropout, key)


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

    def __call__(self, x: mx.array, bias: mx.array, first: bool, ops: Kernels, key: mx.array | None) -> mx.array:
        if first:
            q = self._heads([self.query], x[:, :1], ops)[0]
            k, v = self._heads([self.key, self.value], x, ops)
        else:
            q, k, v = self._heads([self.query, self.key, self.value], x, ops)
        mixed = ops.attention(q, k, v, bias, self.dropout, key)
        return mixed.swapaxes(1, 2).reshape(x.shape[0], -1, x.shape[2])

    def _heads(self, projections: list[Any], x: mx.array, ops: Kernels) -> list[mx.array]:
        """Return each projection of `x` as contiguous heads [B, H, L, d]; those of plain layers from one product."""
        plain = [each for each in projections if is_linear(each)]
        parts = iter(self._parts(plain, x, ops))
        every = [next(parts) if is_linear(each) else self._split(each(x)) for each in projections]
        # Copied once here; each product with a transposed operand would copy it again.
        return [mx.contiguous(part.swapaxes(1, 2)) for part in every]

    def _parts(self, projections: list[Any], x: mx.array, ops: Kernels) -> list[mx.array]:
        """Return each projection of `x` as [B, L, H, d], all from one product."""
        if not projections:
            return []
        weight = mx.concatenate([projection.weight for projection in projections])
        shift = mx.concatenate([projection.bias for projection in projections])
        y = ops.linear(x, weight, shift).reshape(*x.shape[:2], len(projections), self.heads, -1)
        return [part.squeeze(2) for part in mx.split(y, len(projections), axis=2)]

    def _split(self, y: mx.array) -> mx.array:
        return y.reshape(*y.shape[:2], self.heads, -1)


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
        """Return the layer's output [B, L, D], or [B, 1, D] with `first_token_only`; keys are `MASKS`."""
        # What was put into the layer may look at several tokens: all of them are computed then.
        short = first_token_only and self._is_as_built()
        mixed = self.attention["self"](x, bias, short, ops, keys[0])
        x = self.attention["output"](mixed, x[:, :1] if short else x, ops, keys[1])
        inner = projected(self.intermediate["dense"], x, ops)
        inner = self.activation(inner) if self.activation else ops.gelu(inner)
        x = self.output(inner, x, ops, keys[2])
        return x[:, :1] if first_token_only else x

    def _is_as_built(self) -> bool:
        return all(module is self or type(module) in KNOWN for _, module in self.named_modules())


KNOWN = (SelfAttention, Output, nn.Linear, nn.LayerNorm)  # what a layer is made of, and looks at one token at a time
