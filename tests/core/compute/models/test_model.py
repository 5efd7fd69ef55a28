"""Composition, tensor names, loading and initialisation, on a toy encoder with toy parts."""

from __future__ import annotations

import copy
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stepbus.base.components import Component, Selected
from stepbus.base.errors import ModelError
from stepbus.compute.models.model import Classifier, LoadReport, compose, label_keys
from stepbus.compute.models.starting_values import initialise
from stepbus.config.sections import ModelSettings

VOCABULARY, D = 11, 4


class Encoder(nn.Module):
    """One embedding, one layer in a list, one norm: the shapes of names that a BERT has."""

    prefix = "toy."
    hidden_size = D

    @staticmethod
    def present_name(name: str) -> str | None:
        return None if name.endswith(".constant") else name.replace(".scale", ".weight").replace(".shift", ".bias")

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = {"word_embeddings": nn.Embedding(VOCABULARY, D), "LayerNorm": nn.LayerNorm(D)}
        self.encoder = {"layer": [nn.Linear(D, D)]}
        self.seen: Any = None

    def __call__(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, first_token_only: bool = False):
        object.__setattr__(self, "seen", (token_type_ids, first_token_only))
        hidden = self.embeddings["LayerNorm"](self.embeddings["word_embeddings"](input_ids))
        return self.encoder["layer"][0](hidden[:, :1] if first_token_only else hidden)


class First(nn.Module):
    first_token_only = True
    in_encoder = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pooler = {"dense": nn.Linear(size, size)}

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        return self.pooler["dense"](hidden[:, 0])


class Weighted(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.score = nn.Linear(size, 1)

    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        return (hidden * self.score(hidden) * mask[..., None]).sum(1)


@define(frozen=True, kw_only=True)
class Nothing:
    pass


def head(outputs: int = 3, task: str = "multiclass") -> Selected:
    part = Component("head", task, Nothing, lambda settings, size, outputs: nn.Linear(size, outputs), {"task": task})
    return Selected(part, Nothing())


def model_settings(pooling: type = First, dropout: float | None = None) -> ModelSettings:
    part = Component("pooling", "p", Nothing, lambda settings, size: pooling(size))
    return ModelSettings(head=head(), pooling=Selected(part, Nothing()), dropout=dropout)


def build(pooling: type = First, *, seed: int = 1, outputs: int = 3, **more: Any) -> Classifier:
    config = more.pop("config", {"hidden_dropout_prob": 0.1, "model_type": "toy"})
    chosen = model_settings(pooling, more.pop("dropout", None))
    return compose(
        chosen, Encoder(), config, outputs=outputs, head=head(outputs), seed=seed, architecture="Toy", **more
    )


def batch(**more: Any) -> dict[str, mx.array]:
    return {"input_ids": mx.array([[1, 2, 3], [4, 5, 0]]), "attention_mask": mx.array([[1.0, 1, 1], [1, 1, 0]]), **more}


def numpy(tensors: dict[str, mx.array]) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in tensors.items()}


