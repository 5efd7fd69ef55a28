"""Freezing parts of a model, and unfreezing them layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from attrs import define

from stepbus import ModelError, Problem, counted, did_you_mean, hookimpl, setting

HERE = "plugins.freeze"


def _whole(meaning: str, default: int | None, least: int) -> Any:
    words = f"a whole number of at least {least}"
    return setting(default, meaning, check=lambda value: value is None or value >= least, expected=words)


class Freeze:
    """Keep embeddings, the lowest layers or named parameters as they are, for the whole fit or layer by layer for less.

    With `unfreeze_every` the highest frozen layer is trained after so many epochs or updates, then the next one below,
    and the embeddings last. Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification"
    (ULMFiT), section 3.3.
    """

    excludes = ("lora",)  # which decides itself what is trained

    @define(frozen=True, kw_only=True)
    class Config:
        embeddings: bool = setting(False, "whether the embeddings are frozen")
        layers: int = _whole("how many layers are frozen, the lowest ones", 0, 0)
        patterns: list[str] = setting(
            factory=list,
            meaning="parameters that are frozen to the end, by name: * is any text, as in `encoder.*.LayerNorm.*`",
        )
        unfreeze_every: int | None = _whole(
            "epochs or updates after which one more layer is trained, from the top; none freezes to the end", None, 1
        )
        unfreeze_by: Literal["epochs", "updates"] = setting("epochs", "what unfreeze_every counts")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find what freezes nothing, and an unfreezing that never begins."""
        config, training = self.config, plan.config.training
        if not (config.embeddings or config.layers or config.patterns):
            words = "expected embeddings, layers or patterns, got none; to freeze nothing, switch freeze off"
            return [Problem(HERE, words)]
        if config.unfreeze_every is None:
            return []
        where = f"{HERE}.unfreeze_every"
        if not (config.embeddings or config.layers):
            words = "expected embeddings or layers to unfreeze, got neither; patterns are frozen to the end"
            return [Problem(where, words)]
        by_epoch = config.unfreeze_by == "epochs"
        most = training.num_epochs if by_epoch else plan.total_steps
        if most and config.unfreeze_every >= most:
            has = counted(most, "epoch" if by_epoch else "update")
            words = f"expected fewer than the fit's {has}, got {config.unfreeze_every}; without it they stay frozen"
            return [Problem(where, words)]
        return []

    def trace_key(self, trainer: Any) -> Any:
        """Return what decides which parameters are trained, beside the model and the update."""
        return self.config

    @hookimpl
    def phases(self, trainer: Any) -> list[int]:
        """Return the updates after which one more layer is trained."""
        from stepbus import layers_of

        self._check_layers(len(layers_of(trainer.model)) if self.config.layers else 0)
        every = self._updates(trainer)
        stages = self.config.layers + self.config.embeddings
        return [every * (stage + 1) for stage in range(stages)] if every else []

    @hookimpl
    def trained_parameters(self, trainer: Any, model: Any, names: Sequence[str], step: int) -> list[str]:
        """Take out what is frozen from an update on."""
        every = self._updates(trainer)
        unfrozen = step // every if every else 0
        frozen = self._matching(model)
        if self.config.embeddings or self.config.layers:
            from stepbus import depths_of

            # The lowest depth first: 0 are the embeddings.
            depths = [0] * self.config.embeddings + list(range(1, self.config.layers + 1))
            still = set(depths[: max(0, len(depths) - unfrozen)])
            known = depths_of(model)
            if self.config.embeddings and 0 not in known.values():
                raise ModelError(f"{HERE}.embeddings: expected a model with embeddings, got one without; leave it out")
            frozen |= {name for name, depth in known.items() if depth in still}
        left = [name for name in names if name not in frozen]
        if step == 0:
            trainer.message(f"freeze: {len(left):,} of {counted(len(names), 'parameter')} are trained {self._until()}")
        return left

    def _until(self) -> str:
        if self.config.unfreeze_every is None:
            return "to the end"
        unit = "epoch" if self.config.unfreeze_by == "epochs" else "update"
        return f"at first, and one more layer after each {counted(self.config.unfreeze_every, unit)}"

    def _updates(self, trainer: Any) -> int:
        """Return after how many updates one more layer is trained; 0 for never."""
        every = self.config.unfreeze_every
        if every is None or self.config.unfreeze_by == "updates":
            return every or 0
        if not trainer.state.steps_per_epoch:
            words = "expected updates, because nobody can count those of an epoch here, got epochs"
            raise ModelError(f"{HERE}.unfreeze_by: {words}; set unfreeze_by: updates")
        return int(every * trainer.state.steps_per_epoch)

    def _check_layers(self, layers: int) -> None:
        if self.config.layers > layers:
            words = f"expected at most the model's {counted(layers, 'layer')}, got {self.config.layers}"
            raise ModelError(f"{HERE}.layers: {words}; set layers: {layers}")

    def _matching(self, model: Any) -> set[str]:
        """Return the parameters that a pattern names.

        Raises:
            ModelError: A pattern names none.
        """
        from mlx.utils import tree_flatten

        flat: Any = tree_flatten(model.parameters())
        known = [name for name, _ in flat]
        found: set[str] = set()
        for pattern in self.config.patterns:
            named = {name for name in known if fnmatchcase(name, pattern)}
            if not named:
                raise ModelError(
                    f"{HERE}.patterns: expected the name of a parameter, with * for any text, got {pattern!r}"
                    f"{did_you_mean(pattern, known)}; names are such as {known[0]} and {known[-1]}"
                )
            found |= named
        return found
