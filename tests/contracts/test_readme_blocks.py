"""Every block of README.md, saved and typed as it stands, in order, in one folder with rows in it."""

from __future__ import annotations

import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
FILES = {
    found[1]: block
    for block in re.findall(r"^```(?:yaml|python)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    if (found := re.match(r"# ([\w.]+)\n", block))
}
COMMANDS = re.findall(r"^    (stepbus (?!:).*)$", TEXT, re.MULTILINE)
# What a command may end with where it is no 0: `plugins doctor` looks at every package of the machine.
ODD = {"stepbus plugins doctor": (0, 2)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Path:
    """A folder with the README's files in it, and rows that a small model learns; the model that they name is there."""
    place = tmp_path_factory.mktemp("readme")
    for name, block in FILES.items():
        (place / name).write_text(block)
    draw = random.Random(7)
    words = {1: ("good", "great", "fine"), 0: ("bad", "poor", "awful")}
    for name, number in (("train", 120), ("dev", 20), ("test", 10)):
        labels = [index % 2 for index in range(number)]
        rows = [f"the film was {draw.choice(words[label])} and long,{label}" for label in labels]
        (place / f"{name}.csv").write_text("\n".join(["sentence,label", *rows]) + "\n")
    return place


def typed(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as a shell does, with `stepbus` and `python` those of this environment."""
    variables = {**os.environ, "COLUMNS": "120", "STEPBUS_CACHE": str(folder / "cache")}
    line = command.partition("  #")[0].strip()
    python = shlex.quote(sys.executable)
    script = f'stepbus() {{ {python} -P -m stepbus.cli "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False
    )


def test_every_block_is_a_file_or_a_command() -> None:
    assert list(FILES) == ["run.yaml", "techniques.yaml", "my_plugin.py", "my_hooks.py", "train.py", "estimator.py"]
    assert len(re.findall(r"^```\w", TEXT, re.MULTILINE)) == len(FILES)
    assert len(COMMANDS) > 9


def test_each_command_does_what_stands_there(folder: Path) -> None:
    shown = {}
    for command in COMMANDS:
        ended, line = typed(command, folder), command.partition("  #")[0].strip()
        assert ended.returncode in ODD.get(line, (0,)), (command, ended.stderr)
        assert "Traceback" not in ended.stderr
        shown[line] = ended.stdout
    assert re.search(r"^10 0\.\d+$", shown["stepbus train run.yaml"], re.MULTILINE)  # PrintLoss, every 10
    rows = (folder / "predictions.csv").read_text().splitlines()
    assert rows[0] == "row,label,probability_0,probability_1"
    assert len(rows) == 11
    assert (folder / "stepbus.schema.json").read_text().startswith("{")


def printed(name: str, folder: Path) -> str:
    """Run a Python block as a script and return the last line that it prints."""
    variables = {**os.environ, "STEPBUS_CACHE": str(folder / "cache")}
    ended = subprocess.run(
        [sys.executable, name], cwd=folder, env=variables, capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip().splitlines()[-1]


def test_the_python_block_runs_as_printed(folder: Path) -> None:
    accuracy, shape = printed("train.py", folder).split(" ", 1)
    assert 0.5 <= float(accuracy) <= 1.0
    assert shape == "(10, 2)"


def test_the_estimator_runs_as_printed(folder: Path) -> None:
    assert printed("estimator.py", folder) == "(120, 2)"


def test_the_techniques_train_together(folder: Path) -> None:
    ended = typed("stepbus train techniques.yaml --set training.num_epochs=2 --set training.max_steps=6", folder)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    (run,) = [place for place in folder.glob("runs*") if "weighted_layers" in (place / "config.yaml").read_text()]
    assert "adversarial_training" in (run / "config.yaml").read_text()
    assert (run / "model" / "README.md").read_text().startswith("---\n")


def test_hooks_of_a_module_are_called(folder: Path) -> None:
    (folder / "hooked.yaml").write_text("extends: ./run.yaml\nhooks: [./my_hooks.py]\n")
    ended = typed("stepbus train hooked.yaml --set training.num_epochs=1", folder)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^4 \{'train_loss': .*'eval_loss'", ended.stdout, re.MULTILINE)


def test_the_sample_of_an_error_is_what_comes(folder: Path) -> None:
    (sample,) = re.findall(r"^    (stepbus: run\.yaml:.*)$", TEXT, re.MULTILINE)
    number = int(sample.split(":")[2])
    lines = FILES["run.yaml"].splitlines()
    # As the block would look with the mistake in it, on the line that the sample names.
    wrong = [line.replace("learning_rate", "learning_rat") for line in lines]
    (at,) = [index for index, line in enumerate(wrong, 1) if "learning_rat:" in line]
    assert at == number
    (folder / "wrong").mkdir(exist_ok=True)
    (folder / "wrong" / "run.yaml").write_text("\n".join(wrong) + "\n")
    for name in ("my_plugin.py", "train.csv"):
        (folder / "wrong" / name).write_text((folder / name).read_text())
    ended = typed("stepbus train run.yaml", folder / "wrong")
    assert ended.returncode == 2
    assert ended.stderr.strip() == sample
