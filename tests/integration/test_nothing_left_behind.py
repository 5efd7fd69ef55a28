"""A run that is refused or interrupted before its first fit begins leaves nothing; what was there before stays."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import BadInput, PluginFailure, create_trainer, hookimpl
from stepbus.run.interruption import interrupted

QUICK = {"max_steps": 1}
SAVES_NOTHING = {"progress": False, "checkpoint": {"save_strategy": "no"}}


@pytest.fixture
def trained(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """A model folder that may be damaged."""
    result = create_trainer(config=tiny_config(training=QUICK)).train()
    assert result.model_path is not None
    shutil.move(result.model_path, tmp_path / "pretrained")
    shutil.rmtree(tmp_path / "run")
    return tmp_path / "pretrained"


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def other_shapes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))


@pytest.mark.parametrize("damage", [truncate, other_shapes])
@pytest.mark.parametrize("before", ["nothing", "empty", "notes"])
@pytest.mark.parametrize("folds", [False, True])
def test_refused_weights(
    damage: Callable[[Path], None],
    before: str,
    folds: bool,
    trained: Path,
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    damage(trained)
    output = tmp_path / "deep" / "run"
    if before != "nothing":
        output.mkdir(parents=True)
    if before == "notes":
        (output / "notes.txt").write_text("mine")
        (output / "empty").mkdir()
    sections: dict[str, Any] = {"plugins": {"progress": False, "cross_validation": {"folds": 2}}} if folds else {}
    sections |= {"data": {"validation": None}} if folds else {}
    config = tiny_config(**sections, environment={"output_dir": str(output)})
    config["model"] = {"pretrained": str(trained)}
    for _ in range(2):
        with pytest.raises(BadInput, match=str(trained)):
            create_trainer(config=config).train()
    if before == "nothing":
        assert not (tmp_path / "deep").exists()
    else:
        assert sorted(path.name for path in output.iterdir()) == (["empty", "notes.txt"] if before == "notes" else [])
    assert not (tmp_path / "deep" / "run-2").exists()
    # The next run has the name that was asked for.
    good = tiny_config(environment={"output_dir": str(output)}, training=QUICK)
    assert create_trainer(config=good).train().directory == output


def raising(hook: str, error: BaseException) -> type:
    def fails(self: Any) -> None:
        raise error

    fails.__name__ = hook
    return type("Fails", (), {hook: hookimpl(fails), "scope": "run"})


@pytest.mark.parametrize("hook", ["on_run_start", "parameter_groups", "transform_gradients", "on_fit_start"])
@pytest.mark.parametrize("error", [KeyError("of the sample"), KeyboardInterrupt()])
def test_a_plugin_that_fails_before_the_first_update(
    hook: str, error: BaseException, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    config = tiny_config(plugins=SAVES_NOTHING)
    with pytest.raises(PluginFailure if isinstance(error, KeyError) else KeyboardInterrupt):
        create_trainer(config=config, plugins=[raising(hook, error)]).train()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == before


def test_what_was_trained_or_saved_is_kept(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    for plugins, hook in (({"progress": False}, "on_checkpoint"), (SAVES_NOTHING, "on_step_end")):
        config = tiny_config(plugins=plugins, environment={"output_dir": str(tmp_path / hook)})
        with pytest.raises(PluginFailure):
            create_trainer(config=config, plugins=[raising(hook, KeyError("x"))]).train()
        assert (tmp_path / hook / "run.json").exists()


def test_a_full_disk_at_the_first_checkpoint(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepbus.storage.checkpoints import writing

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "_write_files", full)
    with pytest.raises(BadInput, match="cannot write the checkpoint of step 0: No space left on device"):
        create_trainer(config=tiny_config()).train()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "result.json", "predictions.npz"])
def test_a_full_disk_is_one_sentence_wherever_core_writes(
    name: str, tiny_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepbus.storage import durable

    original = durable.write_file

    def full(path: Path, blocks: Any) -> Any:
        if path.name.endswith(name):
            raise OSError(28, "No space left on device")
        return original(path, blocks)

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(BadInput, match=r"run.*No space left on device") as caught:
        create_trainer(config=tiny_config(training=QUICK)).train()
    assert "\n" not in str(caught.value)


# --- signals, at moments that a plugin chooses -----------------------------------------------------------------------

SENDER = """
import os, signal
from stepbus import hookimpl

def send():
    os.kill(os.getpid(), signal.{signal})

class Sender:
    scope = "run"
{body}
"""
HOOK = """
    @hookimpl
    def {hook}(self):
        send()
"""
BEFORE = ["import", "expand_fits", "validate_plan", "on_run_start", "parameter_groups", "transform_gradients"]
AFTER = ["on_fit_end", "on_run_end", "on_close"]


@pytest.mark.parametrize(
    ("moment", "name"),
    [(moment, "SIGINT" if number % 2 else "SIGTERM") for number, moment in enumerate([*BEFORE, *AFTER])],
)
def test_a_signal_at_any_moment(
    moment: str, name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    body = "\nsend()\n" if moment == "import" else HOOK.format(hook=moment)
    source = SENDER.format(signal=name, body=HOOK.format(hook="on_log") + body)
    (tmp_path / "sender.py").write_text(source.replace("def on_log(self):\n        send()", "def on_log(self): ..."))
    plugins = {**SAVES_NOTHING, "sender": {"use": str(tmp_path / "sender.py") + ":Sender"}}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(plugins=plugins, training=QUICK)))
    command = [sys.executable, "-m", "stepbus.cli", "train", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    number = getattr(signal, name)
    assert done.returncode == 128 + number, done.stderr
    run = tmp_path / "run"
    # Before it, what no plugin shows here is logged: that nothing is evaluated.
    *warned, last = done.stderr.splitlines()
    assert all("nothing is evaluated" in line for line in warned)
    if moment in BEFORE:
        assert last == "stepbus: interrupted"
        assert not run.exists()
    else:
        assert last == f"stepbus: {interrupted(number, run, saved=False)}"
        assert (run / "model" / "model.safetensors").exists()
        assert (run / "fits" / "fit" / "result.json").exists()
