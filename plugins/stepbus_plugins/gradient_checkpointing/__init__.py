"""Gradient checkpointing: layers are computed a second time in the backward pass instead of being kept."""

from __future__ import annotations

from typing import Any

from stepbus import counted, hookimpl


class GradientCheckpointing:
    """Keep only the input of each layer for the backward pass and compute the layer again: less memory, more time.

    The gradients are the same, dropout included. Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory
    Cost", section 4.
    """

    def trace_key(self, trainer: Any) -> Any:
        """Return that nothing but the model decides."""
        return "gradient_checkpointing"

    @hookimpl
    def transform_model(self, trainer: Any, model: Any) -> None:
        """Let each layer compute itself again; its parameters keep their names."""
        from stepbus import layers_of
        from stepbus_plugins.gradient_checkpointing.recomputing import recomputed

        layers = layers_of(model)
        for layer in layers:
            layer.__class__ = recomputed(type(layer))
        trainer.message(f"gradient_checkpointing: {counted(len(layers), 'layer')} are computed again for gradients")
