"""A plugin that writes down every hook call, in order."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from stepbus.base import hookimpl
from stepbus.kernel import SPECIFICATIONS, TrainingState, events


class Event(NamedTuple):
    """One hook call.

    Args:
        name: The hook.
        arguments: Everything that the hook gives, by name. States, records and metrics are copies, as they were.

    Example:
        >>> [event.name for event in play(epochs=1, steps_per_epoch=1).events][-2:]  # each is an Event
        ['on_run_end', 'on_close']
    """

    name: str
    arguments: dict[str, Any]


class Told:
    """What a run told, read from its hook calls.

    Args:
        events: Every hook call, in order.

    Example:
        >>> play(epochs=1, steps_per_epoch=1, losses=[0.5], log_steps=1).records[0]["loss"]  # what Told holds
        0.5
    """

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    @property
    def names(self) -> list[str]:
        """The hooks that were called, in order."""
        return [event.name for event in self.events]

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the arguments of each call of one hook, in order."""
        return [event.arguments for event in self.events if event.name == name]

    @property
    def records(self) -> list[dict[str, float]]:
        """The log records."""
        return [given["record"] for given in self.of("on_log")]

    @property
    def messages(self) -> list[str]:
        """What users were told."""
        return [given["text"] for given in self.of("on_message")]

    @property
    def reports(self) -> list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
        """The tables shown: title, columns, rows."""
        return [(given["title"], given["columns"], given["rows"]) for given in self.of("on_report")]

    @property
    def artifacts(self) -> list[tuple[str, Path]]:
        """The files worth keeping: kind and path."""
        return [(given["kind"], given["path"]) for given in self.of("on_artifact")]


class Recorder(Told):
    """Write down every hook call in order; hand an instance over with the plugins and read it afterwards.

    Example:
        >>> recorder = Recorder()
        >>> _ = create_trainer(config="run.yaml", plugins=[recorder], num_epochs=1).train()
        >>> recorder.names.count("on_step_end"), recorder.records[-1]["step"]
        (8, 8)
    """

    scope: ClassVar[str] = "run"
    affects_result: ClassVar[bool] = False
    # First, because where one plugin's answer decides, those after it are not asked.
    late: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__([])
        for name in SPECIFICATIONS:
            setattr(self, name, self._recording(name))

    def _recording(self, name: str) -> Callable[..., Any]:
        @hookimpl(tryfirst=not self.late, trylast=self.late)
        @functools.wraps(getattr(events, name))  # pluggy reads there which arguments to hand over
        def record(*arguments: Any) -> None:
            given = zip(SPECIFICATIONS[name], map(_as_it_is, arguments), strict=True)
            self.events.append(Event(name, dict(given)))

        if name != "combine_results":
            return record

        # Only the declared combiner is asked, and who goes around it.
        @hookimpl(wrapper=True, tryfirst=not self.late, trylast=self.late)
        @functools.wraps(getattr(events, name))
        def around(*arguments: Any) -> Generator[None, Any, Any]:
            record(*arguments)
            return (yield)

        return around


class LateRecorder(Recorder):
    """The same after all others: it sees what they left of the arguments.

    Example:
        >>> issubclass(LateRecorder, Recorder), LateRecorder.late
        (True, True)
    """

    late: ClassVar[bool] = True


def _as_it_is(value: Any) -> Any:
    """Return a copy of what changes while a run goes on."""
    if isinstance(value, TrainingState):
        return copy.deepcopy(value)
    return copy.copy(value) if isinstance(value, dict | list) else value
