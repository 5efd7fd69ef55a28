"""What a scripted fit is told to say: losses, metrics, rows and predictions; and what it keeps: requests, snapshots."""

from __future__ import annotations

import numbers
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, field, frozen

from stepbus.base import Problem, show_python
from stepbus.kernel import Control, FitResult, Predictions, Request
from stepbus.text.labels import LabelCodec

if TYPE_CHECKING:
    from stepbus.run import Run


@frozen
class Script:
    """What the steps and the evaluations of a fit are going to say; the last of each list is said again.

    Args:
        losses: The loss of each update.
        scalars: The named numbers of each update.
        metrics: The metrics of each evaluation cycle; none: there are no validation rows.
        seconds: Wall time of one update.
        interrupt_at: The update at which a signal arrives: of the first fit that comes to it, or (fit, update).
    """

    losses: Sequence[float] = ()
    scalars: Sequence[Mapping[str, float]] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    seconds: float = 0.01
    interrupt_at: int | tuple[str, int] | None = None

    def problems(self, steps_per_epoch: Any, epochs: Any, resume_from: Any) -> list[Problem]:
        """Return why it cannot be played, where what it was given cannot be meant.

        Args:
            steps_per_epoch: Updates of one epoch.
            epochs: Times that the training rows are seen.
            resume_from: A snapshot, or None.
        """
        found = []
        if type(steps_per_epoch) is not int or steps_per_epoch < 1:
            found.append(
                Problem("steps_per_epoch", f"expected a number of at least 1, got {show_python(steps_per_epoch)}")
            )
        elif self.interrupt_at is not None and type(epochs) is int and epochs > 0:
            last = epochs * steps_per_epoch
            update = self.interrupt_at[1] if isinstance(self.interrupt_at, tuple) else self.interrupt_at
            if update not in range(1, last + 1):
                found.append(Problem("interrupt_at", f"expected an update from 1 to {last}, got {update}"))
        if isinstance(self.losses, str) or not all(map(_is_number, self.losses)):
            found.append(Problem("losses", f"expected a list of numbers, got {show_python(self.losses)}"))
        for name, given, prefix in (("metrics", self.metrics, "eval_"), ("scalars", self.scalars, "")):
            if isinstance(given, str | Mapping) or not all(isinstance(each, Mapping) for each in given):
                found.append(Problem(name, f"expected a list of mappings, one for each time, got {show_python(given)}"))
                continue
            if wrong := sorted({key for each in given for key in each if not key.startswith(prefix)}):
                found.append(Problem(name, f"expected names that begin with {prefix}, got {', '.join(wrong)}"))
            if odd := [value for each in given for value in each.values() if not _is_number(value)]:
                found.append(Problem(name, f"expected numbers by name, got {show_python(odd[0])}"))
        if resume_from is not None and not isinstance(resume_from, Snapshot):
            words = f"expected a snapshot, as earlier.checkpoints[-1], got {show_python(resume_from)}"
            found.append(Problem("resume_from", words))
        return found

    def interrupts(self, fit: str, number: int) -> bool:
        """Return whether a signal arrives during an update of a fit."""
        return self.interrupt_at in (number, (fit, number))

    def loss(self, number: int) -> float:
        """Return the loss of an update; without a script it falls as 1 / number."""
        return float(at(self.losses, number - 1)) if self.losses else 1 / number


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real | np.generic)


def at(values: Sequence[Any], index: int) -> Any:
    """Return an item, or the last one beyond the end."""
    return values[min(index, len(values) - 1)]


@frozen
class Asked:
    """A request to the engine, as it was made: kind is stop, evaluation, checkpoint or best.

    Example:
        >>> class Asks(Callback):
        ...     asks = ("evaluation",)
        ...     def on_step_end(self, trainer, state):
        ...         trainer.control.request_evaluation("just so")
        >>> play(Asks(), metrics=[{"eval_loss": 0.5}], epochs=1, steps_per_epoch=1).asked
        [Asked(kind='evaluation', request=Request(plugin='asks', reason='just so', step=1))]
    """

    kind: str
    request: Request


@frozen
class Snapshot:
    """What a checkpoint keeps, in memory.

    Args:
        fit: The fit's name.
        step: Updates done.
        path: The folder that stands for it.
        state: The training state, as JSON values.
        control: The latched requests, as JSON values.
        plugins: Name in the run -> the plugin's state.
        learning_rate: The base rate.
        disabled: The plugins that an error had switched off, with the error.
        best: The best weights, if they are kept.
        done: The results of the fits before this one.

    Example:
        >>> first = play(interrupt_at=7)
        >>> play(resume_from=first.checkpoints[-1]).state.step  # each checkpoint is a Snapshot
        10
    """

    fit: str
    step: int
    path: Path
    state: dict[str, Any]
    control: dict[str, Any]
    plugins: dict[str, Any]
    learning_rate: float
    disabled: dict[str, str] = field(factory=dict)
    best: dict[str, Any] = field(factory=dict)
    done: tuple[FitResult, ...] = ()


