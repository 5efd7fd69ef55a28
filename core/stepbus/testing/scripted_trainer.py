"""Stand-ins for what needs a device or a disk: model, steps, checkpoints. Trainer and loop are the real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus import best_weights
from stepbus.durable import from_json, to_json
from stepbus.errors import CheckpointError
from stepbus.fits import Predictions
from stepbus.members import restore_state, state_of
from stepbus.requests import REQUESTS
from stepbus.state import StepResult
from stepbus.testing.script import ListeningControl, Script, Snapshot, at, scripted_predictions
from stepbus.trainer import Trainer

if TYPE_CHECKING:
    from stepbus.testing.scripted_run import ScriptedRun

TOKENS_IN_A_ROW = 8


class ScriptedModel:
    """A model whose weights are the number of updates they have seen."""

    def __init__(self) -> None:
        self.step = 0

    def tensors(self) -> dict[str, Any]:
        """Return the weights."""
        return {"step": self.step}

    def load_tensors(self, tensors: Mapping[str, Any], *, source: str = "", strict: bool = False) -> None:
        """Put weights back."""
        self.step = tensors["step"]


class ScriptedSteps:
    """In place of the compiled steps: says what the script says, and writes down what was launched and read.

    Args:
        trainer: The fit.
    """

    traces = 0

    def __init__(self, trainer: ScriptedTrainer) -> None:
        self.trainer = trainer

    def launch(self, window: int, number: int) -> tuple[int, float]:
        """Begin an update; its learning rate is the one of this moment."""
        self.trainer.run.moves.append(f"launch {number}")
        return number, float(self.trainer.optimizer.learning_rate)

    def read(self, ticket: tuple[int, float]) -> StepResult:
        """Return the numbers of an update that was launched."""
        number, learning_rate = ticket
        trainer, script = self.trainer, self.trainer.script
        trainer.run.moves.append(f"read {number}")
        trainer.model.step = number
        if number == script.interrupt_at:
            trainer.run.interrupt()
        rows = trainer.config.data.settings.batch_size * trainer.accumulation
        return StepResult(
            loss=script.loss(number),
            weight=float(rows),
            sequences=rows,
            tokens=rows * TOKENS_IN_A_ROW,
            learning_rate=learning_rate,
            scalars=dict(at(script.scalars, number - 1)) if script.scalars else {},
            seconds=script.seconds,
        )

    def restart_clock(self) -> None:
        """Wall time is scripted."""


class ScriptedDisk:
    """In place of `stepbus.persistence`: snapshots are kept in memory, and only their folders are made."""

    def save(self, trainer: ScriptedTrainer, folder: Path | None = None, *, optimizer: bool = True) -> Path:
        """Take a snapshot; the folder holds nothing but its training state."""
        from stepbus.checkpoints import checkpoint_path

        state = to_json(trainer.state.state_dict())
        path = checkpoint_path(folder or trainer.directory / "checkpoints", trainer.state.step)
        snapshot = Snapshot(
            fit=trainer.fit.name,
            step=trainer.state.step,
            path=path,
            state=from_json(state),
            control=from_json(to_json(trainer.control.state_dict())),
            plugins=frozen_states(state_of(trainer.bus.members)),
            learning_rate=float(trainer.optimizer.learning_rate),
            best=dict(trainer.best_arrays),
            done=tuple(trainer.run.results),
        )
        trainer.run.checkpoints.append(snapshot)
        path.mkdir(parents=True, exist_ok=True)
        (path / "state.json").write_text(state, encoding="utf-8")
        return path

    def load(self, trainer: ScriptedTrainer, path: Path, *, optimizer: bool = True) -> None:
        """Put the snapshot back that was taken for a folder."""
        trainer.restore(next(kept for kept in reversed(trainer.run.checkpoints) if kept.path == path))

    def retire(self, trainer: ScriptedTrainer, retention: Any) -> None:
        """Keep all."""

    def export(self, trainer: ScriptedTrainer) -> Path:
        """Make the folder of the model, with nothing in it."""
        folder = trainer.directory / "model"
        folder.mkdir(parents=True, exist_ok=True)
        trainer.run.artifact("model", folder)
        return folder


def frozen_states(states: Mapping[str, Any]) -> dict[str, Any]:
    """Return plugin states as a checkpoint gives them back: JSON values gone through JSON, and arrays.

    Args:
        states: Name -> what `state_dict` returned.

    Raises:
        CheckpointError: A state holds something else.
    """
    frozen_ones: dict[str, Any] = {}
    for name, state in states.items():
        if not isinstance(state, Mapping):
            raise CheckpointError(f"{name}: expected a mapping from state_dict(), got {type(state).__name__}")
        arrays = {key: value for key, value in state.items() if hasattr(value, "shape")}
        try:
            plain = from_json(to_json({key: value for key, value in state.items() if key not in arrays}))
        except ValueError as error:
            raise CheckpointError(f"{name}: its state_dict() cannot be kept: {error}") from error
        # MLX's arrays cannot change; NumPy's can.
        copies = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in arrays.items()}
        frozen_ones[name] = plain | copies
    return frozen_ones


class ScriptedTrainer(Trainer):
    """The real trainer of one fit, over scripted steps, model and disk.

    Args:
        run: Its run.
        script: What the steps say.
    """

    run: ScriptedRun  # type: ignore[assignment]  # as much of a run as hooks and the trainer ask for
    steps: ScriptedSteps  # type: ignore[assignment]

    def __init__(self, run: ScriptedRun, script: Script) -> None:
        super().__init__(run.config, ScriptedModel(), plugins=run.extras)
        self.run, self.script = run, script
        self.control = ListeningControl(run.asked)
        self.control.caller = run.bus.control.caller
        self.control.refused = dict.fromkeys(REQUESTS, "no fit has begun; ask in on_fit_start or later")
        self.steps = ScriptedSteps(self)

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[Any]]:
        """Give a number in place of each accumulation window."""
        yield iter(range(start, self.state.steps_per_epoch))

    @property
    def _disk(self) -> Any:
        return ScriptedDisk()

    def score(self, name: str, prefix: str) -> tuple[Predictions, dict[str, float]]:
        # Weights that were scored before get the same score again, as after the best ones were put back.
        known = [record for record in self.state.history if record["step"] == self.model.step]
        found = known[-1] if known else at(self.script.metrics, len(self.state.history))
        metrics = {key: float(value) for key, value in found.items() if key not in ("step", "epoch")}
        named = {f"{prefix}_{key.removeprefix('eval_')}": value for key, value in metrics.items()}
        return scripted_predictions(self.fit.sets[name], self.encoder.codec), named

    def restore(self, snapshot: Snapshot) -> None:
        """Put a snapshot back, as `stepbus.resume` does with a checkpoint."""
        planned = (self.state.total_steps, self.state.steps_per_epoch)
        self.state.load_state_dict(from_json(to_json(snapshot.state)))
        self.control.load_state_dict(from_json(to_json(snapshot.control)))
        self.control.step = self.state.step
        restore_state(self.bus.members, frozen_states(snapshot.plugins))
        self.optimizer.learning_rate = snapshot.learning_rate
        self.model.step = snapshot.step
        best_weights.take_back(self, snapshot.best or None)
        self.state.total_steps, self.state.steps_per_epoch = planned
        self.message(f"resumed at step {snapshot.step}")
