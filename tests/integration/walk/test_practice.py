"""The walk: best practices and troubleshooting (lines 168 to 182)."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mlx.utils import tree_flatten

from stepbus import BadInput, create_trainer, load_config
from stepbus.cli.main import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def losses(done: Any) -> list[float]:
    return [given["step"].loss for given in done.recorder.of("on_step_end")]


# Configuration management --------------------------------------------------------------------------------------------


def test_line_168_hierarchical_configurations() -> None:
    Path("base.yaml").write_text("extends: production\noptimizer: {weight_decay: 0.05}\ntraining: {num_epochs: 6}\n")
    Path("titanic.yaml").write_text("extends: ./base.yaml\ntraining: {num_epochs: 4}\n")
    config = load_config("titanic.yaml")
    settings = config.optimizer.settings
    assert (config.training.num_epochs, settings.weight_decay, settings.learning_rate) == (4, 0.05, 2e-5)


def test_line_169_comments_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("# why: few rows\ntraining: {num_epochs: 4}  # until the loss stalls\n")
    assert load_config("mine.yaml").training.num_epochs == 4
    assert main(["config", "show", "mine.yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["training"]["num_epochs"] == 4


# Performance optimization --------------------------------------------------------------------------------------------


def test_line_172_where_the_time_went(done: Any) -> None:
    """Waiting for data, updates, evaluations, checkpoints and hooks, each by itself, and together the whole loop."""
    times = done.result.times
    assert {"updates", "data", "evaluations", "checkpoints", "hooks"} <= times.keys()
    assert all(seconds >= 0 for seconds in times.values())
    assert sum(times.values()) == pytest.approx(done.result.seconds, rel=0.05, abs=0.05)


def test_line_172_profile(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.yaml").write_text(yaml.safe_dump(world.tree(Path.cwd())))
    assert main(["profile", "run.yaml"]) == 0
    shown = capsys.readouterr().out
    for part in ("rows, tokens", "waiting for data", "forward", "backward", "update", "evaluation"):
        assert part in shown


def test_line_173_what_checkpoints_cost(done: Any, train_once: Any) -> None:
    tables = {title: rows for title, _, rows in done.recorder.reports}
    (shown,) = (rows for title, rows in tables.items() if "time of the training" in title)
    assert any("checkpoints" in row[0] for row in shown)
    assert done.result.times["checkpoints"] > 0
    never = train_once(plugins={"progress": False, "checkpoint": {"save_strategy": "no"}})
    assert never.recorder.of("on_checkpoint") == []


# Common issues -------------------------------------------------------------------------------------------------------


def test_line_174_data_leakage(world: Any) -> None:
    """Validation rows that are training rows are named, whether the rest of the two files is the same or not."""
    from stepbus.testing import Recorder

    rows = world.frame("train")
    leaky = pd.concat([world.frame("dev").iloc[:6], rows.iloc[3:5]])
    leaky.to_csv("leaky.csv", index=False)
    said = []
    for plugins in ({}, {"near_duplicates": {"threshold": 1.0}}):
        recorder = Recorder()
        tree = world.tree(Path.cwd(), training={"max_steps": 1}, data={"validation": "leaky.csv"})
        tree["plugins"] |= plugins
        result = create_trainer(config=tree, plugins=[recorder]).train()
        said.append("\n".join([*recorder.messages, *map(str, result.notices)]))
    assert "2 of 8 validation rows (25%)" in said[0]
    assert re.search(r"2 of (the )?8", said[1]), said[1]


def test_line_175_dropout_and_weight_decay(train_once: Any, done: Any) -> None:
    none = {"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    without, decayed = train_once(model=none), train_once(optimizer={"weight_decay": 0.5})
    assert losses(without) != losses(done)
    again = create_trainer(config=without.trainer.config)
    assert again.config.model.settings.dropout == 0.0
    sums = [sum(float((array**2).sum()) for array in each.trainer.model.tensors().values()) for each in (done, decayed)]
    assert sums[1] < sums[0]


def test_line_177_memory_is_known_before(world: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for size, accumulation in ((16, 1), (4, 4)):
        tree = world.tree(Path.cwd(), data={"batch_size": size})
        tree["training"]["gradient_accumulation_steps"] = accumulation
        Path("run.yaml").write_text(yaml.safe_dump(tree))
        assert main(["plan", "run.yaml"]) == 0
        shown = capsys.readouterr().out
        assert "peak" in shown
        (rows,) = re.findall(r"of the largest batch, (\d+) x", shown)
        found.append(int(rows))
        assert re.search(r"fit +4 = 2 x 2", shown)  # as many updates either way
    assert found == [16, 4]


def test_line_178_gradient_checkpointing(train_once: Any, done: Any) -> None:
    thrifty = train_once(plugins={"progress": False, "gradient_checkpointing": {}})
    np.testing.assert_allclose(losses(thrifty), losses(done), atol=1e-4)


def test_line_179_lora(train_once: Any, world: Any) -> None:
    done = train_once(plugins={"progress": False, "lora": {"rank": 2}}, training={"num_epochs": 1})
    start = world.model(seed=42).tensors()
    end = done.trainer.model.tensors()
    assert start.keys() == end.keys()  # merged
    still = [name for name in end if np.array_equal(np.array(start[name]), np.array(end[name]))]
    assert any("embeddings" in name for name in still) and len(still) < len(end)


def test_line_181_aggressive_clipping_shows(train_once: Any) -> None:
    done = train_once(plugins={"progress": False, "gradient_clipping": {"max_norm": 0.001}})
    assert all(record["gradient_norm"] > 0.01 for record in done.recorder.records)  # as it was before


def test_line_182_outputs_that_do_not_match(world: Any) -> None:
    model = world.model("multiclass_classification", num_labels=3)
    rows = world.frame("train")
    trainer = create_trainer(model, label="label", progress=False, max_steps=1)
    with pytest.raises(BadInput, match=r"3|three"):
        trainer.train(rows)
    assert not Path("runs").exists()
    rows["label"] = np.arange(len(rows)) % 3
    rows["label"] = rows["label"].map({0: "a", 1: "b", 2: "c"})
    assert trainer.train(rows).status == "ok"
    assert trainer.predict(rows).shape == (32, 3)
    assert len(tree_flatten(trainer.model.parameters())) > 10
    shutil.rmtree("runs")


@pytest.mark.parametrize(
    "problem", ["The loss does not fall", "Out of memory", "Slow", "Poor scores on validation rows"]
)
def test_the_readme_answers_the_four_problems(problem: str) -> None:
    """With settings of ours that are there."""
    (row,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {problem} |")]
    named = re.findall(r"`((?:data|model|optimizer|scheduler|training|environment)\.\w+)", row)
    assert named
    for path in named:
        section, name = path.split(".")
        config = load_config()
        settings = getattr(getattr(config, section), "settings", getattr(config, section))
        assert hasattr(settings, name), path
