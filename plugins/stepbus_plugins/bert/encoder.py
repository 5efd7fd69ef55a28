"""BERT's encoder, with Hugging Face's parameter names."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn


class Embeddings(nn.Module):
    """Word, position and token-type embeddings, added and normalised."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], size)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], size)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], size)
        self.LayerNorm = nn.LayerNorm(size, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def __call__(self, input_ids: mx.array, token_type_ids: mx.array | None) -> mx.array:
        types = self.token_type_embeddings
        type_rows = types.weight[0] if token_type_ids is None else types(token_type_ids)
        positions = self.position_embeddings.weight[: input_ids.shape[1]]
        return self.dropout(self.LayerNorm(self.word_embeddings(input_ids) + positions + type_rows))


class Output(nn.Module):
    """A projection, added to its block's input and normalised."""

    def __init__(self, config: dict[str, Any], inputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def __call__(self, x: mx.array, residual: mx.array) -> mx.array:
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class SelfAttention(nn.Module):
    """Attention of every head over the sequence."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.dropout = nn.Dropout(config["attention_probs_dropout_prob"])

    def __call__(self, x: mx.array, bias: mx.array, queries: mx.array) -> mx.array:
        def heads(y: mx.array) -> mx.array:
            return y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2)

        q, k, v = heads(self.query(queries)), heads(self.key(x)), heads(self.value(x))
        scores = (q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2) + bias
        mixed = self.dropout(mx.softmax(scores, axis=-1)) @ v
        return mixed.swapaxes(1, 2).reshape(queries.shape)


class Layer(nn.Module):
    """Attention and feed-forward, each with its residual."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        size, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = {"self": SelfAttention(config), "output": Output(config, size)}
        self.intermediate = {"dense": nn.Linear(size, inner)}
        self.output = Output(config, inner)

    def __call__(self, x: mx.array, bias: mx.array, first_token_only: bool) -> mx.array:
        queries = x[:, :1] if first_token_only else x
        x = self.attention["output"](self.attention["self"](x, bias, queries), queries)
        return self.output(nn.gelu(self.intermediate["dense"](x)), x)


class Encoder(nn.Module):
    """BERT without pooler and head.

    Args:
        config: The keys of a Hugging Face config.json.

    Raises:
        KeyError: A size is missing in `config`.
    """

    prefix = "bert."

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.hidden_size: int = config["hidden_size"]
        self.embeddings = Embeddings(config)
        self.encoder = {"layer": [Layer(config) for _ in range(config["num_hidden_layers"])]}

    def __call__(
        self,
        input_ids: mx.array,
        attention_mask: mx.array,
        token_type_ids: mx.array | None = None,
        first_token_only: bool = False,
    ) -> mx.array:
        """Encode a batch.

        Args:
            input_ids: Token ids [B, L], int32.
            attention_mask: 1.0 for tokens and 0.0 for padding [B, L].
            token_type_ids: Sentence of each token [B, L]; None when all are 0.
            first_token_only: Compute the last layer for the first token only.

        Returns:
            Hidden states [B, L, D], or [B, 1, D] with `first_token_only`.
        """
        x = self.embeddings(input_ids, token_type_ids)
        # A large finite number: minus infinity would give NaN on a padded row.
        bias = (attention_mask[:, None, None, :] - 1.0) * 1e9
        layers = self.encoder["layer"]
        for index, layer in enumerate(layers):
            x = layer(x, bias, first_token_only and index == len(layers) - 1)
        return x
