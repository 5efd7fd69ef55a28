"""What the loop and the hooks see of everything else: its types, without its code.

A fit is a `Session` over parts that know no plugin: `FitData` (what to train on and to score), `Steps` (what
computes), a model, and a `Checkpointer` (what lasts). Rows of text on a device are one set of parts; any iterable of
batches, and the scripts of `stepbus.testing`, are others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from pluggy import HookRelay

    from stepbus.kernel.control import Control
    from stepbus.kernel.costs import Cost
    from stepbus.kernel.fits import Fit, FitResult
    from stepbus.kernel.state import StepResult, TrainingState

    Array = np.ndarray[Any, Any]


class LoopSettings(Protocol):
    """Section `training`, as far as the loop reads it."""

    @property
    def log_steps(self) -> int: ...  # updates of a log interval
    @property
    def eval_strategy(self) -> str: ...  # when the set that decides is evaluated: epoch, steps or no
    @property
    def eval_steps(self) -> int | None: ...  # updates between two evaluations, with eval_strategy: steps


class Batch(Protocol):
    """Rows of one shape, collated."""

    @property
    def rows(self) -> Array: ...  # place of each row in its set, int [B]; -1 in padding rows
    @property
    def sequences(self) -> int: ...  # real rows
    @property
    def tokens(self) -> int: ...  # real tokens; rows, where there are no tokens
    @property
    def arrays(self) -> Mapping[str, Any]:
        """Name -> array [B, …] as the device takes it; labels and weights among them, None where there are none."""


class ScoredSet(Protocol):
    """A named set of a fit that is not trained on; what it knows of its rows, it knows once its batches were read."""

    @property
    def row_ids(self) -> Array: ...  # what names each row, [N]
    @property
    def targets(self) -> Array | None: ...  # labels in their own unit, [N] or [N, K]; None without
    @property
    def weights(self) -> Array | None: ...  # what each row counts, [N]; None counts all alike
    @property
    def weight(self) -> float: ...  # sum of the rows' weights

    def batches(self) -> AbstractContextManager[Iterator[Batch]]:
        """Give every row once, in batches."""

    def to_units(self, values: Array) -> Array:
        """Return what the model says, [N, K], in the unit of the targets."""


class FitData(Protocol):
    """What a fit trains on and scores."""

    @property
    def sets(self) -> Mapping[str, ScoredSet]: ...  # name -> a set to score, in order
    @property
    def notes(self) -> Sequence[str]: ...  # what a user should know of it, a sentence each
    @property
    def codec(self) -> Any: ...  # turns labels into numbers and back; None where the batches came with numbers
    @property
    def task(self) -> str | None: ...  # binary, multiclass, multilabel or regression; None where nobody said it
    @property
    def rows(self) -> Mapping[str, int]: ...  # set name -> rows, the training set's too, as far as they are known

    def describe(self) -> dict[str, str]:
        """Return what a user wants to see of it before the first step, in words, by name."""

    def count_steps(self) -> tuple[int, int]:
        """Return the updates of an epoch, and those of the whole fit."""

    def windows(self, epoch: int, start: int) -> AbstractContextManager[Iterator[Sequence[Batch]]]:
        """Give the accumulation windows of an epoch, without the first `start`; the epoch ends when they do."""

    def digests(self) -> Mapping[str, str]:
        """Return set name -> a digest of all that training sees of it, for a later resume to compare."""

    def progress(self) -> Mapping[str, Any]:
        """Return what a checkpoint keeps of where the data stands, as JSON values."""

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Take over what `progress` returned; what is read again has to be the same."""

    def other(self, source: Any, name: str, *, labelled: bool) -> ScoredSet:
        """Return further rows as a set to score, or without labels to predict; `name` is what messages call it."""


class Steps(Protocol):
    """What computes: updates that are launched and come home later, and evaluations."""

    @property
    def traces(self) -> int: ...  # how often a function was traced for this fit

    def launch(self, window: Any, number: int) -> Any:
        """Start the update of a window of batches, counted from 1, and return a ticket; the host does not wait."""

    def read(self, ticket: Any) -> StepResult:
        """Wait for an update and return its numbers."""

    def evaluate(self, batch: Any) -> tuple[float, Array, Array]:
        """Return a batch's loss sum by weight, predictions [B, K] and logits [B, K]."""

    def restart_clock(self) -> None:
        """Leave what was not training out of the next update's time."""


class Checkpointer(Protocol):
    """What keeps a fit: checkpoints to go on from, and a model to use."""

    def save(self, session: Any, folder: Path | None = None, *, optimizer: bool = True) -> Path:
        """Write a checkpoint, in the fit's own folder or another one, and return where it lies."""

    def load(self, session: Any, path: Path, *, optimizer: bool = True) -> Any:
        """Put back what a checkpoint holds, before the step is compiled."""

    def retire(self, session: Any, retention: Any) -> None:
        """Remove the checkpoints that need not stay."""

    def export(self, session: Any) -> Path:
        """Write the model, and return its folder."""


class Voice(Protocol):
    """What speaks to the user, through the plugins that listen."""

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""


