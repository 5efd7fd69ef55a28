"""What plugins may ask for: declared in words, held by the control, found where it is not."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stepbus import Callback, Control, PluginError, hookimpl
from stepbus.base.requests import REQUESTS, asks_of
from stepbus.cli.main import main
from stepbus.kernel.bus import Bus
from stepbus.kernel.member import Member
from stepbus.testing import assert_conforms, play

METRICS = [{"eval_loss": 0.5}]


def asking(kind: str, hook: str = "on_step_end", **attributes: Any) -> type:
    """Return a plugin class that asks for something in a hook."""

    def ask(self: Any, trainer: Any) -> None:
        getattr(trainer.control, f"request_{kind}")("so")

    ask.__name__, ask.__qualname__ = hook, f"Asks.{hook}"
    return type("Asks", (), {hook: hookimpl(ask), **attributes})


def test_every_request_of_control_has_a_word() -> None:
    assert {f"request_{word}" for word in REQUESTS} == {name for name in dir(Control) if name.startswith("request_")}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_that_was_not_declared_is_an_error(kind: str) -> None:
    others = tuple(word for word in REQUESTS if word != kind)
    for declared in ((), others):
        words = ", ".join(f'"{word}"' for word in REQUESTS if word == kind or word in declared)
        line = f"asks = ({words}{'' if declared else ','})"
        with pytest.raises(PluginError) as caught:
            play(asking(kind, asks=declared), metrics=METRICS)
        assert str(caught.value) == (
            f"asks, tests.core.base.test_requests: on_step_end asks for {REQUESTS[kind]} (request_{kind}), and does "
            f"not declare that it may; write {line} in the class Asks"
        )
    played = play(asking(kind, asks=(kind,)), metrics=METRICS, epochs=1)
    assert {each.kind for each in played.asked if each.request.plugin == "asks"} == {kind}


def test_what_is_passed_in_python_declares_as_well() -> None:
    def on_step_end(trainer: Any) -> None:
        trainer.control.request_stop("so")

    module = ModuleType("their.my_hooks")
    vars(module)["on_step_end"] = hookimpl(on_step_end)
    thing = SimpleNamespace(on_step_end=on_step_end)

    class Classic(Callback):
        def on_step_end(self, trainer: Any) -> None:
            trainer.control.request_stop("so")

    for plugin, name, place in (
        (module, "their.my_hooks", "the module my_hooks"),
        (thing, "SimpleNamespace (passed in Python)", "the object"),
        (Classic(), "Classic (passed in Python)", "the class Classic"),
    ):
        with pytest.raises(PluginError) as caught:
            play(plugin)
        assert str(caught.value).startswith(f"{name}: on_step_end asks for the end of the fit (request_stop), and")
        assert str(caught.value).endswith(f'write asks = ("stop",) in {place}')
        plugin.asks = ("stop",)
        assert play(plugin).state.step == 1


def test_an_undeclared_request_is_no_fault_to_switch_off() -> None:
    control = Control()
    bus = Bus([Member("mine", "mine", asking("stop")(), on_error="disable")], control)
    with pytest.raises(PluginError, match="does not declare"):
        bus.hook.on_step_end(trainer=SimpleNamespace(control=control), state=None, step=None)
    assert control.stop == []


def test_a_run_hook_within_a_hook_of_a_fit_asks_for_itself() -> None:
    class Talks:
        asks = ("stop",)

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            trainer.message("so")

    class Hears:
        scope = "run"

        @hookimpl
        def on_message(self, run: Any) -> None:
            run.first.control.request_stop("heard")

    with pytest.raises(PluginError, match=r"hears, .*: on_message asks for .* in the class Hears"):
        play(Talks, Hears)
    Hears.asks = ("stop",)  # type: ignore[attr-defined]
    assert play(Talks, Hears).stopped_by.startswith("hears at step 1: heard")


@pytest.mark.parametrize(
    ("asks", "words"),
    [
        (
            ("stpo",),
            "asks: expected words out of stop, evaluation, checkpoint, best, got 'stpo' (did you mean 'stop'?)",
        ),
        (("request_best",), "got 'request_best' (did you mean 'best'?)"),
        (("best", "save"), "asks: expected words out of stop, evaluation, checkpoint, best, got 'save'"),
        ("stop", 'expected asks = ("stop", "evaluation", "checkpoint", "best") or some of these words, got \'stop\''),
        ((1,), "or some of these words, got (1,)"),
        (None, "or some of these words, got None"),
    ],
)
def test_a_wrong_word_is_found_at_loading(asks: Any, words: str) -> None:
    cls = asking("stop", asks=asks)
    with pytest.raises(PluginError) as caught:
        asks_of(cls, "mine")
    assert str(caught.value).startswith("mine: ")
    assert str(caught.value).endswith(words)
    with pytest.raises(PluginError, match="asks"):
        play(cls())
    with pytest.raises(AssertionError, match=r'Asks breaks the rule "is well made": .*asks'):
        assert_conforms(cls)


def test_conformance_finds_what_is_not_declared() -> None:
    with pytest.raises(
        AssertionError, match=r'breaks the rule "asks for what it declares": .*write asks = \("stop",\)'
    ):
        assert_conforms(asking("stop"))
    assert_conforms(asking("checkpoint", asks=("checkpoint",)), epochs=1)


FILE = """from stepbus import hookimpl

class Mine:
    '''Ask.'''
    asks = ASKS

    @hookimpl
    def on_step_end(self, trainer):
        trainer.control.request_stop("so")
"""


def test_the_commands_show_and_check_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE.replace("ASKS", '("stop",)'))
    (tmp_path / "wrong.py").write_text(FILE.replace("ASKS", '("stpo",)'))
    (tmp_path / "run.yaml").write_text("plugins:\n  mine: {use: ./wrong.py:Mine}\n")
    assert main(["plugins", "show", "./mine.py:Mine"]) == 0
    assert "\nasks   stop\n" in capsys.readouterr().out
    for command in (["plugins", "show", "./wrong.py:Mine"], ["plan", "run.yaml"], ["train", "run.yaml"]):
        assert main(command) == 2 if command[0] != "plan" else main(command) != 0
        said = capsys.readouterr()
        assert "got 'stpo' (did you mean 'stop'?)" in said.out + said.err
        assert command[0] == "plugins" or "run.yaml:2" in said.out + said.err
    assert main(["plugins", "doctor", "--config", "run.yaml"]) != 0
    assert "got 'stpo' (did you mean 'stop'?)" in capsys.readouterr().out


@pytest.mark.parametrize("reason", [None, 5, b"so", ["so"]])
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_reason_that_no_resume_could_read_is_refused_at_once(kind: str, reason: Any) -> None:
    """It went into the checkpoint, and made that one useless."""

    class Asks:
        asks = tuple(REQUESTS)

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            getattr(trainer.control, f"request_{kind}")(reason)

    with pytest.raises(PluginError, match=f"on_step_end: request_{kind}: expected its reason as a text, got "):
        play(Asks, metrics=METRICS)


def test_a_reason_is_kept_without_its_password() -> None:
    class Asks:
        asks = ("stop", "checkpoint")

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            trainer.control.request_checkpoint("told by https://me:hunter2@example.org/run")
            trainer.control.request_stop("told by https://me:hunter2@example.org/run")

    played = play(Asks)
    assert played.stopped_by == "asks at step 1: told by https://***@example.org/run"
    assert "hunter2" not in repr((played.checkpoints, played.asked, played.result))
