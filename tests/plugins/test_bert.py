"""The BERT plugin: kernels against float64 and MLX's own operations, the encoder, and building from settings."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from stepbus import ModelError, Selected
from stepbus_plugins.bert import SIZES, Bert, BertConfig, build, check_config, kernels, plain, scratch_config
from stepbus_plugins.bert.encoder import Encoder
from stepbus_plugins.bert.tensors import encoder_shapes, present_name
from stepbus_plugins.heads import Heads

CONFIG = scratch_config(BertConfig(size="tiny", vocab_size=50))
KEY = 0x9E3779B1  # any odd word


def parts(kind: str, name: str) -> Selected:
    part = next(part for part in Heads.components if (part.kind, part.name) == (kind, name))
    return Selected(part, part.config())


def settings(**given) -> BertConfig:
    return BertConfig(head=parts("head", "binary"), pooling=parts("pooling", "mean"), **given)


def normal_tail(x: np.ndarray) -> np.ndarray:
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in x.ravel()]).reshape(x.shape)


def assert_same_gradients(one, other, arrays, tolerance):
    """Compare two functions and their gradients along a random direction."""
    direction = mx.random.normal(other(*arrays).shape, key=mx.random.key(7))
    indices = list(range(len(arrays)))
    results = [
        (f(*arrays), *mx.grad(lambda *a, f=f: (f(*a) * direction).sum(), argnums=indices)(*arrays))
        for f in (one, other)
    ]
    for left, right in zip(*results, strict=True):
        assert np.abs(np.array(left) - np.array(right)).max() <= tolerance


def test_gelu_and_its_gradient_are_within_1e_6_of_float64():
    x = np.linspace(-12, 12, 40_001, dtype=np.float32)
    wide = x.astype(np.float64)
    below = normal_tail(-wide)
    slope = below + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
    value = mx.compile(kernels.gelu)(mx.array(x))
    gradient = mx.grad(lambda x: kernels.gelu(x).sum())(mx.array(x))
    assert np.abs(np.array(value) - wide * below).max() < 1e-6
    assert np.abs(np.array(gradient) - slope).max() < 2e-6


def test_gelu_at_its_ends():
    ends = kernels.gelu(mx.array([0.0, 1e-30, 20.0, -20.0, 1e5, -1e5]))
    assert np.allclose(np.array(ends), [0, 5e-31, 20, 0, 1e5, 0], rtol=1e-6, atol=1e-30)
    slopes = mx.grad(lambda x: kernels.gelu(x).sum())(mx.array([0.0, 20.0, -20.0, 1e5, -1e5]))
    assert np.allclose(np.array(slopes), [0.5, 1, 0, 1, 0], atol=1e-6)


def test_exponential_is_within_2e_6_of_float64():
    x = np.linspace(0, 40, 10_001, dtype=np.float32)
    value = kernels._exp_minus_8(mx.array(x / 8))
    assert np.abs(np.array(value) - np.exp(-x.astype(np.float64))).max() < 2e-6
    assert np.array(kernels._exp_minus_8(mx.array([1e8, 1e9]))).tolist() == [0, 0]


def test_linear_agrees_with_plain():
    arrays = [mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate([(2, 5, 6), (4, 6), (4,)])]
    assert_same_gradients(kernels.linear, plain.linear, arrays, 1e-5)


def test_add_norm_agrees_with_plain():
    arrays = [mx.random.normal((3, 5, 24), key=mx.random.key(i)) * 2 + i for i in range(2)]
    arrays += [mx.random.normal((24,), key=mx.random.key(i)) for i in (3, 4)]
    assert_same_gradients(
        lambda *a: kernels.add_norm(*a, eps=1e-12), lambda *a: plain.add_norm(*a, eps=1e-12), arrays, 1e-5
    )


def test_add_norm_agrees_with_float64():
    x = np.random.default_rng(0).normal(3, 2, (4, 6, 32))
    wide = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    weight, bias = np.linspace(-1, 2, 32), np.linspace(0, 1, 32)
    half = mx.array(x / 2)
    value = kernels.add_norm(half, half, mx.array(weight), mx.array(bias), 1e-12)
    assert np.abs(np.array(value) - (wide * weight + bias)).max() < 3e-6


def attention_arrays(queries: int = 7) -> list[mx.array]:
    shapes = [(2, 3, queries, 8), (2, 3, 7, 8), (2, 3, 7, 8)]
    return [mx.random.normal(shape, key=mx.random.key(i)) * 2 for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("queries", [7, 1])
def test_attention_agrees_with_plain(queries):
    bias = mx.array([[0.0] * 7, [0.0] * 4 + [-1e9] * 3]).reshape(2, 1, 1, 7)
    assert_same_gradients(
        lambda *a: kernels.attention(*a, bias), lambda *a: plain.attention(*a, bias), attention_arrays(queries), 1e-5
    )


def test_attention_agrees_with_float64():
    q, k, v = (np.array(array, dtype=np.float64) for array in attention_arrays())
    weights = np.exp(q @ k.swapaxes(-1, -2) / math.sqrt(8))
    expected = weights / weights.sum(-1, keepdims=True) @ v
    value = kernels.attention(*attention_arrays(), mx.zeros((2, 1, 1, 7)))
    assert np.abs(np.array(value) - expected).max() < 5e-6


def test_attention_of_a_row_that_is_all_padding_is_finite():
    bias = mx.full((2, 1, 1, 7), -1e9)
    for ops in (kernels.FAST, plain.PLAIN):
        assert mx.isfinite(ops.attention(*attention_arrays(), bias)).all().item()


def test_dropout_inside_the_kernels_is_that_of_the_mask():
    key = mx.array(KEY, dtype=mx.uint32)
    shape = (3, 4, 24)
    mask = kernels.dropout(mx.ones(shape), 0.25, key)
    arrays = [mx.random.normal(shape, key=mx.random.key(i)) for i in range(2)] + [mx.ones(24), mx.zeros(24)]
    assert_same_gradients(
        lambda *a: kernels.add_norm(*a, 1e-12, 0.25, key),
        lambda x, *a: plain.add_norm(x * mask, *a, 1e-12),
        arrays,
        1e-5,
    )
    assert_same_gradients(lambda x: kernels.dropout(x, 0.25, key), lambda x: x * mask, arrays[:1], 0)
    weights_mask = kernels.dropout(mx.ones((2, 3, 7, 7)), 0.25, key)
    assert_same_gradients(
        lambda q, k, v: kernels.attention(q, k, v, mx.zeros((2, 1, 1, 7)), 0.25, key),
        lambda q, k, v: (mx.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(8), axis=-1) * weights_mask) @ v,
        attention_arrays(),
        1e-5,
    )


def test_dropout_masks_look_random():
    """Rates, correlations between keys and between neighbours stay within 5 standard deviations."""
    size, dropped = 1 << 17, 0.1
    keys = np.random.default_rng(0).integers(0, 2**31, 12) * 2 + 1
    masks = np.stack(
        [np.array(kernels.dropout(mx.ones(size), dropped, mx.array(int(key), dtype=mx.uint32))) for key in keys]
    )
    assert set(np.unique(masks)) == {0, masks.max()}
    assert masks.max() == pytest.approx(1 / (1 - dropped), rel=1e-4)
    standard = ((masks > 0) - (1 - dropped)) / math.sqrt(dropped * (1 - dropped))
    assert np.abs(standard.sum(1)).max() / math.sqrt(size) < 5
    between = standard @ standard.T / math.sqrt(size)
    assert np.abs(between - np.diag(np.diag(between))).max() < 5
    for lag in (1, 2, 32, 384, 4096):
        assert np.abs((standard[:, lag:] * standard[:, :-lag]).sum(1)).max() / math.sqrt(size - lag) < 5


def batch(rows: int = 5, length: int = 9) -> tuple[mx.array, mx.array, mx.array]:
    generator = np.random.default_rng(3)
    ids = mx.array(generator.integers(0, 50, (rows, length)).astype(np.int32))
    mask = mx.array((np.arange(length) < generator.integers(2, length + 1, (rows, 1))).astype(np.float32))
    return ids, mask, mx.array(generator.integers(0, 2, (rows, length)).astype(np.int32))


def seeded_encoder(**config) -> Encoder:
    mx.random.seed(11)
    encoder = Encoder({**CONFIG, **config})
    encoder.update(tree_map(lambda a: a + 0.05 * mx.random.normal(a.shape), encoder.parameters()))
    mx.eval(encoder.parameters())
    return encoder


def test_parameter_names_are_those_of_hugging_face():
    names = {name for name, _ in tree_flatten(Encoder(CONFIG).parameters())}
    assert "embeddings.token_type_embeddings.weight" in names
    assert "encoder.layer.1.attention.self.query.bias" in names
    assert "encoder.layer.0.attention.output.LayerNorm.weight" in names
    assert "encoder.layer.0.intermediate.dense.weight" in names
    assert len(names) == 5 + 16 * CONFIG["num_hidden_layers"]


@pytest.mark.parametrize("rows", [1, 5])
def test_fast_and_plain_kernels_agree_in_output_and_gradient(rows):
    ids, mask, types = batch(rows)
    encoder = seeded_encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def loss(encoder):
        return (encoder(ids, mask, types) * mask[..., None]).square().mean()

    results = []
    for on_cpu in (True, False):
        encoder._on_cpu = on_cpu
        value, gradients = nn.value_and_grad(encoder, loss)(encoder)
        results.append({"loss": value, **dict(tree_flatten(gradients))})
    for name, array in results[0].items():
        assert np.allclose(np.array(array), np.array(results[1][name]), rtol=1e-3, atol=2e-6), name


def test_types_that_are_all_zero_need_not_be_given():
    ids, mask, types = batch()
    encoder = seeded_encoder().eval()
    assert mx.allclose(encoder(ids, mask), encoder(ids, mask, mx.zeros_like(types)), atol=1e-6).item()
    assert not mx.allclose(encoder(ids, mask), encoder(ids, mask, types), atol=1e-2).item()


def test_first_token_only_gives_the_first_token():
    ids, mask, types = batch()
    encoder = seeded_encoder().eval()
    whole, first = encoder(ids, mask, types), encoder(ids, mask, types, first_token_only=True)
    assert first.shape == (5, 1, 128)
    assert np.abs(np.array(whole[:, :1] - first)).max() < 1e-5


def test_padding_does_not_reach_the_tokens():
    ids, mask, _ = batch()
    encoder = seeded_encoder().eval()
    wider = encoder(mx.pad(ids, ((0, 0), (0, 6))), mx.pad(mask, ((0, 0), (0, 6))))
    difference = (wider[:, :9] - encoder(ids, mask)) * mask[..., None]
    assert mx.abs(difference).max().item() < 1e-5


@pytest.mark.parametrize("on_cpu", [True, False])
def test_dropout_follows_the_seed_and_the_mode(on_cpu):
    ids, mask, _ = batch()
    encoder = seeded_encoder()
    encoder._on_cpu = on_cpu

    def encoded(seed: int) -> np.ndarray:
        mx.random.seed(seed)
        return np.array(encoder(ids, mask))

    encoder.train()
    assert np.array_equal(encoded(1), encoded(1))
    assert not np.array_equal(encoded(1), encoded(2))
    encoder.eval()
    assert np.array_equal(encoded(1), encoded(2))


def test_half_precision_uses_the_plain_kernels():
    ids, mask, _ = batch()
    encoder = seeded_encoder().eval()
    full = encoder(ids, mask)
    for dtype, tolerance in ((mx.float16, 0.02), (mx.bfloat16, 0.2)):
        encoder.apply(lambda array, dtype=dtype: array.astype(dtype))
        half = encoder(ids, mask)
        assert half.dtype == dtype
        assert mx.abs((half - full) * mask[..., None]).max().item() < tolerance


def test_too_long_a_sequence_is_refused():
    encoder = Encoder({**CONFIG, "max_position_embeddings": 8})
    with pytest.raises(ModelError, match=r"sequences of 9 tokens, the model takes at most 8; lower data.max_length"):
        encoder(*batch()[:2])


@pytest.mark.parametrize(("ids", "types"), [(60, 0), (-1, 0), (3, 2), (3, -1)])
def test_indices_beyond_a_table_are_refused_where_a_model_is_called_by_hand(ids, types):
    encoder = Encoder({**CONFIG, "vocab_size": 60})
    given = mx.array([[1, ids, 2]]), mx.ones((1, 3)), mx.array([[0, types, 1]])
    with pytest.raises(ModelError, match=r"got token (ids|types) from -?\d+ to \d+, the model's table has rows"):
        encoder(*given)
    compiled = mx.compile(encoder)
    assert compiled(mx.array([[1, 2]]), mx.ones((1, 2)), mx.array([[0, 1]])).shape == (1, 2, 128)


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_building_from_scratch_is_a_function_of_the_seed(size):
    one, same, other = (
        build(settings(size=size, vocab_size=30), outputs=2, head=parts("head", "binary"), seed=seed)
        for seed in (1, 1, 2)
    )
    name = "bert.encoder.layer.0.output.dense.weight"
    assert one.tensors()[name].shape == (SIZES[size][1], 4 * SIZES[size][1])
    assert mx.array_equal(one.tensors()[name], same.tensors()[name]).item()
    assert not mx.array_equal(one.tensors()[name], other.tensors()[name]).item()
    assert one.tensors()[name].std().item() == pytest.approx(0.02, rel=0.05)
    ids, mask, _ = batch()
    assert one({"input_ids": ids % 30, "attention_mask": mask}).shape == (5, 2)


def test_dropout_settings_reach_the_model_and_its_config():
    made = build(
        settings(size="tiny", vocab_size=30, hidden_dropout=0.0, attention_dropout=0.3),
        outputs=2,
        head=parts("head", "binary"),
        seed=1,
    )
    assert made.config["attention_probs_dropout_prob"] == 0.3
    assert made.encoder.encoder["layer"][0].attention["self"].dropout == 0.3
    assert made.encoder.dropout == 0.0


def test_a_model_without_a_size_is_refused():
    with pytest.raises(ModelError, match=r"vocab_size, hidden_size.* missing; name pretrained weights, or"):
        scratch_config(BertConfig())


def test_a_size_beside_pretrained_weights_is_refused():
    with pytest.raises(ModelError, match=r"model\.size: somewhere has its own; leave size or pretrained out"):
        build(settings(size="tiny", pretrained="somewhere"), outputs=2, head=parts("head", "binary"), seed=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "here: model_type: expected 'bert', got 'roberta'"),
        ({"num_attention_heads": 3}, "num_attention_heads: expected a divisor of hidden_size 128, got 3"),
        ({"hidden_act": "swish"}, "hidden_act: expected one of gelu, .* got 'swish'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type: expected 'absolute'"),
        ({"hidden_size": None}, "hidden_size: expected a whole number of at least 1, got None"),
        ({"is_decoder": True}, "is_decoder: expected an encoder"),
    ],
)
def test_another_architecture_is_refused(change, message):
    with pytest.raises(ModelError, match=message):
        check_config({**CONFIG, **change}, "here")


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
        ("encoder.layer.11.output.LayerNorm.beta", "encoder.layer.11.output.LayerNorm.bias"),
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("bert.embeddings.position_ids", None),
        ("position_ids", None),
        ("bert.embeddings.LayerNorm.weight", "bert.embeddings.LayerNorm.weight"),
        ("bert.MyLayerNorm.gamma", "bert.MyLayerNorm.gamma"),
        ("gamma", "gamma"),
        ("cls.predictions.bias", "cls.predictions.bias"),
    ],
)
def test_names_of_older_files(old, name):
    assert present_name(old) == name


def test_an_older_file_loads_under_the_names_of_today(tmp_path):
    def made(seed):
        return build(settings(size="tiny", vocab_size=30), outputs=2, head=parts("head", "binary"), seed=seed)

    model, other = made(1), made(2)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in model.tensors().items()
    }
    assert any(name.endswith("gamma") for name in old)
    old |= {"bert.embeddings.position_ids": mx.arange(4), "cls.predictions.bias": mx.zeros(30)}
    report = other.load_tensors(old)
    assert (report.unexpected, report.initialised) == (("cls.predictions.bias",), ())
    for name, array in model.tensors().items():
        assert mx.array_equal(array, other.tensors()[name]).item(), name


def test_the_shapes_that_are_said_are_those_of_the_encoder():
    (part,) = Bert.components
    chosen = settings(size="mini", vocab_size=30, max_position_embeddings=7, intermediate_size=12)
    said = part.metadata["shapes"](chosen)
    assert said == encoder_shapes(scratch_config(chosen))
    encoder = Encoder(scratch_config(chosen))
    assert said == {name: tuple(array.shape) for name, array in tree_flatten(encoder.parameters())}
