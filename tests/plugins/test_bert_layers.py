"""BERT's layers: modules that were put in the place of others are called, and every layer's output is to be had."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from stepbus import ModelError
from stepbus_plugins.bert import BertConfig, scratch_config
from stepbus_plugins.bert.encoder import Encoder

CONFIG = {**scratch_config(BertConfig(size="tiny", vocab_size=50)), "max_position_embeddings": 16}
HIDDEN = Path(__file__).parents[1] / "fixtures" / "hidden_states" / "hidden_states.npz"
# Every module that a BERT is made of, by its path.
INSIDE = [
    "embeddings.word_embeddings",
    "embeddings.position_embeddings",
    "embeddings.token_type_embeddings",
    "embeddings.LayerNorm",
    *(
        f"encoder.layer.1.{name}"
        for name in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        )
    ),
]


class Moved(nn.Module):
    """What another module gives, times a factor, and more."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def __call__(self, x: mx.array) -> mx.array:
        return self.inner(x) * self.factor + (self.factor - 1)


def encoder() -> Encoder:
    mx.random.seed(11)
    made = Encoder(CONFIG)
    made.update(tree_map(lambda a: a + 0.05 * mx.random.normal(a.shape), made.parameters()))
    mx.eval(made.parameters())
    return made.eval()


def batch() -> tuple[mx.array, mx.array, mx.array]:
    draw = np.random.default_rng(3)
    ids = mx.array(draw.integers(0, 50, (5, 9)).astype(np.int32))
    mask = mx.array((np.arange(9) < draw.integers(2, 10, (5, 1))).astype(np.float32))
    return ids, mask, mx.array(draw.integers(0, 2, (5, 9)).astype(np.int32))


def put(model: nn.Module, path: str, change: Callable[[Any], Any]) -> None:
    """Put another module in the place of one."""
    *outer, last = path.split(".")
    holder: Any = model
    for part in outer:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    holder[last] = change(holder[last])


def folded(model: Encoder, path: str, factor: float) -> None:
    """Change the weights of a plain module so that it gives what `Moved` makes of it."""
    names = {name: array for name, array in tree_flatten(model.parameters()) if name.startswith(path + ".")}
    table = "embeddings" in path and "LayerNorm" not in path
    more = 0.0 if not table else factor - 1
    changed = {name: array * factor + (more if table else 0) for name, array in names.items()}
    if not table:
        changed[f"{path}.bias"] = changed[f"{path}.bias"] + (factor - 1)
    model.update(tree_unflatten(list(changed.items())))


@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("path", INSIDE)
def test_a_module_that_was_replaced_is_called(path: str, on_cpu: bool, types: bool) -> None:
    """Its output is that of a plain module with the weights that compute the same."""
    ids, mask, kinds = batch()
    told = (ids, mask, kinds) if types else (ids, mask)
    same, replaced, expected = encoder(), encoder(), encoder()
    put(replaced, path, lambda inner: Moved(inner, 1.3))
    folded(expected, path, 1.3)
    for model in (same, replaced, expected):
        model._on_cpu = on_cpu
    before, now, wanted = (np.array(model(*told)) for model in (same, replaced, expected))
    np.testing.assert_allclose(now, wanted, atol=2e-5)
    assert np.abs(wanted - before).max() > 1e-2
    first = np.array(replaced(*told, first_token_only=True))
    np.testing.assert_allclose(first, wanted[:, :1], atol=2e-5)


@pytest.mark.parametrize("path", INSIDE)
def test_a_replaced_module_gets_its_gradient(path: str) -> None:
    ids, mask, kinds = batch()
    model = encoder()
    put(model, path, lambda inner: Moved(inner, 1.3))
    direction = mx.random.normal((5, 9, 128), key=mx.random.key(4))  # a sum of normalised vectors is a constant
    gradients = nn.value_and_grad(model, lambda m: (m(ids, mask, kinds) * direction).sum())(model)[1]
    inside = {name: array for name, array in tree_flatten(gradients) if name.startswith(f"{path}.inner.")}
    assert inside and all(
        mx.abs(array).max().item() > 1e-5 for name, array in inside.items() if "key.inner.b" not in name
    )


def test_a_module_without_bias_or_scale_is_called() -> None:
    ids, mask, _ = batch()
    model, expected = encoder(), encoder()
    for path in ("attention.self.value", "output.dense"):
        place = f"encoder.layer.0.{path}"
        zero = {f"{place}.bias": mx.zeros(128)}
        expected.update(tree_unflatten(list(zero.items())))

        def without(inner: nn.Linear) -> nn.Linear:
            plain = nn.Linear(inner.weight.shape[1], 128, bias=False)
            plain.weight = inner.weight
            return plain

        put(model, place, without)
    put(model, "encoder.layer.0.output.LayerNorm", lambda inner: nn.LayerNorm(128, eps=1e-12, affine=False))
    plain = {"weight": mx.ones(128), "bias": mx.zeros(128)}
    expected.update(
        tree_unflatten([(f"encoder.layer.0.output.LayerNorm.{name}", array) for name, array in plain.items()])
    )
    np.testing.assert_allclose(model(ids, mask), expected(ids, mask), atol=2e-5)


