"""stepbus-sample, a package of a stranger's: built, installed into an environment of its own, used by name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from attrs import frozen

from stepbus import import_module

HERE = Path(__file__).parent
SAMPLE = HERE / "stepbus-sample"
environment = import_module(str(HERE / "environment.py"))


@frozen
class Installed:
    """The environment that has the sample, and the folder that it was built in."""

    environment: Any
    folder: Path
    wheel: Path

    def stepbus(self, *words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
        return self.environment.run("stepbus", *words, folder=folder)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("sample")
    own = environment.make(folder / "venv")
    shutil.copytree(SAMPLE, folder / "stepbus-sample", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    own.check("pip", "wheel", "./stepbus-sample", "--wheel-dir", "dist", folder=folder)
    [wheel] = folder.glob("dist/*.whl")
    own.check("pip", "install", wheel, folder=folder)
    # From here on only what the wheel holds is there.
    shutil.rmtree(folder / "stepbus-sample" / "src")
    return Installed(own, folder, wheel)


def test_the_wheel_holds_the_package_and_its_preset(sample: Installed) -> None:
    assert sample.wheel.name == "stepbus_sample-0.3.0-py3-none-any.whl"
    names = {name for name in zipfile.ZipFile(sample.wheel).namelist() if ".dist-info/" not in name}
    files = ["__init__.py", "goal.py", "py.typed", "restarts.py", "restarts.yaml", "sparkline.py", "trainers.py"]
    assert names == {f"stepbus_sample/{file}" for file in files}


def test_its_own_tests_pass(sample: Installed) -> None:
    shown = sample.environment.check("pytest", "-q", "stepbus-sample", folder=sample.folder)
    assert "16 passed" in shown


def test_it_is_listed_and_sound(sample: Installed, tmp_path: Path) -> None:
    listed = sample.stepbus("plugins", "list", "--json", folder=tmp_path)
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    for name, purpose in (
        ("stop_at_goal", "Stop a fit once a metric has reached its goal."),
        ("cosine_restarts", "Offer the schedule cosine_restarts, which starts again from the base rate several times."),
    ):
        row = rows[name]
        assert (row["status"], row["source"]) == ("installed", "third-party")
        assert (row["distribution"], row["version"], row["purpose"]) == ("stepbus-sample", "0.3.0", purpose)
    doctor = sample.stepbus("plugins", "doctor", folder=tmp_path)
    assert doctor.returncode == 0, doctor.stdout
    assert "stop_at_goal" in doctor.stdout and "cosine_restarts" in doctor.stdout


def test_it_is_shown_with_a_block_to_paste(sample: Installed, tmp_path: Path) -> None:
    shown = sample.stepbus("plugins", "show", "cosine_restarts", folder=tmp_path).stdout
    assert "scheduler cosine_restarts: Half a cosine from the base rate down to min_lr, several times" in shown
    assert yaml.safe_load(shown.partition("To paste")[2]) == {
        "plugins": {"cosine_restarts": {}},
        "scheduler": {"type": "cosine_restarts"},
    }


def test_a_run_uses_plugin_and_component_by_name(sample: Installed, tmp_path: Path, tiny_config: Any) -> None:
    goal = {"metric": "eval_loss", "goal": 50.0, "evaluations": 4}
    config = tiny_config(
        scheduler={"type": "cosine_restarts", "cycles": 2},
        training={"num_epochs": 6, "log_steps": 1, "eval_strategy": "epoch"},
        plugins={"progress": {}, "cosine_restarts": {}, "stop_at_goal": goal},
    )
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    done = sample.stepbus("train", "run.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stopped by stop_at_goal at step 44: eval_loss is 0." in done.stdout

    lines = (tmp_path / "run" / "fits" / "fit" / "history.jsonl").read_text().splitlines()
    rates = [record["learning_rate"] for record in map(json.loads, lines) if record["kind"] == "log"]
    assert len(rates) == 44  # of the 66 that were planned; a cycle takes 33 of those
    assert rates[0] == rates[33] == pytest.approx(3e-3)
    assert rates[:33] == sorted(rates[:33], reverse=True) and rates[33:] == rates[:11]

    manifests = [json.loads(path.read_text()) for path in (tmp_path / "run").rglob("stepbus.json")]
    assert manifests and all("stop_at_goal" in json.dumps(manifest) for manifest in manifests)

    drawn = sample.stepbus("sparkline", "run", "--field", "learning_rate", folder=tmp_path)
    assert drawn.returncode == 0
    assert drawn.stdout.startswith("run/fits/fit  █") and "0.003 → " in drawn.stdout


def test_its_command_refuses_as_those_of_stepbus_do(sample: Installed, tmp_path: Path) -> None:
    refused = sample.stepbus("sparkline", ".", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "stepbus: .: expected a folder with a history.jsonl in it; the plugin history writes one\n"
    )


def test_its_preset_can_be_extended(sample: Installed, tmp_path: Path) -> None:
    names = sample.stepbus("config", "presets", folder=tmp_path).stdout
    assert re.search("^restarts +Two cosine cycles over four epochs", names, re.MULTILINE)
    (tmp_path / "run.yaml").write_text("extends: restarts\nscheduler: {cycles: 3}\n")
    merged = yaml.safe_load(sample.stepbus("config", "show", "run.yaml", folder=tmp_path).stdout)
    assert merged["scheduler"]["type"] == "cosine_restarts"
    assert (merged["scheduler"]["cycles"], merged["scheduler"]["warmup_ratio"]) == (3, 0.05)
    assert merged["plugins"]["stop_at_goal"]["goal"] == 0.99


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("plugins: {stop_at_goal: {}}\n", "run.yaml:1: plugins.stop_at_goal.goal: "),
        (
            "plugins:\n  stop_at_goal: {gaol: 0.9, goal: 1.0}\n",
            "run.yaml:2: plugins.stop_at_goal.gaol: expected a known setting, got 'gaol' "
            "(did you mean 'goal'?) (stop_at_goal, stepbus-sample 0.3.0)",
        ),
        ("scheduler: {type: cosine_restarts}\n", "expected a known scheduler, got 'cosine_restarts'"),
    ],
)
def test_mistakes_are_told_as_those_of_built_ins(sample: Installed, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    refused = sample.stepbus("config", "show", "run.yaml", folder=tmp_path)
    assert refused.returncode == 2
    assert problem in refused.stderr


def test_stepbus_has_its_name(sample: Installed, tmp_path: Path) -> None:
    code = (
        "import stepbus, sys; listed = 'create_restarts_trainer' in dir(stepbus);"
        "known = 'stepbus_sample' in sys.modules;"
        "from stepbus import create_restarts_trainer as create; print(listed, known, create.__module__);"
        "print(create(cycles=5).config.scheduler.settings.cycles)"
    )
    ran = sample.environment.check("python", "-c", code, folder=tmp_path)
    assert ran.splitlines() == ["True False stepbus_sample.trainers", "5"]
    listed = sample.stepbus("plugins", "list", folder=tmp_path).stdout
    assert "create_restarts_trainer (stepbus-sample 0.3.0)" in listed


def test_what_is_installed_and_not_named_is_not_imported(sample: Installed, tmp_path: Path, tiny_config: Any) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config()))
    code = (
        "import sys; from stepbus import load_config; from stepbus.config.discovery.plugins import installed;"
        "load_config('run.yaml'); print('stop_at_goal' in installed(), 'stepbus_sample' in sys.modules)"
    )
    assert sample.environment.check("python", "-c", code, folder=tmp_path) == "True False\n"


def test_it_keeps_the_rules_of_this_project(mypy_cache: str) -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    for words in (
        ["ruff", "check", "--no-cache", "--extend-select", ",".join(project["select"]), "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy", "--cache-dir", mypy_cache],
    ):
        done = subprocess.run([sys.executable, "-m", *words], cwd=SAMPLE, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
