"""What a pooling, a head or an encoder holds beside what is trained: nothing that an opened folder would not have."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from attrs import define

from stepbus.base.components import Component, Selected
from stepbus.base.errors import ModelError
from stepbus.compute.models.model import compose
from stepbus.compute.models.part_state import built_part
from stepbus.config.sections import ModelSettings

D, K = 4, 3


@define(frozen=True, kw_only=True)
class Nothing:
    pass


class Holder:
    def __init__(self) -> None:
        self.weights = np.random.default_rng().normal(size=3)


def part(kind: str, fill: Callable[[Any], None]) -> Selected:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(D, D)
            fill(self)

        def __call__(self, *given: Any) -> Any:
            return given[0]

    metadata = {"task": "multiclass"} if kind == "head" else {}
    return Selected(Component(kind, "mine", Nothing, lambda settings, *sizes: Part(), metadata), Nothing(), "acme 1.0")


class Encoder(nn.Module):
    hidden_size = D

    def __init__(self, fill: Callable[[Any], None]) -> None:
        super().__init__()
        self.words = nn.Embedding(11, D)
        fill(self)

    def __call__(self, *given: Any, **more: Any) -> Any:
        return self.words(given[0])


def composed(fill: Callable[[Any], None], where: str) -> Any:
    def nothing(module: Any) -> None: ...

    fills = {name: fill if name == where else nothing for name in ("encoder", "pooling", "head")}
    settings = ModelSettings(pooling=part("pooling", fills["pooling"]))
    encoder, head = Encoder(fills["encoder"]), part("head", fills["head"])
    return compose(settings, encoder, {}, outputs=K, head=head, seed=0, architecture="Mine")


def put(name: str, make: Callable[[], Any]) -> Callable[[Any], None]:
    return lambda module: setattr(module, name, make())


def below(name: str, make: Callable[[], Any]) -> Callable[[Any], None]:
    return lambda module: setattr(module.words if hasattr(module, "words") else module.dense, name, make())


@pytest.mark.parametrize("where", ["pooling", "head", "encoder"])
@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (
            put("w", lambda: mx.array(2)),
            r": w: .*got int32; give a constant .*\(self\._w\), or make it a Python number",
        ),
        (put("w", lambda: mx.array([True])), ": w: .*got bool"),
        (put("many", lambda: [mx.array([1], dtype=mx.uint8)]), r": many\.0: .*got uint8"),
        (below("places", lambda: mx.arange(3)), r"\.places: .*got int32"),
    ],
)
def test_a_parameter_that_cannot_be_trained_is_refused(fill: Any, words: str, where: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        composed(fill, where)
    assert str(raised.value).startswith(f"the {where} ")
    assert ("(acme 1.0)" if where != "encoder" else Encoder.__module__) in str(raised.value)


LOST = [
    put("_w", lambda: mx.random.normal((D,))),
    put("_w", lambda: mx.random.randint(0, 1000, (D,))),
    put("w", lambda: np.random.default_rng().normal(size=D)),
    put("_w", lambda: [np.random.rand(D)]),
    put("_w", lambda: {"inner": (mx.random.normal((D,)),)}),
    put("w", lambda: (mx.random.normal((D,)), 1)),
    put("_dense", lambda: nn.Linear(D, D)),
    put("scale", random.random),
    put("scale", lambda: np.float32(random.random())),
    put("holder", Holder),
    below("_w", lambda: mx.random.normal((D,))),
    lambda module: setattr(module, "_start", module.dense.weight),
]


@pytest.mark.parametrize("kind", ["pooling", "head"])
@pytest.mark.parametrize("fill", LOST)
def test_numbers_that_no_folder_keeps_are_refused(fill: Any, kind: str) -> None:
    with pytest.raises(ModelError, match="expected what is no parameter to be the same each time") as raised:
        composed(fill, kind)
    assert str(raised.value).startswith(f"the {kind} 'mine': ")
    assert "neither trained nor saved" in str(raised.value)


@pytest.mark.parametrize("kind", ["pooling", "head"])
@pytest.mark.parametrize(
    "fill",
    [
        put("_w", lambda: mx.arange(D)),
        put("_w", lambda: mx.array([float("nan"), 1.0])),
        put("_table", lambda: mx.array(np.random.default_rng(0).normal(size=D).astype(np.float32))),
        put("_half", lambda: mx.ones(3, dtype=mx.bfloat16)),
        put("w", lambda: np.eye(3)),
        put("names", lambda: np.array(["a", "b"])),
        put("scale", lambda: 0.5),
        put("w", lambda: mx.random.normal((D,))),
        put("more", lambda: [nn.Linear(D, D), nn.Dropout(0.1)]),
        lambda module: setattr(module, "_again", module.dense),
        lambda module: setattr(module, "_list", [module.dense]),
        lambda module: setattr(module, "me", (module,)),
        put("function", lambda: lambda rows: rows),
    ],
)
def test_constants_and_parameters_are_fine(fill: Any, kind: str) -> None:
    assert composed(fill, kind).tensors()["classifier.dense.weight"].shape == (D, D)


def test_a_second_look_draws_nothing_for_what_is_built_next() -> None:
    constant = part("head", put("_w", lambda: mx.zeros(2)))
    drawn = []
    for build in (constant.build, lambda: built_part(constant)):
        mx.random.seed(3)
        np.random.seed(3)
        random.seed(3)
        build()
        drawn.append([mx.random.normal((2,)).tolist(), np.random.rand(), random.random()])
    assert drawn[0] == drawn[1]


def test_what_has_no_numbers_of_its_own_is_built_once() -> None:
    built = []
    plain = Component("head", "mine", Nothing, lambda settings: built.append(1) or nn.Linear(D, K))  # type: ignore[func-returns-value]
    built_part(Selected(plain, Nothing()))
    assert built == [1]
