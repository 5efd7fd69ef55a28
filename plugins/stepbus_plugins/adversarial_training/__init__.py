"""Adversarial training: a second gradient of each batch where a small change of weights hurts most.

Sources: fgm, Miyato et al. 2017, "Adversarial Training Methods for Semi-Supervised Text Classification", arXiv
1605.07725; awp, Wu et al. 2020, "Adversarial Weight Perturbation Helps Robust Generalization", arXiv 2004.05884.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from attrs import define

from stepbus import PluginError, Problem, counted, hookimpl, setting
from stepbus_plugins.adversarial_training.moving import adversarial, awp, chosen, fgm, named_parameters

# What each mode has of its own, with the values that stand for none. The shares of awp's paper (0.005, for image models
# from scratch) left MiniLM at chance after 50 updates on SST-2; these cost it a point.
FGM, AWP = {"epsilon": 1.0}, {"gamma": 0.001, "ascent_rate": 0.0002, "ascent_steps": 1}
WORDS = ("*word_embeddings.weight",)


def _number(default: float | None, meaning: str, *, zero: bool = False) -> Any:
    return setting(
        default,
        meaning,
        check=lambda value: math.isfinite(value) and (value > 0 or (zero and value == 0)),
        expected="a number of at least 0" if zero else "a number above 0",
    )


def _count(meaning: str, *, least: int) -> Any:
    return setting(None, meaning, check=lambda value: value >= least, expected=f"a whole number of at least {least}")


class AdversarialTraining:
    """Add the gradient of each batch at weights moved to where they hurt most (FGM on word embeddings, or AWP).

    fgm moves the table of word embeddings by epsilon · g / |g|, with g its gradient over the whole batch; the paper
    moves the vectors of each sequence, after it has normalised them. awp climbs in each matrix by ascent_rate · |w| ·
    g / |g|, and stays within gamma · |w|. Norms are those of a whole parameter. The gradient of the update is
    clean_weight times that of the batch as it is plus weight times that at the moved weights, which are never kept; the
    logged loss is that of the batch as it is. Frozen parameters are moved like others where a pattern names them, and
    stay frozen. Each pass draws its own dropout. With accumulation every batch has its own perturbation.
    """

    @define(frozen=True, kw_only=True)
    class Config:
        mode: Literal["fgm", "awp"] = setting("fgm", "what is moved: fgm, word embeddings; awp, matrices by their size")
        parameters: tuple[str, ...] | None = setting(
            None,
            "patterns of what is moved; none: *word_embeddings.weight with fgm, all trained matrices with awp",
        )
        epsilon: float | None = _number(None, "length of the change with fgm; none: 1.0")
        gamma: float | None = _number(None, "largest change with awp, as a share of a parameter's norm; none: 0.001")
        ascent_rate: float | None = _number(None, "length of one ascent with awp, as such a share; none: 0.0002")
        ascent_steps: int | None = _count("ascents with awp, each but the first a pass more; none: 1", least=1)
        weight: float = _number(1.0, "what the gradient at the moved weights counts")
        clean_weight: float = _number(
            1.0, "what the gradient at the weights as they are counts; awp's paper has 0", zero=True
        )
        from_epoch: int | None = _count("the epoch, from 1, that it begins with; none takes the first", least=1)
        from_step: int | None = _count("updates before it begins, in place of from_epoch", least=0)

        def problems(self) -> list[tuple[str, str]]:
            """Return what is wrong between the settings, as (setting, message)."""
            mode, others = ("awp", FGM) if self.mode == "awp" else ("fgm", AWP)
            found = [
                (name, f"expected it with mode: {'fgm' if mode == 'awp' else 'awp'}, got mode: {mode}; leave it out")
                for name in others
                if getattr(self, name) is not None
            ]
            if self.from_epoch is not None and self.from_step is not None:
                found.append(("from_step", f"expected from_epoch or from_step, got {self.from_epoch} and "
                              f"{self.from_step}; leave one of them out"))  # fmt: skip
            if self.parameters is not None and not self.parameters:
                found.append(("parameters", "expected at least one pattern, got an empty list; leave it out"))
            return found

        def of(self, name: str) -> Any:
            """Return a setting of the mode, or what stands for none."""
            given = getattr(self, name)
            return {**FGM, **AWP}[name] if given is None else given

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find a beginning that the fit never comes to."""
        epoch, total = self.config.from_epoch, plan.total_steps
        name, place = ("from_step", self.config.from_step) if epoch is None else ("from_epoch", epoch)
        if epoch is not None and epoch > 1 and not plan.steps_per_epoch:
            words = "expected from_step, because nobody can count the updates of an epoch before it has ended"
            return [Problem(f".{name}", f"{words}, got from_epoch: {epoch}")]
        if total and self._begin(plan) >= total:
            mend = f"lower it, or train beyond {counted(total, 'update')}"
            return [Problem(f".{name}", f"expected a beginning before the end of the fit, got {place}; {mend}")]
        return None

    @hookimpl
    def phases(self, trainer: Any) -> list[int] | None:
        """Return the update after which it begins."""
        begin, total = self._begin(trainer.state), trainer.state.total_steps
        if total and begin >= total:  # of a fit with fewer rows than the one that was planned with
            trainer.message(
                f"{self._path(trainer.config)}: it never begins in {trainer.fit_name}, which ends after "
                f"{counted(total, 'update')}, before update {begin + 1}",
                level="warning",
            )
            return None
        return [begin] if begin else None

    @hookimpl(trylast=True)
    def trained_parameters(self, trainer: Any, model: Any, names: Sequence[str], step: int) -> None:
        """Refuse before the first update what could not be moved in some phase."""
        if step >= self._begin(trainer.state):
            self._chosen(self._path(trainer.config), named_parameters(model), names)

    def trace_key(self, trainer: Any) -> Any:
        """Return what the gradient is made of: fits with equal settings share their compiled steps."""
        return self.config, self._has_begun(trainer)

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return the gradient with its adversarial part, once that has begun."""
        if not self._has_begun(trainer):
            return None
        # Not the trainer: the function may serve later fits, which have other weights in the same model.
        config, mode, path, model = self.config, self.config.mode, self._path(trainer.config), trainer.model
        move = fgm(config.of("epsilon")) if mode == "fgm" else awp(config.of("ascent_rate"), config.of("gamma"))
        return adversarial(
            value_and_grad,
            lambda: named_parameters(model),
            lambda arrays, trained: self._chosen(path, arrays, trained),
            move,
            steps=1 if mode == "fgm" else config.of("ascent_steps"),
            weights=(config.clean_weight, config.weight),
            mode=mode,
        )

    def _begin(self, state: Any) -> int:
        """Return how many updates come before it; `state` counts those of an epoch."""
        if self.config.from_epoch is not None:
            return (self.config.from_epoch - 1) * int(state.steps_per_epoch)
        return self.config.from_step or 0

    def _has_begun(self, trainer: Any) -> bool:
        return bool(trainer.state.step >= self._begin(trainer.state))

    def _path(self, config: Any) -> str:
        """Return where a configuration has these settings: `use:` gives the plugin other names."""
        named = [each.name for each in config.plugins if each.settings is self.config]
        return f"plugins.{named[0] if named else 'adversarial_training'}"

    def _chosen(self, path: str, arrays: Mapping[str, Any], trained: Iterable[str]) -> list[str]:
        """Return the names of what is moved.

        Raises:
            PluginError: There is nothing of a kind that was asked for.
        """
        patterns = self.config.parameters or (WORDS if self.config.mode == "fgm" else None)
        try:
            return chosen(patterns, arrays, trained)
        except LookupError as error:
            raise PluginError(f"{path}.parameters: {error}") from None
