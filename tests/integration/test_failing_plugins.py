"""A plugin that raises, in each hook in turn and under each policy, in real runs of a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import PluginError, PluginFailure, Trainer, create_trainer, hookimpl
from stepbus.kernel import events
from stepbus.kernel.hook_checks import SPECIFICATIONS
from stepbus.storage import checkpoints

PLUGIN = """
from attrs import evolve
from stepbus import Axis, grow, hookimpl

class Breaks:
    '''Raise in one hook.'''
    scope = "run"

    @hookimpl{options}
    def {hook}(self):
        raise ZeroDivisionError("of the sample")
{grows}

class Listens:
    '''Say something, and that it was closed.'''
    scope = "run"
{others}

    @hookimpl
    def on_run_start(self, run):
        run.message("begun")

    @hookimpl
    def on_close(self, run, status):
        (run.config.base / "closed").write_text(status)
"""
# It is asked of one after another until one answers; the sample has to come first to be asked at all.
ANSWERS = {"checkpoint_retention"}
GROWS = """
    grows = (Axis("round"),)

    @hookimpl
    def expand_fits(self, fits):
        (fit,) = fits
        first, second = (evolve(fit, name=f"round-{n}", scope={"round": n}) for n in (1, 2))
        return [first, evolve(second, after=("round-1",))]
"""
COMBINES = """
    @hookimpl
    def combine_results(self, results):
        return results[-1]
"""
VIEWS = """
    @hookimpl
    def prediction_views(self, rows):
        return [("again", rows)]
