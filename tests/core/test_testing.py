"""The kit for authors: scripted runs, held against real ones, and the rules, each with a plugin that breaks it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
from attrs import define

import stepbus.testing
from stepbus import (
    Axis,
    BaseTrainer,
    CheckpointError,
    Component,
    ConfigError,
    FitResult,
    ModelError,
    PluginError,
    PluginFailure,
    Problem,
    Retention,
    Scheduler,
    SchedulerSettings,
    StepResult,
    TrainingState,
    create_trainer,
    grow,
    hookimpl,
    load_config,
    mean_predictions,
    setting,
)
from stepbus.base.errors import Interrupted
from stepbus.config.discovery.plugins import installed
from stepbus.testing import LateRecorder, Played, Recorder, assert_conforms, bus_of, play
from stepbus.testing.script import ScriptedRows
from stepbus.text.rows.table import read_rows

FALLING = [{"eval_loss": loss} for loss in (0.9, 0.7, 0.8, 0.6)]


class PrintLoss:
    """Print the loss every few steps."""

    @define(frozen=True, kw_only=True)
    class Config:
        every: int = 50

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def on_step_end(self, state: TrainingState, step: StepResult) -> None:
        if state.step % self.config.every == 0:
            print(step.loss)


class Counts:
    """Log a count that goes on after a resume, and stop at a limit."""

    asks = ("stop",)

    @define(frozen=True, kw_only=True)
    class Config:
        limit: int = setting(8, "updates before the stop")

    def __init__(self, config: Config) -> None:
        self.config, self.seen = config, 0

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.seen += 1
        if self.seen % 3 == 0:
            trainer.log({"seen": float(self.seen)})
        if self.seen == self.config.limit:
            trainer.control.request_stop("the limit")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = saved["seen"]


# A run ----------------------------------------------------------------------------------------------------------------


def test_a_played_run_tells_what_happened() -> None:
    class Talks:
        asks = ("checkpoint",)

        scope = "run"

        @hookimpl
        def on_metrics(self, trainer: Any, state: TrainingState) -> None:
            trainer.message(f"loss {state.metrics['eval_loss']}")
            trainer.report("table", ["a"], [["1"]])
            trainer.run.artifact("note", trainer.directory / "note.txt")
            trainer.control.request_checkpoint("worth keeping")

        @hookimpl
        def on_close(self, run: Any, status: str) -> None:
            run.message(status)

    played = play(Talks, epochs=2, steps_per_epoch=3, losses=[3.0, 1.0], metrics=FALLING, log_steps=3)
    assert [record["loss"] for record in played.records] == [pytest.approx(5 / 3), 1.0]
    assert played.messages == ["loss 0.9", "loss 0.7", "ok"]
    assert played.reports == [("table", ["a"], [["1"]])] * 2
    assert (played.run.costs["talks"].calls, played.run.costs["talks"].disabled) == (3, ())
    assert [kind for kind, _ in played.artifacts] == ["note", "note", "model"]
    assert [(kept.step, kept.state["epoch"]) for kept in played.checkpoints] == [(3, 1), (6, 2)]
    assert [(each.kind, each.request.plugin, each.request.step) for each in played.asked] == [
        ("checkpoint", "talks", 3),
        ("checkpoint", "talks", 6),
    ]
    assert (played.status, played.stopped_by, played.state.step) == ("ok", "", 6)
    assert played.state.best is not None
    assert played.state.best.value == 0.7
    assert played.result is not None
    assert played.result.metrics["eval_loss"] == 0.7
    assert played.result.predictions["validation"].values.shape == (6, 2)


def test_a_recorder_keeps_arguments_as_they_were() -> None:
    recorder = Recorder()
    played = play(recorder, epochs=1, steps_per_epoch=3, metrics=FALLING)
    assert [given["state"].step for given in recorder.of("on_step_end")] == [1, 2, 3]
    assert recorder.of("on_metrics")[0]["metrics"]["eval_loss"] == 0.9
    assert recorder.names == played.names
    assert recorder.of("on_fit_end")[0]["trainer"] is played.trainer


def test_a_late_recorder_hears_after_all_others() -> None:
    heard = []

    class Between:
        @hookimpl
        def on_log(self) -> None:
            heard.append((len(early.of("on_log")), len(late.of("on_log"))))

    early, late = Recorder(), LateRecorder()
    play(early, Between(), late, epochs=1, losses=[0.5], log_steps=5)
    assert heard == [(1, 0)]
    assert early.of("on_log") == late.of("on_log")


def test_plugins_come_in_every_form() -> None:
    module = ModuleType("some_hooks")

    @hookimpl
    def on_fit_start(trainer: Any) -> None:
        trainer.message("module")

    module.on_fit_start = on_fit_start  # type: ignore[attr-defined]
    counted = Counts(Counts.Config(limit=9))
    played = play(PrintLoss, (Recorder, {}), module, counted, resume_from=None)
    assert list(played.plugins) == ["(recorder)", "print_loss", "recorder", "some_hooks", "counts"]
    assert played.plugins["counts"] is counted
    assert played.stopped_by == "counts at step 9: the limit"
    assert "module" in played.messages
    for given in ({"limit": 4}, Counts.Config(limit=4)):
        assert play((Counts, given)).state.step == 4


def test_settings_are_checked_as_those_of_a_file() -> None:
    with pytest.raises(ConfigError, match=r"plugins\.counts\.limit: expected int, got 'four' \(counts, "):
        play((Counts, {"limit": "four"}))
    with pytest.raises(ConfigError, match=r"training\.log_steps: expected a number of at least 1, got 0"):
        play(log_steps=0)
    with pytest.raises(ConfigError, match="expected names that begin with eval_, got loss"):
        play(metrics=[{"loss": 0.5}])


def test_problems_of_the_plan_end_a_run_before_it_starts() -> None:
    class Wants:
        @hookimpl
        def validate_plan(self, plan: Any) -> list[Problem]:
            facts = (plan.total_steps, plan.rows, plan.has_validation, plan.metrics, plan.monitor)
            return [] if plan.has_validation else [Problem("plugins.wants", f"no validation: {facts}")]

    assert play(Wants, metrics=FALLING).status == "ok"
    with pytest.raises(
        ConfigError, match=r"no validation: \(10, {'train': 20}, False, {'eval_loss': False, 'train_loss'"
    ):
        play(Wants)


def test_what_raises_is_blamed_and_may_be_switched_off() -> None:
    class Breaks:
        @hookimpl
        def on_log(self) -> None:
            raise KeyError("gone")

    recorder = Recorder()
    with pytest.raises(PluginFailure, match=r"on_log raised KeyError at step 5: 'gone', at .*; switch the plugin off"):
        play(recorder, Breaks, log_steps=5)
    assert recorder.names[-2:] == ["on_exception", "on_close"]
    assert recorder.of("on_close")[0]["status"] == "failed"
    played = play((Breaks, {"on_error": "disable"}), log_steps=5)
    assert played.status == "ok"
    assert list(played.disabled) == ["breaks"]


class Notices:
    """Keep what a run says of itself at its start, of which fit an artifact is, and how it ended."""

    scope = "run"

    def __init__(self) -> None:
        self.told: list[Any] = []

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        self.told.append((run.resumed, [fit.name for fit in run.fits if run.is_done(fit)]))

    @hookimpl
    def on_artifact(self, fit: Any, kind: str) -> None:
        self.told.append((kind, fit and fit.name))

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        trainer.artifact("note", trainer.directory / "note.txt")
        trainer.run.artifact("table", trainer.run.directory / "table.csv")

    @hookimpl
    def on_exception(self) -> None:
        self.told.append("failed")

    @hookimpl
    def on_close(self, status: str) -> None:
        self.told.append(status)


class TwoFits:
    """Train twice."""

    scope = "run"
    grows = (Axis("fold"),)

    @hookimpl
    def expand_fits(self, fits: Any) -> Any:
        return [attrs.evolve(fits[0], name=f"fold-{place}", scope={"fold": place}) for place in range(2)]

    @hookimpl
    def combine_results(self, results: Any) -> Any:
        return results[0]


def test_a_run_says_that_it_is_resumed_and_an_artifact_of_which_fit_it_is() -> None:
    first = Notices()
    cut = play(first, TwoFits, epochs=1, steps_per_epoch=4, interrupt_at=3)
    notes = [("note", "fold-0"), ("table", None)]
    assert first.told == [(False, []), *notes, "interrupted"]
    snapshot = attrs.evolve(cut.checkpoints[-1], fit="fold-1", done=(FitResult(cut.run.fits[0]),))
    second = Notices()
    play(second, TwoFits, epochs=1, steps_per_epoch=4, resume_from=snapshot)
    assert second.told == [(True, ["fold-0"]), ("note", "fold-1"), ("table", None), ("model", "fold-1"), "ok"]


def test_a_run_in_a_folder_says_the_same(tiny_config: Any) -> None:
    settings = {"training": {"max_steps": 2}, "plugins": {"progress": False, "history": False}}
    whole, again = Notices(), Notices()
    create_trainer(config=tiny_config(**settings), plugins=[whole]).train()
    create_trainer(config=tiny_config(**settings), plugins=[again]).train(resume=True)
    tables = [("confusion_matrix", "fit"), ("per_class", "fit")]
    assert whole.told == [(False, []), ("note", "fit"), ("table", None), *tables, ("model", "fit"), "ok"]
    assert again.told == [(True, ["fit"]), "ok"]


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if not name.endswith("_seconds")} for each in records]


def test_a_cut_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    script: dict[str, Any] = {"epochs": 3, "steps_per_epoch": 4, "metrics": FALLING, "log_steps": 2}
    whole = play(Counts, **script)
    first = play(Counts, interrupt_at=5, **script)
    assert (first.status, first.state.step, first.result) == ("interrupted", 5, None)
    assert first.checkpoints[-1].plugins == {"counts": {"seen": 5}}
    assert first.names[-2:] == ["on_fit_end", "on_close"], "a signal is no failure"
    second = play(Counts, resume_from=first.checkpoints[-1], **script)
    assert timeless(first.records + second.records) == timeless(whole.records)
    assert second.state.state_dict() == whole.state.state_dict()
    assert (second.stopped_by, second.plugin_states) == (whole.stopped_by, whole.plugin_states)
    assert f"resumed at step 5 from {first.checkpoints[-1].path}" in second.messages


def test_the_best_weights_are_put_back_and_scored_again() -> None:
    class KeepsBest:
        asks = ("best",)

        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            trainer.control.request_best("the best counts")

    played = play(KeepsBest, metrics=FALLING[:3], epochs=3)
    assert any("the best weights are back: eval_loss 0.7000 at step 10" in text for text in played.messages)
    assert played.result is not None
    assert played.result.metrics["eval_loss"] == 0.7
    first = play(KeepsBest, metrics=FALLING[:3], epochs=3, interrupt_at=12)
    second = play(KeepsBest, metrics=FALLING[:3], epochs=3, resume_from=first.checkpoints[-1])
    assert second.result is not None
    assert second.result.metrics["eval_loss"] == 0.7


def test_a_learning_rate_that_a_plugin_changed_is_used_and_kept() -> None:
    class Halves:
        @hookimpl
        def on_epoch_end(self, trainer: Any) -> None:
            trainer.optimizer.learning_rate /= 2

    rates = [each["step"].learning_rate for each in play_steps(play(Halves, steps_per_epoch=2))]
    assert rates == [5e-5, 5e-5, 2.5e-5, 2.5e-5]
    cut = play(Halves, steps_per_epoch=2, interrupt_at=3).checkpoints[-1]
    assert [each["step"].learning_rate for each in play_steps(play(Halves, steps_per_epoch=2, resume_from=cut))] == [
        2.5e-5
    ]


def play_steps(played: Played) -> list[dict[str, Any]]:
    return [event.arguments for event in played.events if event.name == "on_step_end"]


def test_arrays_in_a_state_are_kept_and_other_objects_are_not() -> None:
    class Remembers:
        def __init__(self) -> None:
            self.sums = np.zeros(2)
            self.extra: Any = None

        @hookimpl
        def on_step_end(self, state: TrainingState) -> None:
            self.sums += state.step

        def state_dict(self) -> dict[str, Any]:
            return {"sums": self.sums, "extra": self.extra}

        def load_state_dict(self, saved: dict[str, Any]) -> None:
            self.sums, self.extra = saved["sums"], saved["extra"]

    first = play(Remembers, interrupt_at=3)
    kept = first.checkpoints[-1].plugins["remembers"]["sums"]
    assert kept.tolist() == [6.0, 6.0]
    play(Remembers, resume_from=first.checkpoints[-1])
    assert kept.tolist() == [6.0, 6.0]
    plugin = Remembers()
    plugin.extra = {"when": date(2026, 1, 1)}
    with pytest.raises(CheckpointError, match=r"remembers: its state_dict\(\) cannot be kept: extra\.when: .*date"):
        play(plugin, interrupt_at=3)


def test_a_hook_may_save_and_load() -> None:
    class Returns:
        asks = ("stop",)

        @hookimpl
        def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
            if state.epoch == 0:
                self.saved = trainer.save_checkpoint()
            elif trainer.control.step == 4:
                trainer.load_checkpoint(self.saved)
                trainer.control.request_stop("back again")

    played = play(Returns, steps_per_epoch=2, epochs=4)
    assert [kept.step for kept in played.checkpoints] == [2]
    assert (played.state.step, played.stopped_by) == (2, "returns at step 2: back again")


def test_every_fit_of_a_plan_is_played(review_files: dict[str, Path]) -> None:
    from stepbus_plugins.cross_validation import CrossValidation

    rows = read_rows(review_files["train"], name="train", config=load_config().data.settings)
    script: dict[str, Any] = {"sets": {"train": rows}, "metrics": FALLING}
    cross_validation = (CrossValidation, {"folds": 3})
    played = play(cross_validation, Counts, **script)
    assert [fit.name for fit in played.run.fits] == ["fold-1", "fold-2", "fold-3"]
    assert played.names.count("on_fit_end") == 3
    assert [each.request.step for each in played.asked] == [8, 8, 8]
    assert played.result is not None
    assert len(played.result.predictions["validation"].row_ids) == len(rows)
    first = play(cross_validation, Counts, interrupt_at=5, **script)
    assert first.names.count("on_fit_start") == 1
    second = play(cross_validation, Counts, resume_from=first.checkpoints[-1], **script)
    assert second.result is not None
    assert second.result.metrics == played.result.metrics


# Odd settings, parameters, and what ends a process --------------------------------------------------------------------


@define(frozen=True, kw_only=True)
class ArraySettings(SchedulerSettings):
    """Settings whose names arrays have too."""

    shape: str = setting("linear", "the form of the curve")
    tolist: bool = setting(False, "nothing")
    dtype: str = setting("x", "nothing")


class Listening(Scheduler):
    """A schedule that listens, so that it is played."""

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        return base

    @hookimpl
    def on_step_end(self) -> None: ...


class Shapes:
    """Offer a schedule with settings of any name."""

    components: ClassVar[list[Component]] = [Component("scheduler", "shapes", ArraySettings, Listening)]

    @define(frozen=True, kw_only=True)
    class Config:
        shape: tuple[int, ...] = setting((1, 2), "of something")

    def __init__(self, config: Config) -> None:
        self.config, self.settings = config, ArraySettings()

    @hookimpl
    def on_step_end(self) -> None: ...


def test_settings_may_have_the_names_of_an_arrays_attributes() -> None:
    assert_conforms(Shapes, {"shape": [3, 4]})


class Decays:
    """Give each layer a rate of its own."""

    @hookimpl
    def parameter_groups(self, model: Any) -> dict[str, dict[str, float]]:
        layers = model.trainable_parameters()["encoder"]["encoder"]["layer"]
        shapes = [layer["attention"]["self"]["query"]["weight"].shape for layer in layers]
        assert shapes in ([(8, 8), (8, 8)], [(16, 16)])  # a scripted model, and a tiny one
        name = "encoder.encoder.layer.{}.attention.self.query.weight"
        return {name.format(place): {"learning_rate_scale": 0.5**place} for place in range(len(layers))}


class AlsoDecays(Decays):
    """The same once more: scales multiply."""


def test_a_scripted_model_has_parameters() -> None:
    played = play(Decays, AlsoDecays, steps_per_epoch=1, epochs=1)
    assert played.names.count("parameter_groups") == played.names.count("transform_gradients") == 1
    assert played.trainer.optimizer.groups == {
        "encoder.encoder.layer.0.attention.self.query.weight": {"learning_rate_scale": 1.0},
        "encoder.encoder.layer.1.attention.self.query.weight": {"learning_rate_scale": 0.25},
    }
    assert_conforms(Decays)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"head.weigth": {}}, "names 'head.weigth' (did you mean 'head.weight'?), expected a parameter"),
        ({"head.bias": {"weight_decy": 0.0}}, "a 'weight_decy' (did you mean 'weight_decay'?)"),
        ({"head.bias": 3}, "expected a mapping from parameter names to mappings of settings"),
        ([("head.bias", {})], "expected a mapping from parameter names to mappings of settings"),
    ],
)
def test_groups_of_no_parameter_are_refused(groups: Any, words: str) -> None:
    class Gives:
        @hookimpl
        def parameter_groups(self) -> Any:
            return groups

    with pytest.raises((PluginError, PluginFailure)) as caught:
        play(Gives)
    assert words in str(caught.value)


class Leaves:
    """End the process in one of its methods."""

    where: ClassVar[str] = ""
    scope = "run"

    def state_dict(self) -> dict[str, Any]:
        return self.leave("state_dict") or {"a": 1}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.leave("load_state_dict")

    @hookimpl
    def on_fit_end(self) -> None:
        self.leave("on_fit_end")

    @hookimpl
    def on_close(self) -> None:
        self.leave("on_close")

    def leave(self, where: str) -> Any:
        if where == self.where:
            sys.exit(3)


@pytest.mark.parametrize("where", ["state_dict", "load_state_dict", "on_fit_end", "on_close"])
def test_one_that_ends_the_process_is_blamed(where: str) -> None:
    leaves = type("Leaves", (Leaves,), {"where": where})
    with pytest.raises(AssertionError, match=rf'Leaves breaks the rule ".*": .*{where} raised SystemExit.*: 3'):
        assert_conforms(leaves)


def test_a_schedule_that_ends_the_process_when_it_is_built_is_blamed() -> None:
    def build(settings: Any) -> Any:
        sys.exit(4)

    class Offers:
        """Offer it."""

        components: ClassVar[list[Component]] = [Component("scheduler", "leaves", SchedulerSettings, build)]

    with pytest.raises(AssertionError, match="SystemExit: 4"):
        assert_conforms(Offers)


# Held against a real run ----------------------------------------------------------------------------------------------


class Fails:
    @hookimpl
    def on_step_end(self, state: TrainingState) -> None:
        if state.step == 3:
            raise ValueError("no more")


class Interrupts:
    @hookimpl
    def on_step_end(self, trainer: Any, state: TrainingState) -> None:
        if state.step == 4:
            trainer.run.signal = signal.SIGINT


# Told in words of the real model.
OF_A_MODEL = {"on_message"}
# Told at whichever boundary comes after a thread has written.
WHEN_DURABLE = {"checkpoint_retention", "on_checkpoint"}


def checkpoints(recorder: Recorder) -> list[str]:
    """Return the names of the checkpoints that were told of, without step 0: a real fit tries the disk instead."""
    names = [given["checkpoint"].name for given in recorder.of("on_checkpoint")]
    return [name for name in names if name != "step-00000000"]


def order(recorder: Recorder) -> list[tuple[str, int | None]]:
    """Return the events and the steps that they happened at."""
    return [
        (event.name, event.arguments["state"].step if "state" in event.arguments else None)
        for event in recorder.events
        if event.name not in OF_A_MODEL | WHEN_DURABLE
    ]


def quietly(run: Callable[[], Any]) -> None:
    with contextlib.suppress(PluginFailure, Interrupted):
        run()


@pytest.mark.parametrize(
    ("sections", "extra"),
    [
        ({}, ()),
        ({"training": {"num_epochs": 2, "eval_strategy": "steps", "eval_steps": 4, "max_steps": 15}}, ()),
        ({"training": {"eval_strategy": "no"}}, ()),
        (
            {
                "training": {"num_epochs": 2, "eval_strategy": "steps", "eval_steps": 5},
                "plugins": {"progress": False, "early_stopping": {"patience": 1, "min_delta": 10}},
            },
            (),
        ),
        ({}, (Fails,)),
        ({}, (Interrupts,)),
        ({"plugins": {"progress": False, "cross_validation": {"folds": 2}}, "data": {"validation": None}}, ()),
    ],
    ids=["defaults", "by steps", "no evaluation", "stopped", "failed", "interrupted", "folds"],
)
def test_a_scripted_run_is_what_a_real_one_is(
    sections: dict[str, Any],
    extra: tuple[Any, ...],
    tiny_config: Callable[..., dict[str, Any]],
    review_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    tree, real, scripted = tiny_config(**sections), Recorder(), Recorder()
    trainer = create_trainer(config=tree, plugins=[real, *extra])
    quietly(trainer.train)
    first = real.of("on_fit_start")[0]["state"]
    cycles = [given["metrics"] for given in real.of("on_metrics")]
    metrics = [{name: value for name, value in each.items() if name.startswith("eval_")} for each in cycles]
    script: dict[str, Any] = {
        "steps_per_epoch": first.steps_per_epoch,
        "losses": [given["step"].loss for given in real.of("on_step_end")],
        "metrics": metrics or [real.of("on_evaluate")[0]["metrics"]] if real.of("on_evaluate") else [],
        "directory": tmp_path / "scripted",
        **tree["training"],
        "epochs": tree["training"].get("num_epochs"),
    }
    if "cross_validation" in tree["plugins"]:
        script["sets"] = {"train": read_rows(review_files["train"], name="train", config=trainer.config.data.settings)}
    if extra:
        script["metrics"] = FALLING  # the real run ends before its first evaluation
    del script["num_epochs"]
    choices = [(choice.loaded.cls, choice.settings) for choice in trainer.config.plugins]
    quietly(lambda: play(scripted, *choices, *extra, **script))
    assert len(order(real)) > 15
    assert order(scripted) == order(real)
    assert checkpoints(scripted) == checkpoints(real)


def test_the_kit_imports_no_mlx() -> None:
    script = (
        "import sys, stepbus.testing.fixtures\n"
        "early = {n for n in sys.modules if n.startswith('stepbus.') and 'testing' not in n}\n"
        "assert early <= {'stepbus.base', 'stepbus.base.lazy'}, early  # the table of names itself\n"
        "from stepbus import hookimpl\n"
        "from stepbus.testing import assert_conforms, play\n"
        "class Stop:\n"
        "    asks = ('stop',)\n"
        "    @hookimpl\n"
        "    def on_epoch_end(self, trainer): trainer.control.request_stop('enough')\n"
        "assert play(Stop, metrics=[{'eval_loss': 0.5}]).state.step == 5\n"
        "assert_conforms(Stop)\n"
        "assert not [n for n in sys.modules if n.startswith('mlx') or n in ('pandas', 'sklearn', 'rich')]\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_all_names_can_be_imported() -> None:
    for name in stepbus.testing.__all__:
        assert getattr(stepbus.testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'paly'"):
        _ = stepbus.testing.paly


# Fixtures -------------------------------------------------------------------------------------------------------------


def test_the_fixtures_come_with_the_package(
    stepbus_play: Callable[..., Played], stepbus_recorder: Recorder, tmp_path: Path
) -> None:
    played = stepbus_play(Counts, stepbus_recorder)
    assert stepbus_recorder.names == played.names
    assert (tmp_path / "run").is_dir()
    assert installed() == {}


def test_a_bus_without_discovery(stepbus_bus: Callable[..., Any]) -> None:
    class Adds:
        @hookimpl
        def checkpoint_retention(self) -> Retention:
            return Retention(last=7)

    bus = stepbus_bus(PrintLoss, Adds)
    assert [member.name for member in bus.members] == ["print_loss", "adds"]
    assert bus.hook.checkpoint_retention(trainer=None) == Retention(last=7)
    assert installed() == {}


def test_discovery_is_back_after_the_test_before() -> None:
    assert "early_stopping" in installed()
    assert [member.name for member in bus_of(PrintLoss).members] == ["print_loss"]


def test_the_examples_of_the_docstring_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class StopAtGoal:
        asks = ("stop",)

        @define(frozen=True, kw_only=True)
        class Config:
            goal: float = 0.9

        def __init__(self, config: Any) -> None:
            self.config = config

        @hookimpl
        def on_metrics(self, trainer: Any, metrics: dict[str, float]) -> None:
            if metrics["eval_accuracy"] >= self.config.goal:
                trainer.control.request_stop(f"eval_accuracy is {metrics['eval_accuracy']}")

    module = ModuleType("my_plugin")
    module.StopAtGoal = StopAtGoal  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_plugin", module)
    code = [line for line in (stepbus.testing.__doc__ or "").splitlines() if line.startswith("    ")]
    names: dict[str, Any] = {}
    exec(textwrap.dedent("\n".join(code)), names)
    tests = [name for name in names if name.startswith("test_")]
    assert len(tests) == 3
    for name in tests:
        names[name]()
    assert names["second"].state.step == names["first"].state.total_steps


# The rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plugin", [PrintLoss, Counts])
def test_a_sound_plugin_conforms(plugin: type) -> None:
    assert_conforms(plugin)


def test_a_plugin_that_reads_the_clock_says_so() -> None:
    class Clock:
        ticks: ClassVar[list[float]] = []

        def __init__(self) -> None:
            self.seconds = 0.0

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            import time

            self.seconds = time.perf_counter()
            if state.step == 6:
                trainer.log({"clock": self.seconds})

        def state_dict(self) -> dict[str, Any]:
            return {"seconds": self.seconds}

        def load_state_dict(self, saved: dict[str, Any]) -> None:
            self.seconds = saved["seconds"]

    with pytest.raises(AssertionError, match=r"in a second run the records differ: .*clock is"):
        assert_conforms(Clock)
    assert_conforms(Clock, varying=("seconds", "clock"))


class MisspeltHook:
    @hookimpl
    def on_step_ended(self) -> None: ...


class OpenSettings:
    @define
    class Config:
        every: int = 1

    def __init__(self, config: Config) -> None: ...

    @hookimpl
    def on_step_end(self) -> None: ...


class LoadsOnly:
    @hookimpl
    def on_step_end(self) -> None: ...

    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


class Shifting:
    @define(frozen=True, kw_only=True)
    class Config:
        every: int = 3

        def __attrs_post_init__(self) -> None:
            object.__setattr__(self, "every", self.every + 1)

    def __init__(self, config: Config) -> None: ...

    @hookimpl
    def on_step_end(self) -> None: ...


class Requires:
    @define(frozen=True, kw_only=True)
    class Config:
        goal: float = setting(meaning="the metric to reach")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def on_step_end(self) -> None: ...


class OpensFile:
    def __init__(self) -> None:
        Path(__file__).stat()
        self.text = Path(__file__).read_text(encoding="utf-8")

    @hookimpl
    def on_step_end(self) -> None: ...


class MakesArray:
    def __init__(self) -> None:
        self.sums = np.zeros(3)

    @hookimpl
    def on_step_end(self) -> None: ...


class Raises:
    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        trainer.model.encoder.layers  # noqa: B018


class Pickles:
    def __init__(self) -> None:
        self.seen: set[int] = set()

    @hookimpl
    def on_step_end(self, state: TrainingState) -> None:
        self.seen.add(state.step)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = set(saved["seen"])


class ForgetsPart(Counts):
    def load_state_dict(self, saved: dict[str, Any]) -> None: ...


class ForgetsAll:
    """It has memory and no state, so it stops later after a resume."""

    asks = ("stop",)

    def __init__(self) -> None:
        self.seen = 0

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self.seen += 1
        if self.seen == 7:
            trainer.control.request_stop("seven")


class AsksAgain:
    asks = ("evaluation",)

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        trainer.control.request_evaluation("at the start")


class SharesList:
    losses: ClassVar[list[float]] = []

    @hookimpl
    def on_step_end(self, step: StepResult) -> None:
        self.losses.append(step.loss)


_total = {"steps": 0}


class SharesGlobal:
    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        _total["steps"] += 1
        trainer.log({"total": float(_total["steps"])})


class LooksAround:
    asks = ("best",)

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        if len(trainer.bus.members) > 2:
            trainer.control.request_best("I am not alone")


class ChangesMetrics:
    @hookimpl
    def on_metrics(self, metrics: dict[str, float]) -> None:
        metrics["eval_loss"] = 0.0


class ChangesState:
    @hookimpl
    def on_step_end(self, state: TrainingState) -> None:
        state.history.append({"step": state.step})


class ChangesPlan:
    """It changes the state where nobody else is given it."""

    @hookimpl
    def is_boundary(self, trainer: Any) -> None:
        trainer.state.total_steps = 8


class Waits:
    @hookimpl
    def on_log(self) -> None:
        import mlx.core as mx

        mx.eval(mx.array([1.0]) + 1)


class Reads:
    @hookimpl
    def on_step_end(self) -> None:
        import mlx.core as mx

        mx.array(2.0).item()


@pytest.mark.parametrize(
    ("plugin", "rule", "words"),
    [
        (MisspeltHook, "is well made", r"there is no hook 'on_step_ended' \(did you mean 'on_step_end'\?\)"),
        (OpenSettings, "is well made", "Config is not frozen"),
        (LoadsOnly, "is well made", "expected both state_dict and load_state_dict"),
        (Shifting, "settings round-trip", "every was 4 and came back as 5"),
        (Requires, "settings round-trip", r"goal: expected a value .* hand over what it needs with settings="),
        (OpensFile, "building touches nothing", r"its constructor does open '.*test_testing\.py'; leave that to"),
        (MakesArray, "building touches nothing", "its constructor makes the array sums"),
        (Raises, "plays a run", "on_step_end raised AttributeError at step 1"),
        (Pickles, "needs no pickle", r"seen: expected None, bool, .*, got set; give sorted"),
        (ForgetsPart, "state round-trips", "forgets_part.seen is 0 in place of 8"),
        (
            ForgetsAll,
            "resume equals uninterrupted",
            "cut after update 1, the requests differ: .*step is 8 in place of 7",
        ),
        (AsksAgain, "resume equals uninterrupted", "cut after update 1, the requests differ"),
        (SharesList, "two fits share no state", r"changed the class: SharesList\.losses has 12 in place of 0"),
        (SharesGlobal, "two fits share no state", "in a second run the records differ"),
        (LooksAround, "order makes no difference", "with another plugin before it, the requests differ"),
        (
            ChangesMetrics,
            "plays a run",
            "on_metrics raised ReadOnlyError at step 2: this mapping is read-only here; change a copy",
        ),
        (ChangesState, "plays a run", "on_step_end raised ReadOnlyError at step 1: this list is read-only here"),
        (ChangesPlan, "plays a run", "is_boundary raised ReadOnlyError at step 0: state.total_steps is read-only here"),
        (Waits, "no extra device synchronisation", "on_log calls mx.eval; hooks are given host numbers"),
        (Reads, "no extra device synchronisation", "on_step_end calls array.item"),
    ],
)
def test_what_breaks_a_rule_is_caught(plugin: type, rule: str, words: str) -> None:
    with pytest.raises(AssertionError, match=rf'^{plugin.__name__} breaks the rule "{rule}": (?s:.*){words}'):
        assert_conforms(plugin)


class Doubles:
    """Train twice, with two seeds; what is to combine it does so rightly."""

    scope = "run"
    grows = (Axis("member"),)

    @hookimpl
    def expand_fits(self, fits: Any) -> Any:
        return grow(
            fits,
            lambda fit: [
                attrs.evolve(fit, name=f"{fit.name}-{n}", seed=n, scope={**fit.scope, "member": n}) for n in (1, 2)
            ],
        )

    @hookimpl
    def combine_results(self, results: Any) -> Any:
        return results[0]

    @hookimpl
    def combine_predictions(self, predictions: Any) -> Any:
        return mean_predictions(predictions)


class ReturnsNothing(Doubles):
    @hookimpl
    def expand_fits(self, fits: Any) -> Any:
        super().expand_fits(fits)


class CombinesToAnArray(Doubles):
    @hookimpl
    def combine_predictions(self, predictions: Any) -> Any:
        return np.mean([each.values for each in predictions], axis=0)


class CombinesToNothing(Doubles):
    @hookimpl
    def combine_predictions(self, predictions: Any) -> Any:
        mean_predictions(predictions)


@pytest.mark.parametrize(
    ("plugin", "rule", "words"),
    [
        (ReturnsNothing, "grows what it declares", "it declares the axis member and makes no fit along it; return the"),
        (CombinesToAnArray, "plays a run", r"combine_predictions: expected a stepbus\.Predictions from it, got array"),
        (CombinesToNothing, "plays a run", "gave no predictions for fit-1 and fit-2"),
    ],
)
def test_what_grows_and_combines_wrongly_is_caught(plugin: type, rule: str, words: str) -> None:
    assert_conforms(Doubles)
    for sets in ({}, {"sets": {"train": ScriptedRows("train", 8), "validation": ScriptedRows("validation", 4)}}):
        with pytest.raises(AssertionError, match=rf'^{plugin.__name__} breaks the rule "{rule}": (?s:.*){words}'):
            assert_conforms(plugin, **sets)


def test_a_rule_that_needs_settings_gets_them() -> None:
    assert_conforms(Requires, {"goal": 0.5})
    assert_conforms(Requires, Requires.Config(goal=0.5))


def test_what_mlx_had_is_back_after_the_watching() -> None:
    import mlx.core as mx

    before = (mx.eval, mx.array.item, mx.array.__float__)
    with pytest.raises(AssertionError, match=r"calls mx\.eval"):
        assert_conforms(Waits)
    assert (mx.eval, mx.array.item, mx.array.__float__) == before
    assert mx.array(2.0).item() == 2.0


def test_a_schedule_that_listens_is_held_to_the_rules() -> None:
    @define(frozen=True, kw_only=True)
    class Falling(SchedulerSettings):
        factor: float = setting(0.5, "what multiplies the rate")

    class Forgetful(Scheduler):
        settings: Falling

        def __init__(self, settings: Falling) -> None:
            super().__init__(settings)
            self.seen = 0

        def decayed(self, step: int, total_steps: int, base: float) -> float:
            return base

        @hookimpl
        def on_metrics(self, trainer: Any) -> None:
            self.seen += 1
            if self.seen == 3:
                trainer.optimizer.learning_rate *= self.settings.factor

    class Provider:
        components: ClassVar[list[Component]] = [Component("scheduler", "falling", Falling, Forgetful)]

    words = r'^Provider: scheduler\.falling breaks the rule "resume equals uninterrupted": cut after update 2, .*rate'
    with pytest.raises(AssertionError, match=words):
        assert_conforms(Provider)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps_per_epoch": 0}, "steps_per_epoch: expected a number of at least 1, got 0"),
        ({"steps_per_epoch": 1.5}, "steps_per_epoch: expected a number of at least 1, got 1.5"),
        ({"interrupt_at": 0}, "interrupt_at: expected an update from 1 to 10, got 0"),
        ({"interrupt_at": 11}, "interrupt_at: expected an update from 1 to 10, got 11"),
        ({"losses": "abc"}, "losses: expected a list of numbers, got 'abc'"),
        ({"losses": [0.5, None]}, "losses: expected a list of numbers, got a list"),
        ({"metrics": {"eval_loss": 1.0}}, "metrics: expected a list of mappings, one for each time, got a mapping"),
        ({"metrics": [{"eval_loss": "low"}]}, "metrics: expected numbers by name, got 'low'"),
        ({"scalars": [{"gradient_norm": None}]}, "scalars: expected numbers by name, got None"),
        ({"resume_from": "step-5"}, "resume_from: expected a snapshot, as earlier.checkpoints[-1], got 'step-5'"),
    ],
    ids=str,
)
def test_a_script_that_cannot_be_meant_is_refused(given: dict[str, Any], said: str) -> None:
    """An interruption that never came was the most silent of these."""
    with pytest.raises(ConfigError) as caught:
        play(**given)
    assert str(caught.value) == said


def test_a_tuple_is_a_class_and_its_settings() -> None:
    for wrong in ((Recorder,), (Recorder, {}, 1)):
        with pytest.raises(PluginError, match=r"expected \(class, settings\), got a tuple of [13]"):
            play(wrong)


def test_only_a_class_can_conform() -> None:
    with pytest.raises(TypeError, match="expected the class of a plugin, got "):
        assert_conforms(Recorder())  # type: ignore[arg-type]  # that is what is tried


# Hooks of a step ------------------------------------------------------------------------------------------------------


def inside(hook: str, function: Callable[..., Any]) -> type:
    return type("Inside", (), {hook: hookimpl(function)})


def test_a_scripted_run_asks_what_a_step_is_made_of_and_calls_nothing() -> None:
    seen: list[str] = []

    class Wraps:
        @hookimpl
        def phases(self) -> list[int]:
            return [2]

        @hookimpl
        def wrap_loss(self, trainer: Any, loss: Any) -> Any:
            seen.append(f"loss at {trainer.state.step}")
            return lambda forward, batch: loss(forward, batch)

        @hookimpl
        def wrap_gradient(self, value_and_grad: Any) -> Any:
            return lambda parameters, batch: value_and_grad(parameters, batch)

        @hookimpl
        def trained_parameters(self, names: Any, step: int) -> Any:
            return [name for name in names if step or name.startswith("head.")]

        @hookimpl
        def after_update(self, trainer: Any) -> Any:
            return trainer.optimizer.trained(trainer.model), lambda parameters, arrays: arrays

    played = play(Wraps, epochs=1, steps_per_epoch=4)
    assert seen == ["loss at 0", "loss at 2"]
    assert played.trainer.phases[0] == ("head.weight", "head.bias")
    assert len(played.trainer.phases[2]) == 39
    assert "encoder.encoder.layer.1.attention.self.query.weight" in played.trainer.phases[2]


@pytest.mark.parametrize(
    ("hook", "function", "words"),
    [
        ("phases", lambda self: [1.5], "phases: expected a list of whole numbers of at least 1"),
        ("trained_parameters", lambda self: ["head.bais"], "names 'head.bais' (did you mean 'head.bias'?)"),
        ("trained_parameters", lambda self: [], "expected some parameters to train from update 1 on, got all frozen"),
        ("transform_model", lambda self: 3, "transform_model: expected a model or None from it, got 3"),
        ("transform_model", lambda self, model: model.named_modules(), "a scripted model has parameters and no"),
        ("transform_model", lambda self, model: model.paramters(), "no 'paramters' (did you mean 'parameters'?)"),
        ("transform_model", lambda self, model: model(3), "a scripted model computes nothing; tiny_fit"),
        ("wrap_loss", lambda self, loss: loss(1, 2), "a scripted run calls no loss(forward, batch); tiny_fit"),
        ("wrap_loss", lambda self, loss: 3, "wrap_loss: expected a function loss(forward, batch) or None"),
        ("wrap_gradient", lambda self: "x", "wrap_gradient: expected a function value_and_grad(parameters, batch)"),
        ("after_update", lambda self: 3, "after_update: expected (arrays, function)"),
        ("after_update", lambda self: ({"a": 3}, len), "arrays.a: expected a dictionary of arrays"),
        ("after_update", lambda self: ({3: np.zeros(2)}, len), "after_update: arrays: expected texts as names, got 3"),
        ("training_step", lambda self: 3, "training_step: expected a function step(model, optimizer, batch)"),
        ("export_files", lambda self: {"config.json": ""}, "expected names that are not taken, got 'config.json'"),
    ],
)  # fmt: skip
def test_what_a_step_cannot_be_made_of_is_refused_in_a_scripted_run(hook: str, function: Any, words: str) -> None:
    with pytest.raises((PluginError, PluginFailure, ModelError)) as caught:
        play(inside(hook, function))
    assert words in str(caught.value)
    assert str(caught.value).startswith(("inside", "a scripted"))


def test_one_that_needs_modules_conforms_by_a_tiny_real_fit() -> None:
    class Halves:
        """Start with half of the head's weights."""

        @hookimpl
        def transform_model(self, model: Any) -> None:
            model.head.weight = model.head.weight / 2

    assert_conforms(Halves)
    with pytest.raises(PluginFailure, match="a scripted model has parameters and no modules, and so no 'head'"):
        play(Halves)


def test_a_tiny_fit_that_does_not_resume_is_caught() -> None:
    class Remembers:
        """Scale gradients by how often it was made."""

        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            self.scale = 1.0 / type(self).made

        @hookimpl
        def transform_gradients(self, trainer: Any) -> Any:
            return lambda gradients: trainer.optimizer.map(lambda array: array * self.scale, gradients)

    with pytest.raises(
        AssertionError, match=r'Remembers breaks the rule "resume equals uninterrupted": a tiny real fit'
    ):
        assert_conforms(Remembers)


def test_a_trainers_class_is_tried_in_a_tiny_fit() -> None:
    class Custom(BaseTrainer):
        def process_gradients(self, gradients: Any) -> Any:
            return gradients

    done = stepbus.testing.tiny_fit(trainer_class=Custom, num_epochs=1)
    assert isinstance(done.trainer, Custom)
