"""One fit: model, optimizer, state, control and bus; train, evaluate, predict, save, load.

What needs MLX is imported where it is used, so that `stepbus.testing` plays a fit without it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus import best_weights, engine, evaluation
from stepbus.batches import Batch, Prefetch, accumulated, epoch_order
from stepbus.bus import Bus
from stepbus.errors import BadInput, raise_first
from stepbus.fits import Fit, FitResult, Predictions
from stepbus.requests import REQUESTS
from stepbus.state import Control, TrainingState

if TYPE_CHECKING:
    from stepbus.batches import ShapePlan
    from stepbus.config import Config
    from stepbus.dataset import RowEncoder
    from stepbus.optimizer import ParameterUpdater
    from stepbus.run import Run
    from stepbus.scheduler import Scheduler
    from stepbus.steps import CompiledSteps
    from stepbus.tokens import Tokens


class Trainer:
    """One fit of a model; `train` opens a run, which may make siblings of this trainer for further fits.

    Args:
        config: The configuration.
        model: A model of the caller's; none builds the one that the configuration describes.
        plugins: Classes, instances and modules with hooks, beside those that the configuration names.

    What plugins read: `config`, `run`, `fit`, `state`, `control`, `model`, `optimizer`, `directory`, `facts`,
    `directions` (metric -> whether greater is better) and `monitor`.
    """

    run: Run
    fit: Fit
    encoder: RowEncoder
    optimizer: ParameterUpdater
    scheduler: Scheduler
    steps: CompiledSteps
    shapes: ShapePlan

    def __init__(self, config: Config, model: Any = None, *, plugins: Sequence[Any] = ()) -> None:
        self.config, self.model = config.updated({}, plugins=plugins), model
        self.plugins = self.config.extras
        self.given_model = model
        self.state, self.control = TrainingState(), Control()
        self.bus = Bus([])
        self.directory = Path(config.environment.output_dir)
        self.monitor = config.training.monitor
        self.directions: dict[str, bool | None] = {}
        self.facts: dict[str, str] = {}
        self.metrics: list[tuple[str, Any]] = []
        self.tokens: dict[str, Tokens] = {}
        self.targets: dict[str, np.ndarray[Any, Any]] = {}
        self.best_arrays: dict[str, Any] = {}
        self.scored: dict[str, tuple[Predictions, dict[str, float]]] = {}
        self.cut = False  # whether a signal ended the loop, with a checkpoint

    # -- what users call ----------------------------------------------------------------------------------------------

    def train(self, train: Any = None, validation: Any = None, **options: Any) -> FitResult:
        """Train on rows given here, or on those that the configuration names.

        Args:
            train: A file, a pandas frame, or None for `data.train`.
            validation: The same for `data.validation`; a float is a fraction of the training rows.
            **options: `resume` (True, or a path), `allow_changed` and `trace_hooks`.

        Returns:
            The result: status, metrics, predictions of the validation rows, and where the model lies.

        Raises:
            BadInput: Configuration, data, model or checkpoint cannot be used.
        """
        from stepbus.run import Run

        return Run(self, train, validation, **options).execute()

    def evaluate(self, data: Any, prefix: str = "eval") -> dict[str, float]:
        """Return the metrics of labelled rows.

        Args:
            data: A file, a pandas frame, or rows.
            prefix: What stands before each metric's name.
        """
        rows = self._rows(data, "evaluate")
        targets = self.encoder.codec.targets_in_units(rows)
        predictions, loss, _ = evaluation.predict(self, self.encoder.encode(rows, labelled=True), targets)
        return evaluation.score(self, predictions, loss, prefix)

    def predict(self, data: Any, return_logits: bool = False) -> np.ndarray[Any, Any]:
        """Return predictions of rows, in their order: probabilities [N, K], or values [N] in the target's unit.

        Args:
            data: A file, a pandas frame, or rows.
            return_logits: Return the model's raw outputs [N, K] instead.
        """
        predictions, logits = self.predict_rows(self._rows(data, "predict"))
        return logits if return_logits else predictions.values

    def predict_rows(self, rows: Any) -> tuple[Predictions, np.ndarray[Any, Any]]:
        """Return predictions of rows with their ids, and the logits."""
        predictions, _, logits = evaluation.predict(self, self.encoder.encode(rows, labelled=False))
        return predictions, logits

    def save_checkpoint(self, path: str | Path | None = None, save_optimizer: bool = True) -> Path:
        """Write a checkpoint now.

        Args:
            path: The folder to write it in; none takes the fit's own.
            save_optimizer: Keep the optimizer's state, without which no resume is exact.

        Returns:
            The checkpoint's folder.
        """
        saved: Path = self._disk.save(self, Path(path) if path else None, optimizer=save_optimizer)
        return saved

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back what a checkpoint holds.

        Args:
            path: The checkpoint's folder.
            load_optimizer: Put the optimizer's state back as well.
        """
        self._disk.load(self, Path(path), optimizer=load_optimizer)

    def update_config(self, **overrides: Any) -> None:
        """Change settings for the next `train`, which starts from the present weights.

        Args:
            **overrides: Settings by name (`learning_rate=1e-6`), or by section and name with two underscores.
        """
        changed = self.config.updated(overrides)
        if self.model is not None:
            if changed.deciding()["model"] != self.config.deciding()["model"]:
                raise BadInput(
                    "update_config: expected no other model, because the next train goes on from the present weights; "
                    "make a new trainer for it"
                )
            self.given_model = self.model
        self.config = changed

    # -- what plugins call --------------------------------------------------------------------------------------------

    @property
    def fit_name(self) -> str:
        """The name of this fit: "fit", "fold-1"."""
        return self.fit.name

    def log(self, numbers: Mapping[str, float]) -> None:
        """Send a record to everybody who listens to `on_log`.

        Args:
            numbers: Host numbers by name.
        """
        record = {"step": self.state.step, "epoch": self.state.epoch_progress, **numbers}
        self.bus.hook.on_log(trainer=self, state=self.state, record=record)

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        self.run.message(text, level)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table."""
        self.run.report(title, columns, rows)

    # -- what the engine calls ----------------------------------------------------------------------------------------

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked for the end."""
        return self.run.signal is not None

    @property
    def asked(self) -> bool:
        """Whether anybody asked for something at the next boundary."""
        return self.control.pending or self.interrupted

    @property
    def pipeline_depth(self) -> int:
        """How many steps the device may run ahead of the host."""
        depth = self.config.training.pipeline_depth
        if depth is not None:
            return depth
        from stepbus import device

        return int(device.kind() != "cpu")

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[list[Batch]]]:
        """Give the accumulation windows of an epoch, collated ahead by threads.

        Args:
            epoch: The epoch, from 0.
            start: Windows of it that are already done.
        """
        tokens, settings, size = self.tokens["train"], self.config.data.settings, self.accumulation
        order = epoch_order(self.shapes, tokens.lengths, seed=self.fit.seed, epoch=epoch, drop_last=settings.drop_last)
        ahead, workers = settings.prefetch_size, settings.num_workers
        with Prefetch(tokens, order, start=start * size, size=ahead, workers=workers) as batches:
            yield accumulated(batches, size)

    @property
    def accumulation(self) -> int:
        """Batches whose gradients make one update."""
        return int(self.config.training.gradient_accumulation_steps)

    def serve_checkpoint(self) -> None:
        """Write a checkpoint if one was asked for, and retire those that need not stay."""
        if not self.control.checkpoint:
            return
        self.control.checkpoint.clear()
        path = self._disk.save(self)
        self._disk.retire(self, self.bus.hook.checkpoint_retention(trainer=self))
        self.bus.hook.on_checkpoint(trainer=self, state=self.state, checkpoint=path)
        self.steps.restart_clock()

    def run_to_end(self) -> FitResult:
        """Run the engine, put the best weights back if that was asked for, score what is to be scored."""
        result = FitResult(self.fit, status="failed", directory=self.directory)
        try:
            began = time.perf_counter()
            self.control.refused = {"best": why} if (why := best_weights.why_never(self)) else {}
            engine.run_fit(self)
            result.seconds = time.perf_counter() - began
            result.status = "interrupted" if self.cut else "stopped" if self.control.stop else "ok"
            result.reason = self.control.why("stop")
            if result.reason:
                self.message(f"stopped by {result.reason}")
            if not self.cut:
                self._finish(result)
                for text in self.control.unserved():
                    self.message(text, "warning")
        except BaseException as error:
            result.status = "failed"
            raise_first(error, self._end(result))
            raise
        raised = self._end(result)
        if self.cut:
            self.run.late += raised  # the run ends by the signal, with a checkpoint
        else:
            raise_first(None, raised)
        return result

    def _end(self, result: FitResult) -> list[BaseException]:
        """Complete a result and tell every plugin that the fit has ended; return what they raised."""
        state = self.state
        result.metrics, result.best = dict(state.metrics), state.best
        result.history, result.steps = list(state.history), state.step
        result.traces = self.steps.traces
        self.control.refused = dict.fromkeys(REQUESTS, "the fit has ended; ask in on_epoch_end or before")
        return self.bus.tell_all("on_fit_end", trainer=self, state=state, result=result)

    def _finish(self, result: FitResult) -> None:
        state = self.state
        best_weights.put_back(self)
        for name in self.tokens:
            if name != "train":
                prefix = "eval" if name == self.fit.monitored else name
                state.metrics.update(evaluation.evaluate_set(self, name, prefix, "final", final=True))
                result.predictions[name] = self.scored[name][0]
        result.model_path = self._disk.export(self)

    @property
    def _disk(self) -> Any:
        """What saves, loads, retires and exports; a scripted fit has its own."""
        from stepbus import persistence

        return persistence

    def score(self, name: str, prefix: str) -> tuple[Predictions, dict[str, float]]:
        """Return predictions and metrics of a named set; a scripted fit has its own."""
        predictions, loss, _ = evaluation.predict(self, self.tokens[name], self.targets[name])
        return predictions, evaluation.score(self, predictions, loss, prefix)

    def _rows(self, data: Any, name: str) -> Any:
        if not hasattr(self, "encoder"):
            raise BadInput("this trainer has not been trained: call train first, or open a trained model's folder")
        from stepbus.rows import read_rows

        return read_rows(data, name=name, config=self.config.data.settings)
