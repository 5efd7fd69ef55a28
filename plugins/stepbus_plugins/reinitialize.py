"""Starting the top layers of a pretrained model anew."""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus import ConfigError, ModelError, Problem, counted, hookimpl, listed, setting


class Reinitialize:
    """Start the top layers and BERT's pooler anew, as for fine-tuning on few rows.

    The top layers of a pretrained model know most of what it was pretrained for, and least of what comes. Matrices are
    drawn anew, biases are 0 and norms 1: a function of the fit's seed and the parameter's name. Source: Zhang et al.
    2021, "Revisiting Few-sample BERT Fine-tuning", section 5.
    """

    excludes = ("lora",)  # which keeps what it adapts

    @define(frozen=True, kw_only=True)
    class Config:
        layers: int = setting(
            1,
            "how many layers start anew, the top ones",
            check=lambda value: value >= 0,
            expected="a whole number of at least 0",
        )
        pooler: bool = setting(True, "whether the pooling's own layers start anew too, where it has some (cls)")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.done = False
        self.drawn: dict[str, str] = {}  # parameter -> the part of the model that a user knows it by

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        """Find what starts nothing anew."""
        if self.config.layers or self.config.pooler:
            return []
        return [Problem(".", "expected layers or pooler, got neither; to start nothing anew, switch reinitialize off")]

    @hookimpl
    def transform_model(self, trainer: Any, model: Any) -> None:
        """Give the top layers their starting values, unless an earlier fit has trained on with these."""
        from stepbus import depths_of, layers_of

        if trainer.starts_from or getattr(model, "_reinitialized", False):
            trainer.message("reinitialize: the layers stay as they are, because the fit goes on with trained weights")
            return
        layers, depths = layers_of(model), depths_of(model)
        if self.config.layers > len(layers):
            words = f"expected at most the model's {counted(len(layers), 'layer')}, got {self.config.layers}"
            raise _refusal("layers", f"{words}; set layers: {len(layers)}")
        lowest = len(layers) - self.config.layers
        chosen = [name for name, depth in depths.items() if lowest < depth <= len(layers)]
        pooling = getattr(model, "pooling", None)
        if self.config.pooler and getattr(pooling, "in_encoder", False):  # any other is new anyway
            chosen += [name for name in depths if name.startswith("pooling.")]
        if not chosen:
            words = "expected a pooling with layers of its own, got one without; set layers, or pick pooling: cls"
            raise _refusal("pooler", words)
        renew(model, chosen, trainer.fit.seed)
        self.done = True
        of = f" of {len(layers)}"
        self.drawn = {
            name: "the pooling" if name.startswith("pooling.") else f"layer {depths[name]}{of}" for name in chosen
        }
        top = f"the top {counted(self.config.layers, 'layer')} of {len(layers)}" if self.config.layers else ""
        pooler = "the pooling" if any(name.startswith("pooling.") for name in chosen) else ""
        trainer.message(f"reinitialize: {' and '.join(filter(None, (top, pooler)))} start anew")

    @hookimpl
    def on_fit_start(self, trainer: Any, state: Any) -> None:
        """Refuse what was drawn anew and that no phase trains, whoever froze it: it would stay random.

        Raises:
            ConfigError: There is some.
        """
        trained = {name for names in trainer.phases.values() for name in names}
        # A resumed fit may freeze what it has trained before.
        still = [] if state.step else [name for name in self.drawn if name not in trained]
        if not still:
            return
        parts = listed(dict.fromkeys(self.drawn[name] for name in still))
        where = "pooler" if all(name.startswith("pooling.") for name in still) else "layers"
        words = (
            f"expected what starts anew to be trained in some phase of the fit, but {counted(len(still), 'parameter')} "
            f"of {parts} stay frozen to the end and would stay random, such as {still[0]}; freeze less, unfreeze it in "
            f"time (freeze does so with gradual: true), or start less anew"
        )
        raise _refusal(where, words)

    @hookimpl
    def on_fit_end(self, trainer: Any, result: Any) -> None:
        """Mark the trained model, so that who trains on with it keeps what it has learnt."""
        if self.done and result.status in ("ok", "stopped"):
            # Not among the parameters, and so in no file.
            object.__setattr__(trainer.model, "_reinitialized", True)


def _refusal(setting: str, words: str) -> ConfigError:
    """Return what is wrong with a setting, with its file and line, now that the model is known."""
    return ConfigError([Problem(f".{setting}", words)])


def renew(model: Any, names: list[str], seed: int) -> None:
    """Give parameters the values that they start with in a model from scratch.

    Args:
        model: The model.
        names: The parameters.
        seed: Where the numbers start.

    Raises:
        ModelError: Nobody knows what one of them starts with.
    """
    from stepbus import mx, starting_value

    # isort: split
    import mlx.nn as nn
    from mlx.utils import tree_flatten, tree_unflatten

    flat: Any = tree_flatten(model.parameters())
    arrays = dict(flat)
    norms = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm, nn.BatchNorm)
    scales = {f"{place}.weight" for place, module in model.named_modules() if isinstance(module, norms)}
    spread = float(getattr(model, "config", {}).get("initializer_range") or 0.02)
    in_files = getattr(model, "tensor_name", str)
    updates = []
    for name in names:
        value = starting_value(in_files(name), arrays[name], seed, spread)
        if value is None and name not in scales:
            raise ModelError(
                f"reinitialize: expected matrices, biases and norms in the layers that start anew, got {name} of shape "
                f"{list(arrays[name].shape)}; leave reinitialize out"
            )
        updates.append((name, mx.ones_like(arrays[name]) if value is None else value))
    model.update(tree_unflatten(updates))
    mx.eval(model.parameters())
