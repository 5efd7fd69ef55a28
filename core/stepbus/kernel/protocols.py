"""What the loop and the hooks see of everything else: its types, without its code.

The first six are those of the original module, as `stepbus.protocols` shows them: what a stranger's object has to have.
A fit is a `Session` over parts that know no plugin: `FitData` (what to train on and to score), `Steps` (what computes),
a model, a `Checkpointer` (what lasts). Rows of text are one set of parts, any iterable of batches is another.

Example:
    >>> isinstance(model, stepbus.protocols.Model), isinstance([], stepbus.protocols.Model)
    (True, False)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pluggy import HookRelay

    from stepbus.kernel.control import Control
    from stepbus.kernel.fits import Fit, FitResult
    from stepbus.kernel.measuring import Cost, Times
    from stepbus.kernel.parts import FitData, LoopSettings, Steps
    from stepbus.kernel.state import TrainingState


@runtime_checkable
class Model(Protocol):
    """What is trained: any `mlx.nn.Module` with a call.

    Example:
        >>> isinstance(model, stepbus.protocols.Model)
        True
    """

    def __call__(self, *batch: Any, **entries: Any) -> Any: ...  # outputs, or loss and outputs
    def parameters(self) -> Any: ...  # a tree of arrays
    def update(self, parameters: Any) -> Any: ...  # puts arrays in their places
    def save_weights(self, file: Any) -> None: ...
    def load_weights(self, file_or_weights: Any) -> Any: ...


@runtime_checkable
class DataLoader(Protocol):
    """Batches: dictionaries of arrays with `labels` among them; one without a length wants `training.max_steps`.

    Example:
        >>> batches = [{"x": np.zeros((4, 3)), "labels": np.zeros(4, int)}]
        >>> isinstance(batches, stepbus.protocols.DataLoader)
        True
    """

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


@runtime_checkable
class Optimizer(Protocol):
    """How one parameter is updated, by pure functions that a component of kind `optimizer` builds.

    Example:
        >>> isinstance(load_config().optimizer.build(), stepbus.protocols.Optimizer)
        True
    """

    def init(self, parameter: Any) -> Any: ...  # its state, arrays by name
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any: ...  # parameter and state


@runtime_checkable
class LRScheduler(Protocol):
    """The learning rate of an update; a component of kind `scheduler` builds it, or a function like its `rate`.

    Example:
        >>> scheduler = load_config({"scheduler": "linear"}).scheduler.build()
        >>> isinstance(scheduler, stepbus.protocols.LRScheduler), scheduler.rate(step=5, total_steps=10, base=1.0)
        (True, 0.5)
    """

    def rate(self, step: int, total_steps: int, base: float) -> float: ...


@runtime_checkable
class Trainer(Protocol):
    """What trains, scores, predicts, saves and loads.

    Example:
        >>> isinstance(create_trainer(config="run.yaml"), stepbus.protocols.Trainer)
        True
    """

    def train(self, train: Any = None, validation: Any = None, num_epochs: int | None = None) -> Any: ...
    def evaluate(self, data: Any = None, prefix: str = "eval") -> dict[str, float]: ...
    def predict(self, data: Any = None, return_logits: bool = False) -> Any: ...
    def save_checkpoint(self, path: Any = None, save_optimizer: bool = True) -> Path: ...
    def load_checkpoint(self, path: Any, load_optimizer: bool = True) -> None: ...


@runtime_checkable
class TrainingHook(Protocol):
    """What listens: an object with a method `on_…`, or with one that `@hookimpl` marks.

    Example:
        >>> class Says:
        ...     def on_epoch_end(self, trainer, state): ...
        >>> isinstance(Says(), stepbus.protocols.TrainingHook)
        True
    """

    def on_epoch_end(self, trainer: Any, state: Any) -> Any: ...

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        methods = {name: getattr(other, name, None) for name in dir(other)}
        hooks = (each for name, each in methods.items() if name.startswith("on_") or hasattr(each, "stepbus_impl"))
        return any(map(callable, hooks))


class Voice(Protocol):
    """What speaks to the user, through the plugins that listen."""

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""


class Session(Voice, Protocol):
    """One fit in progress: what hooks get as `trainer`. Read-only, but for `control` and the optimizer's rate.

    Example:
        >>> class Says(Callback):
        ...     def on_fit_start(self, trainer):  # a Session
        ...         print(trainer.fit_name, trainer.monitor, trainer.state.total_steps)
        >>> _ = create_trainer(config="run.yaml", callbacks=[Says()], num_epochs=1).train()
        fit eval_loss 8
    """

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
    times: Times  # where its time went

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

    def try_disk(self) -> bool:
        """Write a checkpoint and remove it again; return false where one has to stay, so that a resume is exact."""

    def evaluate_monitored(self, reason: str) -> None:
        """Evaluate the set that decides, keep the best, and let the plugins decide."""

    def serve_checkpoint(self) -> None:
        """Tell of a checkpoint that became durable, and begin to write another if one was asked for."""

    def settle_checkpoint(self) -> None:
        """Wait for the checkpoint that is being written, and tell of it."""

    def explain_step(self) -> Any:
        """Return a `stepbus.Diagnosis` of the latest update, computed once more; None where all is finite."""

    def begin_phase(self) -> None:
        """Build the computation anew where a phase begins with the next update."""

    def cut_short(self) -> bool:
        """Return whether a signal ends the loop here; a checkpoint is asked for then."""


class Run(Voice, Protocol):
    """The outer loop: a plan of fits in one folder.

    Example:
        >>> class Says(Callback):
        ...     def on_run_end(self, run, result):  # a Run, and a FitResult
        ...         print([fit.name for fit in run.fits], result.status)
        >>> _ = create_trainer(config="run.yaml", callbacks=[Says()], num_epochs=1).train()
        ['fit'] ok
    """

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
    classes: Sequence[str] | None  # the classes or labels; None of a regression, or where they came as numbers

    def unknown_metric(self, name: str, path: str) -> Any:
        """Return the problem of a metric that is watched and never computed."""

    def unwatchable(self, name: str, path: str) -> Any:
        """Return the problem of a metric that decides and is never computed, or has no values to compare; or None."""
