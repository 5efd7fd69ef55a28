"""Where the time of a run goes, measured over its first updates: the data of `stepbus profile`.

The run is done for real, with all its plugins, in a temporary folder that is removed. Plain data comes back:

    rows        set -> rows of the fit that was measured
    steps       updates that were measured
    traces      shapes that were traced among them
    before      seconds until the first update: `rows` (read, told as text, tokenized, and what is imported for that;
                less where tokens were kept from before) and `model` (weights read, the optimizer made)
    step        median seconds of an update, told apart: `data` (waiting for the next batch), `forward`, `backward`,
                `update` (optimizer, clipping, averages), `hooks` (of plugins, the mean). forward, backward and update
                are null where a plugin does a whole step of its own: then `whole` alone is known
    tracing     seconds for tracing and compiling, all in all
    evaluations name, rows, seconds of each set that was evaluated
    checkpoint  seconds that training waited for one; null where none was written
    hooks       plugin -> seconds in its hooks for each update
"""

from __future__ import annotations

import signal
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api import Trainer
from stepbus.base import Interrupted, counted, hookimpl
from stepbus.compute.stepping import CompiledSteps
from stepbus.compute.timing import time_parts
from stepbus.config import load_config

if TYPE_CHECKING:
    from stepbus.kernel import Predictions, Run, Session, StepResult, TrainingState

MOST_WINDOWS = 8  # whose forward and backward are timed apart: each is computed six times


class Profiler:
    """Measure the first updates of the first fit of a run, then end it.

    Args:
        steps: Updates to measure.
    """

    scope = "run"
    asks = ("stop", "evaluation", "checkpoint")
    selects = False

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.found: dict[str, Any] = {"rows": {}, "steps": 0, "evaluations": []}
        self.waits: list[float] = []  # for the data of each update
        self.parts: Sequence[Any] = ()
        self.done = False
        self._costs: dict[str, float] = {}
        self._began = self._evaluating = self._waited = self._before = 0.0

    @hookimpl(tryfirst=True)
    def on_run_start(self, run: Run) -> None:
        """Note when the rows were there."""
        self._began = run.seconds

    @hookimpl(trylast=True)
    def on_fit_start(self, trainer: Session) -> None:
        """Time forward and backward, before any update."""
        model = trainer.run.seconds - self._began
        self.found["before"] = {"rows": self._began, "model": model}
        self.found["rows"] = dict(trainer.data.rows)
        assert isinstance(trainer.steps, CompiledSteps)
        with trainer.data.windows(0, 0) as windows:
            self.parts = time_parts(trainer.steps, list(islice(windows, min(self.steps, MOST_WINDOWS))))
        trainer.steps.restart_clock()
        self._before = trainer.times.data.seconds
        self._costs = {name: cost.seconds for name, cost in trainer.run.costs.items()}

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Session, state: TrainingState, step: StepResult) -> None:
        """Note what the update took, and end the fit after the last one."""
        waited = trainer.times.data.seconds
        self.waits.append(waited - self._before)
        self._before = waited
        if state.step >= min(self.steps, state.total_steps):
            if trainer.fit.monitored is not None:
                trainer.control.request_evaluation()
            trainer.control.request_checkpoint("its time is measured")
            trainer.control.request_stop("its first updates are measured")
            self._waited = trainer.times.checkpoints.seconds
            self.found["hooks"] = self._hooks(trainer.run)

    @hookimpl(tryfirst=True)
    def on_evaluate_start(self) -> None:
        """Start the clock of an evaluation."""
        self._evaluating = time.perf_counter()

    @hookimpl(tryfirst=True)
    def on_predictions(self, name: str, predictions: Predictions) -> None:
        """Note what the first evaluation of a set took, without what plugins do with it."""
        if name not in [each["name"] for each in self.found["evaluations"]]:
            seconds = time.perf_counter() - self._evaluating
            self.found["evaluations"].append({"name": name, "rows": len(predictions.row_ids), "seconds": seconds})

    @hookimpl
    def on_fit_end(self, trainer: Session, result: Any) -> None:
        """Put together what was measured."""
        waited = result.times.get("checkpoints", 0.0) - self._waited
        self.found |= {
            "steps": len(self.waits),
            "traces": result.traces,
            "step": self.step(),
            "tracing": sum(part.tracing for part in self.parts),
            "checkpoint": waited if any((Path(trainer.directory) / "checkpoints").glob("step-*")) else None,
        }
        self.done = trainer.run.signal is None  # else the user's own Ctrl-C
        if not trainer.run.alone:  # a run of many fits ends here, as by a Ctrl-C
            trainer.run.signal = trainer.run.signal or signal.SIGINT

    def step(self) -> dict[str, float | None]:
        """Return the parts of an update, medians in seconds."""
        whole = statistics.median(part.whole for part in self.parts)
        forward = backward = update = None
        pairs = [(part.forward, part.gradient, part.whole) for part in self.parts]
        if all(first is not None for first, *_ in pairs):
            # Window by window: batches of other lengths take other times.
            forward = statistics.median(first for first, *_ in pairs)
            backward = statistics.median(both - first for first, both, _ in pairs)
            update = statistics.median(every - both for _, both, every in pairs)
        return {
            "whole": whole,
            "data": statistics.median(self.waits),
            "forward": forward,
            "backward": backward,
            "update": update,
            "hooks": sum(self.found["hooks"].values()),
        }

    def _hooks(self, run: Run) -> dict[str, float]:
        """Return what each plugin took of an update, the costliest first; not this one."""
        costs = {name: cost.seconds - self._costs.get(name, 0.0) for name, cost in run.costs.items()}
        told = {name: seconds / len(self.waits) for name, seconds in costs.items() if seconds > 0}
        return dict(sorted(((n, s) for n, s in told.items() if n != "profiler"), key=lambda pair: -pair[1]))


