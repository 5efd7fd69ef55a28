"""The error that a run ends with is its own: what plugins raise afterwards is told after it, and stands in no way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import StepbusError, hookimpl
from stepbus.cli.main import main
from stepbus.testing import play

SCRIPT: dict[str, Any] = {"epochs": 2, "metrics": [{"eval_loss": 0.5}]}


def raising(hook: str, error: BaseException, name: str = "Late") -> type:
    """Return a plugin class that raises in a hook of any kind."""

    def implementation(self: Any) -> None:
        raise error

    implementation.__name__, implementation.__qualname__ = hook, f"{name}.{hook}"
    return type(name, (), {"scope": "run", hook: hookimpl(implementation)})


class Hears:
    scope = "run"

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def on_fit_end(self, result: Any) -> None:
        self.heard.append(f"fit {result.status}")

    @hookimpl
    def on_run_end(self) -> None:
        self.heard.append("run end")

    @hookimpl
    def on_exception(self, error: BaseException) -> None:
        self.heard.append(f"exception {type(error).__name__}")

    @hookimpl
    def on_close(self, status: str) -> None:
        self.heard.append(f"close {status}")


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("hook", ["on_fit_end", "on_exception", "on_close"])
def test_what_comes_later_is_a_note(hook: str, kind: type[BaseException]) -> None:
    error = kind("late")
    own, hears = raising("on_step_end", ValueError("the real one"), "Own"), Hears()
    with pytest.raises((StepbusError, KeyboardInterrupt)) as caught:
        play(own, raising(hook, error), hears, **SCRIPT)
    said = [str(caught.value), *caught.value.__notes__]
    if isinstance(error, KeyboardInterrupt):  # the user's own goes first, and hides nothing either
        assert isinstance(caught.value, KeyboardInterrupt)
        said = said[1:]
    else:
        assert f"{hook} raised {type(error).__name__}" in said[1]
    assert "on_step_end raised ValueError at step 1: the real one" in said[0]
    assert hears.heard[0] == "fit failed"
    # An interrupt before the end of the fit ends the run; what comes later finds one that has failed.
    interrupted = hook == "on_fit_end" and isinstance(error, KeyboardInterrupt)
    assert hears.heard[-1] == ("close interrupted" if interrupted else "close failed")
    assert len(hears.heard) == (2 if interrupted else 3)


@pytest.mark.parametrize("hook", ["on_fit_end", "on_run_end"])
def test_the_first_of_two_late_ones_is_raised_and_everybody_hears(hook: str) -> None:
    hears = Hears()
    both = (raising(hook, RuntimeError("one")), raising(hook, RuntimeError("two"), "Later"))
    with pytest.raises(Exception, match=rf"late, .*: {hook} raised RuntimeError at step \d+: one") as caught:
        play(*both, hears, **SCRIPT)
    assert [f"{hook} raised RuntimeError" in note and ": two" in note for note in caught.value.__notes__] == [True]
    assert ("run end" in hears.heard, hears.heard[-1]) == (hook == "on_run_end", "close failed")


def test_an_interrupt_stays_one_when_plugins_fail_after_it() -> None:
    hears = Hears()
    played = play(raising("on_fit_end", RuntimeError("late")), hears, **SCRIPT, interrupt_at=3)
    assert played.status == "interrupted"
    assert hears.heard == ["fit interrupted", "close interrupted"]
    assert [checkpoint.step for checkpoint in played.checkpoints] == [3]


def test_nobody_is_left_out_where_the_user_interrupts_the_end() -> None:
    hears = Hears()
    with pytest.raises(KeyboardInterrupt):
        play(raising("on_close", KeyboardInterrupt()), hears, **SCRIPT)
    assert hears.heard[-1] == "close ok"


PLUGIN = """
import os, signal
from stepbus import hookimpl

class Own:
    @hookimpl
    def on_step_end(self, state):
        if state.step == 5:
            if os.environ["HOW"] == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            else:
                raise ValueError("the real one")

class Late:
    scope = "run"

    @hookimpl
    def on_fit_end(self): raise RuntimeError("after it")

    @hookimpl
    def on_exception(self): raise RuntimeError("the exception")

    @hookimpl
    def on_close(self): raise RuntimeError("at the close")
"""


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("error", 1, "stepbus: own, sample.py: on_step_end raised ValueError at step 5: the real one"),
        ("signal", 143, "stepbus: interrupted by SIGTERM; a checkpoint was written: go on with"),
    ],
)
def test_the_command_says_the_same(
    how: str, code: int, words: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOW", how)
    Path("sample.py").write_text(PLUGIN)
    plugins = {"own": {"use": "./sample.py:Own"}, "late": {"use": "./sample.py:Late"}}
    Path("run.yaml").write_text(yaml.safe_dump(tiny_config(plugins=plugins), sort_keys=False))
    assert main(["train", "run.yaml"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(words)
    hooks = ("on_fit_end", "on_exception", "on_close") if how == "error" else ("on_fit_end", "on_close")
    for line, hook in zip(lines[1:], hooks, strict=True):
        assert line.startswith(f"stepbus: late, sample.py: {hook} raised RuntimeError")