def assert_same(one: dict[str, mx.array], other: dict[str, mx.array]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert np.array(one[name]).tobytes() == np.array(other[name]).tobytes(), name


def test_logits_are_the_head_on_the_pooled_encoding() -> None:
    model = build().eval()
    inputs = batch()
    hidden = model.encoder(inputs["input_ids"], inputs["attention_mask"])
    expected = model.head(model.pooling(hidden, inputs["attention_mask"]))
    np.testing.assert_array_equal(model(inputs), expected)
    assert model(inputs).shape == (2, 3)


def test_the_encoder_hears_of_token_types_and_of_the_pooling() -> None:
    model, types = build(), mx.zeros((2, 3), mx.int32)
    model(batch())
    assert model.encoder.seen == (None, True)
    model(batch(token_type_ids=types))
    assert model.encoder.seen[0].tolist() == types.tolist()
    other = build(Weighted)
    other(batch())
    assert other.encoder.seen == (None, False)


def test_names_are_hugging_faces() -> None:
    encoder = {
        "toy.embeddings.word_embeddings.weight": (VOCABULARY, D),
        "toy.embeddings.LayerNorm.weight": (D,),
        "toy.embeddings.LayerNorm.bias": (D,),
        "toy.encoder.layer.0.weight": (D, D),
        "toy.encoder.layer.0.bias": (D,),
    }
    classifier = {"classifier.weight": (3, D), "classifier.bias": (3,)}
    shapes = {name: array.shape for name, array in build().tensors().items()}
    assert shapes == {**encoder, **classifier, "toy.pooler.dense.weight": (D, D), "toy.pooler.dense.bias": (D,)}
    shapes = {name: array.shape for name, array in build(Weighted).tensors().items()}
    assert shapes == {**encoder, **classifier, "pooling.score.weight": (1, D), "pooling.score.bias": (1,)}


def test_two_parts_with_one_name_are_refused() -> None:
    encoder = Encoder()
    encoder.pooler = {"dense": nn.Linear(D, D)}
    with pytest.raises(ModelError, match=r"share the tensor name 'toy\.pooler\.dense\.bias'"):
        Classifier(encoder, First(D), nn.Linear(D, 2), task="binary", outputs=2)


def test_the_configuration_is_no_parameter() -> None:
    model = build()
    assert model.config == {
        "hidden_dropout_prob": 0.1,
        "model_type": "toy",
        "architectures": ["ToyForSequenceClassification"],
        "problem_type": "single_label_classification",
        "id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"},
        "label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2},
    }
    assert (model.task, model.outputs) == ("multiclass", 3)
    assert {path.split(".")[0] for path, _ in tree_flatten(model.parameters())} == {"encoder", "pooling", "head"}
    assert all(isinstance(leaf, mx.array) for _, leaf in tree_flatten(model.state))


