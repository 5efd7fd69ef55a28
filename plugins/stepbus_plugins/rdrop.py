"""R-Drop: each row is computed twice under different dropout, and the two answers are pulled together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from attrs import define

from stepbus import Problem, StepbusError, StepResult, TrainingState, hookimpl, setting

SCALAR = "rdrop_kl"


class RDrop:
    """Compute each batch twice under different dropout and pull the two answers together (R-Drop).

    The loss of a row is the mean of its two losses plus alpha times the mean of both Kullback-Leibler divergences:
    between class probabilities; for multilabel between those of each label, averaged over the labels as its loss is;
    for regression the squared difference, which is what the divergence of two normal distributions is to the squared
    error. The gradient flows through both answers.

    Source: Wu et al. 2021, "R-Drop: Regularized Dropout for Neural Networks", arXiv 2106.14448, as in the authors'
    code. The paper's formula adds the two losses up, so that its alpha counts half of this one.
    """

    @define(frozen=True, kw_only=True)
    class Config:
        alpha: float = setting(
            1.0,
            "what the divergence of the two answers counts beside the loss",
            check=lambda value: value > 0 and math.isfinite(value),
            expected="a number above 0",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find a task that nobody said, so that nobody knows what a divergence of outputs is."""
        if plan.task is not None:
            return None
        words = "expected binary, multiclass, multilabel or regression, by which rdrop compares two answers, got none"
        return [Problem("data.task", f"{words}; say what the labels are, or switch rdrop off")]

    def trace_key(self, trainer: Any) -> Any:
        """Return what the loss is made of: fits with equal settings share their compiled steps."""
        return self.config.alpha, trainer.data.task

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
        """Return the loss over two passes; its scalar `rdrop_kl` is the divergence of each row."""
        return twice(loss, self.config.alpha, divergence_of(trainer.data.task))

    @hookimpl
    def on_step_end(self, trainer: Any, state: TrainingState, step: StepResult) -> None:
        """Say after the first update where two passes were one: a model without dropout trains at twice the cost."""
        if state.step == 1 and step.scalars.get(SCALAR) == 0.0:
            trainer.message(
                "rdrop: both passes of the first batch gave the same outputs, so it changes nothing; give the model "
                "dropout (model.dropout, its hidden_dropout_prob), or switch rdrop off",
                level="warning",
            )


class Recorded:
    """A forward that keeps the outputs that it gave, in order.

    Args:
        forward: What computes them.
    """

    def __init__(self, forward: Any) -> None:
        self.forward = forward
        self.outputs: list[Any] = []

    def __call__(self, batch: Any) -> Any:
        """Return the outputs of a batch."""
        return self._kept(self.forward(batch))

    def __getattr__(self, name: str) -> Any:
        # Whatever else it has, such as `pooled`; a forward without it says so itself.
        return getattr(self.forward, name)

    def logits(self, pooled: Any) -> Any:
        """Return the outputs of pooled vectors, through the model's dropout."""
        return self._kept(self.forward.logits(pooled))

    def head(self, pooled: Any) -> Any:
        """Return the outputs of pooled vectors as they are."""
        return self._kept(self.forward.head(pooled))

    def _kept(self, outputs: Any) -> Any:
        self.outputs.append(outputs)
        return outputs


def twice(
    loss: Callable[..., Any], alpha: float, divergence: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
    """Return R-Drop's loss over another one, which may itself call the model several times.

    Args:
        loss: `loss(forward, batch) -> (row losses [B], named scalars)`.
        alpha: What the divergence counts.
        divergence: Of two arrays of outputs, a number for each row [B]; the n-th outputs of both passes are compared.
    """

    def wrapped(forward: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        first, second = Recorded(forward), Recorded(forward)
        losses, named = loss(first, batch)
        again, named_again = loss(second, batch)
        if not first.outputs or len(first.outputs) != len(second.outputs):
            raise StepbusError(
                "rdrop: expected a loss that calls the model equally often in both passes, got "
                f"{len(first.outputs)} and {len(second.outputs)} calls; a model that computes its own loss does not "
                "go with rdrop"
            )
        if SCALAR in named:
            raise StepbusError(f"rdrop: expected no {SCALAR!r} of another plugin, got one; name rdrop once")
        pairs = list(zip(first.outputs, second.outputs, strict=True))
        kl = sum(divergence(a, b) for a, b in pairs) / len(pairs)
        means = {name: (value + named_again[name]) / 2 for name, value in named.items()}
        return (losses + again) / 2 + alpha * kl, {**means, SCALAR: kl}

    return wrapped


def divergence_of(task: str) -> Callable[[Any, Any], Any]:
    """Return the divergence of two arrays of outputs, for each row, by what the outputs are.

    Args:
        task: binary, multiclass, multilabel or regression.
    """

    def divergence(first: Any, second: Any) -> Any:
        import mlx.core as mx

        a, b = (outputs.astype(mx.float32).reshape(len(outputs), -1) for outputs in (first, second))
        if task == "regression":
            return mx.square(a - b).mean(axis=-1)
        if task == "multilabel" or a.shape[1] == 1:  # a single output is the logit of the second class
            return ((mx.sigmoid(a) - mx.sigmoid(b)) * (a - b)).mean(axis=-1) / 2
        # KL(p, q) + KL(q, p) is the sum of (p - q) (log p - log q); from logits, so that no probability of 0 has a log.
        a, b = (logits - mx.logsumexp(logits, axis=-1, keepdims=True) for logits in (a, b))
        return ((mx.exp(a) - mx.exp(b)) * (a - b)).sum(axis=-1) / 2

    return divergence