class Heard:
    """What is written down of a scripted run.

    Args:
        given: The snapshot that it goes on from, if there is one.

    Attributes:
        asked: Every request to the engine, in order, of all fits.
        moves: What was launched and read.
        checkpoints: A snapshot for each checkpoint.
        run: The run, once it is there.
    """

    def __init__(self, given: Snapshot | None = None) -> None:
        self.given = given
        self.asked: list[Asked] = []
        self.moves: list[str] = []
        self.checkpoints: list[Snapshot] = []
        self.run: Run | None = None

    def interrupt(self) -> None:
        """Let a signal arrive."""
        if self.run is not None:
            self.run.signal = signal.SIGINT

    def snapshot(self, path: Path) -> Snapshot:
        """Return the snapshot that was taken for a folder."""
        known = [*([self.given] if self.given else []), *self.checkpoints]
        return next(kept for kept in reversed(known) if kept.path == path)


class ListeningControl(Control):
    """The requests of one fit, and a list of all that were ever made.

    Args:
        asked: Where each request goes as well.
    """

    def __init__(self, asked: list[Asked]) -> None:
        super().__init__()
        self.asked = asked

    def request_stop(self, reason: str) -> None:
        super().request_stop(reason)
        self.asked.append(Asked("stop", self.stop[-1]))

    def request_evaluation(self, reason: str = "") -> None:
        super().request_evaluation(reason)
        self.asked.append(Asked("evaluation", self.evaluation[-1]))

    def request_checkpoint(self, reason: str = "") -> None:
        super().request_checkpoint(reason)
        self.asked.append(Asked("checkpoint", self.checkpoint[-1]))

    def request_best(self, reason: str) -> None:
        super().request_best(reason)
        self.asked.append(Asked("best", self.best[-1]))


class ScriptedRows:
    """Rows without content: they have ids and a number.

    Args:
        name: What the set is for.
        number: How many there are.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name, self.source, self.truncated = name, f"scripted {name}", 0
        self.ids = np.array([f"{name}-{row}" for row in range(number)])
        self.numbers = np.arange(1, number + 1)
        self.source_key, self.places = f"scripted {name}", np.arange(number)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pieces(self) -> list[tuple[Any, Any]]:
        """The rows by source."""
        return [(self, np.arange(len(self)))]


def scripted_codec(rows: Any, data: Any) -> LabelCodec:
    """Return the labels of a row set: learnt from real rows, two classes for scripted ones.

    Args:
        rows: The training rows.
        data: Settings of section `data`.
    """
    if isinstance(rows, ScriptedRows):
        codec = LabelCodec("label", "binary")
        codec.names = ["0", "1"]
        return codec
    codec = LabelCodec(data.label, data.task, data.target)
    codec.fit(rows)
    return codec


def scripted_predictions(rows: Any, codec: LabelCodec, *, labelled: bool = True) -> Predictions:
    """Return predictions of which two in three are right, in the shapes of the task.

    Args:
        rows: The rows.
        codec: Their labels.
        labelled: Whether their labels are read; without, they are taken to be 0.
    """
    if not labelled:
        shape = (len(rows), len(codec.names)) if codec.task == "multilabel" else (len(rows),)
        return evolve(_said_of(rows, codec, np.zeros(shape, np.int64)), labels=None)
    real = not isinstance(rows, ScriptedRows)
    return _said_of(rows, codec, np.asarray(codec.targets_in_units(rows)) if real else np.arange(len(rows)) % 2)


def _said_of(rows: Any, codec: LabelCodec, labels: np.ndarray[Any, Any]) -> Predictions:
    right = np.arange(len(rows)) % 3 != 2
    if codec.task == "regression":
        return Predictions(rows.ids, labels + np.where(right, 0.0, 1.0), labels)
    if codec.task == "multilabel":
        return Predictions(rows.ids, np.where(right[:, None] == (labels > 0), 0.8, 0.2), labels)
    classes = len(codec.names)
    said = np.where(right, labels, (labels + 1) % classes)
    return Predictions(rows.ids, np.where(np.arange(classes) == said[:, None], 0.8, 0.2 / (classes - 1)), labels)
