"""Heads (what the outputs mean) and poolings (how the tokens' vectors become one), with their losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import define

from stepbus import Component, ModelError, counted, setting

if TYPE_CHECKING:
    import mlx.nn as nn


@define(frozen=True, kw_only=True)
class NoSettings:
    """For a part that has nothing to set."""


@define(frozen=True, kw_only=True)
class OrdinalSettings:
    """Proportional odds: one score and a threshold between each two neighbours of the classes in their order."""

    order: list[str] | None = setting(
        None,
        "the classes from the lowest to the highest; none takes numbers by their value",
        check=lambda value: len(value) > 1,
        expected="a list of classes",
    )


@define(frozen=True, kw_only=True)
class LastFourConfig:
    tokens: Literal["mean", "cls"] = setting(
        "mean", "which vector of a layer: the mean of the tokens, or the first one"
    )


def _softmax(settings: NoSettings, hidden_size: int, outputs: int) -> nn.Module:
    from stepbus_plugins.heads.outputs import SoftmaxHead

    return SoftmaxHead(hidden_size, outputs)


def _binary(settings: NoSettings, hidden_size: int, outputs: int) -> nn.Module:
    if outputs != 2:
        raise ModelError(f"model.head: binary: expected 2 classes in the labels, got {outputs}; use multiclass")
    return _softmax(settings, hidden_size, outputs)


def _sigmoid(settings: NoSettings, hidden_size: int, outputs: int) -> nn.Module:
    from stepbus_plugins.heads.outputs import SigmoidHead

    return SigmoidHead(hidden_size, outputs)


def _ordinal(settings: OrdinalSettings, hidden_size: int, outputs: int) -> nn.Module:
    from stepbus_plugins.heads.ordinal import OrdinalHead

    return OrdinalHead(hidden_size, outputs, settings.order)


def _value(settings: NoSettings, hidden_size: int, outputs: int) -> nn.Module:
    from stepbus_plugins.heads.outputs import ValueHead

    if outputs != 1:
        raise ModelError(f"model.head: regression: expected 1 target, got {outputs}")
    return ValueHead(hidden_size, outputs)


def _auto(settings: NoSettings, hidden_size: int, outputs: int) -> Any:
    raise ModelError("model.head: auto stands for the head that fits the labels; without data, name the head itself")


def _cls(settings: NoSettings, hidden_size: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import ClsPooling

    return ClsPooling(hidden_size)


def _mean(settings: NoSettings, hidden_size: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import MeanPooling

    return MeanPooling()


def _max(settings: NoSettings, hidden_size: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import MaxPooling

    return MaxPooling()


def _attention(settings: NoSettings, hidden_size: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import AttentionPooling

    return AttentionPooling(hidden_size)


def _weighted_layers(settings: NoSettings, hidden_size: int, layers: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import WeightedLayers

    return WeightedLayers(layers)


def _last_four(settings: LastFourConfig, hidden_size: int, layers: int) -> nn.Module:
    from stepbus_plugins.heads.poolings import LastFour

    if layers < 4:
        words = f"expected a model of at least 4 layers, got {counted(layers, 'layer')}; use weighted_layers or mean"
        raise ModelError(f"model.pooling: last_four: {words}")
    return LastFour(hidden_size, settings.tokens == "cls")


class Heads:
    """Heads for each kind of labels, and poolings cls, mean, max, attention, weighted_layers and last_four."""

    components: ClassVar[list[Component]] = [
        Component("head", "auto", NoSettings, _auto, {"task": None}),
        Component("head", "binary", NoSettings, _binary, {"task": "binary"}),
        Component("head", "multiclass", NoSettings, _softmax, {"task": "multiclass"}),
        Component("head", "ordinal", OrdinalSettings, _ordinal, {"task": "multiclass"}),
        Component("head", "multilabel", NoSettings, _sigmoid, {"task": "multilabel"}),
        Component("head", "regression", NoSettings, _value, {"task": "regression"}),
        Component("pooling", "cls", NoSettings, _cls),
        Component("pooling", "mean", NoSettings, _mean),
        Component("pooling", "max", NoSettings, _max),
        Component("pooling", "attention", NoSettings, _attention),
        Component("pooling", "weighted_layers", NoSettings, _weighted_layers),
        Component("pooling", "last_four", LastFourConfig, _last_four),
    ]
