"""Layer-wise decay of the learning rate: the lower a layer, the less it moves."""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus import Problem, hookimpl, setting


class LayerwiseDecay:
    """Train each layer at a lower rate than the one above it, and the head at a rate of its own.

    Of N layers, a parameter at depth d (0 embeddings, 1 to N layers, N + 1 pooling and head, as `stepbus.depths_of` has
    it) gets the rate times decay^(N + 1 - d). Source: Clark et al. 2020, "ELECTRA", appendix A; Sun et al. 2019, "How
    to Fine-Tune BERT for Text Classification", section 5.3.
    """

    @define(frozen=True, kw_only=True)
    class Config:
        decay: float = setting(
            0.9,
            "what each layer's rate is of the one above it; 1 decays nothing",
            check=lambda value: 0 < value <= 1,
            expected="a number above 0, up to 1",
        )
        head_scale: float = setting(
            1.0,
            "what the rate of pooling and head is of the base rate",
            check=lambda value: 0 < value < float("inf"),
            expected="a number above 0",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        """Find settings that change no rate."""
        if self.config.decay == self.config.head_scale == 1:
            words = "expected a decay below 1, or a head_scale other than 1, got neither; to change no rate, switch "
            return [Problem(".", f"{words}layerwise_decay off")]
        return []

    def trace_key(self, trainer: Any) -> Any:
        """Return what the rates are made of, beside the model."""
        return self.config

    @hookimpl
    def parameter_groups(self, model: Any) -> dict[str, dict[str, float]]:
        """Give every parameter the scale of its depth."""
        from stepbus import depths_of, layers_of

        top = len(layers_of(model)) + 1
        return {name: {"learning_rate_scale": self._scale(top - depth)} for name, depth in depths_of(model).items()}

    def _scale(self, below: int) -> float:
        """Return what multiplies the rate of a parameter so many layers below the head."""
        return self.config.head_scale if below == 0 else float(self.config.decay**below)
