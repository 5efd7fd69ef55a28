"""Model folders from end to end: tokens against tables, positions, heads by their labels' names, and exports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import ModelError, create_model, create_trainer, hookimpl, open_trainer
from stepbus.compute.folders import read_config, read_tensors
from stepbus.plan.planning import describe_plan
from stepbus.storage.digests import sealed
from stepbus.storage.durable import from_json, to_json

Make = Callable[..., dict[str, Any]]
ROWS = 23  # of the tiny vocabulary


class Listen:
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.fit: Any = None

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.fit = trainer

    @hookimpl
    def on_message(self, text: str) -> None:
        self.heard.append(text)


def train(tree: dict[str, Any], listen: Listen | None = None, **more: Any) -> tuple[Any, list[str]]:
    listen = listen or Listen()
    trainer = create_trainer(config=tree, plugins=[listen], **more)
    trainer.train()
    return trainer, listen.heard


def add_token(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"<new>": 23}')


def foreign(folder: Path) -> Path:
    """An exported model as its user's own, to be changed: without the digests that vouch for every file."""
    (folder / "stepbus.json").unlink()
    return folder


def sealed_anew(folder: Path) -> None:
    """Make an exported model's digests those of its files as they are now."""
    described = from_json((folder / "stepbus.json").read_bytes())
    for name, file in described["files"].items():
        content = (folder / name).read_bytes()
        file |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    described.pop("digest")
    (folder / "stepbus.json").write_text(to_json(sealed(described)))


def spoil(path: Path, text: str) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], f"{text},1", *lines[4:]]) + "\n")


# -- tokens and tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "dev"])
def test_a_token_beyond_the_table_is_refused_by_train_and_plan(
    name: str, tiny_config: Make, tokenizer_folder: Path, review_files: dict[str, Path], tmp_path: Path
) -> None:
    add_token(tokenizer_folder)
    spoil(review_files[name], "a <new> film")
    words = (
        rf"{name}\.csv:4: expected token ids below 23, the rows of the model's table \(vocab_size\), got id 23 "
        r"of the token '<new>'; train with model\.resize_embeddings: true"
    )
    with pytest.raises(ModelError, match=words):
        train(tiny_config())
    assert not (tmp_path / "run").exists()
    (problem,) = describe_plan(tiny_config())["problems"]
    assert "got id 23 of the token '<new>'" in problem["message"]


def test_a_token_beyond_the_table_is_refused_by_predict_and_evaluate(tiny_config: Make, tokenizer_folder: Path) -> None:
    add_token(tokenizer_folder)
    trainer, _ = train(tiny_config(training={"max_steps": 1}))
    frame = pd.DataFrame({"text": ["good", "so <new>"], "label": [0, 1]})
    for opened in (trainer, open_trainer(trainer.result.directory)):
        for call in (opened.predict, opened.evaluate):
            with pytest.raises(
                ModelError, match=r"(predict|evaluate) frame, row 2: expected token ids below 23, .* the token '<new>'"
            ):
                call(frame)
        assert opened.predict(frame[:1]).shape == (1, 2)


def test_a_vocabulary_larger_than_the_model_is_refused_and_resized(
    tiny_config: Make, tokenizer_folder: Path, tmp_path: Path
) -> None:
    tree = tiny_config(model={"vocab_size": 20}, training={"max_steps": 2})
    with pytest.raises(ModelError, match=r"expected token ids below 20, .* got id 2[0-2] of the token '"):
        train(tree)
    tree["model"]["resize_embeddings"] = True
    trainer, _ = train(tree)
    assert trainer.model.encoder.embeddings.word_embeddings.weight.shape == (ROWS, 16)
    assert read_config(trainer.result.directory / "model")["vocab_size"] == ROWS
    np.testing.assert_array_equal(
        open_trainer(trainer.result.directory).predict(pd.DataFrame({"text": ["good end"]})),
        trainer.predict(pd.DataFrame({"text": ["good end"]})),
    )


