"""What a user types and sees, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

PLUGIN = '''
from attrs import define
from stepbus import hookimpl

class PrintLoss:
    """Print the loss every few steps."""

    @define(frozen=True, kw_only=True)
    class Config:
        every: int = 50

    def __init__(self, config): self.config = config

    @hookimpl
    def on_step_end(self, state, step):
        if state.step % self.config.every == 0: print(f"step {state.step}: {step.loss:.3f}")
'''

HOOKS = """
from stepbus import hookimpl

@hookimpl
def on_step_end(state, step):
    print(f"hooked {state.step}: {step.loss:.3f}")
"""


def stepbus(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepbus.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def write(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes run.yaml with some sections changed."""

    def write(**sections: Any) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(tiny_config(**sections), sort_keys=False))
        return path

    return write


def test_train_evaluate_predict(write: Callable[..., Path], tmp_path: Path, review_files: dict[str, Path]) -> None:
    still = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "dropout": 0.0}
    training = {"num_epochs": 20, "log_steps": 10}
    config = write(model=still, plugins={"progress": {}}, training=training, optimizer={"learning_rate": 2e-2})
    trained = stepbus("train", config, "--output", "out", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "stepbus predict out" in trained.stdout
    assert "binary: 0" in trained.stdout
    for left in ("model/model.safetensors", "model/config.json", "history.jsonl", "history.csv"):
        assert (tmp_path / "out" / "fits" / "fit" / left).is_file(), left
    assert (tmp_path / "out" / "config.yaml").is_file()
    assert (tmp_path / "out" / "model").readlink() == Path("fits/fit/model")
    result = json.loads((tmp_path / "out" / "fits" / "fit" / "result.json").read_text())

    scored = stepbus("evaluate", "out", review_files["dev"], "--json", folder=tmp_path)
    assert scored.returncode == 0, scored.stderr
    metrics = json.loads(scored.stdout)
    # The optimizer's last update and the exported weights are the same bits, so the scores are too.
    assert metrics["eval_accuracy"] == result["metrics"]["eval_accuracy"]

    predicted = stepbus("predict", "out", review_files["dev"], "--output", "p.csv", folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    table, truth = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(review_files["dev"])
    assert list(table.columns) == ["row", "label", "probability_0", "probability_1"]
    assert (table["label"] == truth["label"]).mean() == pytest.approx(metrics["eval_accuracy"], abs=1e-12)
    assert metrics["eval_accuracy"] >= 0.8


def test_a_class_in_a_file_beside_the_yaml(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    plugins = {"progress": False, "mine": {"use": "./my_plugin.py:PrintLoss", "every": 5}}
    ran = stepbus("train", write(plugins=plugins), folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == [f"step {n}" for n in (5, 10, 15, 20)]


def test_a_module_of_hooks(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "my_hooks.py").write_text(HOOKS)
    ran = stepbus("train", write(hooks=["./my_hooks.py"], training={"max_steps": 2}), folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == ["hooked 1", "hooked 2"]


@pytest.mark.parametrize(
    ("source", "sections", "words"),
    [
        (
            PLUGIN.replace("def on_step_end", "def on_step_ends"),
            {"plugins": {"mine": {"use": "./my_plugin.py:PrintLoss"}}},
            "there is no hook 'on_step_ends' (did you mean 'on_step_end'?)",
        ),
        (
            PLUGIN.replace("PrintLoss", "PrintLoos"),
            {"plugins": {"mine": {"use": "./my_plugin.py:PrintLoss"}}},
            "has no 'PrintLoss' (did you mean 'PrintLoos'?)",
        ),
        (PLUGIN, {"plugins": {"early_stoping": {}}}, "no installed plugin is called 'early_stoping' (did you mean"),
        (PLUGIN, {"optimizer": {"learning_rat": 1e-4}}, "did you mean 'learning_rate'?"),
        (PLUGIN, {"training": {"monitor": "eval_acuracy"}}, "did you mean 'eval_accuracy'?"),
        (PLUGIN, {"data": {"label": "lable"}}, "did you mean 'label'?"),
        (PLUGIN, {"scheduler": {"warmup_steps": 22}}, "expected a warm-up shorter than the run of 22 updates, got 22"),
        (PLUGIN, {"plugins": {"early_stopping": {}}, "training": {"eval_strategy": "no"}}, "expected an evaluation"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    source: str, sections: dict[str, Any], words: str, write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "my_plugin.py").write_text(source)
    ran = stepbus("train", write(**sections), folder=tmp_path)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_an_installed_plugin_that_nobody_names_is_not_imported(write: Callable[..., Path], tmp_path: Path) -> None:
    config = write(training={"max_steps": 1}, plugins={"progress": False, "history": False})
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom stepbus.cli.main import main\n"
        f"code = main(['train', {str(config)!r}])\n"
        "print(code, *sorted(name for name in sys.modules if name.startswith('stepbus_plugins.')))\n"
    )
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert loaded[0] == "0"
    assert "stepbus_plugins.checkpoint" in loaded
    for name in ("progress", "history", "early_stopping", "cross_validation"):
        assert f"stepbus_plugins.{name}" not in loaded


def test_plugins_list_imports_no_plugin(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom stepbus.cli.main import main\nmain(['plugins', 'list'])\n"
        "assert not [name for name in sys.modules if name.startswith('stepbus_plugins')]\n"
        "assert 'mlx' not in sys.modules and 'pandas' not in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "early_stopping" in ran.stdout
    assert "Stop a fit when" in ran.stdout


@pytest.mark.parametrize("words", [("--help",), ("train", "--help"), ("config", "presets"), ("info",)])
def test_words_without_a_run(words: tuple[str, ...], tmp_path: Path) -> None:
    ran = stepbus(*words, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout) > 50


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom stepbus.cli.main import parser\nparser().format_help()\n"
        "heavy = {'mlx', 'numpy', 'pandas', 'attrs', 'cattrs', 'rich', 'yaml', 'pluggy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize(
    "words", ["plugins list", "info", "plan quickstart", "config schema", "config presets", "hooks"]
)
def test_a_full_disk_is_a_sentence(words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "stepbus.cli", *words.split()]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False
        )
    assert ran.returncode == 1
    assert ran.stderr == "stepbus: standard output cannot be written: No space left on device\n"


def test_an_output_that_a_resumed_run_does_not_use_is_said(write: Callable[..., Path], tmp_path: Path) -> None:
    config = write(training={"max_steps": 2})
    assert stepbus("train", config, folder=tmp_path).returncode == 0
    again = stepbus("train", config, "--resume", "run", "--output", "other", folder=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "stepbus: --output other is not used, because the run that is resumed goes on in its own" in again.stderr
    same = stepbus("train", config, "--resume", "run", "--output", "run", folder=tmp_path)
    assert "is not used" not in same.stderr


def test_a_warning_of_ours_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import warnings\nfrom stepbus.base import terminal\nfrom stepbus.device.machine import BackendWarning\n"
        "terminal.prepare()\nwarnings.warn('slow', BackendWarning)\nwarnings.warn('other', UserWarning)\n"
    )
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    first, *others = ran.stderr.splitlines()
    assert first == "stepbus: slow"
    assert "UserWarning: other" in others[0]


def test_a_working_directory_that_is_gone_is_named(write: Callable[..., Path], tmp_path: Path) -> None:
    config, gone = write(), tmp_path / "gone"
    gone.mkdir()
    words = f"rmdir {gone} && exec {sys.executable} -m stepbus.cli plan {config}"
    ran = subprocess.run(["sh", "-c", words], cwd=gone, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 2
    assert ran.stderr == "stepbus: the working directory was removed; change to one that is there\n"
