"""A resume where the weights at `model.pretrained` are others by now: its fits would not start alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import CheckpointError, PluginFailure, create_trainer, hookimpl
from stepbus.cli.main import main

Tree = dict[str, Any]


class Ends:
    """Ends the run in its second fold."""

    affects_result = False

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if (trainer.fit_name, state.step) == ("fold-2", 1):
            raise ValueError("cut")


@pytest.fixture
def tree(tiny_config: Callable[..., Tree], tmp_path: Path) -> Tree:
    """A cross-validation from the weights of a folder, cut in its second fold."""
    for name, seed in (("start", 1), ("other", 2)):
        folder = str(tmp_path / f"run-{name}")
        before = tiny_config(training={"max_steps": 1, "seed": seed}, environment={"output_dir": folder})
        model = create_trainer(config=before).train().model_path
        assert model is not None
        shutil.copytree(model, tmp_path / name, ignore=shutil.ignore_patterns("stepbus.json", "lineage.npz"))
    plugins = {"progress": False, "cross_validation": {"folds": 2}}
    tree = tiny_config(training={"max_steps": 3}, data={"validation": None}, plugins=plugins)
    tree["model"] = {"pretrained": str(tmp_path / "start")}
    with pytest.raises(PluginFailure):
        create_trainer(config=tree, plugins=[Ends]).train()
    return tree


def test_other_weights_are_refused_by_name(tree: Tree, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run, tmp_path / "cut")
    create_trainer(config=tree).train(resume=tmp_path / "cut")
    kept = (tmp_path / "start" / "model.safetensors").read_bytes()
    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "start")
    before = sorted(run.rglob("*"))
    with pytest.raises(CheckpointError, match=r"model\.pretrained_sha256 was '[0-9a-f]{16}', is '[0-9a-f]{16}'"):
        create_trainer(config=tree).train(resume=True)
    assert sorted(run.rglob("*")) == before
    (tmp_path / "start" / "model.safetensors").write_bytes(kept)
    create_trainer(config=tree).train(resume=True)
    # From a folder elsewhere, which has the same ones, as well.
    shutil.move(tmp_path / "start", tmp_path / "moved")
    moved = {**tree, "model": {"pretrained": str(tmp_path / "moved")}}
    create_trainer(config=moved).train(resume=True)
    for fit in ("fold-1", "fold-2"):
        one, other = (folder / "fits" / fit / "model" / "model.safetensors" for folder in (run, tmp_path / "cut"))
        assert one.read_bytes() == other.read_bytes()


def test_other_weights_may_be_allowed(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    shutil.copy(tmp_path / "other" / "model.safetensors", tmp_path / "start")
    tree["plugins"].pop("progress")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert main(["train", str(tmp_path / "run.yaml"), "--resume"]) == 2
    assert "model.pretrained_sha256 was" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "run.yaml"), "--resume", "--allow-changed"]) == 0
    said = capsys.readouterr()
    assert "resumed although model.pretrained_sha256 was" in said.out + said.err
