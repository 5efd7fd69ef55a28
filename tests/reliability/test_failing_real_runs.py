"""Plugins that fail in real runs of a tiny model, by the command: exit code, sentence, and the same bits afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparing import differences, left

from stepbus.cli.main import main
from stepbus.kernel import events
from stepbus.storage import checkpoints

PLUGIN = """
import sys
from attrs import define
from stepbus import hookimpl

def deeper(): deeper()

KINDS = {
    "exception": lambda: 1 / 0,
    "exit": lambda: sys.exit(0),
    "interrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "recursion": deeper,
    "connection": lambda: (_ for _ in ()).throw(ConnectionError("no route to host")),
}

class Sample:
    '''Fail in one hook.'''
    scope = "run"
    affects_result = False

    @define(frozen=True, kw_only=True)
    class Config:
        kind: str = "none"
        call: int = 1

    def __init__(self, config):
        self.config, self.calls = config, 0

    @hookimpl(tryfirst=True)
    def HOOK(self):
        self.calls += 1
        if self.config.kind != "none" and self.calls == self.config.call:
            KINDS[self.config.kind]()
"""
RAISED = {
    "exception": "ZeroDivisionError", "exit": "SystemExit", "memory": "MemoryError", "recursion": "RecursionError",
    "connection": "ConnectionError", "interrupt": "KeyboardInterrupt",
}  # fmt: skip
# Hook -> the call that fails: in the middle of the run where there is one.
HOOKS = {
    "parameter_groups": 1, "transform_gradients": 1, "on_run_start": 1, "on_fit_start": 1, "is_boundary": 9,
    "on_step_end": 13, "on_log": 4, "on_evaluate_start": 2, "on_predictions": 2, "on_evaluate": 1, "on_metrics": 2,
    "on_epoch_end": 1, "checkpoint_retention": 3, "on_checkpoint": 2, "on_artifact": 1, "on_fit_end": 1,
    "on_run_end": 1, "on_close": 1,
}  # fmt: skip


def cases() -> Iterator[tuple[str, str, str]]:
    for number, hook in enumerate(HOOKS):
        for place, kind in enumerate(RAISED):
            for policy in ("raise", "disable"):
                # A third of them: the scripted runs have them all.
                if (number + place) % 3 == 0 and not (policy == "disable" and hook in events.BUILD_HOOKS):
                    yield hook, kind, policy


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run that nobody disturbs lies, once it was made."""
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.mark.generated("case", cases(), sample=4)
def test_a_plugin_that_fails(
    case: tuple[str, str, str], undisturbed: Path, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path,
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tally: Any,
) -> None:  # fmt: skip
    hook, kind, policy = case
    monkeypatch.chdir(tmp_path)
    Path("sample.py").write_text(PLUGIN.replace("HOOK", hook))
    saves = {"save_strategy": "steps", "save_steps": 4, "keep_last": 3}
    sample = {"use": "./sample.py:Sample", "kind": kind, "call": HOOKS[hook], "on_error": policy}
    plugins = {"progress": False, "checkpoint": saves, "sample": sample}
    Path("run.yaml").write_text(yaml.safe_dump(tiny_config(plugins=plugins), sort_keys=False))
    if not undisturbed.exists():
        assert main(["train", "run.yaml", "--output", str(undisturbed), "--set", "plugins.sample.kind=none"]) == 0
        capfd.readouterr()
    with tally("6 plugins that raise", ("real", *case)) as seen:
        code = main(["train", "run.yaml"])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        directory = Path("run")
        if kind == "interrupt":  # the user's own, whatever the policy
            assert (code, err) == (130, "stepbus: interrupted\n")
        elif policy == "raise" and hook != "on_close":
            assert code == 1
            assert err.startswith(f"stepbus: sample, sample.py: {hook} raised {RAISED[kind]} at step ")
            assert err.endswith("; switch the plugin off with plugins: {sample: false}\n")
            seen.refused(err)
        else:
            assert code == 0
            assert not differences(left(undisturbed), left(directory))
            seen.went_on()
            return
        folder = directory / "fits" / "fit" / "checkpoints"
        if folder.exists():
            newest = checkpoints.latest_valid(folder, pytest.fail)
            assert newest is not None or not checkpoints.scan(folder)
        again = ["train", "run.yaml", "--set", "plugins.sample.kind=none"]
        assert main([*again, "--resume"] if (directory / "run.json").exists() else again) == 0, capfd.readouterr()
        assert not differences(left(undisturbed), left(directory))
        seen.went_on()
