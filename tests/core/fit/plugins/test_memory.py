"""What plugins remember: by name, blamed like their hooks, and never half."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from stepbus import CheckpointError, PluginError, PluginFailure, hookimpl
from stepbus.api.starting import Memories
from stepbus.fit.plugins.memory import memory_problem, restore_state, state_of
from stepbus.kernel.bus import Bus
from stepbus.kernel.member import Member
from stepbus.testing import play


class Remembers:
    def __init__(self) -> None:
        self.count = 3

    @hookimpl
    def on_step_end(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.count = saved["count"]


class Saves:
    """Ask for a checkpoint in each epoch."""

    asks = ("checkpoint",)

    @hookimpl
    def on_epoch_end(self, trainer: Any) -> None:
        trainer.control.request_checkpoint("an epoch")


class SavesOnly(Remembers):
    load_state_dict = None  # type: ignore[assignment]  # that is what is tried


class LoadsOnly(Remembers):
    state_dict = None  # type: ignore[assignment]


class NoMethods(Remembers):
    state_dict = {"count": 3}  # type: ignore[assignment]  # noqa: RUF012
    load_state_dict = {}  # type: ignore[assignment]  # noqa: RUF012


class ExitsSaving(Remembers):
    def state_dict(self) -> dict[str, Any]:
        sys.exit(0)


class ExitsLoading(Remembers):
    def load_state_dict(self, saved: dict[str, Any]) -> None:
        sys.exit(0)


class BreaksLater(Remembers):
    """Break in a hook, and be unable to say what it remembers from then on."""

    @hookimpl
    def on_step_end(self) -> None:
        self.count = 0
        raise ValueError("of the tracker")

    def state_dict(self) -> dict[str, Any]:
        return {"share": 1 / self.count}


class AsksSaving(Remembers):
    trainer: Any = None

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        self.trainer.control.request_stop("while it is saved")
        return {}


def bus_with(plugin: Any, on_error: str = "raise") -> Bus:
    bus = Bus([Member("mine", "mine, my_file.py", plugin, on_error), Member("other", "other", Saves())])
    bus.on_disabled = lambda text: None
    return bus


def test_states_go_by_name_and_a_new_plugin_starts_afresh() -> None:
    first, second, new = Remembers(), Remembers(), Remembers()
    first.count = 9
    saved = state_of(bus_with(first))
    assert saved == {"mine": {"count": 9}}
    restore_state(bus_with(second), saved)
    restore_state(bus_with(new), {"another": {"count": 5}})
    assert (second.count, new.count) == (9, 3)


@pytest.mark.parametrize("plugin", [SavesOnly, LoadsOnly, NoMethods])
def test_half_a_memory_is_refused_before_anything_is_trained(plugin: type) -> None:
    assert not memory_problem(Remembers)
    with pytest.raises(PluginError, match="expected both state_dict and load_state_dict, or neither, as methods"):
        play(plugin)


@pytest.mark.parametrize("part", [SavesOnly, LoadsOnly])
def test_so_is_that_of_a_schedule(part: type) -> None:
    with pytest.raises(PluginError, match=r"scheduler\.mine: expected both state_dict and load_state_dict"):
        play(Saves, parts={"scheduler.mine": part})


def test_one_that_leaves_while_it_is_saved_is_blamed() -> None:
    with pytest.raises(PluginFailure, match=r"exits_saving, .*: state_dict raised SystemExit at step 5"):
        play(ExitsSaving, Saves)


def test_one_that_leaves_while_it_is_given_back_is_blamed() -> None:
    first = play(ExitsLoading, Saves, interrupt_at=7)
    with pytest.raises(CheckpointError, match=r"plugins\.exits_loading: .* cannot read \(SystemExit: 0\)"):
        play(ExitsLoading, Saves, resume_from=first.checkpoints[-1])


def test_the_policy_holds_while_it_is_saved() -> None:
    bus = bus_with(ExitsSaving(), "disable")
    assert state_of(bus) == {}
    assert bus.members[0].disabled.startswith("mine, my_file.py: state_dict raised SystemExit at step 0")


def test_what_an_error_has_broken_need_not_say_what_it_remembers() -> None:
    bus = bus_with(BreaksLater(), "disable")
    bus.hook.on_step_end(trainer=None, state=None, step=None)
    assert state_of(bus) == {}
    assert "of the tracker" in bus.members[0].disabled


def test_what_is_asked_for_while_it_is_saved_wants_declaring_too() -> None:
    with pytest.raises(PluginError, match=r"state_dict asks for the end of the fit.*in the class AsksSaving"):
        play(AsksSaving, Saves)
    played = play(type("AsksSaving", (AsksSaving,), {"asks": ("stop",)}), Saves)
    assert played.stopped_by == "asks_saving at step 5: while it is saved"


def test_an_object_that_leaves_before_its_first_run_is_named() -> None:
    with pytest.raises(
        PluginError, match=r"ExitsSaving \(passed in Python\): state_dict raised SystemExit: 0; each train"
    ):
        Memories([ExitsSaving()])