def profile(source: Path | str | Mapping[str, Any], overrides: Sequence[str] = (), steps: int = 20) -> dict[str, Any]:
    """Measure the first updates of a run and return where their time went; nothing is left behind.

    Args:
        source: A file, a preset's name, or plain values.
        overrides: "section.key=value" each, as after --set.
        steps: Updates to measure.

    Returns:
        Plain data, see the module.

    Raises:
        BadInput: The run cannot be done.
    """
    with tempfile.TemporaryDirectory(prefix="stepbus-profile-") as folder:
        profiler = Profiler(steps)
        config = load_config(source, [*overrides, f"environment.output_dir={folder}"])
        try:
            Trainer(config, plugins=[profiler]).train()
        except Interrupted:
            if not profiler.done:  # the user's own
                raise
        return profiler.found


def render_profile(found: Mapping[str, Any]) -> str:
    """Return what was measured as text.

    Args:
        found: As `profile` returned it.
    """
    step = found["step"]
    if step["forward"] is None:
        parts = {"waiting for data": step["data"], "the plugin's own step": step["whole"]}
    else:
        parts = {"waiting for data": step["data"], **{name: step[name] for name in ("forward", "backward", "update")}}
    parts["plugins' hooks"] = step["hooks"]
    whole = sum(parts.values())
    rows = ", ".join(f"{count:,} {name}" for name, count in found["rows"].items())
    lines = [f"AN UPDATE, median of {found['steps']}{f' ({rows})' if rows else ''}"]
    lines += [f"{name:<24}{seconds * 1e3:>10,.1f} ms{seconds / whole:>8.1%}" for name, seconds in parts.items()]
    lines += ["", "ONCE", f"{'rows, tokens, imports':<24}{found['before']['rows']:>10,.2f} s"]
    lines += [f"{'model, optimizer':<24}{found['before']['model']:>10,.2f} s"]
    if found["tracing"]:
        words = f"tracing {counted(found['traces'], 'shape')}"
        lines.append(f"{words:<24}{found['tracing']:>10,.2f} s")
    lines += ["", "NOW AND THEN"] if found["evaluations"] or found["checkpoint"] is not None else []
    for each in found["evaluations"]:
        words, rate = f"evaluation of {each['name']}", each["rows"] / each["seconds"]
        lines.append(f"{words:<24}{each['seconds']:>10,.2f} s   {each['rows']:,} rows, {rate:,.0f} rows/s")
    if found["checkpoint"] is not None:
        lines.append(f"{'waiting for a checkpoint':<24}{found['checkpoint']:>10,.2f} s")
    if found["hooks"]:
        lines += ["", "HOOKS, of an update"]
        lines += [f"{name:<24}{seconds * 1e3:>10,.2f} ms" for name, seconds in found["hooks"].items()]
    return "\n".join(lines)