"""
# What makes the fits is another plugin than the one that breaks, but where that is the one that combines them.
OWN = {"combine_results": GROWS, "combine_predictions": GROWS + COMBINES}
OTHERS = {"fill_fit": GROWS + COMBINES, "on_result": GROWS + COMBINES, "combine_views": VIEWS}
HOOKS = [name for name in SPECIFICATIONS if name != "on_exception"]


@pytest.fixture
def trainer_of(tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    def make(hook: str, policy: str, *others: Any) -> Any:
        options = "(tryfirst=True)" if hook in ANSWERS else ""
        own, others_of = OWN.get(hook, ""), OTHERS.get(hook, "")
        text = PLUGIN.format(hook=hook, options=options, grows=own, others=others_of)
        (tmp_path / "sample.py").write_text(text)
        sample = {"use": str(tmp_path / "sample.py") + ":Breaks", "on_error": policy}
        listens = {"use": str(tmp_path / "sample.py") + ":Listens"}
        kept = {"keep_finished": True}  # of folds too
        plugins: dict[str, Any] = {"progress": False, "checkpoint": kept, "sample": sample, "listens": listens}
        sections: dict[str, Any] = {"plugins": plugins}
        if hook == "combine_predictions":
            sections["data"] = {"test": str(tmp_path / "dev.csv")}
        path = tmp_path / "run.json"
        path.write_text(json.dumps(tiny_config(**sections)))
        return create_trainer(config=path, plugins=others)

    return make


def good_checkpoints(folder: Path) -> int:
    """Return how many checkpoints lie below a folder, each of them verified."""
    found = [path.parent for path in folder.rglob("manifest.json")]
    for path in found:
        checkpoints.verify(path)
    return len(found)


@pytest.mark.parametrize("hook", HOOKS)
def test_raising_names_the_plugin_the_hook_the_step_and_the_mend(
    hook: str, trainer_of: Callable[..., Any], tmp_path: Path
) -> None:
    trainer = trainer_of(hook, "raise")
    if hook == "on_close":
        trainer.train()  # too late to fail the run: the others are closed, and it is said
    else:
        with pytest.raises(PluginFailure) as caught:
            trainer.train()
        message = str(caught.value)
        assert message.startswith(f"sample, sample.py: {hook} raised ZeroDivisionError at step ")
        place = f", at {tmp_path / 'sample.py'}:"
        assert f": of the sample{place}" in message
        assert message.endswith("; switch the plugin off with plugins: {sample: false}")
    assert (tmp_path / "closed").read_text() == ("ok" if hook == "on_close" else "failed")
    trained = (tmp_path / "run" / "fits" / "fit" / "checkpoints").exists()
    assert good_checkpoints(tmp_path / "run") > 0 or not trained


@pytest.mark.parametrize("hook", HOOKS)
def test_disabled_it_is_out_and_the_run_goes_on(hook: str, trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    if hook in events.BUILD_HOOKS - {"validate_plan"}:
        with pytest.raises(PluginError, match=f"on_error: disable fits plugins that only watch.*{hook}"):
            trainer_of(hook, "disable").train()
        return
    runs: list[Any] = []

    class Holds:
        scope = "run"

        @hookimpl
        def on_close(self, run: Any) -> None:
            runs.append(run)

    result = trainer_of(hook, "disable", Holds).train()
    assert result.status == "ok"
    assert (tmp_path / "closed").read_text() == "ok"
    assert good_checkpoints(tmp_path / "run") > 0
    (error,) = runs[0].costs["sample"].disabled
    assert f"{hook} raised ZeroDivisionError" in error


def test_raising_while_an_error_is_told_does_not_hide_it(trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    class Fails:
        @hookimpl
        def on_step_end(self) -> None:
            raise KeyError("the real one")

    config = trainer_of("on_exception", "raise").config
    with pytest.raises(PluginFailure, match="on_step_end raised KeyError at step 1: 'the real one'"):
        Trainer(config, plugins=[Fails]).train()
    assert (tmp_path / "closed").read_text() == "failed"


class Fails:
    """The first cause: the file system refuses a checkpoint, or a plugin breaks."""

    @hookimpl
    def on_step_end(self) -> None:
        raise KeyError("the real one")


class LateFailures:
    """Raise in everything that is told while an error is on its way."""

    scope = "run"

    @hookimpl
    def on_fit_end(self) -> None:
        raise ValueError("at the fit's end")

    @hookimpl
    def on_exception(self) -> None:
        raise ValueError("at the exception")

    @hookimpl
    def on_close(self) -> None:
        raise ValueError("at the close")

    @hookimpl
    def on_message(self) -> None:
        raise ValueError("at a message")


class Ends:
    scope = "run"

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def on_fit_end(self, result: Any) -> None:
        self.heard.append(f"fit {result.status}")

    @hookimpl
    def on_close(self, status: str) -> None:
        self.heard.append(f"run {status}")


def test_the_first_cause_is_shown_and_the_later_ones_after_it(tiny_config: Callable[..., dict[str, Any]]) -> None:
    ends = Ends()
    config = tiny_config(plugins={"progress": False, "history": False})
    with pytest.raises(PluginFailure, match="on_step_end raised KeyError at step 1: 'the real one'") as caught:
        create_trainer(config=config, plugins=[LateFailures(), Fails, ends]).train()
    assert [note.split(": ")[2].split(", at ")[0] for note in caught.value.__notes__] == [
        "at the fit's end",
        "at the exception",
        "at the close",
    ]
    assert ends.heard == ["fit failed", "run failed"]


def test_the_first_of_several_at_a_fits_end_is_shown(tiny_config: Callable[..., dict[str, Any]]) -> None:
    class AlsoLate:
        @hookimpl
        def on_fit_end(self) -> None:
            raise KeyError("the second")

    ends = Ends()
    with pytest.raises(PluginFailure, match="on_fit_end raised ValueError at step 22: at the fit's end") as caught:
        create_trainer(config=tiny_config(), plugins=[LateFailures(), AlsoLate, ends]).train()
    assert "'the second'" in caught.value.__notes__[0]
    assert ends.heard == ["fit ok", "run failed"]


def test_an_interrupt_stays_one(tiny_config: Callable[..., dict[str, Any]]) -> None:
    from stepbus.base.errors import Interrupted

    class Stops:
        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            trainer.run.signal = 2

        @hookimpl
        def on_report(self) -> None:
            raise ValueError("at the report")

    with pytest.raises(Interrupted, match="interrupted by SIGINT; a checkpoint was written") as caught:
        create_trainer(config=tiny_config(), plugins=[Stops()]).train()
    assert "at the report" in caught.value.__notes__[0]


FILLS = """
from stepbus import hookimpl
from stepbus.storage import durable
from stepbus.storage.checkpoints import writing

def refuse(*_, **__):
    raise OSError(28, "No space left on device")

class Fills:
    scope = "run"

    @hookimpl
    def on_step_end(self, state):
        if state.step == 3:
            durable.write_file = writing._write_files = refuse
"""


def test_the_command_line_says_one_sentence_each(
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A full disk: the checkpoint's own sentence comes first, then the history's; exit code 2."""
    from stepbus.cli.main import main
    from stepbus.storage import durable
    from stepbus.storage.checkpoints import writing

    for module, name in ((writing, "_write_files"), (durable, "write_file")):
        monkeypatch.setattr(module, name, getattr(module, name))  # what the plugin does is undone afterwards
    (tmp_path / "fills.py").write_text(FILLS)
    fills = {"use": str(tmp_path / "fills.py") + ":Fills"}
    saves = {"save_strategy": "steps", "save_steps": 4}
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(plugins={"progress": False, "checkpoint": saves, "fills": fills})))
    assert main(["train", str(config)]) == 2
    run = tmp_path / "run"
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        f"stepbus: {run}/fits/fit/checkpoints: cannot write the checkpoint of step 4: No space left on device"
    )
    assert second.startswith(
        f"stepbus: {run}/fits/fit/history.csv: history, stepbus 0.1.0 cannot read or write here: No space"
    )
