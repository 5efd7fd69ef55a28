"""What every plugin keeps, a function for each rule."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from stepbus.author import problems_of
from stepbus.base import ConfigError
from stepbus.base.trees import plain, structure
from stepbus.kernel import BUILD_HOOKS, FIRST_DECIDES, RUN_HOOKS
from stepbus.run.plans import grows_of
from stepbus.storage import from_json, to_json
from stepbus.testing.observing import (
    class_values,
    comparable,
    device_calls,
    difference,
    files_touched,
    is_array,
    without,
)
from stepbus.testing.playing import Played, play
from stepbus.testing.recorder import LateRecorder, Recorder
from stepbus.testing.subject import Subject

# What any plugin may cause at any time.
TOLD = frozenset({"on_message", "on_report", "on_artifact", "on_log"})
# What is asked once for each phase: who asks for a phase has all of them asked again.
OF_PHASES = frozenset({"trained_parameters", "wrap_loss", "wrap_gradient", "transform_gradients", "training_step"})


def check_class(subject: Subject) -> None:
    """Known hooks and arguments, frozen settings, sound defaults and components."""
    if problems := problems_of(subject.loaded):
        subject.fail("is well made", "; ".join(problems))


def check_settings(subject: Subject) -> None:
    """Each setting comes back from plain values as it was."""
    made = subject.config()
    if made is None:
        return
    try:
        again = structure(type(made), from_json(to_json(plain(made))))
    except (ConfigError, ValueError) as error:
        subject.fail("settings round-trip", str(error))
    for field in attrs.fields(type(made)):
        before, after = getattr(made, field.name), getattr(again, field.name)
        if comparable(before) != comparable(after):
            subject.fail("settings round-trip", f"{field.name} was {before!r} and came back as {after!r}")


def check_building(subject: Subject) -> None:
    """An instance is made without a file or an array."""
    subject.fresh()  # what it imports on the way is no matter
    with files_touched() as touched:
        plugin = subject.fresh()
    if touched:
        subject.fail("building touches nothing", f"its constructor does {touched[0]}; leave that to on_fit_start")
    for name, value in getattr(plugin, "__dict__", {}).items():
        if is_array(value):
            subject.fail("building touches nothing", f"its constructor makes the array {name}; leave that to a hook")


def check_computing(subject: Subject, tiny: Mapping[str, Any]) -> None:
    """A tiny real fit comes to its end with it, also one that was cut, and to the same bits."""
    from stepbus.testing.tiny import rehearse

    if broken := rehearse(subject.loaded.cls, subject.settings, subject.beside, tiny):
        subject.fail(*broken)


def check_state(subject: Subject) -> None:
    """The state at the start and at the end goes into a fresh instance and comes back."""
    for plugin in (subject.fresh(), subject.instance(subject.play())):
        saved = subject.states(plugin)
        if not saved:
            continue
        fresh = subject.fresh()
        subject.call("state round-trips", "load_state_dict", fresh.load_state_dict, saved[subject.member])
        before, after = (without(subject.varying, comparable(each)) for each in (saved, subject.states(fresh)))
        if found := difference(before, after):
            subject.fail("state round-trips", f"a fresh instance that took the state over gives another: {found}")


def check_resume(subject: Subject) -> None:
    """Cut after each update, the run that goes on ends as the one that was not cut."""
    whole = subject.play()
    expected = subject.outcome(whole)
    for cut in range(1, whole.state.step):
        with tempfile.TemporaryDirectory(prefix="stepbus-") as folder:
            first = subject.play(interrupt_at=cut, directory=Path(folder))
            if first.status != "interrupted":
                subject.fail("resume equals uninterrupted", f"a run to be cut after update {cut} had ended before")
            second = subject.play(resume_from=first.checkpoints[-1], directory=Path(folder))
            got = subject.outcome(first, second)
        for name, value in expected.items():
            if found := difference(value, got[name]):
                subject.fail("resume equals uninterrupted", f"cut after update {cut}, the {name} differ: {found}")


def check_growth(subject: Subject) -> None:
    """Each axis that the class declares has fits of the plan along it."""
    axes = [] if subject.part else grows_of(subject.loaded.cls, subject.name)
    if not axes:
        return
    fits = subject.play().run.fits
    for axis in axes:
        if not any(axis.name in fit.scope for fit in fits):
            subject.fail(
                "grows what it declares",
                f"it declares the axis {axis.name} and makes no fit along it; return the new plan from expand_fits, or "
                "hand over what it needs to grow (settings=, beside=)",
            )


def check_isolation(subject: Subject) -> None:
    """A run leaves other instances, the class and the next run as they were."""
    rule, cls = "two fits share no state", type(subject.fresh())
    other = subject.fresh()
    state, values = comparable(subject.states(other)), class_values(cls)
    first = subject.outcome(subject.play())
    if found := difference(state, comparable(subject.states(other))):
        subject.fail(rule, f"a run of one instance changed the state of another: {found}")
    if found := difference(values, class_values(cls)):
        subject.fail(rule, f"a run changed the class: {found}; set it in __init__")
    again = subject.outcome(subject.play())
    for name, value in first.items():
        if found := difference(value, again[name]):
            subject.fail(rule, f"in a second run the {name} differ: {found}")


def check_order(subject: Subject) -> None:
    """Listeners before and after it change nothing, and it changes nothing for them."""
    rule, alone = "order makes no difference", subject.play()
    expected = subject.outcome(alone)
    for where, more in (("before", {"before": [Recorder]}), ("after", {"after": [LateRecorder]})):
        played = subject.play(**more)
        got = subject.outcome(played)
        for name, value in expected.items():
            if found := difference(value, got[name]):
                subject.fail(rule, f"with another plugin {where} it, the {name} differ: {found}")
        if where == "after":
            _check_arguments(subject, rule, played, played.plugins["late_recorder"])
    if subject.asked(alone) or not alone.run.alone:
        return
    bare = play(*subject.beside, **subject.script)
    without_it, with_it = ([name for name in each.names if name not in TOLD | OF_PHASES] for each in (bare, alone))
    if found := difference(without_it, with_it):
        subject.fail(rule, f"it asks for nothing, and yet the events are others with it: {found}")


def _check_arguments(subject: Subject, rule: str, played: Played, late: LateRecorder) -> None:
    for name in dict.fromkeys(played.names):
        if name in BUILD_HOOKS or name in FIRST_DECIDES:
            continue  # where one plugin's answer decides, those after it are not asked
        early = [event.arguments for event in played.events if event.name == name]
        if found := difference(comparable(early), comparable(late.of(name))):
            subject.fail(rule, f"after it, others are given something else by {name}: {found}")


def check_device(subject: Subject) -> None:
    """No hook of a fit waits for the device."""
    for hook, call in device_calls(lambda: subject.play(watch=True)).items():
        if hook not in BUILD_HOOKS | RUN_HOOKS:
            subject.fail("no extra device synchronisation", f"{hook} calls {call}; hooks are given host numbers")
