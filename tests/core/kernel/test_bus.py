"""The bus: order, attribution, blame, policy, and everything that pluggy would let pass in silence."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import time
from typing import Any

import numpy as np
import pytest
from attrs import define, evolve

from stepbus import BadInput, Control, Fit, PluginError, PluginFailure, Retention, StepbusError, hookimpl
from stepbus.base.callback import Callback
from stepbus.kernel.bus import Bus
from stepbus.kernel.hook_checks import SPECIFICATIONS, hooks_of
from stepbus.kernel.measuring import Cost, Meter
from stepbus.kernel.member import Member, check_policy


class Recorder:
    def __init__(self, name: str, heard: list[str]) -> None:
        self.name, self.heard = name, heard

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.heard.append(self.name)


def member(plugin: Any, name: str = "sample", **more: Any) -> Member:
    return Member(name, f"{name}, some-package 1.2", plugin, **more)


def end_step(bus: Bus) -> None:
    bus.hook.on_step_end(trainer=None, state=None, step=None)


def test_plugins_are_called_in_the_order_given() -> None:
    heard: list[str] = []
    end_step(Bus([member(Recorder(name, heard), name) for name in "abc"]))
    assert heard == ["a", "b", "c"]


def test_tryfirst_goes_before_the_order() -> None:
    heard: list[str] = []

    class Eager(Recorder):
        @hookimpl(tryfirst=True)
        def on_step_end(self, step: Any) -> None:
            heard.append("eager")

    end_step(Bus([member(Recorder("a", heard), "a"), member(Eager("", heard), "b")]))
    assert heard == ["eager", "a"]


def test_plugins_that_are_equal_by_value_are_still_two() -> None:
    heard: list[str] = []

    @define
    class Equal:
        @hookimpl
        def on_step_end(self) -> None:
            heard.append("x")

    assert Equal() == Equal()
    end_step(Bus([member(Equal(), "a"), member(Equal(), "b")]))
    assert heard == ["x", "x"]


def test_a_threaded_hook_passes_its_value_along() -> None:
    class Add:
        def __init__(self, letter: str | None) -> None:
            self.letter = letter

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> list[Fit] | None:
            return None if self.letter is None else [evolve(fit, name=fit.name + self.letter) for fit in fits]

    bus = Bus([member(Add(letter), f"p{index}") for index, letter in enumerate(["x", None, "y"])])
    (fit,) = bus.thread("expand_fits", run=None, fits=[Fit("fit", {}, 1)])
    assert fit.name == "fitxy"


def test_a_request_says_who_asked_and_why() -> None:
    control = Control()

    class Stop:
        asks = ("stop",)

        @hookimpl
        def on_step_end(self) -> None:
            control.request_stop("enough")

    control.step = 7
    end_step(Bus([member(Stop(), "early_stopping")], control))
    assert control.why("stop") == "early_stopping at step 7: enough"
    assert control.caller.now.plugin == "engine"


class Breaks:
    def __init__(self) -> None:
        self.closed = False

    @hookimpl
    def on_step_end(self) -> None:
        raise ZeroDivisionError("division by zero")

    @hookimpl
    def on_close(self) -> None:
        self.closed = True


def test_an_error_names_plugin_package_hook_step_and_mend() -> None:
    control = Control(step=12)
    with pytest.raises(PluginFailure) as caught:
        end_step(Bus([member(Breaks())], control))
    line = Breaks.on_step_end.__code__.co_firstlineno + 2
    assert str(caught.value) == (
        f"sample, some-package 1.2: on_step_end raised ZeroDivisionError at step 12: division by zero, at {__file__}:"
        f"{line}; switch the plugin off with plugins: {{sample: false}}"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_disable_switches_a_plugin_off_and_still_closes_it() -> None:
    plugin, said = Breaks(), []
    bus = Bus([member(plugin, on_error="disable")])
    bus.on_disabled = said.append
    end_step(bus)
    end_step(bus)
    assert len(said) == 1
    assert "ZeroDivisionError" in bus.members[0].disabled
    assert bus.tell_all("on_close", run=None, status="ok") == []
    assert plugin.closed


def test_an_error_said_on_purpose_keeps_its_words() -> None:
    class Diverged:
        @hookimpl
        def on_step_end(self) -> None:
            raise StepbusError("the loss is not finite")

    with pytest.raises(StepbusError, match=r"^the loss is not finite$"):
        end_step(Bus([member(Diverged())]))


def test_close_reaches_everybody_whatever_the_others_do() -> None:
    closed = []

    class Bad:
        @hookimpl
        def on_close(self) -> None:
            raise ValueError("no")

    class Good:
        @hookimpl
        def on_close(self, status: str) -> None:
            closed.append(status)

    raised = Bus([member(Good(), "a"), member(Bad(), "b"), member(Good(), "c")]).tell_all(
        "on_close", run=None, status="failed"
    )
    assert closed == ["failed", "failed"]
    assert [type(error) for error in raised] == [PluginFailure]


def test_a_plugin_that_changes_the_computation_cannot_be_disabled() -> None:
    class Clip:
        @hookimpl
        def transform_gradients(self) -> None:
            return None

    with pytest.raises(PluginError, match="transform_gradients"):
        check_policy(member(Clip(), on_error="disable"))
    check_policy(member(Clip()))


def test_time_in_hooks_is_counted() -> None:
    heard: list[str] = []
    bus = Bus([member(Recorder("a", heard), "a")])
    end_step(bus)
    assert bus.meter.costs["a"].seconds > 0
    assert bus.meter.costs["a"].calls == 1


def test_time_of_a_call_within_a_call_is_the_inner_ones() -> None:
    class Slow:
        @hookimpl
        def on_epoch_end(self) -> None:
            time.sleep(0.05)

    class Causes:
        @hookimpl
        def on_step_end(self) -> None:
            bus.hook.on_epoch_end(trainer=None, state=None)

    bus = Bus([member(Causes(), "causes"), member(Slow(), "slow")])
    end_step(bus)
    assert bus.meter.costs["slow"].seconds >= 0.05
    assert bus.meter.costs["causes"].seconds < bus.meter.costs["slow"].seconds


def test_each_call_can_be_traced() -> None:
    said = io.StringIO()
    end_step(Bus([member(Recorder("a", []), "a")], meter=Meter(said)))
    (line,) = said.getvalue().splitlines()
    assert re.fullmatch(r"trace  step 0 +[\d,.]+ µs  on_step_end +a", line)


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("policy", ["raise", "disable"])
def test_an_error_in_a_wrapper_is_blamed_and_follows_the_policy(where: str, policy: str) -> None:
    class Around:
        @hookimpl(wrapper=True)
        def on_step_end(self) -> Any:
            if where == "before":
                raise ZeroDivisionError("of the sample")
            result = yield
            if where == "after":
                raise ZeroDivisionError("of the sample")
            return result

    heard: list[str] = []
    bus = Bus([member(Around(), "around", on_error=policy), member(Recorder("b", heard), "b")])
    said: list[str] = []
    bus.on_disabled = said.append
    if policy == "raise":
        with pytest.raises(PluginFailure, match="on_step_end raised ZeroDivisionError at step 0: of the sample"):
            end_step(bus)
        return
    end_step(bus)
    end_step(bus)
    assert heard == ["b", "b"]
    assert len(said) == 1
    assert bus.meter.costs["around"].disabled == tuple(said)


def test_a_wrapper_sees_and_changes_the_result() -> None:
    class Around:
        @hookimpl(wrapper=True)
        def is_boundary(self) -> Any:
            result = yield
            return [*result, True]

    bus = Bus([member(Around(), "around")])
    assert bus.hook.is_boundary(trainer=None, step=1) == [True]


def test_the_old_kind_of_wrapper_is_refused() -> None:
    class Around:
        @hookimpl(hookwrapper=True)
        def on_step_end(self) -> Any:
            yield

    with pytest.raises(PluginError, match="write wrapper=True"):
        Bus([member(Around(), "around")])


def test_what_is_read_of_costs_changes_nothing() -> None:
    meter = Meter()
    account = meter.of("a")
    account.seconds, account.calls = 3.0, 7
    account.disabled.append("a: on_log raised ValueError")
    costs = meter.costs
    account.calls = 8
    assert costs == {"a": Cost(3.0, 7, ("a: on_log raised ValueError",))}
    assert meter.costs["a"].calls == 8
    with pytest.raises(TypeError, match="does not support item assignment"):
        costs["a"] = Cost(0.0, 0, ())  # type: ignore[index]
    with pytest.raises(AttributeError):
        costs["a"].calls = 0  # type: ignore[misc]


# -- what is refused ---------------------------------------------------------------------------------------------------


class Misspelt:
    @hookimpl
    def on_step_ends(self) -> None: ...


class WrongArgument:
    @hookimpl
    def on_step_end(self, stepp: Any) -> None: ...


class WithoutSelf:
    @hookimpl
    def on_step_end(state: Any, step: Any) -> None: ...  # type: ignore[misc]


class WithoutAnything:
    @hookimpl
    def on_step_end() -> None: ...  # type: ignore[misc]


class AnyArguments:
    @hookimpl
    def on_step_end(*arguments: Any) -> None: ...  # type: ignore[misc]


class Default:
    @hookimpl
    def on_step_end(self, step: Any = None) -> None: ...


class Forgotten:
    def on_step_end(self) -> None: ...


class ThreadedWrapper:
    @hookimpl(wrapper=True)
    def expand_fits(self) -> Any:
        return (yield)


class Yields:
    @hookimpl
    def on_step_end(self) -> Any:
        yield


class Waits:
    @hookimpl
    async def on_step_end(self) -> None: ...


class YieldsAndWaits:
    @hookimpl(wrapper=True)
    async def on_step_end(self) -> Any:
        yield


class RunHookInFit:
    @hookimpl
    def on_close(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Misspelt, "there is no hook 'on_step_ends' (did you mean 'on_step_end'?)"),
        (WrongArgument, "on_step_end gives no argument 'stepp' (did you mean 'step'?); it gives: trainer, state, step"),
        (
            WithoutSelf,
            "on_step_end(state, step): expected self before what the hook gives, because it is a method; write "
            "on_step_end(self, state, step)",
        ),
        (
            WithoutAnything,
            "on_step_end(): expected self before what the hook gives, because it is a method; write on_step_end(self)",
        ),
        (AnyArguments, "on_step_end gives no argument 'arguments'; it gives: trainer, state, step"),
        (Default, "on_step_end(step=…): an argument with a default would never be filled"),
        (Forgotten, "on_step_end is a hook's name; write @hookimpl above it"),
        (ThreadedWrapper, "expand_fits passes a value along, so it cannot be a wrapper"),
        (
            Yields,
            "on_step_end has a yield, so calling it would run none of it; write @hookimpl(wrapper=True) if it goes "
            "around the others, or take the yield out",
        ),
        (Waits, "on_step_end is an async function, which nobody would wait for; write def"),
        (YieldsAndWaits, "on_step_end is an async function, which nobody would wait for; write def"),
        (RunHookInFit, 'on_close belongs to the run; write scope = "run" in the class'),
    ],
)
def test_what_pluggy_lets_pass_is_an_error(cls: type, words: str) -> None:
    with pytest.raises(PluginError) as caught:
        hooks_of(cls(), "sample, some-package 1.2", "fit")
    assert str(caught.value) == f"sample, some-package 1.2: {words}"


def giving(hook: str, value: Any) -> Any:
    class Gives:
        pass

    setattr(Gives, hook, hookimpl(lambda self: value))
    return Gives()


WRONG = [
    ("validate_plan", "nothing", "a list of stepbus.Problem or None from it, got 'nothing'"),
    ("validate_plan", ["a", "b"], "a list of stepbus.Problem or None from it, got a list"),
    ("parameter_groups", {"weight": 0.1}, "a mapping from parameter names to mappings of settings or None from it"),
    (
        "parameter_groups",
        ["weight"],
        "a mapping from parameter names to mappings of settings or None from it, got a list",
    ),
    (
        "parameter_groups",
        {"a": {}, "b": 0.5},
        "a mapping from parameter names to mappings of settings or None from it, got a mapping with 0.5 for 'b'",
    ),
    ("phases", [3, 1.5], "a list of whole numbers of at least 1 or None from it, got a list with 1.5 in it"),
    ("phases", [True], "a list of whole numbers of at least 1 or None from it, got a list with true in it"),
    ("phases", {3: 4}, "a list of whole numbers of at least 1 or None from it, got a mapping"),
    ("trained_parameters", ["a", None], "a list of names of parameters or None from it, got a list with null in it"),
    (
        "export_files",
        {"a": "", "b.txt": 3},
        "a mapping from file names to texts or bytes or None from it, got a mapping with 3 for 'b.txt'",
    ),
    ("after_update", (1,), "(arrays, function) or (arrays, function, weights) or None from it, got a tuple of 1"),
    (
        "after_update",
        ({}, {}),
        "(arrays, function) or (arrays, function, weights) or None from it, got a mapping as function",
    ),
    (
        "after_update",
        [3, dict, dict],
        "(arrays, function) or (arrays, function, weights) or None from it, got 3 as arrays",
    ),
    (
        "after_update",
        ({}, dict, 1),
        "(arrays, function) or (arrays, function, weights) or None from it, got 1 as weights",
    ),
    ("transform_gradients", 0.5, "a function of gradients or None from it, got 0.5"),
    ("expand_fits", [], "a list of at least one stepbus.Fit or None from it, got a list"),
    ("expand_fits", 3, "a list of at least one stepbus.Fit or None from it, got 3"),
    ("combine_results", {}, "a stepbus.FitResult from it, got a mapping"),
    ("combine_predictions", np.eye(2), "a stepbus.Predictions from it, got array([[1., 0.], [0., 1.]]); "),
    ("is_boundary", "no", "true or false or None from it, got 'no'"),
    ("checkpoint_retention", 2, "a stepbus.Retention or None from it, got 2"),
]


@pytest.mark.parametrize(("hook", "value", "words"), WRONG)
def test_a_return_value_that_a_hook_cannot_take_is_the_plugins_fault(hook: str, value: Any, words: str) -> None:
    bus = Bus([member(giving(hook, value))])
    arguments = dict.fromkeys(SPECIFICATIONS[hook])
    with pytest.raises(PluginFailure) as caught:
        bus.thread(hook, **arguments) if hook == "expand_fits" else getattr(bus.hook, hook)(**arguments)
    assert str(caught.value).startswith(f"sample, some-package 1.2: {hook}: expected {words}")


@pytest.mark.parametrize("value", [True, False, np.True_, 0, 1])
def test_a_boundary_may_be_said_in_any_kind_of_truth(value: Any) -> None:
    assert Bus([member(giving("is_boundary", value))]).hook.is_boundary(trainer=None, step=1) == [value]


@pytest.mark.parametrize("policy", ["raise", "disable"])
def test_a_plugin_that_calls_exit_does_not_end_the_run_in_silence(policy: str) -> None:
    class Leaves:
        @hookimpl
        def on_step_end(self) -> None:
            sys.exit(0)

    bus, said = Bus([member(Leaves(), on_error=policy)]), []
    bus.on_disabled = said.append
    if policy == "disable":
        end_step(bus)
        (message,) = said
    else:
        with pytest.raises(PluginFailure) as caught:
            end_step(bus)
        message = str(caught.value)
    assert message.startswith("sample, some-package 1.2: on_step_end raised SystemExit at step 0: 0")


@pytest.mark.parametrize("policy", ["raise", "disable"])
def test_a_plugin_that_calls_its_own_hook_without_end_is_the_one_that_is_blamed(policy: str) -> None:
    heard: list[str] = []

    class Again:
        @hookimpl
        def on_step_end(self) -> None:
            end_step(bus)

    members = [member(Recorder("before", heard), "a"), member(Again(), "b", on_error=policy)]
    bus, said = Bus([*members, member(Recorder("after", heard), "c")]), []
    bus.on_disabled = said.append
    if policy == "disable":
        end_step(bus)
        (message,) = said
        assert heard == ["before"] * 21 + ["after"] * 21
    else:
        with pytest.raises(PluginFailure) as caught:
            end_step(bus)
        message = str(caught.value)
        assert heard == ["before"] * 21
    assert message.startswith(
        "b, some-package 1.2: on_step_end raised RecursionError at step 0: what it does in on_step"
    )


def test_a_hook_may_be_called_within_itself_and_again_later() -> None:
    heard: list[int] = []

    class Once:
        @hookimpl
        def on_step_end(self, step: Any) -> None:
            heard.append(step)
            if step:
                bus.hook.on_step_end(trainer=None, state=None, step=step - 1)

    bus = Bus([member(Once())])
    for _ in range(30):
        bus.hook.on_step_end(trainer=None, state=None, step=19)
    assert heard == list(range(19, -1, -1)) * 30


def test_an_interruption_by_the_user_is_nobodys_fault() -> None:
    class Waits:
        @hookimpl
        def on_step_end(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_step(Bus([member(Waits(), on_error="disable")]))


def test_an_error_whose_text_fails_is_blamed_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Raises:
        @hookimpl
        def on_step_end(self) -> None:
            raise Odd

    with pytest.raises(PluginFailure, match=r"raised Odd at step 0: \(its text cannot be had: ValueError\)"):
        end_step(Bus([member(Raises())]))


def test_a_callback_needs_no_decorator() -> None:
    class Print(Callback):
        def on_epoch_end(self, trainer: Any, state: Any) -> None: ...

        def helper(self) -> None: ...

    assert list(hooks_of(Print(), "Print")) == ["on_epoch_end"]


def test_every_hook_says_when_it_fires() -> None:
    from stepbus.kernel import events

    for name in SPECIFICATIONS:
        first = (getattr(events, name).__doc__ or "").strip().partition("\n")[0]
        assert first.endswith("."), name
        assert first.split()[0] in {"Fires", "Find", "Give", "Change", "Turn", "Combine", "Say"}, name


@pytest.mark.parametrize("hook", ["on_close", "on_exception"])
def test_what_reaches_each_plugin_by_itself_has_no_wrapper(hook: str) -> None:
    def around(self: Any) -> Any:
        yield

    cls = type("Around", (), {hook: hookimpl(around, wrapper=True)})
    with pytest.raises(PluginError, match=f"{hook} reaches each plugin by itself"):
        Bus([member(cls())])


def test_telling_all_reaches_wrappers_too_and_gathers_what_they_raise() -> None:
    heard: list[str] = []

    class Around:
        @hookimpl(wrapper=True)
        def on_fit_end(self) -> Any:
            heard.append("around begins")
            yield
            heard.append("around ends")
            raise ValueError("late")

    class Bad:
        @hookimpl
        def on_fit_end(self) -> None:
            raise ValueError("no")

    class Good:
        @hookimpl
        def on_fit_end(self, result: Any) -> None:
            heard.append(result)

    bus = Bus([member(Bad(), "bad"), member(Around(), "around"), member(Good(), "good")])
    raised = bus.tell_all("on_fit_end", trainer=None, state=None, result="it")
    assert heard == ["around begins", "it", "around ends"]
    assert [str(error).split(", at ")[0] for error in raised] == [
        "bad, some-package 1.2: on_fit_end raised ValueError at step 0: no",
        "around, some-package 1.2: on_fit_end raised ValueError at step 0: late",
    ]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "a disk quota is used up: remove files that count towards it, have it raised"),
        (errno.EFBIG, "a limit on the size of a file is in the way: raise it (ulimit -f)"),
        (errno.EROFS, "the file system is mounted read-only: mount it for writing"),
        (errno.EACCES, "give access"),
        (errno.EIO, "the disk may be failing: look at the system's log"),
        (errno.EISDIR, "name a file that can be written"),
    ],
)
def test_what_a_file_system_refuses_is_bad_input_that_names_the_file(number: int, remedy: str) -> None:
    class Writes:
        @hookimpl
        def on_step_end(self) -> None:
            raise OSError(number, os.strerror(number), "runs/notes.txt")

    with pytest.raises(BadInput) as caught:
        end_step(Bus([member(Writes())]))
    assert str(caught.value) == (
        f"runs/notes.txt: sample, some-package 1.2 cannot read or write here: {os.strerror(number)}; {remedy}, "
        "or switch the plugin off with plugins: {sample: false}"
    )
    bus = Bus([member(Writes(), on_error="disable")])
    bus.on_disabled = lambda text: None
    end_step(bus)
    assert "on_step_end raised" in bus.members[0].disabled


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_library_that_names_no_file_is_told_apart_all_the_same(number: int) -> None:
    class Writes:
        @hookimpl
        def on_step_end(self) -> None:
            raise OSError(number, os.strerror(number))

    with pytest.raises(BadInput, match=f"^sample, some-package 1.2 cannot write a file: {os.strerror(number)}; "):
        end_step(Bus([member(Writes())]))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        FileNotFoundError(2, "none", "x"),
        OSError("?"),
        OSError(errno.EACCES, "of something that is no file"),
    ],
)
def test_other_errors_of_the_system_are_the_plugins_own(error: OSError) -> None:
    class Asks:
        @hookimpl
        def on_step_end(self) -> None:
            raise error

    with pytest.raises(PluginFailure, match=f"on_step_end raised {type(error).__name__} at step 0"):
        end_step(Bus([member(Asks())]))


def test_a_hook_under_another_name_is_refused() -> None:
    class Hidden:
        @hookimpl(specname="on_close")
        def cleaned(self) -> None: ...

    with pytest.raises(PluginError, match="hidden: cleaned: specname= would hide which hook it is"):
        hooks_of(Hidden(), "hidden")


def test_the_first_argument_of_a_method_may_have_any_name() -> None:
    class Counts:
        seen: list[Any] = []  # noqa: RUF012

        @hookimpl
        def on_step_end(this, step: Any) -> None:
            this.seen.append((type(this).__name__, step))

        @staticmethod
        @hookimpl
        def on_log(record: Any) -> None:
            Counts.seen.append(record)

        @classmethod
        @hookimpl
        def on_epoch_end(kind, state: Any) -> None:
            kind.seen.append((kind.__name__, state))

    bus = Bus([member(Counts(), "counts")])
    bus.hook.on_step_end(trainer=None, state=None, step=7)
    bus.hook.on_log(trainer=None, state=None, record="logged")
    bus.hook.on_epoch_end(trainer=None, state="over")
    assert Counts.seen == [("Counts", 7), "logged", ("Counts", "over")]
    assert set(hooks_of(Counts, "Counts")) == {"on_step_end", "on_log", "on_epoch_end"}


def around(hook: str, *ending: Any) -> type:
    """Return a plugin that goes around a hook, and ends with a value or without one."""

    def implementation(self: Any) -> Any:
        yield
        return ending[0] if ending else None

    implementation.__name__ = hook
    return type("Around", (), {hook: hookimpl(wrapper=True)(implementation)})


@pytest.mark.parametrize("ending", [(), (5,), ([5],), ("yes",)], ids=repr)
@pytest.mark.parametrize("hook", ["is_boundary", "parameter_groups", "transform_gradients", "validate_plan"])
def test_a_wrapper_gives_what_its_hook_can_take(hook: str, ending: tuple[Any, ...]) -> None:
    if (hook, ending) == ("is_boundary", ([5],)):
        return  # a number is true or false
    bus = Bus([member(around(hook, *ending)(), "around")])
    with pytest.raises(PluginFailure, match=rf"{hook}: expected a list, .*the yield gave"):
        getattr(bus.hook, hook)(**dict.fromkeys(SPECIFICATIONS[hook]))


@pytest.mark.parametrize("ending", [(), (5,)], ids=repr)
def test_a_wrapper_does_not_lose_what_decides(ending: tuple[Any, ...]) -> None:
    class Decides:
        @hookimpl
        def checkpoint_retention(self) -> Any:
            return Retention(last=2)

    bus = Bus([member(Decides(), "decides"), member(around("checkpoint_retention", *ending)(), "around")])
    with pytest.raises(PluginFailure, match=r"expected a stepbus\.Retention or None from it, .*the yield gave"):
        bus.hook.checkpoint_retention(trainer=None)


def test_a_wrapper_without_anything_inside_may_give_nothing() -> None:
    bus = Bus([member(around("checkpoint_retention")(), "around")])
    assert bus.hook.checkpoint_retention(trainer=None) is None


def test_a_wrapper_that_never_yields_is_blamed_in_words() -> None:
    class Around:
        @hookimpl(wrapper=True)
        def on_step_end(self, step: Any) -> Any:
            if step is None:
                return
            yield

    with pytest.raises(PluginFailure, match="RuntimeError at step 0: a wrapper yields once, and it returned before"):
        end_step(Bus([member(Around(), "around")]))


def test_an_argument_that_would_want_a_keyword_is_refused_before_it_fails() -> None:
    class Keyword:
        @hookimpl
        def on_step_end(self, *, state: Any) -> None: ...

    with pytest.raises(PluginError, match=r"on_step_end\(\*, state\): .*take the \* out"):
        Bus([member(Keyword(), "keyword")])
