"""What plugins ask the engine for: requests that latch and say who asked, and who decided by which scores."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import asdict, define, field, frozen

from stepbus.base import (
    REQUESTS,
    Asker,
    Caller,
    PluginError,
    as_caller,
    as_list,
    built,
    count,
    fields_of,
    named,
    text,
)
from stepbus.base.guards import unless_handed_over

_KINDS = tuple(REQUESTS)
DECIDING = ("stop", "best")  # the requests that choose the weights


@frozen
class Request:
    """Who asked for something, and why."""

    plugin: str
    reason: str
    step: int


@define(on_setattr=unless_handed_over)
class Control:
    """Requests of plugins to the engine: they latch, are OR-ed, and say who asked and why.

    The bus knows whose hook is running, so a request needs no name, and one that its plugin does not declare in `asks`
    is refused. What is decided after a set was evaluated may be decided by its scores: the set counts as selected on.

    Args:
        caller: Whose hook is running; a name alone may ask for everything.
        step: Updates committed.
        stop: The requests of this kind that wait; so for the other kinds.
        refused: Kind of request -> why nobody can ask for it now, as the end of a sentence.
        evaluated: The sets that were evaluated so far.
        selected: Set -> who decided first after it was evaluated, and when: "early_stopping at step 12".
        settled: Whether the weights are chosen, so that nothing is decided any more.
        handed_over: Whether plugins see it, so that core alone may assign.

    Example:
        >>> control = Control("my_plugin")  # a plugin's own is `trainer.control`
        >>> control.request_stop("the loss is low enough")
        >>> control.request_best("later weights are worse")
        >>> control.request_evaluation(), control.request_checkpoint("before the weekend")
        (None, None)
        >>> control.why("stop")
        'my_plugin at step 0: the loss is low enough'
    """

    named: ClassVar[str] = "trainer.control"

    caller: Caller = field(factory=Caller, alias="asking", converter=as_caller, eq=False, repr=False)
    step: int = 0
    stop: list[Request] = field(factory=list)
    evaluation: list[Request] = field(factory=list)
    checkpoint: list[Request] = field(factory=list)
    best: list[Request] = field(factory=list)
    refused: dict[str, str] = field(factory=dict)
    evaluated: list[str] = field(factory=list)
    selected: dict[str, str] = field(factory=dict)
    settled: bool = False
    handed_over: bool = field(default=False, init=False, eq=False, repr=False)

    def request_stop(self, reason: str) -> None:
        """Ask for the end of the fit at the next boundary."""
        self._ask("stop", reason)

    def request_evaluation(self, reason: str = "") -> None:
        """Ask for an evaluation at the next boundary."""
        self._ask("evaluation", reason)

    def request_checkpoint(self, reason: str = "") -> None:
        """Ask for a checkpoint at the next boundary."""
        self._ask("checkpoint", reason)

    def request_best(self, reason: str) -> None:
        """Ask that the best weights be put back before the final evaluation and export."""
        self._ask("best", reason)

    def _ask(self, kind: str, reason: str) -> None:
        """Note a request.

        Raises:
            PluginError: The plugin does not declare it, it can have no effect any more, or the reason is no text.
        """
        asker = self.caller.now
        if kind not in asker.asks:
            raise asker.undeclared(kind)
        if kind in self.refused:
            raise PluginError(f"{asker.said} asks for {REQUESTS[kind]} (request_{kind}), but {self.refused[kind]}")
        getattr(self, kind).append(Request(asker.plugin, asker.reason(kind, reason), self.step))
        if kind in DECIDING:
            self.decide()

    def saw(self, name: str) -> None:
        """Note that a set was evaluated: who decides from now on may know its scores."""
        if name not in self.evaluated:
            self.evaluated.append(name)

    def decide(self, by: Asker | None = None) -> None:
        """Note that somebody decides what the weights become: by a stop, the best, or the learning rate.

        Args:
            by: Who; None is whose hook is running.
        """
        asker = by or self.caller.now
        if asker.selects and not self.settled:
            for name in self.evaluated:
                self.selected.setdefault(name, f"{asker.plugin} at step {self.step}")

    def why(self, kind: str) -> str:
        """Return the requests of one kind as words: "early_stopping at step 1200: …"."""
        return "; ".join(
            f"{ask.plugin} at step {ask.step}" + (f": {ask.reason}" if ask.reason else "")
            for ask in getattr(self, kind)
        )

    @property
    def pending(self) -> bool:
        """Whether anything waits for the next boundary."""
        return bool(self.stop or self.evaluation or self.checkpoint)

    def unserved(self) -> list[str]:
        """Return a sentence for each kind of request that waits where no boundary comes any more."""
        return [
            f"asked for too late, and not done: {REQUESTS[kind]}, by {self.why(kind)}"
            for kind in ("evaluation", "checkpoint")
            if getattr(self, kind)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the latched requests as JSON values."""
        asked = {kind: [asdict(ask) for ask in getattr(self, kind)] for kind in _KINDS}
        return {**asked, "evaluated": list(self.evaluated), "selected": dict(self.selected)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: A field is missing or of another type; the key is named.
        """
        checked = fields_of(saved, "control", (*_KINDS, "evaluated", "selected"))
        found = {
            kind: [
                built(Request, ask, f"control.{kind}[{index}]", plugin=text, reason=text, step=count)
                for index, ask in enumerate(as_list(checked[kind], f"control.{kind}"))
            ]
            for kind in _KINDS
        }
        evaluated = [text(name, "control.evaluated") for name in as_list(checked["evaluated"], "control.evaluated")]
        selected = named(checked["selected"], "control.selected", text)
        for kind, asks in found.items():
            setattr(self, kind, asks)
        # A plugin that goes back to a checkpoint has not forgotten what it saw since.
        self.evaluated = list(dict.fromkeys([*evaluated, *self.evaluated]))
        self.selected = {**self.selected, **selected}
