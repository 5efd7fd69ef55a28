"""What a result shows of itself: six lines in a terminal, a table in a notebook, one line among other values."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from stepbus.base import as_written, counted, one_line, without_secrets
from stepbus.base.showing import html_table, short_path
from stepbus.kernel.fits.drawing import Drawn

MOST = 6  # metrics on the line; all are in `result.metrics`


class Shown(Drawn):
    """How a result is shown."""

    __slots__ = ()
    status: str
    metrics: dict[str, float]
    directory: Path
    model_path: Path | None
    best: Any
    history: list[dict[str, Any]]
    steps: int
    skipped: int
    first_skipped: int
    reason: str
    seconds: float
    resumed_at: int
    disabled: dict[str, str]
    next_command: str

    selected: dict[str, str]
    seen: dict[str, str]
    unmet: str

    @property
    def notices(self) -> list[str]:
        """What a reader of the scores must know, a sentence each; of what was combined, those of each part."""
        if self.parts:
            return [f"{part.fit.name}: {notice}" for part in self.parts for notice in part.notices]
        scored = self.fit.with_role("score")
        found = [self.unmet] if self.unmet else []
        found += [f"{name}: selected on it, by {who}" for name, who in self.selected.items() if name in scored]
        return found + [
            f"{name}: its weights had seen {rows} before they were scored" for name, rows in self.seen.items()
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name:<7}  {words}" for name, words in result_lines(self))

    def __repr__(self) -> str:
        return f"<FitResult {result_in_brief(self)}>"

    def _repr_html_(self) -> str:
        return html_table(result_lines(self))


def result_lines(result: Shown) -> list[tuple[str, str]]:
    """Return what a reader of a result wants to know first, as six names and words of one line each.

    Args:
        result: Of a fit, or of several together.
    """
    pairs = {
        "status": _status(result),
        "steps": _steps(result),
        "best": _best(result),
        "metrics": _metrics(result),
        "folder": _folder(result),
        "next": _next(result),
    }
    return [(name, one_line(as_written(without_secrets(words)), 400)) for name, words in pairs.items()]


def result_in_brief(result: Shown) -> str:
    """Return a result as it stands among other values: its name, how it ended, and what decided."""
    named = f" of {counted(len(result.parts), 'fit')}" if result.parts else ""
    name = result.best.metric if result.best else next(iter(result.metrics), "")
    shown = f", {name} {number(result.metrics[name])}" if name in result.metrics else ""
    return one_line(f"{result.fit.name}{named}: {result.status}, {counted(result.steps, 'step')}{shown}")


def number(value: Any) -> str:
    """Return a metric in at most seven characters or so."""
    if not isinstance(value, int | float) or isinstance(value, bool | int):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 or value != value else f"{value:.3g}"


def _status(result: Shown) -> str:
    status = f"{result.status}: {result.reason}" if result.reason else result.status
    if result.parts:
        ends = [part.status for part in result.parts]
        told = ", ".join(f"{ends.count(each)} {each}" for each in dict.fromkeys(ends))
        status += f", of {counted(len(ends), 'fit')} ({told})"
    if result.disabled:
        status += f"; switched off by an error: {', '.join(result.disabled)}"
    return f"{status}; notice: {'; '.join(notices)}" if (notices := result.notices) else status


def _steps(result: Shown) -> str:
    seconds = round(result.seconds or sum(part.seconds for part in result.parts))
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    took = f"{f'{hours}:{minutes:02d}' if hours else minutes}:{rest:02d}"
    found = f"{result.steps:,} in {took}"
    if before := result.resumed_at or sum(part.resumed_at for part in result.parts):
        at = "" if result.parts else f" at step {before:,}"
        found = f"{result.steps:,}, {result.steps - before:,} of them in {took} since the resume{at}"
    skipped = result.skipped or sum(part.skipped for part in result.parts)
    first = f", the first at step {result.first_skipped:,}" if result.first_skipped else ""
    return f"{found}; {skipped:,} of them changed nothing{first}" if skipped else found


def _best(result: Shown) -> str:
    if result.best is not None:
        found = f"{result.best.metric} {number(result.best.value)} at step {result.best.step:,}"
        if not _scored_anew(result):
            return found
        last = number(result.metrics[result.best.metric])
        return f"{found}; {last} of step {result.steps:,}, after the last evaluation, does not count for it"
    bests = [part.best for part in result.parts if part.best is not None]
    if bests:
        names = ", ".join(dict.fromkeys(each.metric for each in bests))
        rest = "; what was scored after a fit's last evaluation does not count for it"
        told = ", ".join(number(each.value) for each in bests)
        return f"{names} {told}, fit by fit{rest if any(map(_scored_anew, result.parts)) else ''}"
    evaluated = result.history or any(part.history for part in result.parts)
    return f"none: {'no evaluation counts as it' if evaluated else 'nothing was evaluated by which to choose'}"


def _scored_anew(result: Shown) -> bool:
    """Whether the value of what decides is that of the fit's end, which was no evaluation that could be the best."""
    if result.best is None or result.status not in ("ok", "stopped"):
        return False
    value, decided = result.metrics.get(result.best.metric), result.best.value
    seen = any(record["step"] == result.steps and result.best.metric in record for record in result.history)
    return value is not None and value != decided and not seen


def _metrics(result: Shown) -> str:
    found = [f"{name} {number(value)}" for name, value in result.metrics.items()]
    more = f", and {len(found) - MOST} more in result.metrics" if len(found) > MOST else ""
    return ", ".join(found[:MOST]) + more if found else "none"


def _folder(result: Shown) -> str:
    if result.directory == Path():
        return "none"
    model = f" (model: {short_path(result.model_path)})" if result.model_path else ""
    return f"{short_path(result.directory)}{model}"


def _next(result: Shown) -> str:
    again = f"stepbus train … --resume {shlex.quote(short_path(result.directory))}"
    if result.status == "interrupted":
        return f"trainer.train(…, resume=True), or: {again}"
    if result.status == "failed":
        return f"mend what the error says, then trainer.train(…, resume=True), or: {again}"
    return "trainer.predict(rows)" + (f", or: {result.next_command}" if result.next_command else "")
