"""BERT's encoder: which kernels, and on which streams."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from stepbus import ModelError, row_streams
from stepbus_plugins.bert.checked import with_defaults
from stepbus_plugins.bert.kernels import FAST
from stepbus_plugins.bert.layers import Embeddings, Keys, Layer
from stepbus_plugins.bert.plain import PLAIN, Kernels
from stepbus_plugins.bert.tensors import present_name


class Encoder(nn.Module):
    """BERT without pooler and head.

    Args:
        config: The keys of a Hugging Face config.json.

    Raises:
        KeyError: A size is missing in `config`.
    """

    prefix = "bert."
    present_name = staticmethod(present_name)

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        config = with_defaults(config)
        self.hidden_size: int = config["hidden_size"]
        self.embeddings = Embeddings(config)
        self.encoder = {"layer": [Layer(config) for _ in range(config["num_hidden_layers"])]}
        self.dropout = config["hidden_dropout_prob"]
        self._on_cpu = mx.default_device().type == mx.DeviceType.cpu

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

        Raises:
            ModelError: The sequences are longer than the model's positions, or an id is beyond its table.
        """
        length, longest = input_ids.shape[1], len(self.embeddings.position_embeddings.weight)
        if length > longest:
            raise ModelError(
                f"got sequences of {length} tokens, the model takes at most {longest}; lower data.max_length"
            )
        _check_indices("token ids", input_ids, len(self.embeddings.word_embeddings.weight))
        if token_type_ids is not None:
            _check_indices("token types", token_type_ids, len(self.embeddings.token_type_embeddings.weight))
        # Looked up for all rows at once, so that the table gets its gradient in one piece.
        words = self.embeddings.word_embeddings(input_ids)
        if not self._on_cpu or words.dtype != mx.float32:
            return self._rows(PLAIN, words, attention_mask, token_type_ids, first_token_only)
        streams = row_streams()[: len(words)]
        if not streams:
            return self._rows(FAST, words, attention_mask, token_type_ids, first_token_only)
        # Each stream computes on a thread of its own: so every core works on a share of the rows, start to end.
        parts = []
        for index, stream in enumerate(streams):
            rows = slice(len(words) * index // len(streams), len(words) * (index + 1) // len(streams))
            types = None if token_type_ids is None else token_type_ids[rows]
            with mx.stream(stream):
                parts.append(self._rows(FAST, words[rows], attention_mask[rows], types, first_token_only))
        return mx.concatenate(parts)

    def _rows(
        self,
        ops: Kernels,
        words: mx.array,
        attention_mask: mx.array,
        token_type_ids: mx.array | None,
        first_token_only: bool,
    ) -> mx.array:
        layers = self.encoder["layer"]
        masks = 1 + 3 * len(layers)
        keys: Keys = iter(ops.keys(masks) if self.training else [None] * masks)
        x = self.embeddings(words, token_type_ids, ops)
        x = ops.dropout(x, self.dropout, next(keys))
        # A large finite number of the dtype: minus infinity would give NaN on a padded row.
        far = 3e4 if words.dtype == mx.float16 else 1e9
        bias = ((attention_mask[:, None, None, :] - 1.0) * far).astype(words.dtype)
        for index, layer in enumerate(layers):
            x = layer(x, bias, first_token_only and index == len(layers) - 1, ops, keys)
        return x


def _check_indices(what: str, indices: mx.array, rows: int) -> None:
    """Refuse indices beyond a table, which MLX would look up all the same; nothing is known of them in a trace.

    Raises:
        ModelError: There is one.
    """
    try:
        low, high = (int(found.item()) for found in (indices.min(), indices.max()))  # type: ignore[arg-type]
    except (ValueError, RuntimeError):  # traced by mx.compile, which says it in two ways: the host has checked the rows
        return
    if low < 0 or high >= rows:
        raise ModelError(f"got {what} from {low} to {high}, the model's table has rows for 0 to {rows - 1}")
