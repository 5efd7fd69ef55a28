"""Plugins that raise, hang, give nonsense or speak to a tracker that is down, in every hook, in scripted runs.

Each case is played beside a run that nobody disturbs. It ends with one sentence that names the plugin, or goes on to
the same numbers; and what its checkpoints kept goes on, without the plugin, to the same numbers.
"""

from __future__ import annotations

import json
import signal
import socket
import ssl
import sys
import time
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from stepbus import Axis, PluginError, PluginFailure, StepbusError, hookimpl
from stepbus.kernel import events
from stepbus.kernel.fits import Fit, FitResult, Predictions
from stepbus.kernel.hook_checks import RESULTS, SPECIFICATIONS
from stepbus.testing.observing import comparable
from stepbus.testing.playing import Played, begun
from stepbus.testing.script import Script, Snapshot
from stepbus.testing.scripted import scripted_config
from stepbus_plugins.history import History

EPOCHS, STEPS = 2, 5
METRICS = [{"eval_loss": 0.9}, {"eval_loss": 0.7}]
# What is asked only where the plan has several fits.
NEEDS_FOLDS = ("combine_results", "fill_fit", "combine_predictions", "on_result")
COMBINES = ("combine_results", "combine_predictions")
# The first answer decides, so who breaks has to come first to be asked.
DECIDES = (*COMBINES, "combine_views")


class Works:
    """Save often, talk, and remember: what an undisturbed run consists of."""

    asks = ("checkpoint",)

    scope = "run"

    def __init__(self) -> None:
        self.seen, self.sums = 0, np.zeros(2)

    @hookimpl
    def is_boundary(self, step: int) -> bool:
        return step % 2 == 0

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any, step: Any) -> None:
        self.seen += 1
        self.sums = self.sums + np.array([step.loss, 1.0])
        if state.step % 2 == 0:
            trainer.control.request_checkpoint("often")
        if state.step % 3 == 0:
            trainer.message(f"at {state.step}")
            trainer.report("table", ["a"], [["1"]])
            trainer.run.artifact("note", trainer.directory / "note.txt")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "sums": self.sums}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen, self.sums = saved["seen"], saved["sums"]


class Folds:
    """Two fits, the second after the first, and the first result for both."""

    scope = "run"
    grows: tuple[Axis, ...] = (Axis("fold"),)

    @hookimpl
    def expand_fits(self, fits: list[Fit]) -> list[Fit]:
        sets = {**fits[0].sets, "test": fits[0].sets["validation"]}  # rows that are predicted, too
        folds = [Fit(f"fold-{number}", sets, 1, {"fold": number}) for number in (1, 2)]
        return [folds[0], evolve(folds[1], after=("fold-1",))]

    @hookimpl(trylast=True)
    def combine_results(self, results: list[FitResult]) -> FitResult:
        return results[0]

    @hookimpl(trylast=True)
    def combine_predictions(self, predictions: list[Predictions]) -> Predictions:
        return predictions[0]


class Views:
    """See the rows to predict a second time."""

    @hookimpl
    def prediction_views(self, rows: Any) -> list[tuple[str, Any]]:
        return [("again", rows)]

    @hookimpl(trylast=True)
    def combine_views(self, predictions: Any) -> Predictions:
        given: Predictions = predictions["plain"]
        return given


def kind_of(hook: str) -> str:
    """Return which run a hook is asked in: one fit, one that predicts in two views, or two folds."""
    return "folds" if hook in NEEDS_FOLDS else "views" if hook == "combine_views" else "one"


BESIDE: dict[str, list[type]] = {"one": [], "views": [Views], "folds": [Folds]}


def beside(hook: str) -> list[type]:
    """Return what has a hook asked; the plugin that breaks combines the folds if it can."""
    if hook in COMBINES:
        return [type("Folds", (Folds,), {"grows": (Axis("fold", combined_by="breaks"),)})]
    return BESIDE[kind_of(hook)]


def also(hook: str) -> dict[str, Any]:
    """Return what else the plugin that breaks needs: who combines folds, combines results and predictions."""
    both = {"combine_results": Folds.combine_results, "combine_predictions": Folds.combine_predictions}
    return both if hook in COMBINES else {}


class Fails:
    """Fail at the end, for those who listen to failures."""

    @hookimpl
    def on_fit_end(self) -> None:
        raise ZeroDivisionError("the real one")