def test_new_rows_are_a_function_of_the_seed_and_the_old_ones_stay(
    tiny_config: Make, tokenizer_folder: Path, tmp_path: Path
) -> None:
    first, _ = train(tiny_config(training={"max_steps": 1}))
    folder = str(foreign(first.result.directory / "model"))
    name = "bert.embeddings.word_embeddings.weight"
    old = np.array(read_tensors(Path(folder))[name])
    add_token(Path(folder))  # as a user does who adds a token to a finished model
    made = [
        np.array(create_model(pretrained=folder, resize_embeddings=True, seed=seed).tensors()[name])
        for seed in (1, 1, 2)
    ]
    assert made[0].shape == (24, 16)
    for rows in made:
        np.testing.assert_array_equal(rows[:ROWS], old)
    np.testing.assert_array_equal(made[0], made[1])
    assert np.abs(made[0][ROWS] - made[2][ROWS]).max() > 0.001
    assert 0.005 < made[0][ROWS].std() < 0.05
    tree = tiny_config(training={"max_steps": 1}, environment={"output_dir": str(tmp_path / "next")})
    tree["model"] = {"pretrained": folder, "resize_embeddings": True}
    second, heard = train(tree)
    assert f"{name} has 1 new rows after the file's 23" in heard
    assert read_config(second.result.directory / "model")["vocab_size"] == 24
    assert open_trainer(second.result.directory).predict(pd.DataFrame({"text": ["a <new> film"]})).shape == (1, 2)
    assert describe_plan(tree)["ok"]


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 24), ("vocab_size", 22), ("type_vocab_size", 3)])
def test_a_plan_sees_that_config_and_weights_disagree(key: str, value: int, tiny_config: Make) -> None:
    trainer, _ = train(tiny_config(training={"max_steps": 1}))
    path = foreign(trainer.result.directory / "model") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    tree = {**tiny_config(), "model": {"pretrained": str(path.parent)}}
    messages = [problem["message"] for problem in describe_plan(tree)["problems"]]
    assert any(key in message for message in messages), messages
    with pytest.raises(ModelError):
        train(tree)


def test_pairs_for_a_model_with_one_type_are_refused(tiny_config: Make, tmp_path: Path) -> None:
    trainer, _ = train(tiny_config(training={"max_steps": 1}))
    folder = foreign(trainer.result.directory / "model")
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = "bert.embeddings.token_type_embeddings.weight"
    tensors[name] = tensors[name][:1]
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "type_vocab_size": 1}))
    frame = pd.DataFrame({"one": ["good", "bad"] * 4, "two": ["film", "a plot"] * 4, "label": [0, 1] * 4})
    tree = {**tiny_config(training={"max_steps": 1}, environment={"output_dir": str(tmp_path / "pairs")})}
    tree["model"] = {"pretrained": str(folder)}
    tree["data"] = {"text": ["one", "two"], "label": "label"}
    with pytest.raises(ModelError, match=r"expected token types below 1, .*\(type_vocab_size\), got type 1"):
        create_trainer(config=tree).train(frame)
    (folder / "tokenizer_config.json").write_text('{"model_input_names": ["input_ids", "attention_mask"]}')
    assert create_trainer(config=tree).train(frame).status == "ok"


# -- positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positions", [32, 30, 9])
def test_rows_are_cut_to_the_positions_and_batches_too(
    positions: int, tiny_config: Make, review_files: dict[str, Path]
) -> None:
    for path in review_files.values():
        spoil(path, " ".join(["film"] * 200))
    tree = tiny_config(model={"max_position_embeddings": positions}, data={"max_length": 128})
    listen = Listen()
    trainer, heard = train(tree, listen, max_steps=3)
    said = f"rows are cut to {positions} tokens in place of data.max_length 128: the model has {positions} positions"
    assert heard.count(said) == 1
    assert max(bucket.length for bucket in listen.fit.data.shapes.buckets) == positions
    long, cut = ("film " * count for count in (500, positions - 2))
    for opened in (trainer, open_trainer(trainer.result.directory)):
        found = opened.predict(pd.DataFrame({"text": [long, cut]}))
        np.testing.assert_array_equal(found[0], found[1])
    assert said in describe_plan(tree)["notes"]


