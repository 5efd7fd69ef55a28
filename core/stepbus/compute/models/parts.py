"""What the parts of a classifier are to each other: encoder, pooling and head. `stepbus.compose` puts them together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import mlx.core as mx


class Encoder(Protocol):
    """What turns tokens into vectors: an `mlx.nn.Module` that a model's build hands to `stepbus.compose`.

    It may have a `prefix`, which stands before its names in files that hold a whole model, and a
    `present_name(name)`, which returns the name that a tensor of an older file has here, or None for what is no
    parameter. `layers`, a list of its modules, lowest first, and `embeddings`, what lies below them, say how deep each
    parameter lies (`stepbus.layers_of`, `stepbus.depths_of`). Where its call also takes `all_layers=True`, it returns a
    list of [B, L, D] then, what the embeddings gave and each layer: for poolings that read all of them.
    """

    hidden_size: int  # D, the width of a token's vector

    def __call__(
        self, input_ids: mx.array, attention_mask: mx.array, token_type_ids: mx.array | None, *, first_token_only: bool
    ) -> mx.array:
        """Return [B, L, D] from arrays [B, L]; where only the first token is read, [B, 1, D] does."""


class Pooling(Protocol):
    """How the tokens' vectors become one: an `mlx.nn.Module`. No row may look at another one, nor at a token of mask 0.

    It may have `first_token_only = True`, which lets the encoder leave the other tokens out, and `in_encoder = True`,
    where Hugging Face stores its parameters with the encoder. `all_layers = True` hands it a list of hidden states,
    those of the embeddings first, then each layer's; `output_size` is the width of what it gives, where that is not D.
    """

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        """Return [B, D] from hidden [B, L, D], or their list, and mask [B, L] of 0 and 1; a row may have no token."""


class Head(Protocol):
    """What the outputs mean: an `mlx.nn.Module`. No row may look at another one, because some are padding.

    It may have a `take_classes(classes)`, which is told the classes in the order of the outputs once the labels are
    known, and refuses those that it cannot serve; its settings may have an `order`, which is the classes from the
    lowest to the highest.
    """

    def __call__(self, pooled: mx.array) -> mx.array:
        """Return logits [B, K] from pooled [B, D]."""

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, float [B]; the engine weighs and sums.

        Labels are class numbers, int [B]; float [B, K] of 0 to 1 for multilabel and for soft labels; standardised
        targets, float [B], for regression.
        """

    def predictions(self, logits: mx.array) -> mx.array:
        """Return probabilities [B, K], or values [B, 1] in the unit of the standardised target."""