def execute(folder: Path, *plugins: Any, resume_from: Snapshot | None = None, **script: Any) -> tuple[Played, Any]:
    """Play a run to its end, whatever that is; return it with the error it ended with."""
    training = {"num_epochs": EPOCHS, "pipeline_depth": 0, "log_steps": 2}
    config, extras = scripted_config(plugins, training, {"batch_size": 4, "label": "label"}, folder)
    run = begun(config, extras, Script(**{"metrics": METRICS, **script}), STEPS, resume_from)
    try:
        run.execute()
    except BaseException as error:
        return run, error
    return run, None


def outcome(run: Played) -> Any:
    """Return everything that a run came to, as plain values without the clock."""
    trainer = run.trainer
    history = [json.loads(line) for line in (trainer.directory / "history.jsonl").read_text().splitlines()]
    for record in history:
        record.pop("timing", None)
    (works,) = [member.plugin for member in trainer.bus.members if member.name == "works"]
    return comparable([trainer.state.state_dict(), history, works.state_dict(), run.result and run.result.status])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What runs of one fit, of one with views, and of two come to."""
    found = {}
    for kind, plugins in BESIDE.items():
        run, error = execute(tmp_path_factory.mktemp("whole"), *plugins, Works, History)
        assert error is None
        assert [kept.step for kept in run.checkpoints] == [2, 4, 6, 8, 10] * (1 + (kind == "folds"))
        found[kind] = outcome(run)
    return found


# -- what a hook may do ------------------------------------------------------------------------------------------------


class Textless(Exception):
    def __str__(self) -> str:
        raise ValueError


def deeper() -> None:
    deeper()


def raising(error: BaseException) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


def warn() -> None:
    warnings.warn("of the sample", stacklevel=2)


RAISES: dict[str, Callable[[], Any]] = {
    "Exception": raising(Exception("of the sample")),
    "KeyError": raising(KeyError("x")),
    "no text": raising(ValueError()),
    "text that fails": raising(Textless()),
    "a long text": raising(ValueError("x" * 100_000)),
    "odd letters": raising(ValueError("\x00\x1b[31m {braces} %s \udcff")),
    "StopIteration": raising(StopIteration()),
    "GeneratorExit": raising(GeneratorExit()),
    "MemoryError": raising(MemoryError()),
    "RecursionError": deeper,
    "SystemExit": raising(SystemExit(0)),
    "sys.exit in words": lambda: sys.exit("done"),
    "a group": lambda: (_ for _ in ()).throw(ExceptionGroup("several", [ValueError("a"), KeyError("b")])),
    "AssertionError": raising(AssertionError()),
}
HARMLESS: dict[str, Callable[[], Any]] = {"a warning": warn, "a slow moment": lambda: time.sleep(0.002)}
NONSENSE: dict[str, Any] = {"text": "x", "an array": np.zeros(3), "a number": 0.5, "a list": [1], "itself": object}
TRACKERS: dict[str, Callable[[], Any]] = {
    "refused": raising(ConnectionRefusedError(111, "Connection refused")),
    "reset": raising(ConnectionResetError(104, "Connection reset by peer")),
    "late": raising(TimeoutError("timed out")),
    "unknown host": raising(socket.gaierror(-2, "Name or service not known")),
    "a bad certificate": raising(ssl.SSLError(1, "certificate verify failed")),
    "not allowed": raising(urllib.error.HTTPError("http://host/api", 401, "Unauthorized", None, None)),  # type: ignore[arg-type]
    "disk of the spool full": raising(OSError(28, "No space left on device")),
}
# These two ask for a real model; tests/integration/test_failing_plugins.py raises in them.
HOOKS = [name for name in SPECIFICATIONS if name not in ("parameter_groups", "transform_gradients")]
TRACKED = (
    "on_run_start",
    "on_fit_start",
    "on_log",
    "on_evaluate",
    "on_artifact",
    "on_message",
    "on_fit_end",
    "on_run_end",
    "on_close",
)
OFTEN = {"is_boundary", "on_step_end", "on_log", "on_message", "on_artifact", "on_report", "on_checkpoint"}


def breaking(hook: str, act: Callable[[], Any], call: int = 1) -> type:
    """Return a plugin that does something at one call of a hook."""

    def implementation(self: Any) -> Any:
        self.calls += 1
        return act() if self.calls == call else None

    def begin(self: Any) -> None:
        self.calls = 0

    return type(
        "Breaks",
        (),
        {"scope": "run", "__init__": begin, **also(hook), hook: hookimpl(tryfirst=hook in DECIDES)(implementation)},
    )


def goes_on_from_its_checkpoints(run: Played, folder: Path, kind: str, whole: Any) -> None:
    """Resume without the plugin from the last checkpoint, in the same folder, and compare."""
    snapshot = run.checkpoints[-1] if run.checkpoints else None
    again, error = execute(folder, *BESIDE[kind], Works, History, resume_from=snapshot)
    assert error is None
    assert outcome(again) == whole


def refused_at_once(folder: Path, breaks: Any) -> str:
    """Return the sentence that refuses a policy which does not fit the plugin; nothing is written."""
    with pytest.raises(PluginError, match="on_error: disable fits plugins that only watch") as caught:
        execute(folder, Works, History, breaks)
    assert not list(folder.iterdir())
    return str(caught.value)


def check(
    hook: str, act: Callable[[], Any], policy: str, call: int, folder: Path, whole: Any, seen: Any, *, raises: bool
) -> None:
    kind, fails = kind_of(hook), hook == "on_exception"
    breaks = (breaking(hook, act, call), {"on_error": policy})
    if policy == "disable" and hook in events.BUILD_HOOKS - {"validate_plan"}:
        seen.refused(refused_at_once(folder, breaks))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run, error = execute(folder, *beside(hook), Works, History, *([Fails] if fails else []), breaks)
    told = [event.arguments["text"] for event in run.recorder.events if event.name == "on_message"]
    if fails:
        assert isinstance(error, PluginFailure)
        assert "on_fit_end raised ZeroDivisionError at step 10: the real one" in str(error)
    elif not raises or policy == "disable" or hook == "on_close":
        assert error is None, error
        assert outcome(run) == whole[kind]
    if not raises:
        assert not [text for text in told if "breaks" in text]
        seen.went_on()
        return
    # It is said once, of the right plugin and hook, with what to do.
    sentences = [text for text in told if text.startswith("breaks, ")]
    if error is not None and not fails:
        assert isinstance(error, PluginFailure), repr(error)
        sentences = [str(error)]
    # What is raised after the real error is noted on it.
    sentences += [note for note in getattr(error, "__notes__", ()) if note.startswith("breaks, ")]
    (sentence,) = sentences
    assert f": {hook} raised " in sentence or f": {hook}: expected " in sentence
    assert sentence.endswith("; switch the plugin off with plugins: {breaks: false}")
    assert (
        run.recorder.events[-1].name == "on_close" or hook == "on_close" or run.recorder.events[-2].name == "on_close"
    )
    seen.refused(sentence)
    goes_on_from_its_checkpoints(run, folder, kind, whole[kind])
    seen.went_on()


def product(hooks: Any, kinds: Any) -> Iterator[tuple[str, str, str, int]]:
    for hook in hooks:
        for kind in kinds:
            for policy in ("raise", "disable"):
                for call in (1, 3) if hook in OFTEN else (1,):
                    yield hook, kind, policy, call


@pytest.mark.generated("case", product(HOOKS, RAISES), sample=30)
def test_a_plugin_that_raises(case: tuple[str, str, str, int], tmp_path: Path, undisturbed: Any, tally: Any) -> None:
    hook, kind, policy, call = case
    with tally("6 plugins that raise", case) as seen:
        check(hook, RAISES[kind], policy, call, tmp_path, undisturbed, seen, raises=True)


@pytest.mark.generated("case", product(HOOKS, HARMLESS), sample=5)
def test_a_plugin_that_warns_or_dawdles(
    case: tuple[str, str, str, int], tmp_path: Path, undisturbed: Any, tally: Any
) -> None:
    hook, kind, policy, call = case
    with tally("6 plugins that raise", case) as seen:
        check(hook, HARMLESS[kind], policy, call, tmp_path, undisturbed, seen, raises=False)


@pytest.mark.generated("case", product(HOOKS, NONSENSE), sample=15)
def test_a_plugin_that_gives_nonsense(
    case: tuple[str, str, str, int], tmp_path: Path, undisturbed: Any, tally: Any
) -> None:
    hook, kind, policy, call = case
    with tally("6 plugins that raise", case) as seen:
        check(hook, lambda: NONSENSE[kind], policy, call, tmp_path, undisturbed, seen, raises=hook in RESULTS)


@pytest.mark.generated("case", product(TRACKED, TRACKERS), sample=15)
def test_a_tracker_that_is_down(case: tuple[str, str, str, int], tmp_path: Path, undisturbed: Any, tally: Any) -> None:
    hook, kind, policy, call = case
    with tally("6 trackers", case) as seen:
        check(hook, TRACKERS[kind], policy, call, tmp_path, undisturbed, seen, raises=True)


@pytest.mark.parametrize("policy", ["raise", "disable"])
@pytest.mark.parametrize("hook", ["on_log", "on_message", "on_report", "on_artifact"])
def test_a_tracker_that_answers_itself(hook: str, policy: str, tmp_path: Path, undisturbed: Any, tally: Any) -> None:
    """What it does in a hook calls the hook again, without end."""

    class Breaks:
        scope = "run"

        @hookimpl
        def on_log(self, trainer: Any, record: Any) -> None:
            if hook == "on_log":
                trainer.log({"again": 1.0})

        @hookimpl
        def on_message(self, run: Any, text: str) -> None:
            if hook == "on_message":
                run.message("again")

        @hookimpl
        def on_report(self, run: Any) -> None:
            if hook == "on_report":
                run.report("again", [], [])

        @hookimpl
        def on_artifact(self, run: Any, path: Path) -> None:
            if hook == "on_artifact":
                run.artifact("again", path)

    with tally("6 trackers", f"answers itself, {hook}, {policy}") as seen:
        run, error = execute(tmp_path, Works, History, (Breaks, {"on_error": policy}))
        if policy == "raise":
            assert isinstance(error, PluginFailure)
            assert f": {hook} raised RecursionError at step" in str(error)
            assert str(error).startswith("breaks, ")
            seen.refused(str(error))
            goes_on_from_its_checkpoints(run, tmp_path, "one", undisturbed["one"])
        else:
            assert error is None
            (said,) = set(run.disabled.values())
            assert f"{hook} raised RecursionError" in said
            assert comparable(run.trainer.state.state_dict()) == undisturbed["one"][0]
            seen.refused(said)
        seen.went_on()


@pytest.mark.parametrize("way", ["yields", "waits", "yields in a wrapper twice", "has no yield in a wrapper"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_would_never_run_is_refused(hook: str, way: str, tmp_path: Path, tally: Any) -> None:
    def yields(self: Any) -> Any:
        yield

    async def waits(self: Any) -> None: ...

    def twice(self: Any) -> Any:
        yield
        yield

    def none(self: Any) -> None: ...

    wrapper = "wrapper" in way
    function = {"yields": yields, "waits": waits}.get(way) or (twice if "twice" in way else none)
    breaks = type("Breaks", (), {"scope": "run", **also(hook), hook: hookimpl(wrapper=wrapper)(function)})
    with tally("6 plugins that raise", f"{hook} {way}") as seen:
        fails = [Fails] if hook == "on_exception" else []
        try:
            _, error = execute(tmp_path, *beside(hook), Works, History, *fails, breaks)
        except PluginError as refusal:
            assert f"{hook}" in str(refusal)
            seen.refused(str(refusal))
        else:
            assert wrapper
            assert isinstance(error, PluginError | PluginFailure), repr(error)
            assert str(error).startswith("breaks, "), error
            seen.refused(str(error))


# -- hanging -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def second_signal() -> Iterator[Callable[[], None]]:
    """Return what a hook that hangs does: the user's second Ctrl-C comes a moment later."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)

    def hang() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(60)

    yield hang
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.generated("case", product(HOOKS, ["hangs"]), sample=10)
def test_a_plugin_that_hangs_is_left_by_a_second_signal(
    case: tuple[str, str, str, int], tmp_path: Path, undisturbed: Any, second_signal: Any, tally: Any
) -> None:
    hook, _, policy, call = case
    kind, fails = kind_of(hook), hook == "on_exception"
    with tally("6 plugins that hang", case) as seen:
        breaks = (breaking(hook, second_signal, call), {"on_error": policy})
        if policy == "disable" and hook in events.BUILD_HOOKS - {"validate_plan"}:
            seen.refused(refused_at_once(tmp_path, breaks))
            return
        began = time.monotonic()
        run, error = execute(tmp_path, *beside(hook), Works, History, *([Fails] if fails else []), breaks)
        assert time.monotonic() - began < 30
        assert isinstance(error, KeyboardInterrupt), repr(error)  # exit code 130, and no plugin's policy swallows it
        goes_on_from_its_checkpoints(run, tmp_path, kind, undisturbed[kind])
        seen.went_on()


