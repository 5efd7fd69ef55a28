"""A plugin that raises, in each hook in turn and under each policy, in real runs of a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import PluginError, PluginFailure, Trainer, checkpoints, create_trainer, events, hookimpl
from stepbus.bus import SPECIFICATIONS

PLUGIN = """
from stepbus import hookimpl

class Breaks:
    '''Raise in one hook.'''
    scope = "run"

    @hookimpl{options}
    def {hook}(self):
        raise ZeroDivisionError("of the sample")

class Listens:
    '''Say something, and that it was closed.'''
    scope = "run"

    @hookimpl
    def on_run_start(self, run):
        run.message("begun")

    @hookimpl
    def on_close(self, run, status):
        (run.config.base / "closed").write_text(status)
"""
# These are asked one after another until one answers; the sample has to come first to be asked at all.
ANSWERS = {"combine_results", "checkpoint_retention"}
# This one is asked only where there are folds.
NEEDS_FOLDS = "combine_results"
HOOKS = [name for name in SPECIFICATIONS if name != "on_exception"]


@pytest.fixture
def trainer_of(tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    def make(hook: str, policy: str) -> Any:
        options = "(tryfirst=True)" if hook in ANSWERS else ""
        (tmp_path / "sample.py").write_text(PLUGIN.format(hook=hook, options=options))
        sample = {"use": str(tmp_path / "sample.py") + ":Breaks", "on_error": policy}
        listens = {"use": str(tmp_path / "sample.py") + ":Listens"}
        plugins: dict[str, Any] = {"progress": False, "sample": sample, "listens": listens}
        sections: dict[str, Any] = {"plugins": plugins}
        if hook == NEEDS_FOLDS:
            plugins["cross_validation"] = {"folds": 2}
            sections["data"] = {"validation": None}
        path = tmp_path / "run.json"
        path.write_text(json.dumps(tiny_config(**sections)))
        return create_trainer(config=path)

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
        assert message.endswith(": of the sample; switch the plugin off with plugins: {sample: false}")
    assert (tmp_path / "closed").read_text() == ("ok" if hook == "on_close" else "failed")
    trained = (tmp_path / "run" / "checkpoints").exists()
    assert good_checkpoints(tmp_path / "run") > 0 or not trained


@pytest.mark.parametrize("hook", HOOKS)
def test_disabled_it_is_out_and_the_run_goes_on(hook: str, trainer_of: Callable[..., Any], tmp_path: Path) -> None:
    if hook in events.BUILD_HOOKS:
        with pytest.raises(PluginError, match=f"on_error: disable fits plugins that only watch.*{hook}"):
            trainer_of(hook, "disable").train()
        return
    trainer = trainer_of(hook, "disable")
    result = trainer.train()
    assert result.status == "ok"
    assert (tmp_path / "closed").read_text() == "ok"
    assert good_checkpoints(tmp_path / "run") > 0
    (error,) = trainer.run.meter.costs["sample"].disabled
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
