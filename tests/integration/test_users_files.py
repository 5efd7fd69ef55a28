"""Nothing of the user's is lost: not in the folder of a run, not in an exported model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import BadInput, ConfigError, PluginFailure, create_trainer, hookimpl, open_trainer
from stepbus.cli.main import main

FOREIGN = ["config.yaml", "history.csv", "history.jsonl", "model/thesis.txt", "model/config.json", "checkpoints/x"]
FOREIGN += ["fits/x", "run.json", ".lock", "result.json"]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_the_users_stops_a_run_before_weights_are_loaded(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("stepbus.fit.session.FitSession.assemble", lambda *_, **__: pytest.fail("weights were loaded"))
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    place.write_text('{"mine": "years of work"}')
    before = content(tmp_path / "run")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(), sort_keys=False))
    assert main(["train", str(tmp_path / "run.yaml")]) == 2
    error = capsys.readouterr().err
    assert f"environment.output_dir: expected no file of yours where the run writes, got {tmp_path}/run/" in error
    assert name.partition("/")[0] in error
    assert "move it away, or set environment.output_dir to another folder" in error
    assert len(error.splitlines()) == 1
    assert content(tmp_path / "run") == before
    assert not (tmp_path / "run-2").exists()
    # The plan says so too, and a second try ends the same way.
    assert main(["plan", str(tmp_path / "run.yaml"), "--json"]) == 2
    assert "expected no file of yours" in json.loads(capsys.readouterr().out)["problems"][0]["message"]
    with pytest.raises(ConfigError, match="expected no file of yours"):
        create_trainer(config=tiny_config()).train()
    assert content(tmp_path / "run") == before


def test_out_of_fold_predictions_of_somebody_else(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "out_of_fold.csv").write_text("mine")
    plugins = {"progress": False, "cross_validation": {"folds": 2}}
    tree = tiny_config(data={"validation": None}, plugins=plugins, training={"max_steps": 1})
    with pytest.raises(ConfigError, match=r"got .*out_of_fold\.csv"):
        create_trainer(config=tree).train()
    assert content(tmp_path / "run") == {"out_of_fold.csv": b"mine"}


def test_other_files_may_lie_in_the_folder(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.md").write_text("mine")
    create_trainer(config=tiny_config(training={"max_steps": 1})).train()
    assert (tmp_path / "run" / "notes.md").read_text() == "mine"
    # The next run finds a run there, and goes beside it.
    create_trainer(config=tiny_config(training={"max_steps": 1})).train()
    assert (tmp_path / "run-2" / "run.json").exists()


def interrupted(tree: dict[str, Any]) -> Path:
    """Return the folder of a run that was exported and then killed before its ledger knew."""
    result = create_trainer(config=tree).train()
    (result.directory / "fits" / "fit" / "result.json").unlink()
    return result.directory


def test_what_lies_beside_an_exported_model_outlives_a_resume(tiny_config: Callable[..., dict[str, Any]]) -> None:
    tree = tiny_config(training={"max_steps": 2})
    run = interrupted(tree)
    (run / "model" / "README.md").write_text("mine")
    (run / "model" / "cards").mkdir()
    (run / "model" / "cards" / "card.md").write_text("mine too")
    files = content(run / "model")
    create_trainer(config=tree).train(resume=True)
    assert content(run / "model").keys() == files.keys()
    for name in ("README.md", "cards/card.md", "model.safetensors"):
        assert content(run / "model")[name] == files[name]
    assert open_trainer(run).model is not None


@pytest.mark.parametrize("folds", [0, 2])
def test_what_lies_where_the_model_comes_neither_fails_the_export_nor_a_resume(
    tiny_config: Callable[..., dict[str, Any]], folds: int
) -> None:
    class Writes:
        falls = True

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            (trainer.directory / "model").mkdir(exist_ok=True)
            (trainer.directory / "model" / "README.md").write_text(trainer.fit_name)
            if state.step == 2 and self.falls:
                raise KeyError("the lights went out")

    sections: dict[str, Any] = {"training": {"max_steps": 3}}
    if folds:
        sections |= {"plugins": {"cross_validation": {"folds": folds}}, "data": {"validation": None}}
    tree = tiny_config(**sections)
    with pytest.raises(PluginFailure, match="the lights went out"):
        create_trainer(config=tree, plugins=[Writes]).train()
    Writes.falls = False
    result = create_trainer(config=tree, plugins=[Writes]).train(resume=True)
    found = {path.parent.parent.name: path.read_text() for path in (result.directory / "fits").rglob("model/README.md")}
    assert found == ({"fold-1": "fold-1", "fold-2": "fold-2"} if folds else {"fit": "fit"})
    assert open_trainer(result.directory).model is not None if not folds else result.status == "ok"


def test_a_folder_of_somebody_elses_where_the_model_goes_stops_a_resume(
    tiny_config: Callable[..., dict[str, Any]],
) -> None:
    tree = tiny_config(training={"max_steps": 2})
    run = interrupted(tree)
    (run / "model" / "stepbus.json").unlink()
    before = content(run)
    with pytest.raises(BadInput, match=r"got .*/model; move it away"):
        create_trainer(config=tree).train(resume=True)
    assert content(run) == before


def test_a_plugin_that_is_new_at_a_resume_replaces_nothing(tiny_config: Callable[..., dict[str, Any]]) -> None:
    run = interrupted(tiny_config(training={"max_steps": 2}, plugins={"history": False}))
    (run / "fits" / "fit" / "history.csv").write_text("mine")
    tree = tiny_config(training={"max_steps": 2}, plugins={})
    with pytest.raises(BadInput, match=r"got .*history\.csv"):
        create_trainer(config=tree).train(resume=True)
    assert (run / "fits" / "fit" / "history.csv").read_text() == "mine"
    (run / "fits" / "fit" / "history.csv").unlink()
    for _ in range(2):  # and knows its own file from then on
        create_trainer(config=tree).train(resume=True)
        assert (run / "fits" / "fit" / "history.csv").read_text().startswith("kind,")
        (run / "fits" / "fit" / "result.json").unlink()
