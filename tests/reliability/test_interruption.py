"""Killed, interrupted, resumed, through the command line in processes of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file

SAVES = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 1, "keep_last": 3}}

# A plugin that sends the process a signal at one step: the moment is exact, whatever the machine's speed.
SENDER = """
import os, signal
from attrs import define
from stepbus import hookimpl

class Sender:
    @define(frozen=True, kw_only=True)
    class Config:
        step: int
        signal: str

    def __init__(self, config): self.config = config

    @hookimpl
    def on_step_end(self, state):
        if state.step == self.config.step and not os.path.exists("sent"):
            open("sent", "w").close()
            os.kill(os.getpid(), getattr(signal, self.config.signal))
"""


def stepbus(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepbus.cli", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def prepared(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes sender.py and a configuration which names it, and returns the latter."""
    (tmp_path / "sender.py").write_text(SENDER)

    def write(name: str, **sections: Any) -> Path:
        tree = tiny_config(plugins=SAVES, **sections)
        sender = {"use": "./sender.py:Sender", "step": 7, "signal": name, "on_error": "raise"}
        tree["plugins"] = {**tree["plugins"], "sender": sender}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return path

    return write


def weights(directory: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(directory / "model" / "model.safetensors").items()}


def test_sigkill_and_resume_gives_the_same_bits(prepared: Callable[..., Path], tmp_path: Path) -> None:
    config = prepared("SIGKILL")
    killed = stepbus("train", config, "--output", "killed", folder=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model").exists()
    resumed = stepbus("train", config, "--output", "killed", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    whole = stepbus("train", config, "--output", "whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_writes_a_checkpoint_and_says_so(
    name: str, code: int, prepared: Callable[..., Path], tmp_path: Path
) -> None:
    config = prepared(name)
    tree = yaml.safe_load(config.read_text())
    tree["plugins"]["checkpoint"] = {"save_strategy": "no"}
    config.write_text(yaml.safe_dump(tree, sort_keys=False))
    stopped = stepbus("train", config, "--output", "run", folder=tmp_path)
    assert stopped.returncode == code, stopped.stderr
    assert f"interrupted by {name}; a checkpoint was written" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert [path.name for path in (tmp_path / "run" / "fits" / "fit" / "checkpoints").glob("step-0*7")] == [
        "step-00000007"
    ]
    resumed = stepbus("train", config, "--output", "run", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((tmp_path / "run" / "fits" / "fit" / "result.json").read_text())["steps"] == 22


def test_a_killed_cross_validation_goes_on_in_its_fold(prepared: Callable[..., Path], tmp_path: Path) -> None:
    config = prepared("SIGKILL", data={"validation": None}, training={"num_epochs": 1})
    tree = yaml.safe_load(config.read_text())
    tree["plugins"] |= {"cross_validation": {"folds": 3}, "sender": {**tree["plugins"]["sender"], "step": 3}}
    # The second fold is the one that dies.
    sender = SENDER.replace("(self, state)", "(self, trainer, state)")
    sender = sender.replace("if state.step", "if trainer.fit_name == 'fold-2' and state.step")
    (tmp_path / "sender.py").write_text(sender)
    config.write_text(yaml.safe_dump(tree, sort_keys=False))
    killed = stepbus("train", config, "--output", "killed", folder=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    first = tmp_path / "killed" / "fits" / "fold-1" / "result.json"
    written = first.stat().st_mtime_ns
    resumed = stepbus("train", config, "--output", "killed", "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert first.stat().st_mtime_ns == written
    whole = stepbus("train", config, "--output", "whole", folder=tmp_path)
    assert whole.returncode == 0, whole.stderr
    for fold in ("fold-1", "fold-2", "fold-3"):
        assert weights(tmp_path / "killed" / "fits" / fold) == weights(tmp_path / "whole" / "fits" / fold)
    one, other = (tmp_path / name / "out_of_fold.csv" for name in ("killed", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_a_run_beside_a_live_one_takes_the_next_folder_and_a_resume_is_refused(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from stepbus import CheckpointError, create_trainer
    from stepbus.storage.durable import lock_folder

    quick = tiny_config(training={"max_steps": 1})
    with lock_folder(tmp_path / "run"):  # begun in the same moment, and no run yet
        assert create_trainer(config=quick).train().directory == tmp_path / "run-2"
    with (
        lock_folder(tmp_path / "run-2"),
        pytest.raises(CheckpointError, match=r"this very process is running in this folder"),
    ):
        create_trainer(config=quick).train(resume=True)


def test_what_was_known_before_the_folder_moved_is_right_after(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """A run comes while the other one reads its rows; trainer, files and next command follow."""
    from stepbus import create_trainer, hookimpl
    from stepbus.run.folders import run_documents

    class Races:
        scope = "run"

        @hookimpl
        def expand_fits(self, run: Any) -> None:
            run.directory.mkdir()
            for name, content in run_documents("another", {"fits": [{"name": "fit"}]}, "").items():
                (run.directory / name).write_bytes(content)

    places: dict[str, Any] = {}

    class Listens:
        scope = "run"

        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            run = trainer.run
            places.update(run=run.directory, fit=trainer.directory, next=run.next_command)

    result = create_trainer(config=tiny_config(training={"max_steps": 1}), plugins=[Races(), Listens()]).train()
    second = tmp_path / "run-2"
    assert places == {"run": second, "fit": second / "fits" / "fit", "next": f"stepbus predict {second} FILE"}
    assert (result.directory, result.model_path) == (second, second / "fits" / "fit" / "model")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "run.json"]
    assert (second / "fits" / "fit" / "history.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": {"learning_rate": 1e-4}}, "optimizer.learning_rate was 0.003, is 0.0001"),
        ({"data": {"batch_size": 8}}, "data.batch_size was 4, is 8"),
        ({"training": {"num_epochs": 2, "seed": 7}}, "training.seed was 42, is 7"),
        ({"plugins": {**SAVES, "nan_guard": False}}, "plugins.nan_guard was"),
    ],
)
def test_resuming_with_something_else_is_refused_by_name(
    change: dict[str, Any], words: str, tiny_config: Callable[..., dict[str, Any]]
) -> None:
    from stepbus import CheckpointError, create_trainer

    create_trainer(config=tiny_config(plugins=SAVES, training={"max_steps": 3})).train()
    import shutil

    directory = Path(tiny_config()["environment"]["output_dir"])
    (directory / "fits" / "fit" / "result.json").unlink()
    shutil.rmtree(directory / "fits" / "fit" / "model")
    changed = tiny_config(**{"plugins": SAVES, "training": {"max_steps": 3}, **change})
    changed["training"]["max_steps"] = 3
    with pytest.raises(CheckpointError) as caught:
        create_trainer(config=changed).train(resume=True)
    assert words in str(caught.value)
    assert "--allow-changed" in str(caught.value)


@pytest.mark.parametrize("watches", [False, True])
def test_resuming_with_other_functions_in_a_file_is_refused_unless_they_only_watch(
    watches: bool, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from stepbus import CheckpointError, create_trainer

    source = "from stepbus import hookimpl\n\n@hookimpl\ndef on_step_end(): ...\n"
    source += "affects_result = False\n" if watches else ""
    for folder, text in (("before", source), ("after", source + "# edited\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_hooks.py").write_text(text)

    def trainer(folder: str) -> Any:
        hooks = [str(tmp_path / folder / "my_hooks.py")]
        return create_trainer(config=tiny_config(plugins=SAVES, training={"max_steps": 3}, hooks=hooks))

    directory = trainer("before").train().directory
    (directory / "fits" / "fit" / "result.json").unlink()
    if watches:
        assert trainer("after").train(resume=True).steps == 3
        return
    with pytest.raises(CheckpointError, match=r"plugins\.my_hooks was my_hooks\.py \w{16}, is my_hooks\.py \w{16}"):
        trainer("after").train(resume=True)


def test_resuming_without_an_object_that_was_passed_is_refused(tiny_config: Callable[..., dict[str, Any]]) -> None:
    from stepbus import CheckpointError, create_trainer, hookimpl

    class Looks:
        @hookimpl
        def on_step_end(self) -> None: ...

    config = tiny_config(plugins=SAVES, training={"max_steps": 3})
    directory = create_trainer(config=config, plugins=[Looks]).train().directory
    (directory / "fits" / "fit" / "result.json").unlink()
    with pytest.raises(CheckpointError, match=r"plugins\.looks was Looks \w{16}, is off"):
        create_trainer(config=config).train(resume=True)


def test_resuming_where_nothing_is_says_so(tiny_config: Callable[..., dict[str, Any]]) -> None:
    from stepbus import CheckpointError, create_trainer

    with pytest.raises(CheckpointError, match="there is no run to resume here"):
        create_trainer(config=tiny_config()).train(resume=True)


def test_a_second_run_takes_a_folder_of_its_own(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    from stepbus import create_trainer

    quick = tiny_config(training={"max_steps": 1})
    first, second = (create_trainer(config=quick).train() for _ in range(2))
    assert (first.directory.name, second.directory.name) == ("run", "run-2")
