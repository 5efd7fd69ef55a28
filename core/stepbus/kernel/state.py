"""Where a fit stands, and what plugins have asked of it. Knows no MLX."""

from __future__ import annotations

import math
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
    number,
    text,
)
from stepbus.base.guards import as_read_only, unless_handed_over

_COUNTS = ("epoch", "step", "step_in_epoch", "samples_seen", "tokens_seen", "total_steps", "steps_per_epoch")
_KINDS = tuple(REQUESTS)
DECIDING = ("stop", "best")  # the requests that choose the weights


@frozen
class StepResult:
    """One optimizer update, as host numbers.

    Args:
        loss: Mean loss over the rows of the update, by weight.
        weight: Sum of the row weights; padded rows weigh 0.
        sequences: Real rows.
        tokens: Real tokens.
        learning_rate: The rate that this update used.
        scalars: Named numbers from the compiled step (`gradient_norm`, …).
        seconds: Wall time since the update before it came home.
        skipped: Whether it changed nothing, because a loss or a gradient was no finite number.
        loss_scale: What the loss was multiplied by for it; None where it is not scaled.
    """

    loss: float
    weight: float
    sequences: int
    tokens: int
    learning_rate: float
    scalars: dict[str, float] = field(factory=dict, converter=as_read_only)
    seconds: float = 0.0
    skipped: bool = False
    loss_scale: float | None = None


@frozen
class Best:
    """The best evaluation so far."""

    metric: str
    value: float
    step: int


@define(on_setattr=unless_handed_over)
class TrainingState:
    """Where a fit stands; hooks read it, checkpoints keep it.

    Args:
        epoch: Epochs finished before the present one, from 0.
        step: Optimizer updates committed.
        step_in_epoch: Updates committed in the present epoch.
        samples_seen: Real rows trained on.
        tokens_seen: Real tokens trained on.
        learning_rate: The rate in use at the last update.
        metrics: The latest metrics by name (`eval_loss`, `eval_accuracy`, …).
        history: One record for each evaluation cycle: step, epoch and metrics.
        best: The best evaluation of the monitored metric.
        total_steps: Updates of the whole fit.
        steps_per_epoch: Updates of one epoch; 0 until the first has ended where nobody can count them before.
        interval: Sums since the last log record.
        evaluated: Set name -> the step that it was last evaluated at.
        handed_over: Whether plugins see it, so that core alone may change it.
    """

    named: ClassVar[str] = "state"

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    samples_seen: int = 0
    tokens_seen: int = 0
    learning_rate: float = 0.0
    metrics: dict[str, float] = field(factory=dict)
    history: list[dict[str, Any]] = field(factory=list)
    best: Best | None = None
    total_steps: int = 0
    steps_per_epoch: int = 0
    interval: dict[str, float] = field(factory=dict)
    evaluated: dict[str, int] = field(factory=dict)
    handed_over: bool = field(default=False, init=False, eq=False, repr=False)

    def add_to_interval(self, step: StepResult) -> None:
        """Add one update to the sums of the log interval."""
        sums = dict(self.interval)
        sums["loss"] = sums.get("loss", 0.0) + step.loss * step.weight
        for name in ("weight", "sequences", "tokens", "seconds"):
            sums[name] = sums.get(name, 0.0) + getattr(step, name)
        for name, value in step.scalars.items():
            sums["last_" + name] = value
        self.interval = sums

    def close_interval(self) -> dict[str, float]:
        """Return the interval's log record, and begin the next one."""
        sums, self.interval = self.interval, {}
        seconds = sums["seconds"] or math.inf
        return {
            "loss": sums["loss"] / (sums["weight"] or math.nan),
            "learning_rate": self.learning_rate,
            **{name.removeprefix("last_"): value for name, value in sums.items() if name.startswith("last_")},
            "sequences_per_second": sums["sequences"] / seconds,
            "tokens_per_second": sums["tokens"] / seconds,
        }

    @property
    def epoch_progress(self) -> float:
        """Epochs done, with the part of the present one."""
        return self.epoch + (self.step_in_epoch / self.steps_per_epoch if self.steps_per_epoch else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self, filter=lambda attribute, _: attribute.name != "handed_over")

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: A field is missing or of another type; the key is named.
        """
        checked = fields_of(saved, "state", self.state_dict())
        found: dict[str, Any] = {name: count(checked[name], f"state.{name}") for name in _COUNTS}
        found["learning_rate"] = number(checked["learning_rate"], "state.learning_rate")
        found |= {name: named(checked[name], f"state.{name}", number) for name in ("metrics", "interval")}
        found["evaluated"] = named(checked["evaluated"], "state.evaluated", count)
        found["history"] = [
            _record(record, f"state.history[{index}]")
            for index, record in enumerate(as_list(checked["history"], "state.history"))
        ]
        best = checked["best"]
        found["best"] = None if best is None else built(Best, best, "state.best", metric=text, value=number, step=count)
        for name, value in found.items():
            setattr(self, name, value)


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


def _record(saved: Any, key: str) -> dict[str, Any]:
    """Return one record of the history: a step, and numbers by name."""
    record = named(saved, key, number)
    count(record.get("step"), f"{key}.step")
    return record
