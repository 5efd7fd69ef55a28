"""What one update came to. Knows no MLX."""

from __future__ import annotations

from attrs import field, frozen

from stepbus.base.guards import as_read_only


@frozen
class StepResult:
    """One optimizer update, as host numbers.

    Args:
        loss: Mean loss over the rows of the update, by weight.
        weight: Sum of the row weights; padded rows weigh 0.
        sequences: Real rows.
        tokens: Real tokens.
        learning_rate: The rate that this update used.
        scalars: Named numbers from the compiled step (`gradient_norm`, …).
        of_loss: Those of them that are parts of the loss, each a mean over the rows as the loss is.
        seconds: Wall time since the update before it came home.
        skipped: Whether it changed nothing, because a loss, a gradient or a new weight was no finite number.
        loss_scale: What the loss was multiplied by for it; None where it is not scaled.
        overflow: Whether it changed nothing because a gradient overflowed by that scale, which is half of it then.

    Example:
        >>> step = StepResult(loss=0.7, weight=8.0, sequences=8, tokens=64, learning_rate=5e-5, seconds=0.5)
        >>> step.tokens / step.seconds
        128.0
    """

    loss: float
    weight: float
    sequences: int
    tokens: int
    learning_rate: float
    scalars: dict[str, float] = field(factory=dict, converter=as_read_only)
    seconds: float = 0.0
    skipped: bool = False
    loss_scale: float | None = None
    overflow: bool = False
    of_loss: tuple[str, ...] = ()
