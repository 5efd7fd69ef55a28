"""Model folders from end to end: tokens against tables, positions, heads by their labels' names, and exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import ModelError, create_model, create_trainer, hookimpl, open_trainer
from stepbus.folders import read_config, read_tensors
from stepbus.planning import describe_plan

Make = Callable[..., dict[str, Any]]
ROWS = 23  # of the tiny vocabulary


class Listen:
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.heard.append(text)


def train(tree: dict[str, Any], **more: Any) -> tuple[Any, list[str]]:
    listen = Listen()
    trainer = create_trainer(config=tree, plugins=[listen], **more)
    trainer.train()
    return trainer, listen.heard


def add_token(folder: Path) -> None:
    (folder / "added_tokens.json").write_text('{"<new>": 23}')


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
        rf"{name}\.csv, row 2: expected token ids below 23, the rows of the model's table \(vocab_size\), got id 23 "
        r"of the token '<new>'; set model\.resize_embeddings: true"
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
    for opened in (trainer, open_trainer(trainer.directory)):
        for call in (opened.predict, opened.evaluate):
            with pytest.raises(ModelError, match=r"row 1: expected token ids below 23, .* the token '<new>'"):
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
    assert read_config(trainer.directory / "model")["vocab_size"] == ROWS
    np.testing.assert_array_equal(
        open_trainer(trainer.directory).predict(pd.DataFrame({"text": ["good end"]})),
        trainer.predict(pd.DataFrame({"text": ["good end"]})),
    )


def test_new_rows_are_a_function_of_the_seed_and_the_old_ones_stay(
    tiny_config: Make, tokenizer_folder: Path, tmp_path: Path
) -> None:
    first, _ = train(tiny_config(training={"max_steps": 1}))
    folder = str(first.directory / "model")
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
    assert read_config(second.directory / "model")["vocab_size"] == 24
    assert open_trainer(second.directory).predict(pd.DataFrame({"text": ["a <new> film"]})).shape == (1, 2)
    assert describe_plan(tree)["ok"]


@pytest.mark.parametrize(("key", "value"), [("vocab_size", 24), ("vocab_size", 22), ("type_vocab_size", 3)])
def test_a_plan_sees_that_config_and_weights_disagree(key: str, value: int, tiny_config: Make) -> None:
    trainer, _ = train(tiny_config(training={"max_steps": 1}))
    path = trainer.directory / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    tree = {**tiny_config(), "model": {"pretrained": str(path.parent)}}
    messages = [problem["message"] for problem in describe_plan(tree)["problems"]]
    assert any(key in message for message in messages), messages
    with pytest.raises(ModelError):
        train(tree)


def test_pairs_for_a_model_with_one_type_are_refused(tiny_config: Make, tmp_path: Path) -> None:
    trainer, _ = train(tiny_config(training={"max_steps": 1}))
    folder = trainer.directory / "model"
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
    trainer, heard = train(tree, max_steps=3)
    said = f"rows are cut to {positions} tokens in place of data.max_length 128: the model has {positions} positions"
    assert heard.count(said) == 1
    assert max(bucket.length for bucket in trainer.shapes.buckets) == positions
    long, cut = ("film " * count for count in (500, positions - 2))
    for opened in (trainer, open_trainer(trainer.directory)):
        found = opened.predict(pd.DataFrame({"text": [long, cut]}))
        np.testing.assert_array_equal(found[0], found[1])
    assert said in describe_plan(tree)["notes"]


def test_the_tokenizers_own_limit_counts_where_it_is_one(tiny_config: Make, tokenizer_folder: Path) -> None:
    (tokenizer_folder / "tokenizer_config.json").write_text('{"model_max_length": 8}')
    trainer, heard = train(tiny_config(training={"max_steps": 1}))
    assert "rows are cut to 8 tokens in place of data.max_length 16: the tokenizer's model_max_length is 8" in heard
    assert trainer.tokens["train"].lengths.max() == 8
