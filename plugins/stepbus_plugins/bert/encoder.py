"""BERT's encoder: which kernels, and on which streams."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from stepbus import ModelError, row_streams
from stepbus_plugins.bert.calling import rows_of
from stepbus_plugins.bert.checked import with_defaults
from stepbus_plugins.bert.kernels import FAST
from stepbus_plugins.bert.layers import MASKS, Embeddings, Keys, Layer
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
        rows = tuple(config[name] for name in ("vocab_size", "max_position_embeddings", "type_vocab_size"))
        object.__setattr__(self, "_rows_built", rows)  # set the usual way, it would be taken for a part of the tree
        self._on_cpu = mx.default_device().type == mx.DeviceType.cpu

    @property
    def layers(self) -> list[Any]:
        """The layers, lowest first."""
        layers: list[Any] = self.encoder["layer"]
        return layers

    def __call__(
        self,
        input_ids: mx.array,
        attention_mask: mx.array,
        token_type_ids: mx.array | None = None,
        first_token_only: bool = False,
        all_layers: bool = False,
    ) -> mx.array | list[mx.array]:
        """Encode a batch.

        Args:
            input_ids: Token ids [B, L], int32.
            attention_mask: 1.0 for tokens and 0.0 for padding [B, L].
            token_type_ids: Sentence of each token [B, L]; None when all are 0.
            first_token_only: Compute the last layer for the first token only.
            all_layers: Return what the embeddings and each layer gave.

        Returns:
            Hidden states [B, L, D], or [B, 1, D] with `first_token_only`; with `all_layers` a list of them, those of
            the embeddings first, of which `first_token_only` shortens the last.

        Raises:
            ModelError: The sequences are longer than the model's positions, or an id is beyond its table.
        """
        words, positions, types = self._tables()
        length, longest = input_ids.shape[1], rows_of(*positions)
        if length > longest:
            raise ModelError(
                f"got sequences of {length} tokens, the model takes at most {longest}; lower data.max_length"
            )
        _check_indices("token ids", input_ids, rows_of(*words))
        if token_type_ids is not None:
            _check_indices("token types", token_type_ids, rows_of(*types))
        # Looked up for all rows at once, so that the table gets its gradient in one piece.
        x = words[0](input_ids)
        fast = self._on_cpu and x.dtype == mx.float32
        # Each stream computes on a thread of its own: so every core works on a share of the rows, start to end.
        streams = row_streams()[: len(x)] if fast else ()
        if not streams:
            states = self._rows(FAST if fast else PLAIN, x, attention_mask, token_type_ids, first_token_only)
            return states if all_layers else states[-1]
        parts = []
        for index, stream in enumerate(streams):
            rows = slice(len(x) * index // len(streams), len(x) * (index + 1) // len(streams))
            kinds = None if token_type_ids is None else token_type_ids[rows]
            with mx.stream(stream):
                parts.append(self._rows(FAST, x[rows], attention_mask[rows], kinds, first_token_only))
        if not all_layers:
            return mx.concatenate([part[-1] for part in parts])
        return [mx.concatenate(list(pieces)) for pieces in zip(*parts, strict=True)]

    def _tables(self) -> list[tuple[Any, int]]:
        """Return the tables of words, positions and types, each with the rows that it was built with."""
        all_three = self.embeddings
        tables = (all_three.word_embeddings, all_three.position_embeddings, all_three.token_type_embeddings)
        return list(zip(tables, self._rows_built, strict=True))

    def _rows(
        self,
        ops: Kernels,
        words: mx.array,
        attention_mask: mx.array,
        token_type_ids: mx.array | None,
        first_token_only: bool,
    ) -> list[mx.array]:
        """Return the hidden states of some rows, those of the embeddings first, then each layer's."""
        layers = self.layers
        masks = 1 + MASKS * len(layers)
        keys: Keys = tuple(ops.keys(masks)) if self.training else (None,) * masks
        x = self.embeddings(words, token_type_ids, ops)
        states = [ops.dropout(x, self.dropout, keys[0])]
        # A large finite number of the dtype: minus infinity would give NaN on a padded row.
        far = 3e4 if words.dtype == mx.float16 else 1e9
        bias = ((attention_mask[:, None, None, :] - 1.0) * far).astype(words.dtype)
        for index, layer in enumerate(layers):
            own = keys[1 + MASKS * index :][:MASKS]
            states.append(layer(states[-1], bias, first_token_only and index == len(layers) - 1, ops, own))
        return states


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
