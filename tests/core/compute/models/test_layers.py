"""Layers and depths: of what an encoder offers, and of modules that offer nothing."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from stepbus.base.errors import ModelError
from stepbus.compute.models.layers import count_layers, depths_of, layers_of

D = 4


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = {"in": nn.Linear(D, D)}
        self.norm = nn.LayerNorm(D)


class Plain(nn.Module):
    """Offers nothing: a projection, two short lists, a longer one, a norm and a head."""

    def __init__(self, layers: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(7, D)
        self.types = [nn.Embedding(2, D) for _ in range(9)]
        self.before = [nn.Linear(D, D)]
        self.blocks = [Block() for _ in range(layers)]
        self.norm = nn.LayerNorm(D)
        self.head = nn.Linear(D, 2)
        self._hidden = [Block() for _ in range(20)]


class Offering(nn.Module):
    """An encoder that names its layers, which lie in two lists, and its embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.upper = [Block()]
        self.final = nn.LayerNorm(D)
        self.lower = [Block(), Block()]
        self.embeddings = {"words": nn.Embedding(7, D)}

    @property
    def layers(self) -> list[Any]:
        return [*self.lower, *self.upper]


class Whole(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.pooling = nn.Linear(D, D)
        self.encoder = encoder
        self.head = nn.Linear(D, 2)


def by_depth(model: nn.Module) -> dict[int, set[str]]:
    depths = depths_of(model)
    assert list(depths) == [name for name, _ in tree_flatten(model.parameters())]
    return {depth: {name for name, each in depths.items() if each == depth} for depth in set(depths.values())}


def test_the_longest_list_of_one_class_is_the_layers() -> None:
    model = Plain()
    assert layers_of(model) == model.blocks
    found = by_depth(model)
    assert set(found) == {0, 1, 2, 3, 4}
    tables = {"words.weight", *(f"types.{i}.weight" for i in range(9))}
    assert found[0] == {*tables, "before.0.weight", "before.0.bias"}
    for depth in (1, 2, 3):
        inside = ("dense.in.weight", "dense.in.bias", "norm.weight", "norm.bias")
        assert found[depth] == {f"blocks.{depth - 1}.{name}" for name in inside}
    assert found[4] == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_ten_layers_and_more_are_told_apart() -> None:
    depths = depths_of(Plain(12))
    assert depths["blocks.1.norm.bias"] == 2 and depths["blocks.11.norm.bias"] == 12
    assert depths["head.bias"] == 13


@pytest.mark.parametrize("whole", [False, True])
def test_what_an_encoder_offers_goes_first(whole: bool) -> None:
    encoder = Offering()
    model: Any = Whole(encoder) if whole else encoder
    expected = [*encoder.lower, *encoder.upper]
    assert [id(layer) for layer in layers_of(model)] == [id(layer) for layer in expected]
    depths = {name.removeprefix("encoder."): depth for name, depth in depths_of(model).items()}
    assert depths["embeddings.words.weight"] == 0
    assert [depths[f"{place}.norm.weight"] for place in ("lower.0", "lower.1", "upper.0")] == [1, 2, 3]
    assert depths["final.weight"] == 4
    if whole:
        assert depths["pooling.weight"] == depths["head.bias"] == 4


def test_modules_without_parameters_are_no_layers() -> None:
    model = nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, D), nn.Dropout(0.1), nn.Linear(D, 2))
    assert count_layers(model) == 3
    assert depths_of(model)["layers.4.bias"] == 3
    inside = Whole(nn.Sequential(nn.Linear(D, D), nn.ReLU(), nn.Linear(D, D)))
    assert [depths_of(inside)[f"encoder.layers.{i}.bias"] for i in (0, 2)] == [1, 2]


def test_mlx_s_own_transformer() -> None:
    encoder = nn.TransformerEncoder(3, D, 2, 8)
    depths = depths_of(encoder)
    assert {depths[name] for name in depths if name.startswith("layers.2.")} == {3}
    assert depths["ln.weight"] == 4


def test_a_layer_that_is_used_twice_has_a_depth_for_each_name() -> None:
    model, shared = Plain(), Block()
    model.blocks = [shared, shared, Block()]
    depths = depths_of(model)
    assert [depths[f"blocks.{i}.norm.bias"] for i in range(3)] == [1, 2, 3]


def test_frozen_parameters_have_a_depth() -> None:
    model = Plain()
    before = depths_of(model)
    model.blocks[0].freeze()
    assert depths_of(model) == before


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(D, D), nn.Linear(D, 2)
        self.layers = 2  # a number, no list


@pytest.mark.parametrize(("model", "name"), [(Net(), "Net"), (nn.Linear(D, D), "Linear"), (3, "int")])
def test_no_layers_is_one_sentence(model: Any, name: str) -> None:
    words = f"expected a model with layers, got the {name} without a list of modules of one class; give it an attribute"
    with pytest.raises(ModelError, match=words):
        layers_of(model)
    assert count_layers(model) is None
    with pytest.raises(ModelError, match=words):
        depths_of(model)


def test_it_stays_so_while_the_model_computes_in_a_compiled_function() -> None:
    model = Plain()
    found: list[Any] = []
    mx.compile(lambda x: found.append(depths_of(model)) or x * 2)(mx.ones(2))
    assert found == [depths_of(model)]
