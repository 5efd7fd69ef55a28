"""What `stepbus plugins new --kind` writes: each installs, passes its own tests, keeps the rules and runs by name."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import import_module
from stepbus.author.kinds import names
from stepbus.author.scaffold import files as scaffold

HERE = Path(__file__).parent
RULES = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["tool"]["ruff"]
KINDS = [kind for kind in scaffold.KINDS if kind != "plugin"]
COMPONENTS = [kind for kind in KINDS if kind != "technique"]
environment = import_module(str(HERE / "environment.py"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An environment in which a new package of each kind is installed, from the folder work/."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "work").mkdir()
    made = environment.make(folder / "venv")
    for kind in KINDS:
        made.check("stepbus", "plugins", "new", f"own_{kind}", "--kind", kind, "--package", folder=folder / "work")
    made.check("pip", "install", *(f"./stepbus-own-{kind}" for kind in KINDS), folder=folder / "work")
    return made


@pytest.fixture(scope="module")
def work(own: Any) -> Path:
    return Path(own.folder.parent / "work")


def test_each_kind_of_component_can_be_begun() -> None:
    assert set(COMPONENTS) == {name for name in names() if name.islower()}


def test_their_own_tests_pass(own: Any, work: Path) -> None:
    shown = own.check("pytest", "-q", "-W", "error", *(f"stepbus-own-{kind}" for kind in KINDS), folder=work)
    assert " passed" in shown and "failed" not in shown


def test_the_doctor_is_content(own: Any, work: Path) -> None:
    report = json.loads(own.check("stepbus", "plugins", "doctor", "--json", "--timeout", "60", folder=work))
    found = {each["name"]: each["components"] for each in report["plugins"] if each["name"].startswith("own_")}
    assert report["ok"]
    assert found == {f"own_{kind}": [[kind, f"own_{kind}"]] if kind in COMPONENTS else [] for kind in KINDS}


def test_a_run_uses_all_of_them_by_name(own: Any, tmp_path: Path, tiny_config: Any) -> None:
    rows = ["1|a good film", "0|a bad film", "1|the great plot", "0|the dull cast"] * 6
    for name in ("train", "dev"):
        (tmp_path / f"{name}.own_reader").write_text("\n".join(rows))
    config = tiny_config(
        model={"head": "own_head", "pooling": {"type": "own_pooling", "share": 0.3}},
        data={
            "type": "own_data",
            "columns": ["text"],
            "text": None,
            "train": "train.own_reader",
            "validation": "own-reader:dev.own_reader",
        },
        loss={"type": "own_loss", "q": 0.5},
        optimizer={"type": "own_optimizer", "learning_rate": 1e-2},
        scheduler={"type": "own_scheduler"},
        training={"metrics": ["own_metric", "accuracy"], "num_epochs": 2},
        plugins={f"own_{kind}": {} for kind in KINDS if kind != "model"} | {"progress": False},
    )
    del config["data"]["text"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    own.check("stepbus", "train", "run.yaml", folder=tmp_path)
    said = json.loads(own.check("stepbus", "evaluate", "run", "dev.own_reader", "--json", folder=tmp_path))
    assert {"eval_own_metric", "eval_accuracy"} <= said.keys()

    # One that is not switched on says how to do that.
    del config["plugins"]["own_scheduler"]
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    refused = own.run("stepbus", "train", "other.yaml", folder=tmp_path)
    assert refused.returncode == 2
    assert "got 'own_scheduler'; what offers it is installed: switch it on with plugins: {own_scheduler: {}}" in (
        refused.stderr
    )


@pytest.mark.parametrize("kind", ["model", "optimizer", "technique"])
def test_a_file_runs_as_its_lines_say(own: Any, tmp_path: Path, tiny_config: Any, kind: str) -> None:
    shown = own.check("stepbus", "plugins", "new", "mine", "--kind", kind, folder=tmp_path)
    lines = yaml.safe_load(shown[shown.index("plugins:\n") : shown.index("\n`stepbus ")])
    config = tiny_config(**lines)
    if kind == "model":
        kept = ("type", "tokenizer", "hidden_size", "vocab_size")
        words = tiny_config()["model"]["vocab_size"]
        config["model"] = {name: config["model"][name] for name in kept} | {"vocab_size": words}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    own.check("stepbus", "train", "run.yaml", folder=tmp_path)
    assert (
        json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["plugins"]["mine"]["distribution"] == "mine.py"
    )


@pytest.mark.parametrize("name", ["own", "weighted_zed_of_mine"])
@pytest.mark.parametrize("kind", KINDS)
def test_they_keep_the_rules_of_this_project(kind: str, name: str, tmp_path: Path) -> None:
    package = scaffold.write_distribution(scaffold.names(f"{name}_{kind}", kind), tmp_path)
    for words in (
        ["ruff", "check", "--no-cache", "--extend-select", ",".join(RULES["lint"]["select"]), "."],
        ["ruff", "format", "--no-cache", "--check", "."],
    ):
        done = subprocess.run([sys.executable, "-m", *words], cwd=package, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_their_types_are_sound(work: Path, mypy_cache: str) -> None:
    for kind in KINDS:
        words = ["mypy", "--cache-dir", mypy_cache, "--strict", "src", "tests"]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=work / f"stepbus-own-{kind}",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (kind, done.stdout + done.stderr)
