"""Progress: what a run does, how far it is, how well it goes and where its results lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import define

from stepbus import StepResult, TrainingState, counted, hookimpl, setting
from stepbus_plugins.progress.bar import bar_words
from stepbus_plugins.progress.evaluations import Evaluations
from stepbus_plugins.progress.pace import Pace
from stepbus_plugins.progress.summary import fit_summary
from stepbus_plugins.progress.words import duration, log_line, metric_rows, number, place, places, rate, whole_title

if TYPE_CHECKING:
    from stepbus_plugins.progress.screen import Screen


class Progress:
    """Show a summary, a live bar with speed, loss and metrics (plain lines in a log), and where the results lie."""

    affects_result = False  # a resume may change it

    scope: ClassVar[str] = "run"

    @define(frozen=True, kw_only=True)
    class Config:
        summary: bool = setting(True, "whether the run begins with what it is about to do: model, rows, labels, steps")
        bar: Literal["auto", "always", "never"] = setting(
            "auto", "the live bar; auto draws it on a terminal and in a notebook"
        )
        refresh_per_second: float = setting(
            4.0, "how often the bar is drawn at most", check=lambda value: value > 0, expected="a number above 0"
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.screen: Screen | None = None
        self.label = self.status = self.reason = ""
        self.record: dict[str, Any] = {}
        self.evaluations = Evaluations()
        self.introduced = not config.summary
        self.begun = False
        self.first = 0  # the step that this process began a fit at
        self.pace = Pace()
        self.kept: dict[str, list[Path]] = {}
        self.reports: list[str] = []

    # A run -----------------------------------------------------------------------------------------------------------

    @hookimpl
    def on_run_start(self) -> None:
        """Note that the plan stands."""
        self.begun = True
        self._open()

    @hookimpl
    def on_run_end(self, run: Any, result: Any) -> None:
        """Show the metrics of the fits together, and say where everything lies and what to try next."""
        screen = self._open()
        screen.clear()
        if title := whole_title(run, result, self.reports):
            screen.table(f"  {title}", ["metric", "value"], [[name, number(v)] for name, v in result.metrics.items()])
        screen.line()
        if not all(path.exists() for path in self.kept.get("checkpoints", ())):
            del self.kept["checkpoints"]  # a fold's are gone once it is done
        kept = [(kind, places(paths)) for kind, paths in self.kept.items()]
        screen.pairs([*kept, ("try next", run.next_command)])

    @hookimpl
    def on_close(self, run: Any, status: str) -> None:
        """Take the bar away and say how long it took, by the clock that shares of the run are told of."""
        if self.screen is None:
            return
        self.screen.clear()
        style = {"ok": "green", "stopped": "green"}.get(status, "yellow")
        word = "finished" if status in ("ok", "stopped") else status
        if self.begun:  # a plan that was refused has said so in its error
            now = " since it was resumed" if run.resumed else ""
            self.screen.line((f"  {word}", style), f" after {duration(run.seconds)}{now}")
        self.screen = None

    @hookimpl
    def on_exception(self) -> None:
        """Take the bar away before anyone prints the error."""
        if self.screen is not None:
            self.screen.clear()

    @hookimpl
    def on_artifact(self, kind: str, path: Path) -> None:
        """Remember a file for the end."""
        paths = self.kept.setdefault(kind, [])
        if path not in paths:
            paths.append(path)

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        """Show one sentence."""
        self._open().line(("  warning: ", "yellow") if level == "warning" else "  ", text)

    @hookimpl
    def on_report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""
        self.reports.append(title)
        self._open().table(f"  {title}", columns, rows)

    # A fit -----------------------------------------------------------------------------------------------------------

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Show what is going to happen, once for each run, and the fit's place among the others."""
        screen = self._open()
        fits = [fit.name for fit in trainer.run.fits]
        self.label = place(trainer.fit_name, fits)
        self.first = state.step
        self.pace.clear()
        self.evaluations.clear()
        self.record, self.status = {}, "preparing the first step"
        if not self.introduced:
            self.introduced = True
            screen.pairs(list(fit_summary(trainer).items()))
        if len(fits) > 1:
            screen.line()
            screen.line((f"  {self.label}", "bold"))
        self._draw(state)

    @hookimpl
    def on_step_end(self, state: TrainingState, step: StepResult) -> None:
        """Move the bar."""
        self.pace.add(step)
        self.status = ""
        screen = self._open()
        if screen.due():
            self.record |= {"loss": step.loss, "learning_rate": step.learning_rate}
            self._draw(state)

    @hookimpl
    def on_log(self, state: TrainingState, record: dict[str, Any]) -> None:
        """Write a plain line where there is no bar."""
        self.record |= record
        screen = self._open()
        if screen.live:
            return
        screen.line(log_line(state, record, self.pace.left(state)))

    @hookimpl
    def on_evaluate_start(self, state: TrainingState, name: str, reason: str) -> None:
        """Say that the step waits for an evaluation."""
        self.status, self.reason = f"evaluating {name}", reason
        self._draw(state)

    @hookimpl
    def on_evaluate(self, state: TrainingState, name: str, metrics: dict[str, float]) -> None:
        """Write the metrics of a final evaluation; those during training come with their cycle."""
        self.status = ""
        if self.reason == "final":
            self._evaluation(state, metrics, "final" if name == "validation" else f"final, {name}")

    @hookimpl
    def on_metrics(self, state: TrainingState, metrics: dict[str, float]) -> None:
        """Write the metrics of one evaluation cycle."""
        best = state.best is not None and state.best.step == state.step
        self._evaluation(state, metrics, "best" if best else "")

    @hookimpl
    def on_checkpoint(self, checkpoint: Path) -> None:
        """Remember where the latest checkpoint lies."""
        self.kept["checkpoints"] = [checkpoint.parent]

    @hookimpl
    def on_fit_end(self, trainer: Any, state: TrainingState, result: Any) -> None:
        """Write how the fit ended, and its metrics beside the best of each."""
        screen = self._open()
        self._draw(state)  # how far it came, which a notebook keeps
        screen.clear()
        if result.status == "failed":
            return
        pace = self.pace
        speed = f", {rate(pace.sequences)} sequences/s, {rate(pace.tokens)} tokens/s" if pace else ""
        steps = counted(state.step, "step")
        if self.first:  # the others are an earlier process's
            steps = f"{state.step - self.first:,} of {steps}"
        screen.line(("  trained ", "dim"), f"{steps} in {duration(result.seconds)}{speed}")
        if result.metrics and len(trainer.run.fits) == 1:
            rows = metric_rows(result.metrics, state.history, trainer.directions)
            screen.table("  Metrics", ["metric", "final", "best", "at step"], rows)

    # Drawing ---------------------------------------------------------------------------------------------------------

    def _open(self) -> Screen:
        if self.screen is None:
            from stepbus_plugins.progress.screen import Screen

            self.screen = Screen(self.config.bar, self.config.refresh_per_second)
        return self.screen

    def _draw(self, state: TrainingState) -> None:
        screen = self._open()
        if not screen.live:
            return
        right, lines = bar_words(state, self.pace, self.record, self.status)
        screen.draw(self.label or "training", state.step, state.total_steps, right, lines)

    def _evaluation(self, state: TrainingState, metrics: dict[str, float], note: str) -> None:
        loss = None if "train_loss" in metrics else self.record.get("loss")
        self.evaluations.write(self._open(), state, metrics, note, loss)