class Louder(nn.Linear):
    """A linear layer that has a weight and a bias and computes more, as adapters do."""

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(x) * 1.3 + (1.3 - 1)


@pytest.mark.parametrize("path", [path for path in INSIDE if path.startswith("encoder") and "Norm" not in path])
def test_a_kind_of_linear_layer_is_not_taken_for_a_plain_one(path: str) -> None:
    ids, mask, kinds = batch()
    model, expected = encoder(), encoder()

    def louder(inner: nn.Linear) -> nn.Linear:
        made = Louder(inner.weight.shape[1], inner.weight.shape[0])
        return made.update(inner.parameters())

    put(model, path, louder)
    folded(expected, path, 1.3)
    np.testing.assert_allclose(model(ids, mask, kinds), expected(ids, mask, kinds), atol=2e-5)


class LooksAround(nn.Module):
    """Adds to each token the mean of all tokens."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def __call__(self, x: mx.array) -> mx.array:
        return self.inner(x) + self.inner(x).mean(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["attention.self.query", "attention.output.dense", "output.LayerNorm"])
def test_what_looks_at_other_tokens_sees_them_where_the_first_is_asked_for_alone(name: str) -> None:
    ids, mask, _ = batch()
    model = encoder()
    put(model, f"encoder.layer.1.{name}", LooksAround)
    first = model(ids, mask, first_token_only=True)
    assert first.shape == (5, 1, 128)
    np.testing.assert_allclose(first, model(ids, mask)[:, :1], atol=1e-5)


def test_a_longer_table_in_place_of_another_is_known_by_its_rows() -> None:
    model = encoder()
    put(model, "embeddings.word_embeddings", lambda inner: Moved(nn.Embedding(70, 128), 1.0))
    assert model(mx.array([[69, 1]]), mx.ones((1, 2))).shape == (1, 2, 128)
    with pytest.raises(ModelError, match="got token ids from 1 to 70, the model's table has rows for 0 to 69"):
        model(mx.array([[70, 1]]), mx.ones((1, 2)))
    put(model, "embeddings.position_embeddings", lambda inner: Moved(inner, 1.0))
    with pytest.raises(ModelError, match="sequences of 17 tokens, the model takes at most 16"):
        model(mx.zeros((1, 17), mx.int32), mx.ones((1, 17)))


class Hashed(nn.Module):
    """Vectors without a table."""

    def __call__(self, ids: mx.array) -> mx.array:
        return mx.broadcast_to(mx.sin(ids[..., None].astype(mx.float32)), (*ids.shape, 128))


def test_vectors_without_a_table_are_asked_for_what_the_model_was_built_for() -> None:
    model = encoder()
    put(model, "embeddings.word_embeddings", lambda inner: Hashed())
    assert model(mx.array([[49, 1]]), mx.ones((1, 2))).shape == (1, 2, 128)
    with pytest.raises(ModelError, match="the model's table has rows for 0 to 49"):
        model(mx.array([[50, 1]]), mx.ones((1, 2)))


def hugging_faces() -> tuple[Encoder, dict[str, Any]]:
    with np.load(HIDDEN, allow_pickle=False) as arrays:
        found = dict(arrays)
    model = Encoder({**CONFIG, **json.loads(str(found["sizes"]))})
    weights = {name.removeprefix("weights."): array for name, array in found.items() if name.startswith("weights.")}
    assert weights.keys() == dict(tree_flatten(model.parameters())).keys()
    model.update(tree_unflatten([(name, mx.array(array.astype(np.float32))) for name, array in weights.items()]))
    return model.eval(), found


@pytest.mark.parametrize("on_cpu", [True, False])
def test_all_hidden_states_are_hugging_faces(on_cpu: bool) -> None:
    model, found = hugging_faces()
    model._on_cpu = on_cpu
    told = [mx.array(found[name]) for name in ("input_ids", "attention_mask", "token_type_ids")]
    states = model(*told, all_layers=True)
    assert len(states) == len(model.layers) + 1 == 6
    real = found["attention_mask"] > 0
    for state, expected in zip(states, found["hidden"], strict=True):
        np.testing.assert_allclose(np.array(state)[real], expected[real], atol=1e-5, rtol=0)
    assert np.array_equal(np.array(states[-1]), np.array(model(*told)))
    short = model(*told, first_token_only=True, all_layers=True)
    assert [state.shape[1] for state in short] == [9, 9, 9, 9, 9, 1]
    np.testing.assert_allclose(short[-1], states[-1][:, :1], atol=1e-5)