# -- numbers that are none ---------------------------------------------------------------------------------------------


class Remembers:
    """Hold what no JSON can say."""

    value = 1.0

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.kept = {"last": self.value, "list": [self.value, 1.0], "array": np.full(3, self.value), "step": state.step}

    def state_dict(self) -> dict[str, Any]:
        return dict(self.kept)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.kept = dict(saved)


def no_numbers() -> Iterator[tuple[str, str, int, str]]:
    for where in ("loss", "gradient_norm", "metric", "other metric", "plugin state"):
        for value in ("nan", "inf", "-inf"):
            for step in (1, 2, 5, 10):
                for policy in ("raise", "stop", "warn", "off") if where in ("loss", "gradient_norm") else ("raise",):
                    yield where, value, step, policy


@pytest.mark.generated("case", no_numbers(), sample=20)
def test_a_number_that_is_none(case: tuple[str, str, int, str], tmp_path: Path, tally: Any) -> None:
    from stepbus_plugins.early_stopping import EarlyStopping
    from stepbus_plugins.nan_guard import NanGuard

    where, text, step, policy = case
    value, updates = float(text), EPOCHS * STEPS
    script: dict[str, Any] = {}
    if where == "loss":
        script["losses"] = [value if number == step else 1 / number for number in range(1, updates + 1)]
    elif where == "gradient_norm":
        script["scalars"] = [{"gradient_norm": value if number == step else 0.5} for number in range(1, updates + 1)]
    elif where in ("metric", "other metric"):
        name = "eval_loss" if where == "metric" else "eval_extra"
        script["metrics"] = [{"eval_loss": 0.9, name: value}, {"eval_loss": 0.8, "eval_extra": 1.0}]
    remembers = type("Remembers", (Remembers,), {"value": value if where == "plugin state" else 1.0})
    guard = [] if policy == "off" else [(NanGuard, {"policy": policy})]
    plugins = [Works, History, remembers, (EarlyStopping, {"patience": 5, "restore_best": False}), *guard]
    with tally("6 numbers that are none", case) as seen:
        run, error = execute(tmp_path / "run", *plugins, **script)
        guarded = where in ("loss", "gradient_norm")
        told = [event.arguments["text"] for event in run.recorder.events if event.name == "on_message"]
        words = f"{'the loss' if where == 'loss' else 'the gradient norm'} is {value} at step {step}"
        if guarded and policy == "raise":
            assert isinstance(error, StepbusError)
            assert words in str(error)
            seen.refused(str(error))
        else:
            assert error is None, repr(error)
            assert run.result is not None
            assert run.result.status == ("stopped" if guarded and policy == "stop" else "ok")
            if guarded and policy != "off":
                assert any(words in line for line in told), told
        if where == "metric" and run.trainer.state.best is not None:
            best = run.trainer.state.best.value
            assert best == (value if text == "-inf" else 0.8)
        # Every line is strict JSON, and the number is not lost.
        lines = (tmp_path / "run" / "fits" / "fit" / "history.jsonl").read_text().splitlines()
        for line in lines:
            json.loads(line, parse_constant=pytest.fail)
        # Each checkpoint goes on to where the whole run came to, in a folder of its own as far as the history goes.
        if error is None and run.result.status == "ok":
            for snapshot in run.checkpoints[:-1:2]:
                again, failed = execute(tmp_path / "run", *plugins, resume_from=snapshot, **script)
                assert failed is None, repr(failed)
                assert outcome(again) == outcome(run)
                assert comparable(again.trainer.bus.members[-1].plugin.__dict__) is not None
                kept = [
                    comparable(member.plugin.state_dict())
                    for each in (run, again)
                    for member in each.trainer.bus.members
                    if member.name == "remembers"
                ]
                assert kept[0] == kept[1]
        seen.went_on()