def test_the_tokenizers_own_limit_counts_where_it_is_one(tiny_config: Make, tokenizer_folder: Path) -> None:
    (tokenizer_folder / "tokenizer_config.json").write_text('{"model_max_length": 8}')
    listen = Listen()
    _, heard = train(tiny_config(training={"max_steps": 1}), listen)
    assert "rows are cut to 8 tokens in place of data.max_length 16: the tokenizer's model_max_length is 8" in heard
    assert listen.fit.data.tokens["train"].lengths.max() == 8


def test_padding_on_the_left_is_said_and_the_export_pads_on_the_right(
    tiny_config: Make, tokenizer_folder: Path
) -> None:
    """What left padding gives depends on the batch; the exported model was trained without, and says so."""
    (tokenizer_folder / "tokenizer_config.json").write_text('{"padding_side": "left"}')
    trainer, heard = train(tiny_config(training={"max_steps": 1}))
    assert [text for text in heard if "pads on the left" in text]
    exported = json.loads((trainer.result.directory / "model" / "tokenizer_config.json").read_text())
    assert exported["padding_side"] == "right"
    assert open_trainer(trainer.result.directory).encoder.notes == []


# -- heads and exports -------------------------------------------------------------------------------------------------


def good_and_bad(folder: Path, names: dict[int, str]) -> pd.DataFrame:
    """Reviews with words for labels."""
    return pd.read_csv(folder / "dev.csv").assign(label=lambda frame: frame["label"].map(names))


def continued(tree: dict[str, Any], folder: Path, frame: pd.DataFrame, **model: Any) -> tuple[Any, list[str]]:
    """Go on from an exported model, so slowly that nothing moves, and return the trainer and what was said."""
    tree = {**tree, "model": {"pretrained": str(folder), **model}, "optimizer": {"learning_rate": 1e-12}}
    tree["training"] = {"max_steps": 1}
    tree["data"] = {key: tree["data"][key] for key in ("text", "label", "batch_size", "max_length")}
    listen = Listen()
    trainer = create_trainer(config=tree, plugins=[listen])
    trainer.train(frame, frame)
    return trainer, listen.heard


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_trained_head_keeps_its_accuracy_whatever_the_order_of_the_labels(
    pooling: str, tiny_config: Make, tmp_path: Path
) -> None:
    rate = {"learning_rate": 3e-3 if pooling == "cls" else 2e-2}
    trainer, _ = train(tiny_config(model={"pooling": pooling}, training={"num_epochs": 12}, optimizer=rate))
    before = trainer.result.metrics["eval_accuracy"]
    assert before >= 0.9
    folder = foreign(trainer.result.directory / "model")
    config = json.loads((folder / "config.json").read_text())
    key, named = ("id2label", {"0": "bad", "1": "good"}) if pooling == "cls" else ("stepbus_labels", ["bad", "good"])
    (folder / "config.json").write_text(json.dumps({**config, key: named}))
    frame = good_and_bad(tmp_path, {0: "bad", 1: "good"})
    same, heard = continued(tiny_config(), folder, frame, pooling=pooling)
    assert same.result.metrics["eval_accuracy"] == before
    assert not [text for text in heard if "head" in text or "initialised" in text]
    # Now the labels sort the other way round than the file has them: taken over by shape, every answer is wrong.
    named = {"0": "b", "1": "a"} if pooling == "cls" else ["b", "a"]
    (folder / "config.json").write_text(json.dumps({**config, key: named}))
    other, heard = continued(tiny_config(), folder, good_and_bad(tmp_path, {0: "b", 1: "a"}), pooling=pooling)
    assert other.encoder.codec.names == ["a", "b"]
    assert other.result.metrics["eval_accuracy"] == before
    assert "the head's outputs were put in the order a, b; the file has b, a" in heard
    third, heard = continued(tiny_config(), folder, good_and_bad(tmp_path, {0: "x", 1: "y"}), pooling=pooling)
    assert "the head starts anew: the file's labels are b, a, and those of the data are x, y" in heard
    head = np.array(third.model.tensors()["classifier.weight"])
    assert np.abs(head - np.array(trainer.model.tensors()["classifier.weight"])).max() > 0.01
    assert 0.01 < head.std() < 0.04  # as new ones are drawn
    _, heard = continued(tiny_config(), folder, frame, pooling="max")
    assert f"the head starts anew: the file's stands on {pooling} pooling, and model.pooling is max" in heard


