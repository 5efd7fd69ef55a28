"""Files of plugins beside an exported model: names, contents, whose they are, and failures that leave no half model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import ConfigError, ModelError, PluginError, PluginFailure, create_trainer, hookimpl, open_trainer
from stepbus.base import Interrupted
from stepbus.testing import play

Make = Callable[..., dict[str, Any]]


class Gives:
    """Gives files.

    Args:
        files: Name -> content, or what raises.
    """

    def __init__(self, files: Any) -> None:
        self.files = files
        self.seen: dict[str, float] = {}

    @hookimpl
    def export_files(self, trainer: Any) -> Any:
        self.seen = dict(trainer.state.metrics)
        return self.files() if callable(self.files) else self.files


class Others(Gives):
    """Gives others."""


def train(tree: dict[str, Any], *plugins: Any) -> Path:
    result = create_trainer(config={**tree, "training": {"max_steps": 1}}, plugins=plugins).train()
    assert result.model_path is not None
    return result.model_path


def test_files_are_written_and_vouched_for(tiny_config: Make) -> None:
    gives = Gives({"NOTES.md": "grüße\r\nzwei\n", "table.bin": b"\x00\xff", "empty": "", "view": memoryview(b"ab")})
    gives.files["view"] = bytes(gives.files["view"])
    folder = train(tiny_config(), gives, Others(None))
    assert folder.joinpath("NOTES.md").read_bytes() == "grüße\r\nzwei\n".encode()
    assert folder.joinpath("table.bin").read_bytes() == b"\x00\xff"
    assert "eval_loss" in gives.seen
    table = json.loads(folder.joinpath("stepbus.json").read_text())["files"]
    for name in gives.files:
        content = folder.joinpath(name).read_bytes()
        assert table[name] == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    open_trainer(folder)
    folder.joinpath("NOTES.md").write_text("other")  # nothing reads it, so it is its owner's to edit
    open_trainer(folder)
    folder.joinpath("config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"config\.json: expected \d+ bytes, got 2"):
        open_trainer(folder)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/b": ""}, r"expected plain file names \(letters, digits, _ \. -\), got 'a/b'"),
        ({"../up": ""}, "got '../up'"),
        ({"..": ""}, "got '..'"),
        ({"/etc/x": ""}, "got '/etc/x'"),
        ({"a\\b": ""}, "plain file names"),
        ({".hidden": ""}, "got '.hidden'"),
        ({"": ""}, "got ''"),
        ({"line\nbreak": ""}, "plain file names"),
        ({"a" * 201: ""}, "plain file names"),
        (
            {"config.json": "{}"},
            "expected names that are not taken, got 'config.json', a file of the model; give it an",
        ),
        ({"Config.JSON": "{}"}, "got 'Config.JSON', a file of the model"),
        ({"stepbus.json": "{}"}, "got 'stepbus.json', a file of the model"),
        ({"model.safetensors": b""}, "got 'model.safetensors', a file of the model"),
        ({"model.safetensors.index.json": b""}, "a file of the model"),
        ({"model-00001-of-00002.safetensors": b""}, "a file of the model"),
        ({"lineage.npz": b""}, "a file of the model"),
        ({"stepbus.safetensors": b""}, "a file of the model"),
        ({"averaged.safetensors": b""}, "a file of the model"),
        ({"manifest.json": b""}, "a file of the model"),
        ({"vocab.txt": ""}, "a file of the model"),
        ({"merges.txt": ""}, "a file of the model"),  # of other tokenizers than this one
        ({"x": 1}, "export_files: expected a mapping from file names to texts or bytes or None from it, got a mapping"),
        ({1: ""}, "expected a mapping from file names"),
        ("README.md", "expected a mapping from file names to texts or bytes or None from it, got 'README.md'"),
        ({"x": "\ud800"}, "x: expected text that UTF-8 can hold, got half of a letter at place 1"),
        (lambda: 1 / 0, "export_files raised ZeroDivisionError"),
    ],
)
def test_what_cannot_be_written_leaves_the_model_that_was_there(files: Any, words: str, tiny_config: Make) -> None:
    tree = tiny_config()
    trainer = create_trainer(config={**tree, "training": {"max_steps": 1}}, plugins=[Gives(files)])
    with pytest.raises(PluginFailure, match=words):
        trainer.train()
    left = [path.name for path in Path(tree["environment"]["output_dir"], "fits", "fit").iterdir()]
    assert not [name for name in left if "model" in name]


def test_a_copy_without_them_opens(tiny_config: Make) -> None:
    folder = train(tiny_config(), Gives({"README.md": "x"}))
    assert json.loads(folder.joinpath("stepbus.json").read_text())["beside"] == ["README.md"]
    folder.joinpath("README.md").write_text("edited by hand")
    open_trainer(folder)
    folder.joinpath("README.md").unlink()  # as in a wheel, or downloaded from the hub
    open_trainer(folder)
    folder.joinpath("README.md").mkdir()
    with pytest.raises(ModelError, match=r"README\.md: "):
        open_trainer(folder)


def test_two_plugins_cannot_give_the_same_file(tiny_config: Make) -> None:
    with pytest.raises(
        PluginFailure, match=r"Others .*: export_files: .* got 'readme.md', a file of Gives \(passed in"
    ):
        train(tiny_config(), Gives({"README.md": ""}), Others({"readme.md": ""}))


def test_a_later_export_replaces_and_removes_them_and_keeps_the_users(tiny_config: Make) -> None:
    tree = tiny_config(training={"num_epochs": 1})
    gives = Gives({"README.md": "one", "gone.txt": "x"})

    def run(epochs: int) -> Path:
        more = {**tree, "training": {"num_epochs": epochs}}
        trainer = create_trainer(config=more, plugins=[gives])
        result = trainer.train(resume=epochs > 1, allow_changed=True)
        assert result.model_path is not None
        return result.model_path

    folder = run(1)
    folder.joinpath("mine.txt").write_text("mine")
    gives.files = {"README.md": "two"}
    assert run(2) == folder
    assert folder.joinpath("README.md").read_text() == "two"
    assert folder.joinpath("mine.txt").read_text() == "mine"
    assert not folder.joinpath("gone.txt").exists()
    open_trainer(folder)


def test_a_file_of_the_users_is_not_replaced(tiny_config: Make) -> None:
    tree = tiny_config(training={"num_epochs": 1})
    folder = train(tree)
    folder.joinpath("README.md").write_text("mine")
    weights = folder.joinpath("model.safetensors").read_bytes()
    more = {**tree, "training": {"num_epochs": 2}}
    trainer = create_trainer(config=more, plugins=[Gives({"README.md": "ours"})])
    with pytest.raises(
        ModelError, match=r"README\.md: stepbus did not write it, and the model has a file of this name"
    ):
        trainer.train(resume=True, allow_changed=True)
    assert folder.joinpath("README.md").read_text() == "mine"
    assert folder.joinpath("model.safetensors").read_bytes() == weights


def test_it_is_found_before_training_where_the_plugin_names_its_files(tiny_config: Make) -> None:
    class Card(Gives):
        """Writes a card."""

        exports = ("README.md", "other.md")

    class Cut:
        affects_result = False

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 12:
                os.kill(os.getpid(), signal.SIGTERM)

    tree, card = tiny_config(), Card({"README.md": "ours"})
    with pytest.raises(Interrupted):
        create_trainer(config=tree, plugins=[card, Cut()]).train()
    folder = Path(tree["environment"]["output_dir"], "fits", "fit", "model")
    folder.mkdir()
    folder.joinpath("README.md").write_text("mine")
    with pytest.raises(ConfigError, match=r"expected no file of yours where the run writes, got .*model/README\.md"):
        create_trainer(config=tree, plugins=[card]).train(resume=True)
    assert card.seen == {}
    folder.joinpath("README.md").rename(folder / "mine.md")
    create_trainer(config=tree, plugins=[card]).train(resume=True)
    assert folder.joinpath("README.md").read_text() == "ours" and folder.joinpath("mine.md").read_text() == "mine"
    wrong = type("Wrong", (Gives,), {"exports": "README.md"})
    with pytest.raises(PluginError, match=r"expected exports = \(\"name\", …\), got 'README.md'"):
        create_trainer(config=tree, plugins=[wrong({})]).train(resume=True, allow_changed=True)


def test_a_scripted_fit_asks_too() -> None:
    gives = Gives({"README.md": "x"})
    play(gives, metrics=[{"eval_loss": 0.5}])
    assert gives.seen["eval_loss"] == 0.5