def test_another_pooling_than_the_familys_own_is_no_sequence_classifier() -> None:
    config = build(Weighted).config
    assert config["architectures"] == ["StepbusToyClassifier"]
    assert config["stepbus_pooling"] == "p"
    # transformers makes a classifier of no outputs from this, and then refuses the shape of the head.
    assert (config["id2label"], config["label2id"]) == ({}, {})
    assert config["stepbus_labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_a_head_of_more_than_one_layer_is_no_sequence_classifiers_either() -> None:
    facts = {"task": "multiclass"}
    part = Component("head", "deep", Nothing, lambda *_: nn.Sequential(nn.Linear(D, D), nn.Linear(D, 3)), facts)
    deep = Selected(part, Nothing())
    model = compose(model_settings(), Encoder(), {}, outputs=3, head=deep, seed=1, architecture="Toy")
    assert model.config["architectures"] == ["StepbusToyClassifier"]


def test_what_stepbus_wrote_into_another_folder_is_not_carried_on() -> None:
    config = build(config={"stepbus_target": {"mean": 3}, "stepbus_pooling": "mean", "stepbus_labels": ["a"]}).config
    assert not [name for name in config if name.startswith("stepbus")]


def test_the_number_of_another_heads_labels_is_not_carried_on() -> None:
    for pooling in (First, Weighted):
        assert "num_labels" not in build(pooling, config={"num_labels": 7}).config


def test_a_dropout_of_ones_own_is_in_the_config_that_others_read() -> None:
    assert build(dropout=0.3).config["classifier_dropout"] == 0.3


def test_label_names_keep_the_order_of_the_logits() -> None:
    assert label_keys(["no", "yes"]) == {"id2label": {"0": "no", "1": "yes"}, "label2id": {"no": 0, "yes": 1}}


@pytest.mark.parametrize(
    ("given_rate", "config", "expected"),
    [
        (None, {"hidden_dropout_prob": 0.1}, 0.1),
        (None, {"hidden_dropout_prob": 0.1, "classifier_dropout": 0.3}, 0.3),
        (None, {"hidden_dropout_prob": 0.1, "classifier_dropout": None}, 0.1),
        (None, {"hidden_dropout_prob": 0.1, "classifier_dropout": 0.0}, 0.0),
        (0.0, {"hidden_dropout_prob": 0.5}, 0.0),
        (None, {}, 0.0),
    ],
)
def test_dropout_is_the_settings_or_else_the_folders(given_rate: Any, config: dict[str, Any], expected: float) -> None:
    model = build(config=config, dropout=given_rate)
    assert model.dropout._p_1 == pytest.approx(1 - expected)


def test_dropout_works_in_training_only_and_before_the_head() -> None:
    model = build(dropout=0.5)
    mx.random.seed(0)
    trained = [np.array(model(batch())) for _ in range(4)]
    assert len({array.tobytes() for array in trained}) > 1
    model.eval()
    np.testing.assert_array_equal(model(batch()), model(batch()))


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before() -> None:
    mx.random.seed(0)
    first = build(seed=5).tensors()
    mx.random.seed(9)
    mx.eval(mx.random.normal((100,)))
    assert_same(first, build(seed=5).tensors())
    other = build(seed=6).tensors()
    assert not np.array_equal(first["classifier.weight"], other["classifier.weight"])


def test_matrices_are_normal_biases_zero_and_norms_one() -> None:
    class Wide(First):
        def __init__(self, size: int) -> None:
            super().__init__(200)

    tensors = numpy(build(Wide, config={"initializer_range": 0.05}).tensors())
    drawn = tensors["toy.pooler.dense.weight"]  # 40,000 numbers: the spread is within 1% at three sigma
    assert drawn.std() == pytest.approx(0.05, rel=0.02)
    assert abs(drawn.mean()) < 0.001
    assert (tensors["toy.pooler.dense.bias"] == 0).all() and (tensors["classifier.bias"] == 0).all()
    assert (tensors["toy.embeddings.LayerNorm.weight"] == 1).all()


def test_a_new_head_does_not_depend_on_the_other_parts() -> None:
    one, other = build(First).tensors(), build(Weighted).tensors()
    np.testing.assert_array_equal(one["classifier.weight"], other["classifier.weight"])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_every_seed_from_zero_is_taken(seed: int) -> None:
    one, other = build(), build()
    initialise(one, seed)
    initialise(other, seed)
    for name, array in one.tensors().items():
        assert np.isfinite(np.array(array)).all(), name
        np.testing.assert_array_equal(np.array(array), np.array(other.tensors()[name]), err_msg=name)


def trained_tensors(model: Classifier) -> dict[str, mx.array]:
    random = np.random.default_rng(3)
    return {name: mx.array(random.normal(size=x.shape).astype(np.float32)) for name, x in model.tensors().items()}


@pytest.mark.parametrize("pooling", [First, Weighted])
def test_what_was_saved_comes_back_bit_for_bit(pooling: type) -> None:
    model = build(pooling)
    tensors = trained_tensors(model)
    assert model.load_tensors(tensors, strict=True) == LoadReport()
    assert_same(model.tensors(), tensors)


def test_a_bare_encoders_file_loads_and_the_head_is_new() -> None:
    model = build()
    tensors, before = trained_tensors(model), model.tensors()
    bare = {name.removeprefix("toy."): array for name, array in tensors.items() if name.startswith("toy.")}
    bare["embeddings.constant"] = mx.arange(4)[None]
    report = model.load_tensors(bare)
    assert report == LoadReport((), ("classifier.weight", "classifier.bias"), ("missing", "missing"))
    assert report.lines() == ["newly initialised: classifier.weight (missing), classifier.bias (missing)"]
    assert model.loaded == report
    np.testing.assert_array_equal(model.tensors()["classifier.weight"], before["classifier.weight"])
    assert_same(
        {name: array for name, array in model.tensors().items() if name.startswith("toy.")},
        {name: array for name, array in tensors.items() if name.startswith("toy.")},
    )


def test_an_encoder_under_another_head_loads_and_that_head_is_listed() -> None:
    model = build()
    tensors = trained_tensors(model)
    other = {name: array for name, array in tensors.items() if name.startswith("toy.e")}
    other |= {"other.bias": mx.zeros(3), "toy.embeddings.constant": mx.arange(4)}
    report = model.load_tensors(other)
    assert report.unexpected == ("other.bias",)
    assert report.initialised[:2] == ("toy.pooler.dense.weight", "toy.pooler.dense.bias")
    assert report.lines()[1] == "in the file but not used: other.bias"


def test_names_of_older_files_are_those_that_the_encoder_says() -> None:
    model = build()
    tensors = trained_tensors(model)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.scale").replace("LayerNorm.bias", "LayerNorm.shift"): array
        for name, array in tensors.items()
    }
    assert old.keys() != tensors.keys()
    assert model.load_tensors(old) == LoadReport()
    assert_same(model.tensors(), tensors)


