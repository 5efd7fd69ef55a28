"""BERT against Hugging Face's own numbers, and folders against those that transformers writes.

The fixtures come from tests/fixtures/make_bert_fixtures.py (torch and transformers, float32 on one CPU thread).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus import ModelError, Selected, find_folder, read_config, read_tensors
from stepbus.compute.folders import write_folder
from stepbus_plugins.bert import Bert, BertConfig
from stepbus_plugins.bert.checked import ACTIVATIONS
from stepbus_plugins.heads import Heads, NoSettings

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bert"
CASES = {"binary": 2, "multiclass": 3, "multilabel": 4, "regression": 1}
TOLERANCE = 1e-5  # absolute, on logits of a size of about 1 to 5


def pick(kind: str, name: str) -> Selected:
    part = next(item for item in Heads.components if (item.kind, item.name) == (kind, name))
    return Selected(part, NoSettings())


def build(folder: Path, task: str, outputs: int, pooling: str = "cls", seed: int = 0) -> Any:
    settings = BertConfig(pretrained=str(folder), head=pick("head", task), pooling=pick("pooling", pooling))
    return Bert.components[0].build(settings, outputs=outputs, head=pick("head", task), seed=seed).eval()


def expected(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / name / "expected.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def batch(arrays: dict[str, np.ndarray]) -> dict[str, mx.array]:
    given = {name: mx.array(arrays[name]) for name in ("input_ids", "token_type_ids") if name in arrays}
    return {**given, "attention_mask": mx.array(arrays["attention_mask"].astype(np.float32))}


@pytest.mark.parametrize("task", CASES)
def test_logits_and_losses_are_hugging_faces(task: str) -> None:
    model, arrays = build(FIXTURES / task, task, CASES[task]), expected(task)
    assert model.loaded.lines() == []
    logits = model(batch(arrays))
    np.testing.assert_allclose(logits, arrays["logits"], atol=TOLERANCE, rtol=0)
    losses = model.head.loss(logits, mx.array(arrays["labels"]))
    np.testing.assert_allclose(losses, arrays["row_losses"], atol=5 * TOLERANCE, rtol=0)  # squares of errors up to 5
    assert float(losses.mean()) == pytest.approx(float(arrays["loss"]), abs=5 * TOLERANCE)


@pytest.mark.parametrize("task", CASES)
def test_hidden_states_of_real_tokens_are_hugging_faces(task: str) -> None:
    model, arrays = build(FIXTURES / task, task, CASES[task]), expected(task)
    inputs = batch(arrays)
    hidden = model.encoder(inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])
    real = arrays["attention_mask"] > 0
    np.testing.assert_allclose(np.array(hidden)[real], arrays["hidden"][real], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_that_is_accepted_is_hugging_faces(tmp_path: Path, name: str) -> None:
    arrays = expected("binary")
    config = {**read_config(FIXTURES / "binary"), "hidden_act": name}
    folder = write_folder(tmp_path / "m", config, read_tensors(FIXTURES / "binary"), None)
    logits = arrays["logits" if name == "gelu" else f"logits_{name}"]
    np.testing.assert_allclose(build(folder, "binary", 2)(batch(arrays)), logits, atol=TOLERANCE, rtol=0)


def test_the_fixtures_would_show_a_wrong_activation_and_a_wrong_epsilon(tmp_path: Path) -> None:
    """The tolerance means something: what a port likes to get wrong moves these logits further."""
    arrays = expected("binary")
    assert np.abs(arrays["logits_gelu_new"] - arrays["logits"]).max() > 10 * TOLERANCE
    config = {**read_config(FIXTURES / "binary"), "layer_norm_eps": 1e-5}  # the default of most frameworks
    folder = write_folder(tmp_path / "m", config, read_tensors(FIXTURES / "binary"), None)
    assert np.abs(np.array(build(folder, "binary", 2)(batch(arrays))) - arrays["logits"]).max() > 2 * TOLERANCE


def test_a_bare_encoders_file_and_no_token_types() -> None:
    model, arrays = build(FIXTURES / "bare", "binary", 2), expected("bare")
    assert model.loaded.initialised == ("classifier.weight", "classifier.bias")
    assert model.loaded.unexpected == ()
    inputs = batch(arrays)
    hidden = model.encoder(inputs["input_ids"], inputs["attention_mask"])
    real = arrays["attention_mask"] > 0
    np.testing.assert_allclose(np.array(hidden)[real], arrays["hidden"][real], atol=TOLERANCE, rtol=0)
    pooled = model.pooling(hidden, inputs["attention_mask"])
    np.testing.assert_allclose(pooled, arrays["pooled"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["binary", "bare"])
def test_a_pooling_of_ones_own_leaves_berts_pooler_aside_and_says_so(name: str) -> None:
    model = build(FIXTURES / name, "binary", 2, pooling="mean")
    assert {text.removeprefix("bert.") for text in model.loaded.unexpected} == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }


def test_mean_pooling_is_the_mean_of_hugging_faces_hidden_states() -> None:
    model, arrays = build(FIXTURES / "bare", "binary", 2, pooling="mean"), expected("bare")
    mask = arrays["attention_mask"][..., None].astype(np.float64)
    mean = (arrays["hidden"] * mask).sum(1) / mask.sum(1)
    tensors = model.tensors()
    logits = mean @ np.array(tensors["classifier.weight"], np.float64).T + np.array(tensors["classifier.bias"])
    np.testing.assert_allclose(model(batch(arrays)), logits, atol=TOLERANCE, rtol=0)


def test_a_masked_language_models_file_gives_its_encoder(tmp_path: Path) -> None:
    source, names = read_tensors(FIXTURES / "binary"), json.loads((FIXTURES / "masked_lm_names.json").read_text())
    tensors = {name: source.get(name, mx.zeros(3)) for name in names}
    folder = write_folder(tmp_path / "mlm", read_config(FIXTURES / "binary"), tensors, None)
    model = build(folder, "binary", 2)
    assert set(model.loaded.unexpected) == {name for name in names if name.startswith("cls.")}
    assert model.loaded.initialised[:2] == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
    loaded = model.tensors()
    for name in set(names) & set(source):
        np.testing.assert_array_equal(loaded[name], source[name])


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_what_was_saved_reloads_bit_for_bit(tmp_path: Path, task: str, pooling: str) -> None:
    model = build(FIXTURES / task, task, CASES[task], pooling)
    folder = write_folder(tmp_path / "m", model.config, model.tensors(), None)
    again = build(find_folder(str(folder)), task, CASES[task], pooling, seed=99)
    assert again.loaded.lines() == []
    one, other = model.tensors(), again.tensors()
    assert one.keys() == other.keys()
    assert all(np.array(one[name]).tobytes() == np.array(other[name]).tobytes() for name in one)
    inputs = batch(expected(task))
    assert np.array(model(inputs)).tobytes() == np.array(again(inputs)).tobytes()


def header_of(folder: Path) -> dict[str, Any]:
    content = (folder / "model.safetensors").read_bytes()
    header: dict[str, Any] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header


@pytest.mark.parametrize("start", ["multiclass", "bare"])
def test_an_exported_folder_has_what_transformers_writes(tmp_path: Path, start: str) -> None:
    """Held against the listing of a folder that `save_pretrained` wrote for the same kind of model."""
    model = build(FIXTURES / start, "multiclass", 3)
    folder = write_folder(tmp_path / "m", model.config, model.tensors(), None)
    listing = json.loads((FIXTURES / "transformers_folder.json").read_text())
    assert sorted(path.name for path in folder.iterdir()) == listing["files"]
    header = header_of(folder)
    assert header.pop("__metadata__") == listing["metadata"]
    assert {name: [entry["shape"], entry["dtype"]] for name, entry in header.items()} == listing["tensors"]
    assert read_config(folder) == listing["config"]


def test_a_model_from_scratch_says_everything_that_transformers_needs(tmp_path: Path) -> None:
    listing = json.loads((FIXTURES / "transformers_folder.json").read_text())
    size = {name: listing["config"][name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    settings = BertConfig(
        **size, intermediate_size=48, vocab_size=60, max_position_embeddings=40, head=pick("head", "multiclass"),
        pooling=pick("pooling", "cls"),
    )  # fmt: skip
    model = Bert.components[0].build(settings, outputs=3, head=pick("head", "multiclass"), seed=0)
    folder = write_folder(tmp_path / "m", model.config, model.tensors(), None)
    header = header_of(folder)
    header.pop("__metadata__")
    assert {name: [entry["shape"], entry["dtype"]] for name, entry in header.items()} == listing["tensors"]
    config = read_config(folder)
    # The rest are transformers' defaults for every model, which it adds when it writes.
    added = {"add_cross_attention", "bos_token_id", "classifier_dropout", "eos_token_id", "is_decoder"} | {
        "tie_word_embeddings", "transformers_version", "use_cache",
    }  # fmt: skip
    assert {name: listing["config"][name] for name in listing["config"].keys() - added} == config


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("bert.encoder.layer.1.output.dense.weight", None, r"is missing \(expected shape \(24, 48\)\)"),
        ("bert.encoder.layer.1.output.dense.weight", (24, 47), r"expected shape \(24, 48\), got \(24, 47\)"),
        ("bert.embeddings.word_embeddings.weight", (59, 24), r"expected shape \(60, 24\), got \(59, 24\)"),
        ("bert.pooler.dense.weight", (1, 24), r"expected shape \(24, 24\), got \(1, 24\)"),
    ],
)
def test_a_broken_folder_names_tensor_file_and_shapes(tmp_path: Path, name: str, change: Any, words: str) -> None:
    tensors = read_tensors(FIXTURES / "binary")
    if change is None:
        del tensors[name]
    else:
        tensors[name] = mx.zeros(change)
    folder = write_folder(tmp_path / "m", read_config(FIXTURES / "binary"), tensors, None)
    with pytest.raises(ModelError, match=rf"m\b.*'{name}'.*{words}"):
        build(folder, "binary", 2)
