"""A plugin that an error switched off stays off when its run goes on, and it is said; closed it is all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import create_trainer, hookimpl
from stepbus.storage.checkpoints import scan
from stepbus.testing import play

PLUGIN = """
from stepbus import hookimpl

class Breaks:
    '''Raise once, and write down whatever it is told.'''
    scope = "{scope}"

    def __init__(self):
        self.steps = 0

    def note(self, hook):
        with open("calls", "a") as file:
            file.write(hook + chr(10))

    @hookimpl
    def on_step_end(self, trainer, state):
        self.note(f"{{trainer.fit_name}} {{state.step}}")
        if state.step == 3:
            raise ValueError("of the tracker")
{closes}

class Falls:
    '''End the run at an update of a fit, while a file says so.'''
    scope = "run"

    @hookimpl
    def on_step_end(self, trainer, state):
        with open("falls") as file:
            falls = file.read()
        if falls == f"{{trainer.fit_name}} {{state.step}}":
            raise KeyError("the lights went out")
"""
CLOSES = """
    @hookimpl
    def on_run_start(self):
        self.note("begun")

    @hookimpl
    def on_close(self, status):
        self.note("closed " + status)
"""
ERROR = "on_step_end raised ValueError at step 3: of the tracker"


class Words:
    """Keep what users are told."""

    scope = "run"

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        self.said.append((level, text))


@pytest.fixture
def train(
    tmp_path: Path, tiny_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[str], list[tuple[str, str]]]]:
    """Return a function that trains until an update, or to the end; it gives the calls of the plugin and the words."""
    monkeypatch.chdir(tmp_path)

    def run(scope: str, falls: str = "", folds: int = 0, resume: bool = False) -> Any:
        (tmp_path / "sample.py").write_text(PLUGIN.format(scope=scope, closes=CLOSES if scope == "run" else ""))
        (tmp_path / "falls").write_text(falls)
        (tmp_path / "calls").write_text("")
        plugins: dict[str, Any] = {
            "progress": False,
            "breaks": {"use": str(tmp_path / "sample.py") + ":Breaks", "on_error": "disable"},
            "falls": {"use": str(tmp_path / "sample.py") + ":Falls"},
        }
        sections: dict[str, Any] = {"plugins": plugins}
        if folds:
            plugins["cross_validation"] = {"folds": folds}
            sections["data"] = {"validation": None}
        words = Words()
        trainer = create_trainer(config=tiny_config(**sections), plugins=[words])
        if falls:
            with pytest.raises(Exception, match="the lights went out"):
                trainer.train(resume=resume)
        else:
            assert trainer.train(resume=resume).status == "ok"
        return (tmp_path / "calls").read_text().splitlines(), words.said

    return run


@pytest.mark.parametrize("scope", ["fit", "run"])
def test_it_stays_off_over_two_resumes_and_that_is_said(train: Callable[..., Any], scope: str, tmp_path: Path) -> None:
    calls, said = train(scope, falls="fit 13")
    steps = ["fit 1", "fit 2", "fit 3"]
    assert calls == (["begun", *steps, "closed failed"] if scope == "run" else steps)
    assert [text for level, text in said if level == "warning" and ERROR in text]
    for falls, end in (("fit 14", "closed failed"), ("", "closed ok")):
        calls, said = train(scope, falls=falls, resume=True)
        assert calls == [end] * (scope == "run")
        (stays,) = [text for level, text in said if level == "warning" and "stays switched off" in text]
        assert stays.startswith("breaks stays switched off, as it was before the resume: breaks, sample.py: " + ERROR)
    assert any(text.startswith("switched off by an error: breaks") and ERROR in text for _, text in said)


def test_what_serves_the_whole_run_stays_off_in_fits_that_follow_a_finished_one(train: Callable[..., Any]) -> None:
    """Cut before the second fold's first checkpoint, only the ledger of the first knows."""
    calls, _ = train("run", falls="fold-2 2", folds=2)
    assert calls == ["begun", "fold-1 1", "fold-1 2", "fold-1 3", "closed failed"]
    calls, said = train("run", folds=2, resume=True)
    assert calls == ["closed ok"]
    assert len([text for _, text in said if "stays switched off" in text]) == 1


def test_each_fits_own_begins_anew_with_the_next_fit(train: Callable[..., Any]) -> None:
    whole, _ = train("fit", folds=2)
    assert whole == [f"fold-{fold} {step}" for fold in (1, 2) for step in (1, 2, 3)]
    calls, said = train("fit", folds=2, resume=True)
    assert not [text for _, text in said if "stays switched off" in text]
    assert not calls


def test_a_checkpoint_that_says_something_else_is_refused_by_the_key(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepbus.base.errors import CheckpointError
    from stepbus.fit import persistence

    with monkeypatch.context() as patch:
        patch.setattr(persistence, "disabled_of", lambda members: {"breaks": 3})
        train("fit", falls="fit 13")
    checkpoint = scan(tmp_path / "run" / "fits" / "fit" / "checkpoints")[-1]
    assert json.loads((checkpoint / "state.json").read_text())["disabled"] == {"breaks": 3}
    with pytest.raises(CheckpointError, match=r"state\.json: disabled\.breaks: expected a text, got 3"):
        train("fit", resume=True)


def test_a_scripted_run_keeps_it_off_as_a_real_one_does() -> None:
    class Breaks:
        calls: list[int] = []  # noqa: RUF012 - of all runs of this test

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            self.calls.append(state.step)
            raise ValueError("of the tracker")

    first = play((Breaks, {"on_error": "disable"}), interrupt_at=3, epochs=2, steps_per_epoch=4)
    assert first.checkpoints[-1].disabled == first.disabled != {}
    second = play((Breaks, {"on_error": "disable"}), resume_from=first.checkpoints[-1], epochs=2, steps_per_epoch=4)
    assert (Breaks.calls, second.disabled, second.status) == ([1], first.disabled, "ok")
    assert any(text.startswith("breaks stays switched off") for text in second.messages)


def test_a_scripted_run_does_not_even_begin_for_one_that_serves_the_whole_run() -> None:
    class Tracks:
        scope = "run"
        calls: list[str] = []  # noqa: RUF012 - of all runs of this test

        @hookimpl
        def on_run_start(self) -> None:
            self.calls.append("begun")

        @hookimpl
        def on_step_end(self) -> None:
            self.calls.append("step")
            raise ValueError("of the tracker")

        @hookimpl
        def on_close(self) -> None:
            self.calls.append("closed")

    first = play((Tracks, {"on_error": "disable"}), interrupt_at=3, epochs=2, steps_per_epoch=4)
    play((Tracks, {"on_error": "disable"}), resume_from=first.checkpoints[-1], epochs=2, steps_per_epoch=4)
    assert Tracks.calls == ["begun", "step", "closed", "closed"]