def test_an_encoder_that_says_no_older_names_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Encoder, "present_name")
    model = build()
    tensors = trained_tensors(model)
    tensors |= {"toy.embeddings.position_ids": mx.arange(4), "toy.embeddings.LayerNorm.gamma": mx.zeros(D)}
    assert model.load_tensors(tensors).unexpected == ("toy.embeddings.position_ids", "toy.embeddings.LayerNorm.gamma")


def test_old_and_new_name_of_one_tensor_together_are_refused() -> None:
    model = build()
    tensors = trained_tensors(model)
    tensors["toy.embeddings.LayerNorm.scale"] = tensors["toy.embeddings.LayerNorm.weight"]
    with pytest.raises(ModelError, match="same tensor"):
        model.load_tensors(tensors)


def test_a_missing_encoder_tensor_is_named_with_its_file_and_shape() -> None:
    model = build()
    tensors = trained_tensors(model)
    del tensors["toy.encoder.layer.0.weight"]
    with pytest.raises(
        ModelError, match=r"m\.safetensors: tensor 'toy\.encoder\.layer\.0\.weight' is missing .*\(4, 4\)"
    ):
        model.load_tensors(tensors, source="m.safetensors")


@pytest.mark.parametrize("name", ["toy.encoder.layer.0.weight", "toy.pooler.dense.weight"])
def test_a_misshaped_tensor_is_named_with_both_shapes(name: str) -> None:
    model = build()
    tensors = {**trained_tensors(model), name: mx.zeros((4, 5))}
    before = model.tensors()
    with pytest.raises(ModelError, match=rf"f: tensor '{name}': expected shape \(4, 4\), got \(4, 5\)"):
        model.load_tensors(tensors, source="f")
    assert_same(model.tensors(), before)  # nothing was taken over


def test_a_bare_files_misshaped_tensor_is_named_as_the_file_spells_it() -> None:
    model = build()
    tensors = {name.removeprefix("toy."): array for name, array in trained_tensors(model).items()}
    tensors["encoder.layer.0.weight"] = mx.zeros((4, 5))
    with pytest.raises(ModelError, match=r"tensor 'encoder\.layer\.0\.weight'"):
        model.load_tensors(tensors)


def test_integers_are_no_weights() -> None:
    model = build()
    tensors = {**trained_tensors(model), "toy.encoder.layer.0.weight": mx.zeros((4, 4), mx.int8)}
    with pytest.raises(ModelError, match=r"expected floating-point numbers, got mlx\.core\.int8"):
        model.load_tensors(tensors)


def test_a_head_for_other_classes_is_made_new_and_said() -> None:
    model = build(outputs=2)
    report = model.load_tensors(trained_tensors(build(outputs=3)))
    assert report.initialised == ("classifier.weight", "classifier.bias")
    assert report.reasons[0] == "the file's shape is (3, 4), expected (2, 4)"