def test_a_model_from_python_is_put_in_the_order_of_the_data_too(tiny_config: Make, tmp_path: Path) -> None:
    trainer, _ = train(tiny_config(model={"pooling": "cls"}, training={"num_epochs": 12}))
    folder, before = foreign(trainer.result.directory / "model"), trainer.result.metrics["eval_accuracy"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "id2label": {"0": "b", "1": "a"}}))
    model = create_model(pretrained=str(folder), pooling="cls")
    tree = {key: value for key, value in tiny_config().items() if key != "model"}
    tree["data"] = {key: tree["data"][key] for key in ("text", "label", "max_length")}
    other = create_trainer(model, config=tree, learning_rate=1e-12, max_steps=1)
    frame = good_and_bad(tmp_path, {0: "b", 1: "a"})
    other.train(frame, frame)
    assert other.evaluate(frame)["eval_accuracy"] == before
    # And again, with the classes the other way round: the model knows what its outputs mean by now.
    other.update_config(learning_rate=1e-12)
    frame = good_and_bad(tmp_path, {0: "A", 1: "B"})
    other.train(frame, frame)
    assert other.evaluate(frame)["eval_accuracy"] == pytest.approx(1 - before)


def test_a_regression_goes_on_in_its_own_units(tiny_config: Make, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["good film", "bad film", "the plot", "great cast"] * 5})
    frame["stars"] = [4.5, 1.5, 3.0, 5.5] * 5
    data = {"text": "text", "label": "stars", "task": "regression", "max_length": 16}
    tree = {**tiny_config(), "data": data}
    first = create_trainer(config=tree, num_epochs=3)
    first.train(frame)
    other = frame.assign(stars=frame["stars"] * 100 - 7)  # another mean, another deviation
    tree = {**tree, "model": {"pretrained": str(first.result.directory / "model")}}
    second = create_trainer(config=tree, learning_rate=1e-12, max_steps=1)
    second.train(other)
    np.testing.assert_allclose(second.predict(frame), first.predict(frame), rtol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention"])
def test_an_export_says_truly_what_it_is(pooling: str, tiny_config: Make) -> None:
    trainer, _ = train(tiny_config(model={"pooling": pooling, "dropout": 0.3}, training={"max_steps": 1}))
    config = read_config(trainer.result.directory / "model")
    assert config["classifier_dropout"] == 0.3
    assert config["problem_type"] == "single_label_classification"
    if pooling == "cls":
        assert config["architectures"] == ["BertForSequenceClassification"]
        assert config["id2label"] == {"0": "0", "1": "1"}
        assert "stepbus_pooling" not in config
    else:
        assert config["architectures"] == ["StepbusBertClassifier"]
        assert (config["id2label"], config["stepbus_labels"]) == ({}, ["0", "1"])
        assert config["stepbus_pooling"] == pooling


def test_null_in_config_json_means_the_default(tiny_config: Make, tmp_path: Path) -> None:
    trainer, _ = train(tiny_config(model={"pooling": "cls"}, training={"max_steps": 1}))
    folder = trainer.result.directory / "model"
    frame = pd.DataFrame({"text": ["good film", "bad"]})
    before = open_trainer(folder).predict(frame)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    optional = ["hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "type_vocab_size", "model_type"]
    optional += ["initializer_range", "layer_norm_eps", "position_embedding_type", "is_decoder", "pad_token_id"]
    optional += ["classifier_dropout", "add_cross_attention", "architectures", "problem_type", "label2id"]
    path.write_text(json.dumps({**config, **dict.fromkeys(optional)}))
    sealed_anew(folder)
    np.testing.assert_array_equal(open_trainer(folder).predict(frame), before)
    tree = {**tiny_config(environment={"output_dir": str(tmp_path / "next")}, training={"max_steps": 1})}
    tree["model"] = {"pretrained": str(folder), "pooling": "cls"}
    assert describe_plan(tree)["ok"]
    second, _ = train(tree)
    left = {name for name, value in read_config(second.result.directory / "model").items() if value is None}
    assert left == {"pad_token_id", "classifier_dropout"}  # where transformers, too, reads null
