"""Rows that are scored or predicted and stand in the training rows too, exactly or nearly."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define, frozen

from stepbus import Fit, Problem, Rows, counted, hookimpl, setting
from stepbus_plugins.near_duplicates.similar import neighbours, normalised


@frozen
class Twin:
    """A row that stands in the training rows too.

    Args:
        row: Its id and text, cut.
        other: Those of a training row that is like it.
        near: How near they are, 1 for the same text.
    """

    row: str
    other: str
    near: float


class NearDuplicates:
    """Count rows to score or predict that stand in the training rows too, exactly or nearly, and name some."""

    scope: ClassVar[str] = "run"
    affects_result: ClassVar[bool] = False

    @define(frozen=True, kw_only=True)
    class Config:
        threshold: float = setting(
            0.8,
            "share of runs of five characters in common from which two texts are nearly the same; 1 takes equal ones "
            "only",
            check=lambda value: 0.3 <= value <= 1,
            expected="a share from 0.3 to 1",
        )
        columns: list[str] | None = setting(
            None, "columns that are compared; none takes those of the text, or all that are no label and no id"
        )
        examples: int = setting(
            3, "rows to name for each set", check=lambda value: value >= 0, expected="a number of at least 0"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Refuse columns that the training rows do not have."""
        frame = getattr(plan.fits[0].sets.get("train"), "frame", None)
        missing = [name for name in self.config.columns or () if frame is not None and name not in frame.columns]
        known = "" if frame is None else ", ".join(map(str, list(frame.columns)[:20]))
        return [Problem(".columns", f"expected a column, got {name!r}; there are {known}") for name in missing]

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        """Compare every set with the training rows of its fit, and say each set once."""
        fits = [fit for fit in run.fits if len(fit.sets) > 1]
        if not all(isinstance(rows, Rows) for fit in fits for rows in fit.sets.values()):
            run.message("near_duplicates compares rows with columns, and these are batches: nothing is compared")
            return
        texts = _Texts(run.config.data.settings, self.config.columns)
        for fit in fits:
            for rows in fit.sets.values():
                texts.add(rows)
        near = neighbours(texts.distinct, self.config.threshold)
        for name in dict.fromkeys(name for fit in fits for name in fit.sets if name != "train"):
            self._say(run, name, [fit for fit in fits if name in fit.sets and "train" in fit.sets], texts, near)

    def _say(self, run: Any, name: str, fits: list[Fit], texts: _Texts, near: dict[int, dict[int, float]]) -> None:
        found: dict[tuple[str, int], Twin] = {}
        total: set[tuple[str, int]] = set()
        for fit in fits:
            rows = fit.sets[name]
            total.update(texts.keys(rows))
            for key, twin in _twins(rows, fit.sets["train"], texts, near).items():
                if key not in found or twin.near > found[key].near:
                    found[key] = twin
        of = f"{name}: {counted(len(found), 'row')} of {len(total):,}"
        if not found:
            run.message(f"{name}: no row of {len(total):,} stands in the training rows too")
            return
        equal = sum(twin.near == 1 for twin in found.values())
        listed = sorted(found.values(), key=lambda twin: -twin.near)[: self.config.examples]
        examples = "".join(f"\n  {twin.row}\n    is {_much(twin.near)} {twin.other}" for twin in listed)
        predicted = all(not fit.is_labelled(name) for fit in fits)
        mend = "" if predicted else "; take them out, or keep rows that belong together in one part with data.group"
        what = "what is said of them is known already" if predicted else "scores of these say nothing of new rows"
        stand = "stands" if len(found) == 1 else "stand"
        words = (
            f"{of} {stand} in the training rows too ({equal:,} exactly, {len(found) - equal:,} nearly): {what}{mend}"
        )
        run.message(words + examples, "warning")


class _Texts:
    """The texts of rows, each numbered once.

    Args:
        settings: Section `data`.
        columns: The columns that are compared; None takes those of the text, or all that are no label and no id.
    """

    def __init__(self, settings: Any, columns: list[str] | None) -> None:
        named = getattr(settings, "text", None)
        self.columns = columns or ([named] if isinstance(named, str) else list(named or ()))
        label = settings.label
        self.apart = {settings.id, settings.group, getattr(settings, "weight", None)}
        self.apart |= {label} if isinstance(label, str) else set(label or ())
        self.apart |= set((getattr(settings, "soft_labels", None) or {}).values())
        self.numbers: dict[str, int] = {}
        self._of: dict[tuple[str, int], int] = {}

    @property
    def distinct(self) -> list[str]:
        """Every text, in the order of its number."""
        return list(self.numbers)

    def keys(self, rows: Rows) -> list[tuple[str, int]]:
        """Return what names each row in every set: its source, and its place there."""
        found: list[tuple[str, int]] = [("", 0)] * len(rows)
        for piece, places in rows.pieces:
            for place, own in zip(places.tolist(), piece.places.tolist(), strict=True):
                found[place] = (piece.source_key, own)
        return found

    def add(self, rows: Rows) -> None:
        """Number the texts of rows."""
        names = [name for name in self.columns or rows.frame.columns if name in rows.frame.columns]
        names = [name for name in names if self.columns or name not in self.apart]
        columns = [rows.cells(name) for name in names]
        for place, key in enumerate(self.keys(rows)):
            if key not in self._of:
                text = normalised(" ".join(column[place] or "" for column in columns))
                self._of[key] = self.numbers.setdefault(text, len(self.numbers))

    def of(self, rows: Rows) -> list[int]:
        """Return the number of the text of each row."""
        return [self._of[key] for key in self.keys(rows)]


def _twins(rows: Rows, train: Rows, texts: _Texts, near: dict[int, dict[int, float]]) -> dict[tuple[str, int], Twin]:
    """Return the rows that stand in the training rows too, with the nearest of those."""
    first: dict[int, int] = {}
    for place, number in enumerate(texts.of(train)):
        first.setdefault(number, place)
    words, found = texts.distinct, {}
    for place, (key, number) in enumerate(zip(texts.keys(rows), texts.of(rows), strict=True)):
        alike = {number: 1.0} | near.get(number, {}) if words[number] else {}
        known = [(share, other) for other, share in alike.items() if other in first]
        if known:
            share, other = max(known)
            found[key] = Twin(_shown(rows, place, words[number]), _shown(train, first[other], words[other]), share)
    return found


def _shown(rows: Rows, place: int, text: str) -> str:
    cut = text if len(text) <= 80 else f"{text[:79]}…"
    return f"{rows.where(place)} ({cut!r})"


def _much(near: float) -> str:
    return "the same text as" if near == 1 else f"{near:.0%} the text of"
