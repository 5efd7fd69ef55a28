"""The bus: one pluggy manager for each scope, and one guard around each implementation."""

from __future__ import annotations

import errno
import functools
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pluggy

from stepbus.base import (
    ON_WRITING,
    Asker,
    BadInput,
    ConfigError,
    PluginFailure,
    Problem,
    StepbusError,
    asks_of,
    remedy_of,
    without_secrets,
)
from stepbus.base.guards import Maker, as_read_only, keeps_finite_of, raised_at, signed
from stepbus.kernel import events
from stepbus.kernel.control import Control
from stepbus.kernel.hook_checks import WrongReturn, checked, hooks_of, placed
from stepbus.kernel.measuring import Meter
from stepbus.kernel.member import Member

# Calls of one implementation within each other: one that logs in on_log would go on without end.
MAX_DEPTH = 20
# What a file system says when it refuses: no fault of a plugin's code.
_REFUSED = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EISDIR,
    errno.ENOTDIR,
}  # fmt: skip


class _Guarded:
    """What is registered with pluggy in a plugin's place; compared by identity, whatever the plugin's own equality."""


class Bus:
    """The plugins of one scope in call order.

    Args:
        members: The plugins, in call order.
        control: Where requests go; it learns whose hook is running.
        meter: What counts the time of each plugin; all buses of a run share one.
    """

    def __init__(self, members: Sequence[Member], control: Control | None = None, meter: Meter | None = None) -> None:
        self.members = list(members)
        self.control, self.meter = control or Control(), meter or Meter()
        # Told when an error switches a plugin off; the run puts its own voice here.
        self.on_disabled: Callable[[str], None] = warnings.warn
        # Finds file and line of a problem; who has the configuration puts its own here.
        self.locate: Callable[[Problem], Problem] = lambda problem: problem
        self._manager = pluggy.PluginManager("stepbus")
        self._manager.add_hookspecs(events)
        # pluggy calls the last registered first.
        for member in reversed(self.members):
            self._register(member)
        self._manager.check_pending()
        self.hook = self._manager.hook

    def _register(self, member: Member) -> None:
        proxy = _Guarded()
        for name, function in hooks_of(member.plugin, member.label).items():
            setattr(proxy, name, self._guard(member, name, function))
        self._manager.register(proxy, name=member.name)

    def hears(self, hook: str) -> bool:
        """Return whether a member that no error switched off has a hook."""
        return any(hook in hooks_of(each.plugin, each.label) for each in self.members if not each.disabled)

    def _guard(self, member: Member, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap one implementation: attribution, cost, trace, blame and policy."""
        control, meter, cost, name = self.control, self.meter, self.meter.of(member.name), member.name
        caller, asker = control.caller, Asker.of(member.plugin, name, member.label, hook)
        clock = time.perf_counter
        keeps = hook == "transform_gradients" and keeps_finite_of(member.plugin, member.label)
        maker = Maker(f"{member.label}: {hook}", mend=_switch_off(member), keeps_finite=keeps)

        def watch(inner: Callable[..., Any]) -> Callable[..., Any]:
            depth = 0

            # One frame for each call: after a step the host's caches are cold, and every line of code counts.
            def watched(*arguments: Any) -> Any:
                nonlocal depth
                if member.disabled and hook != "on_close":
                    return None
                asking, caller.now = caller.now, asker
                outer, meter.inner = meter.inner, 0.0
                start = clock()
                depth += 1
                try:
                    if depth > MAX_DEPTH:  # before Python's own limit strikes whoever happens to be called then
                        raise RecursionError(f"what it does in {hook} calls {hook} again, without end")
                    return inner(*arguments)
                except KeyboardInterrupt:
                    raise  # the user's own
                except BaseException as error:  # one that calls sys.exit must not end a run in silence
                    return self.blame(member, hook, error)
                finally:
                    depth -= 1
                    elapsed = clock() - start
                    cost.seconds += elapsed - meter.inner
                    cost.calls += 1
                    meter.inner = outer + elapsed
                    caller.now = asking
                    if meter.trace is not None:
                        meter.say(control.step, elapsed, hook, name)

            return watched

        if not getattr(function, "stepbus_impl", {}).get("wrapper"):
            looked_at = placed(hook, checked(hook, function), member.place)
            return functools.wraps(function)(watch(signed(hook, looked_at, maker)))

        def begun(*arguments: Any) -> Any:
            around = function(*arguments)
            if next(around, around) is around:
                raise RuntimeError("a wrapper yields once, and it returned before")
            return around

        looked_at = placed(hook, checked(hook, _finish, around=True), member.place, around=True)
        finished = signed(hook, looked_at, maker, around=True)
        begin, finish = watch(begun), watch(finished)

        @functools.wraps(function)
        def guarded_wrapper(*arguments: Any) -> Generator[None, Any, Any]:
            around = begin(*arguments)
            raised: BaseException | None = None
            try:
                result = yield
            except BaseException as error:
                raised, result = error, None
            if around is not None:
                result, raised = finish(around, result, raised) or (result, raised)
            if raised is not None:
                raise raised
            return result

        return guarded_wrapper

    def blame(self, member: Member, hook: str, error: BaseException) -> None:
        """Raise what a plugin raised as its failure, or switch it off where its policy says so."""
        # What came back is wrong wherever the fit stands, and nothing was raised by the plugin itself.
        what = hook if isinstance(error, WrongReturn) else f"{hook} raised {{}} at step {self.control.step}"
        if member.on_error == "disable" and not isinstance(error, StepbusError):
            member.disabled = message = _raised(member, what, error)
            self.meter.of(member.name).disabled.append(message)
            self.on_disabled(message)
            return
        failed = _failure(member, what, error)
        if isinstance(failed, ConfigError):
            failed = ConfigError(self.locate(problem.below(member.place)) for problem in failed.problems)
        raise failed from (None if failed is error else error)

    def has(self, hook: str) -> bool:
        """Return whether anything listens to a hook."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def members_with(self, hook: str) -> list[Member]:
        """Return the members that listen to a hook, in call order."""
        names = {each.plugin_name for each in getattr(self.hook, hook).get_hookimpls()}
        return [member for member in self.members if member.name in names]

    def may_ask(self, kind: str) -> bool:
        """Return whether any plugin declares a kind of request."""
        return any(kind in asks_of(member.plugin, member.label) for member in self.members)

    def in_order(self, hook: str, **arguments: Any) -> list[Any]:
        """Return what the implementations of a hook give, in call order, without those that gave None."""
        return [result for result in getattr(self.hook, hook)(**arguments) if result is not None]

    def asking(self, name: str, hook: str) -> Any:
        """Return a hook that asks one member alone, and those who go around the others.

        Args:
            name: The member's name.
            hook: The hook.
        """
        every = getattr(self.hook, hook).get_hookimpls()
        others = [each.plugin for each in every if not each.wrapper and each.plugin_name != name]
        return self._manager.subset_hook_caller(hook, others)

    def thread(
        self,
        hook: str,
        *,
        told: Callable[[str, Any], None] | None = None,
        between: Callable[[Any], Any] | None = None,
        **arguments: Any,
    ) -> Any:
        """Pass a value through the implementations of a threaded hook, in call order.

        Args:
            hook: The hook.
            told: Called with the name of each member that gave a value, and that value.
            between: What each value becomes before it goes on.
            **arguments: All its arguments, the carried value among them.

        Returns:
            The value after the last implementation.
        """
        carried = events.THREADED[hook]
        arguments[carried] = as_read_only(arguments[carried])
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            result = implementation.function(*(arguments[name] for name in implementation.argnames))
            if result is not None:
                arguments[carried] = as_read_only(result if between is None else between(result))
                if told is not None:
                    told(implementation.plugin_name, result)
        return arguments[carried]

    def tell_all(self, hook: str, **arguments: Any) -> list[BaseException]:
        """Call every implementation of a hook, whatever the others do; return what they raised, a Ctrl-C included."""
        raised: list[BaseException] = []
        around = []
        for implementation in reversed(getattr(self.hook, hook).get_hookimpls()):
            try:
                begun = implementation.function(*(arguments[name] for name in implementation.argnames))
                if implementation.wrapper:
                    next(begun)
                    around.append(begun)
            except (Exception, KeyboardInterrupt) as error:
                raised.append(error)
        for begun in reversed(around):
            try:
                begun.send([])
            except StopIteration:
                pass
            except (Exception, KeyboardInterrupt) as error:
                raised.append(error)
        return raised


def _failure(member: Member, what: str, error: BaseException) -> StepbusError:
    """Return an error of a plugin as the user sees it; `what` is "on_log raised {} at step 3", {} the error's type."""
    if isinstance(error, StepbusError):
        return error  # what was said on purpose keeps its words
    if isinstance(error, OSError) and error.errno in (_REFUSED if error.filename is not None else ON_WRITING):
        cannot = f"{member.label} cannot write a file"
        if error.filename is not None:
            cannot = f"{error.filename}: {member.label} cannot read or write here"
        remedy = remedy_of(error, otherwise="name a file that can be written")
        return BadInput(f"{cannot}: {error.strerror}; {remedy}, or {_switch_off(member)}")
    return PluginFailure(_raised(member, what, error, raised_at(error)))


def _raised(member: Member, what: str, error: BaseException, place: str = "") -> str:
    try:
        words = str(error)
    except Exception as inner:
        words = f"(its text cannot be had: {type(inner).__name__})"
    # It goes into checkpoints, where a StepbusError's own look at passwords does not reach.
    words = without_secrets(words)
    return f"{member.label}: {what.format(type(error).__name__)}: {words}{place}; {_switch_off(member)}"


def _switch_off(member: Member) -> str:
    return member.mend or f"switch the plugin off with plugins: {{{member.name}: false}}"


def _finish(around: Any, result: Any, raised: BaseException | None) -> tuple[Any, None]:
    """Run a wrapper's second half, and return what it made of the result or the error inside it."""
    try:
        around.send(result) if raised is None else around.throw(raised)
    except StopIteration as end:
        return end.value, None
    raise RuntimeError("a wrapper yields once")