class Session(Voice, Protocol):
    """One fit in progress: what hooks get as `trainer`. Read-only, but for `control` and the optimizer's rate."""

    mode: str  # train; predict of an opened folder, which has config, data, model, steps, directory and fit_name alone
    fit: Fit  # what it does: name, sets, seed, place on each axis
    config: Any  # the configuration
    state: TrainingState  # where it stands: epoch, step, metrics, history, best
    control: Control  # takes requests: stop, evaluation, checkpoint, best
    model: Any  # the model
    optimizer: Any  # the optimizer; its `learning_rate` is the base rate, which plugins may change
    directory: Path  # the folder of its files
    monitor: str  # the metric that says which evaluation is the best
    directions: dict[str, bool | None]  # metric -> whether greater is better; None: it has no direction
    phases: Mapping[int, Sequence[str]]  # updates before each phase -> the parameters that it trains

    @property
    def fit_name(self) -> str: ...  # the name of its fit: "fit", "fold-1"
    @property
    def starts_from(self) -> str: ...  # the folder of the model that its weights come from, where the plan says one; ""
    @property
    def run(self) -> Run: ...  # the run that it belongs to
    @property
    def hook(self) -> HookRelay: ...  # the hooks of its bus, to call
    @property
    def data(self) -> FitData: ...  # what it trains on and scores
    @property
    def steps(self) -> Steps: ...  # what computes
    @property
    def settings(self) -> LoopSettings: ...  # section `training`
    @property
    def pipeline_depth(self) -> int: ...  # how many steps the device may run ahead of the host
    @property
    def interrupted(self) -> bool: ...  # whether a signal asked for the end
    @property
    def asked(self) -> bool: ...  # whether anybody asked for something at the next boundary

    def log(self, numbers: Mapping[str, float]) -> None:
        """Send a record to every plugin that listens to `on_log`."""

    def artifact(self, kind: str, path: Path) -> None:
        """Say that a file worth keeping was written, of this fit."""

    def save_checkpoint(self, path: str | Path | None = None, save_optimizer: bool = True) -> Path:
        """Write a checkpoint now, in a folder or the fit's own, and return where it lies."""

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back what a checkpoint holds."""

    def evaluate_monitored(self, reason: str) -> None:
        """Evaluate the set that decides, keep the best, and let the plugins decide."""

    def serve_checkpoint(self) -> None:
        """Write a checkpoint if one was asked for, and retire those that need not stay."""

    def begin_phase(self) -> None:
        """Build the computation anew where a phase begins with the next update."""

    def cut_short(self) -> bool:
        """Return whether a signal ends the loop here; a checkpoint is asked for then."""


class Run(Voice, Protocol):
    """The outer loop: a plan of fits in one folder."""

    id: str  # its own number
    config: Any  # the configuration
    directory: Path  # its folder
    fits: list[Fit]  # the plan
    results: list[FitResult]  # what came out so far
    signal: int | None  # the signal that asked for the end, if one did

    @property
    def alone(self) -> bool: ...  # whether the plan has one fit only
    @property
    def codec(self) -> Any: ...  # what turns labels into numbers and back
    @property
    def deciding(self) -> Sequence[str]: ...  # the plugins that declare that they may choose weights by scores
    @property
    def next_command(self) -> str: ...  # what to type next, as it stands
    @property
    def seconds(self) -> float: ...  # wall time since it was opened
    @property
    def costs(self) -> Mapping[str, Cost]: ...  # plugin name -> seconds, calls and errors of its hooks up to now

    def directory_of(self, fit: Fit) -> Path:
        """Return the folder of one fit."""

    @property
    def resumed(self) -> bool: ...  # whether it goes on with a run of an earlier process

    def is_done(self, fit: Fit) -> bool:
        """Return whether an earlier process finished a fit; its hooks do not fire again, unless it is to train on."""

    def artifact(self, kind: str, path: Path, fit: Fit | None = None) -> None:
        """Say that a file worth keeping was written, of a fit or of the whole run."""

    def decide(self, decision: Any) -> None:
        """Keep what a plugin decided for all later predictions of the run, as JSON values; see `finish_predictions`."""

    def score(self, labels: Any, predictions: Any, weights: Any = None) -> dict[str, float]:
        """Return every metric of predictions that are in the label's own unit, without prefix, by the rows' weights."""


class Plan(Protocol):
    """What is going to happen, known before weights are loaded."""

    config: Any  # the configuration
    fits: list[Fit]  # the fits
    task: str | None  # binary, multiclass, multilabel or regression; None where nobody said it
    metrics: dict[str, bool | None]  # every metric that will be computed -> whether greater is better; None: neither
    monitor: str  # the metric that says which evaluation is the best
    total_steps: int  # updates of the first fit
    steps_per_epoch: int  # those of one of its epochs; 0 where nobody can count them
    rows: dict[str, int]  # set name -> rows of the first fit
    has_validation: bool  # whether anything is evaluated during training
    unevaluated: str  # why nothing is, and what to do about it; "" where something is

    def unknown_metric(self, name: str, path: str) -> Any:
        """Return the problem of a metric that is watched and never computed."""