def test_strict_refuses_what_a_pretrained_file_may_do() -> None:
    model = build()
    tensors = trained_tensors(model)
    with pytest.raises(ModelError, match="unexpected tensor 'extra'"):
        model.load_tensors({**tensors, "extra": mx.zeros(1)}, strict=True)
    with pytest.raises(ModelError, match=r"'classifier\.weight' is missing"):
        model.load_tensors({k: v for k, v in tensors.items() if k != "classifier.weight"}, strict=True)
    with pytest.raises(ModelError, match=r"'classifier\.bias': expected shape"):
        model.load_tensors({**tensors, "classifier.bias": mx.zeros(7)}, strict=True)


def test_half_precision_files_become_the_models_float32() -> None:
    model = build()
    tensors = {name: array.astype(mx.bfloat16) for name, array in trained_tensors(model).items()}
    model.load_tensors(tensors)
    assert_same(model.tensors(), {name: array.astype(mx.float32) for name, array in tensors.items()})


def test_an_encoder_without_a_prefix_works() -> None:
    class Plain(Encoder):
        prefix = ""

    model = Classifier(Plain(), Weighted(D), nn.Linear(D, 2), task="binary", outputs=2)
    tensors = trained_tensors(model)
    assert model.load_tensors(tensors, strict=True) == LoadReport()
    assert_same(model.tensors(), tensors)


def test_compose_takes_pretrained_tensors_and_keeps_the_report() -> None:
    tensors = trained_tensors(build())
    del tensors["classifier.bias"]
    model = compose(
        model_settings(), Encoder(), {}, outputs=3, head=head(), seed=0, architecture="Toy", tensors=tensors, source="f"
    )
    assert model.loaded.initialised == ("classifier.bias",)
    np.testing.assert_array_equal(model.tensors()["classifier.weight"], tensors["classifier.weight"])


def test_a_copy_is_a_model_of_its_own() -> None:
    model = build()
    other = copy.deepcopy(model)
    other.load_tensors(trained_tensors(model))
    assert other.config == model.config and other.config is not model.config
    assert not np.array_equal(other.tensors()["classifier.weight"], model.tensors()["classifier.weight"])


def test_a_size_that_no_index_reaches_names_the_limit() -> None:
    from stepbus.compute.models.model_keys import check_keys

    with pytest.raises(ModelError, match=r"of at least 1 and at most 2,147,483,647, got 1000000000000; pick another"):
        check_keys({"vocab_size": 10**12}, "config.json")
    with pytest.raises(ModelError, match=r"a whole number of at least 1, got 0; pick another"):
        check_keys({"vocab_size": 0}, "config.json")


@pytest.mark.parametrize("given", [lambda hidden: hidden, lambda hidden: None, lambda hidden: hidden[..., 0]])
def test_a_pooling_that_gives_another_shape_is_named(given: Any) -> None:
    class Odd(nn.Module):
        def __call__(self, hidden: mx.array, mask: mx.array) -> Any:
            return given(hidden)

    class Whole(Odd):
        def __init__(self, size: int) -> None:
            super().__init__()

    model = build(Whole)
    ids = mx.array([[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ModelError, match=r"^the pooling Whole: expected \[B, D\], here \[2, "):
        model({"input_ids": ids, "attention_mask": mx.ones((2, 3))})


def test_a_batch_goes_through_in_two_halves_and_dropout_is_in_the_second() -> None:
    model = build(dropout=0.5)
    pooled = model.pooled(batch())
    np.testing.assert_array_equal(pooled, model.pooled(batch()))
    mx.random.seed(5)
    whole = np.array(model(batch()))
    mx.random.seed(5)
    np.testing.assert_array_equal(model.logits(pooled), whole)
    assert not np.array_equal(model.logits(pooled), whole)  # another mask
