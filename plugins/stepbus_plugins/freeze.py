"""Freezing parts of a model, and unfreezing them layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from attrs import define

from stepbus import ConfigError, Problem, counted, did_you_mean, hookimpl, setting


def _whole(meaning: str, default: int | None, least: int) -> Any:
    return setting(default, meaning, check=lambda value: value >= least, expected=f"a whole number of at least {least}")


class Freeze:
    """Keep embeddings, the lowest layers or named parameters as they are, for the whole fit or layer by layer for less.

    Gradually, the highest frozen layer is trained after `unfreeze_every` epochs or updates, then the next one
    below it, and the embeddings last. Source: Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text
    Classification" (ULMFiT), section 3.3.
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
        gradual: bool | None = setting(
            None,
            "whether layers and embeddings are unfrozen one at a time, from the top; where neither is set, all of "
            "them; none does so where unfreeze_every is set",
        )
        unfreeze_every: int | None = _whole(
            "gradually: epochs or updates after which one more layer is trained; none is each epoch", None, 1
        )
        unfreeze_by: Literal["epochs", "updates"] = setting("epochs", "gradually: what unfreeze_every counts")

        def problems(self) -> list[tuple[str, str]]:
            """Return what is wrong between the settings, as (setting, message)."""
            if self.gradual is False and self.unfreeze_every is not None:
                words = f"expected none beside gradual: false, got {self.unfreeze_every}; leave one of the two out"
                return [("unfreeze_every", words)]
            return []

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find what freezes nothing, and an unfreezing that nobody asked for or that never begins."""
        config, every = self.config, self.every
        if not every:
            if not (config.embeddings or config.layers or config.patterns):
                words = (
                    "expected embeddings, layers, patterns or gradual, got none; to freeze nothing, switch freeze off"
                )
                return [Problem(".", words)]
            if config.unfreeze_by != "epochs":
                words = f"expected gradual or unfreeze_every beside it, got neither and {config.unfreeze_by!r}"
                return [Problem(".unfreeze_by", words)]
            return []
        by_epoch = config.unfreeze_by == "epochs"
        most = plan.config.training.num_epochs if by_epoch else plan.total_steps
        if most and every >= most:
            has = counted(most, "epoch" if by_epoch else "update")
            words = f"expected fewer than the fit's {has}, got {every}; nothing would ever be unfrozen"
            return [Problem(".unfreeze_every", words)]
        return []

    @property
    def every(self) -> int:
        """After how many epochs or updates one more layer is trained; 0 for never."""
        return self.config.unfreeze_every or int(bool(self.config.gradual))

    def trace_key(self, trainer: Any) -> Any:
        """Return what decides which parameters are trained, beside the model and the update."""
        return self.config

    @hookimpl
    def phases(self, trainer: Any) -> list[int]:
        """Return the updates after which one more layer is trained."""
        depths, every, last = self._frozen(trainer, trainer.model), self._updates(trainer), trainer.state.total_steps
        if last and every >= last:
            words = f"expected less than the fit's {counted(last, 'update')}, got what makes {every:,} updates"
            raise _refusal("unfreeze_every", f"{words}; nothing would ever be unfrozen")
        return [every * (stage + 1) for stage in range(len(depths))] if every else []

    @hookimpl
    def trained_parameters(self, trainer: Any, model: Any, names: Sequence[str], step: int) -> list[str]:
        """Take out what is frozen from an update on."""
        from stepbus import depths_of

        every, depths, frozen = self._updates(trainer), self._frozen(trainer, model), self._matching(trainer, model)
        if depths:
            unfrozen = step // every if every else 0
            still = depths[: max(0, len(depths) - unfrozen)]
            frozen |= {name for name, depth in depths_of(model).items() if depth in still}
        left = [name for name in names if name not in frozen]
        if step == 0:
            trainer.message(f"freeze: {len(left):,} of {counted(len(names), 'parameter')} are trained {self._until()}")
        return left

    def _until(self) -> str:
        if not self.every:
            return "to the end"
        unit = "epoch" if self.config.unfreeze_by == "epochs" else "update"
        return f"at first, and one more layer after each {counted(self.every, unit)}"

    def _frozen(self, trainer: Any, model: Any) -> list[int]:
        """Return the depths that are frozen at first, lowest first; 0 are the embeddings.

        Raises:
            ConfigError: The model has no such layers, or no embeddings.
        """
        from stepbus import depths_of, layers_of

        config = self.config
        everything = self.every and not (config.embeddings or config.layers)
        if not (everything or config.embeddings or config.layers):
            return []
        layers, known = len(layers_of(model)), set(depths_of(model).values())
        if config.layers > layers:
            words = f"expected at most the model's {counted(layers, 'layer')}, got {config.layers}"
            raise _refusal("layers", f"{words}; set layers: {layers}")
        if config.embeddings and 0 not in known:
            raise _refusal("embeddings", "expected a model with embeddings, got one without; leave it out")
        highest = layers if everything else config.layers
        return [0] * (0 in known and bool(everything or config.embeddings)) + list(range(1, highest + 1))

    def _updates(self, trainer: Any) -> int:
        """Return after how many updates one more layer is trained; 0 for never."""
        if not self.every or self.config.unfreeze_by == "updates":
            return self.every
        if not trainer.state.steps_per_epoch:
            words = "expected updates, because nobody can count those of an epoch here, got epochs"
            raise _refusal("unfreeze_by", f"{words}; set unfreeze_by: updates")
        return int(self.every * trainer.state.steps_per_epoch)

    def _matching(self, trainer: Any, model: Any) -> set[str]:
        """Return the parameters that a pattern names.

        Raises:
            ConfigError: A pattern names none.
        """
        from mlx.utils import tree_flatten

        flat: Any = tree_flatten(model.parameters())
        known = [name for name, _ in flat]
        found: set[str] = set()
        for pattern in self.config.patterns:
            named = {name for name in known if fnmatchcase(name, pattern)}
            if not named:
                words = f"expected the name of a parameter, with * for any text, got {pattern!r}{_near(pattern, known)}"
                raise _refusal("patterns", f"{words}; names are such as {known[0]} and {known[-1]}")
            found |= named
        return found


def _refusal(setting: str, words: str) -> ConfigError:
    """Return what is wrong with a setting, with its file and line, now that the model is known."""
    return ConfigError([Problem(f".{setting}", words)])


def _near(pattern: str, known: list[str]) -> str:
    """Return what was probably meant, by the parts of a name, since a pattern is like no whole one."""
    parts = {part for name in known for part in name.split(".")}
    strange = (part for part in pattern.split(".") if "*" not in part and part not in parts)
    return next(filter(None, (did_you_mean(part, parts) for part in strange)), did_you_mean(pattern, known))
