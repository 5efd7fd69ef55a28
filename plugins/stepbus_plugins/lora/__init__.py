"""LoRA: a small product of matrices is trained beside linear layers, whose own weights stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from attrs import define

from stepbus import ConfigError, Problem, counted, did_you_mean, hookimpl, listed, setting

HERE = "plugins.lora"
FOLDER = "adapter"
A, B = ".lora_A", ".lora_B"  # what the names of the matrices end with


def _number(default: Any, meaning: str, check: Any, expected: str) -> Any:
    return setting(default, meaning, check=check, expected=expected)


class Lora:
    """Train low-rank updates of linear layers and the head alone; the model is exported with them merged in.

    LoRA (Hu et al. 2021, arXiv 2106.09685): a linear layer W x + b computes W x + b + alpha / rank · B A dropout(x), A
    starts at random and B at 0, and only A and B are trained. What is exported is W + alpha / rank · B A. With
    `adapter` the folder `adapter` beside the model has A, B and the head as PEFT reads them: never in the model's own
    folder, where transformers would add them to weights that hold them already.
    """

    excludes: ClassVar[tuple[str, ...]] = ("freeze", "reinitialize")
    writes: ClassVar[tuple[str, ...]] = (FOLDER,)

    @define(frozen=True, kw_only=True)
    class Config:
        rank: int = _number(8, "columns of B and rows of A", lambda n: n >= 1, "a whole number of at least 1")
        alpha: float = _number(
            16.0, "scales the product: B A counts alpha / rank times", lambda a: a > 0, "a number above 0"
        )
        targets: list[str] = setting(
            factory=lambda: ["query", "value"],
            meaning="linear layers that get A and B: the end of their path (query, self.query), * for anything",
            check=lambda names: bool(names),
            expected="at least one name",
        )
        dropout: float = _number(
            0.0, "chance of an input of A to be dropped in training", lambda p: 0 <= p < 1, "a number from 0 to below 1"
        )
        init: Literal["kaiming", "gaussian"] = setting(
            "kaiming", "how A starts: uniform up to 1/√inputs, or normal with a deviation of 1/rank"
        )
        train_head: bool = setting(True, "whether the head is trained too, and a pooling that no pretrained file has")
        also_train: list[str] = setting(
            factory=list, meaning="further parameters that are trained as they are: names or their ends, * for anything"
        )
        adapter: bool = setting(
            False,
            "whether A, B and what else is trained are also written as an adapter for PEFT, in the folder adapter",
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self._unmerged: Mapping[str, Any] = {}

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.config.alpha / self.config.rank

    def trace_key(self, trainer: Any) -> Any:
        """Return what the layers are made of: fits with equal settings share their compiled steps."""
        return self.config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Refuse an adapter to weights that are nowhere."""
        settings = getattr(plan.config.model, "settings", None)
        if self.config.adapter and getattr(settings, "pretrained", "") is None:
            words = "expected model.pretrained, whose weights the adapter is for, got none; leave adapter out"
            return [Problem(".adapter", words)]
        return []

    @hookimpl
    def transform_model(self, trainer: Any, model: Any) -> Any:
        """Put A and B beside each linear layer that the targets mean."""
        if not hasattr(model, "named_modules"):
            return None  # a scripted fit, which has no layers
        from stepbus_plugins.lora.layers import LoraLinear, first_a, linear_layers, picked, put_in

        settings, layers = self.config, linear_layers(model)
        if settings.train_head:  # which has no use for an update beside its own
            layers = {path: layer for path, layer in layers.items() if not f"{path}.".startswith("head.")}
        paths, unknown = picked(list(layers), settings.targets)
        if unknown:
            known = f"there are {listed(_ends(layers))}" if layers else "there are none"
            words = "expected linear layers of the encoder, got {!r}, which means none{}; " + known
            raise _refusal("targets", [words.format(name, did_you_mean(name, _ends(layers))) for name in unknown])
        made: dict[int, Any] = {}  # one layer in two places stays one
        for path in paths:
            layer = layers[path]
            start = first_a(trainer.fit.seed, path, (settings.rank, layer.weight.shape[1]), settings.init)
            made.setdefault(id(layer), LoraLinear(layer, settings.rank, self.scale, settings.dropout, start))
        put_in(model, {path: made[id(layers[path])] for path in paths})
        return model

    @hookimpl
    def trained_parameters(self, trainer: Any, model: Any, names: Sequence[str]) -> list[str]:
        """Return A, B, the head and what else is to be trained; all others stay as they are."""
        from stepbus_plugins.lora.layers import matches

        unknown = [each for each in self.config.also_train if not any(matches(each, name) for name in _modules(names))]
        if unknown:
            words = "expected modules or parameters of the model, got {!r}, which means none{}"
            raise _refusal("also_train", [words.format(e, did_you_mean(e, _ends(_modules(names)))) for e in unknown])
        return [name for name in names if name.endswith((A, B)) or self._as_it_is(model, name)]

    def _as_it_is(self, model: Any, name: str) -> bool:
        """Return whether a parameter is trained without A and B: of the head, or named in the settings."""
        from stepbus_plugins.lora.layers import matches

        # A pooling of the encoder's own came with its weights.
        own = not getattr(getattr(model, "pooling", None), "in_encoder", False)
        if self.config.train_head and name.startswith(("head.", "pooling.") if own else "head."):
            return True
        return any(matches(pattern, part) for pattern in self.config.also_train for part in _modules([name]))

    @hookimpl
    def on_fit_start(self, trainer: Any, state: Any) -> None:
        """Say how much is trained, and what of the rest is random."""
        from mlx.utils import tree_flatten

        if state.step:
            return
        model, flat = trainer.model, dict(tree_flatten(trainer.model.parameters()))
        trained = {name for name in flat if name.endswith((A, B)) or self._as_it_is(model, name)}
        sizes = [sum(flat[name].size for name in names) for names in (trained, flat)]
        layers = sum(name.endswith(A) for name in flat)
        trainer.message(
            f"lora: {sizes[0]:,} of {sizes[1]:,} parameters are trained, A and B of {counted(layers, 'layer')}"
        )
        in_files = getattr(model, "tensor_name", str)
        fresh = set(getattr(getattr(model, "loaded", None), "initialised", ())) - {in_files(name) for name in trained}
        if fresh:
            names = listed(sorted(fresh))
            words = (
                f"lora: {names} had no pretrained weights and stay as they were drawn; name them in {HERE}.also_train"
            )
            trainer.message(words, "warning")

    @hookimpl
    def transform_export(self, trainer: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return the weights with B A merged into them."""
        from stepbus_plugins.lora.layers import merged

        if self.config.adapter:
            self._unmerged = dict(tensors)
        return merged(tensors, self.scale)

    @hookimpl
    def on_fit_end(self, trainer: Any, result: Any) -> None:
        """Write the adapter of a fit that came to its end."""
        if not self.config.adapter or result.status not in ("ok", "stopped"):
            return
        from mlx.utils import tree_flatten

        from stepbus_plugins.lora.adapter import adapter_files, is_base, write_adapter

        model, tensors, source = trainer.model, self._unmerged, trainer.config.model.settings.pretrained
        in_files = getattr(model, "tensor_name", str)
        flat: Any = dict(tree_flatten(model.parameters()))
        trained = [in_files(name) for name in flat if self._as_it_is(model, name)]
        known = is_base(source, tensors, trained)
        if not known:
            trainer.message(
                f"the adapter belongs to weights that are not those of {source}, as the fit started from others; it "
                "names no base model, and does nothing of use on another one",
                "warning",
            )
        settings, folder = self.config, trainer.directory / FOLDER
        files = adapter_files(
            tensors,
            trained,
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=settings.dropout,
            base=source if known else None,
        )
        write_adapter(folder, files)
        self._unmerged = {}
        trainer.artifact("adapter", folder)


def _modules(names: Iterable[str]) -> set[str]:
    """Return the paths of parameters, and of the modules that they lie in."""
    parts = [name.split(".") for name in names]
    return {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}


def _ends(paths: Iterable[str]) -> list[str]:
    """Return the last parts of paths, each once."""
    return sorted({path.rpartition(".")[2] for path in paths})


def _refusal(name: str, messages: Sequence[str]) -> ConfigError:
    return ConfigError(Problem(f".{name}", message) for message in messages)
