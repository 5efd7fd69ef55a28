"""A plugin class under test: fresh instances of it, runs with it, and what such a run came to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

import attrs
from attrs import frozen

from stepbus.base import CheckpointError, ConfigError, StepbusError, UndeclaredError, error_words
from stepbus.base.trees import Mark, from_python, structure
from stepbus.config import Suggestions
from stepbus.config.discovery import LoadedPlugin
from stepbus.fit import make
from stepbus.kernel import LOGGED, hooks_of
from stepbus.testing.observing import comparable, watched, without
from stepbus.testing.playing import Played, play
from stepbus.testing.script import Asked
from stepbus.testing.scripted_checkpoints import frozen_states

# An interrupt saves once more than a run that was not cut; a resumed run begins and ends its fit once more.
NOT_COMPARED = frozenset({"checkpoint_retention", "on_checkpoint", "on_fit_start", "on_fit_end"})


@frozen(eq=False)
class Subject:
    """A plugin class under test, or one of its schedules.

    Args:
        loaded: The class.
        settings: Its settings by name or as its Config.
        beside: Plugins that it cannot do without.
        varying: Keys that depend on the wall clock.
        script: What `play` takes.
        part: The name and the builder of a schedule; then it is the schedule that is under test.
    """

    loaded: LoadedPlugin
    settings: Any
    beside: tuple[Any, ...]
    varying: tuple[str, ...]
    script: dict[str, Any]
    part: tuple[str, Callable[[], Any]] | None = None

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.loaded.cls.__name__}: {self.part[0]}" if self.part else str(self.loaded.cls.__name__)

    @property
    def member(self) -> str:
        """Its name on the bus."""
        return self.part[0] if self.part else self.loaded.name

    def fail(self, rule: str, seen: str) -> NoReturn:
        """Say which rule is broken, and what was seen."""
        raise AssertionError(f'{self.name} breaks the rule "{rule}": {seen}')

    def config(self) -> Any:
        """Return its typed settings, or None if it has none."""
        cls = self.loaded.config_class
        if cls is None:
            return None
        try:
            return structure(cls, from_python(self.settings or {}, Mark()), near=Suggestions({}).at)
        except ConfigError as error:
            self.fail("settings round-trip", f"{error}; hand over what it needs with settings={{…}}")

    def fresh(self) -> Any:
        """Return a new instance."""
        if self.part is None:
            return make(self.loaded.cls, self.config())
        return self.call("plays a run", "its build", self.part[1])

    def call(self, rule: str, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function of the plugin's returns; what it raises, `sys.exit` too, breaks a rule."""
        try:
            return function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.fail(rule, f"{what} raised {error_words(error)}")

    def play(
        self, *, before: Sequence[Any] = (), after: Sequence[Any] = (), watch: bool = False, **more: Any
    ) -> Played:
        """Play the script with the plugin in it."""
        cls = watched(self.loaded.cls) if watch and not self.part else self.loaded.cls
        plugins = [*before, (cls, self.settings), *self.beside, *after]
        parts = {}
        if self.part:
            name, build = self.part
            parts[name] = _watched_part(build) if watch else build
        try:
            played = play(*plugins, **{**self.script, "parts": parts, **more})
        except CheckpointError as error:
            self.fail("needs no pickle", str(error))
        except UndeclaredError as error:
            self.fail("asks for what it declares", str(error))
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, StepbusError) else error_words(error)
            rule, mend = "plays a run", "if it needs more to run, hand it over (settings=, beside=, or what play takes)"
            raise AssertionError(f'{self.name} breaks the rule "{rule}": {reason}; {mend}') from error
        for text in played.late:
            if text.startswith(self.loaded.label if self.part is None else self.member):
                self.fail("plays a run", text)
        return played

    def playable(self, hooks: Collection[str]) -> Subject:
        """Return the subject itself where scripted runs can play it, and else one without some hooks.

        Args:
            hooks: What may need a real model.
        """
        try:
            self.play()
        except AssertionError:
            cls = self.loaded.cls
            left = {name: None for name in hooks if hasattr(cls, name)}
            without = type(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__, **left})
            return attrs.evolve(self, loaded=attrs.evolve(self.loaded, cls=without))
        return self

    def instance(self, played: Played) -> Any:
        """Return its instance of the last fit."""
        return played.plugins[self.member]

    def states(self, plugin: Any) -> dict[str, Any]:
        """Return an instance's state as a checkpoint would give it back, by its name; empty where it has none."""
        if not hasattr(plugin, "state_dict"):
            return {}
        try:
            return frozen_states({self.member: self.call("state round-trips", "state_dict", plugin.state_dict)})
        except CheckpointError as error:
            self.fail("needs no pickle", str(error))

    def asked(self, *runs: Played) -> list[Asked]:
        """Return the requests that it made, in order."""
        return [asked for played in runs for asked in played.asked if asked.request.plugin == self.member]

    def outcome(self, *runs: Played) -> dict[str, Any]:
        """Return what one run, or the parts of a run that was cut, came to."""
        last = runs[-1]
        found = {
            "requests": self.asked(*runs),
            # A clock's word is another each time.
            "records": [without(LOGGED.values(), comparable(each)) for played in runs for each in played.records],
            "events": [event for played in runs for event in loop_events(played)],
            "training state": last.state.state_dict(),
            "latched requests": last.control.state_dict(),
            "result": (last.result.status, last.result.metrics, last.result.reason) if last.result else None,
            "state of the plugin": self.states(self.instance(last)),
        }
        return {name: without(self.varying, comparable(value)) for name, value in found.items()}


def loop_events(played: Played) -> list[tuple[str, int]]:
    """Return the events of the fits of a run with their steps, without saving and what was told beside."""
    return [
        (event.name, event.arguments["state"].step)
        for event in played.events
        if "state" in event.arguments and event.name not in NOT_COMPARED
    ]


def _watched_part(build: Callable[[], Any]) -> Callable[[], Any]:
    def built() -> Any:
        part = build()
        part.__class__ = watched(type(part))
        return part

    return built


def listening_schedules(subject: Subject) -> list[Subject]:
    """Return the plugin's schedules that have hooks and need no settings."""
    found = []
    for part in subject.loaded.components:
        if part.kind != "scheduler" or any(each.default is attrs.NOTHING for each in attrs.fields(part.config)):
            continue

        def build(part: Any = part) -> Any:
            return subject.call("is well made", f"the build of {part.name}", part.build, part.config())

        if hooks_of(build(), part.name, "fit"):
            found.append(attrs.evolve(subject, part=(f"scheduler.{part.name}", build)))
    return found
