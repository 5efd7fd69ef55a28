"""`--output` of `train`: a folder as it was typed, whatever YAML would read in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepbus.cli.main import main


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the folders of the runs that `train` would begin; nothing is trained."""
    folders: list[str] = []

    class Trainer:
        def __init__(self, config: Any) -> None:
            folders.append(config.environment.output_dir)

        def train(self, **more: Any) -> None:
            pass

    monkeypatch.setattr("stepbus.api.Trainer", Trainer)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("extends: quick_test\nenvironment: {output_dir: from_file}\n")
    return folders


NAMES = ["null", "'x'", '"x"', "true", "1e3", "[a]", "{a: b}", "a: b", "#a", "&a", "*a", "-", "x # y", "grün", "a=b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_folder_whatever_yaml_reads_in_it(trained: list[str], name: str) -> None:
    assert main(["train", "run.yaml", f"--output={name}"]) == 0
    assert trained == [name]


def test_a_tilde_is_the_home_folder(trained: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", "run.yaml", "--output", "~"]) == 0
    assert trained == [str(tmp_path)]


@pytest.mark.parametrize(
    "setting",
    ["environment.output_dir=set", "environment={output_dir: set}", "training.num_epochs=1"],
)
def test_it_counts_before_set_and_file(trained: list[str], setting: str) -> None:
    assert main(["train", "run.yaml", "--set", setting, "--output", "typed"]) == 0
    assert main(["train", "run.yaml", "--output", "typed", "--set", setting]) == 0
    assert trained == ["typed", "typed"]


def test_without_it_the_file_counts(trained: list[str]) -> None:
    assert main(["train", "run.yaml"]) == 0
    assert trained == ["from_file"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--output: expected a folder, got '': it is empty; name one, or leave --output out"),
        ("s3://bucket/run", "--output: expected a folder of this machine, got 's3://bucket/run'"),
    ],
)
def test_what_is_no_folder_is_said_of_what_was_typed(
    trained: list[str], capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    for command in (["train", "run.yaml"], ["plugins", "new", "mine"]):
        assert main([*command, "--output", text]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "--set" not in error and "output_dir" not in error
    assert trained == []
