"""What plugins remember: taken for checkpoints and given back, with each plugin blamed as in its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import Asker, CheckpointError, ModelError, PluginError, StepbusError, error_words
from stepbus.storage import decode_state

if TYPE_CHECKING:
    from stepbus.kernel import Bus, Member


def memory_problem(plugin: Any) -> str:
    """Return what is wrong with how a plugin remembers, or nothing: one method alone would lose what it keeps.

    Args:
        plugin: A class, an instance or a module.
    """
    pair = [getattr(plugin, name, None) for name in ("state_dict", "load_state_dict")]
    if pair == [None, None] or all(map(callable, pair)):
        return ""
    return "expected both state_dict and load_state_dict, or neither, as methods"


def check_memory(member: Member) -> None:
    """Refuse a plugin whose memory a checkpoint could not keep.

    Raises:
        PluginError: It has one of the two methods, or something else by their names.
    """
    if problem := memory_problem(member.plugin):
        raise PluginError(f"{member.label}: {problem}")


def _call(bus: Bus, member: Member, method: str, *arguments: Any) -> Any:
    """Call a method that is no hook; what is asked for meanwhile, the plugin asks for."""
    caller = bus.control.caller
    asking, caller.now = caller.now, Asker.of(member.plugin, member.name, member.label, method)
    try:
        return getattr(member.plugin, method)(*arguments)
    finally:
        caller.now = asking


def asked_of(bus: Bus, member: Member, method: str, *arguments: Any) -> Any:
    """Return what a method of a plugin gives that is no hook; one that raises is blamed as in a hook.

    Args:
        bus: The plugins of a fit.
        member: The plugin.
        method: The method's name.
        *arguments: What it is called with.

    Raises:
        PluginFailure: It raised.
    """
    try:
        return _call(bus, member, method, *arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return bus.blame(member, method, error)


def state_of(bus: Bus) -> dict[str, Any]:
    """Return name -> state of every member that has memory.

    One that raises is switched off where its policy says so, and has no state then.

    Args:
        bus: The plugins of a fit.

    Raises:
        PluginFailure: A plugin raised.
    """
    states = {}
    for member in bus.members:
        if hasattr(member.plugin, "state_dict"):
            try:
                states[member.name] = _call(bus, member, "state_dict")
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                if not member.disabled:  # what an error has broken may well be unable to say what it remembers
                    bus.blame(member, "state_dict", error)
    return states


def restore_state(bus: Bus, saved: Mapping[str, Any]) -> None:
    """Give every member its saved state back; one that was not there before starts afresh.

    Args:
        bus: The plugins of a fit.
        saved: What `state_of` returned.

    Raises:
        CheckpointError: A plugin cannot read it.
    """
    for member in bus.members:
        if member.name in saved and hasattr(member.plugin, "load_state_dict"):
            try:
                _call(bus, member, "load_state_dict", saved[member.name])
            except (KeyboardInterrupt, StepbusError):
                raise
            except BaseException as error:  # a plugin reads its own state, and this one may be anything
                raise CheckpointError(
                    f"plugins.{member.name}: expected what its state_dict returned, got something that its "
                    f"load_state_dict cannot read ({error_words(error)})"
                ) from error


def restore_stored(bus: Bus, stored: Mapping[str, Any], arrays: dict[str, Any], place: str) -> None:
    """Give every member the state back that a folder to predict with holds of it.

    Args:
        bus: The plugins that take part.
        stored: Name -> state as JSON values; None of one that remembers nothing.
        arrays: The arrays that the states name.
        place: The file and the key in it, for messages.

    Raises:
        ModelError: A state is damaged, or its plugin cannot read it.
    """
    states = {}
    for name, plain in stored.items():
        try:
            if plain is not None:
                states[name] = decode_state(plain, arrays)
        except ValueError as error:
            raise ModelError(f"{place}.{name}: {error}") from error
    try:
        restore_state(bus, states)
    except CheckpointError as error:
        raise ModelError(f"{place}: {error}") from error
