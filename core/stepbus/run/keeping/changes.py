"""What of a fit is no more what it was begun with: its description, or its rows, the first of them by its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import counted, listed, without_secrets
from stepbus.run.keeping.beginnings import Begun, described, described_keys
from stepbus.run.keeping.row_marks import Array, content_of, row_marks

if TYPE_CHECKING:
    from stepbus.kernel import Fit


def other_words(begun: Begun, fit: Fit) -> Iterator[str]:
    """Yield a sentence for each thing that a fit is now otherwise than it was begun, beside its rows.

    Args:
        begun: What it was begun with.
        fit: What it is.
    """
    was, now = _flat(described_keys(begun.said)), _flat(described(fit))
    for key in sorted({*was, *now}):
        if was.get(key) != now.get(key):
            one, other = (json.dumps(each[key]) if key in each else "not set" for each in (was, now))
            yield f"{fit.name}: {key} was {one}, is {other}"


def _flat(said: Mapping[str, Any]) -> dict[str, Any]:
    deep = ("scope", "roles", "overrides")
    inner = {f"{key}.{name}": value for key in deep for name, value in said[key].items()}
    return {key: value for key, value in said.items() if key not in deep} | inner


def other_rows(begun: Begun, fit: Fit, seen: Callable[[], Mapping[str, str]], *, filled: bool) -> dict[str, str]:
    """Return set -> in words how its rows differ from those that a fit was begun with.

    Args:
        begun: What it was begun with.
        fit: What it is.
        seen: Prepares the fit and gives set -> a digest of all that training sees of it, to find out whether rows that
            differ do so where it matters.
        filled: Whether all rows of the fit are in place; where plugins are still to add some, only what is scored and
            predicted is compared.
    """
    found: dict[str, str] = {}
    told, cause = begun.said["sets"], ""
    for name in sorted({*told, *fit.sets}):
        rows, was = fit.sets.get(name), told.get(name)
        if not (hasattr(rows, "pieces") if was is None else "content" in was):
            continue  # batches of a loader, which the digests of a checkpoint stand for
        if rows is None or was is None or not hasattr(rows, "pieces"):
            found[name] = f"the {name} rows are {'new' if was is None else 'no more there'}"
            continue
        if not filled and not {"train", "stop"}.isdisjoint(fit.roles_of(name)):
            continue
        marks = row_marks(rows)
        if was["content"] == content_of(marks) or (filled and was["seen"] == seen().get(name) != ""):
            continue
        cause = cause or _in_the_sources(begun, fit)
        found[name] = cause or _words(name, rows, marks, begun.marks.get(name), was["rows"])
    return found


def _in_the_sources(begun: Begun, fit: Fit) -> str:
    """Return which rows of the sources are others, in whatever sets they stand; "" where each is what it was.

    One changed label may deal all rows out anew: the place of that label is the cause, and the rest follows from it.
    """
    before: dict[tuple[str, int], int] = {}
    for name, (among, places) in begun.places.items():
        names = [source["name"] for source in begun.said["sets"][name]["sources"]]
        rows = zip(among.tolist(), places.tolist(), begun.marks[name].tolist(), strict=True)
        before |= {(names[source], place): mark for source, place, mark in rows}
    changed: list[tuple[int, str]] = []
    new: list[tuple[int, str]] = []
    now = set()
    for rows in fit.sets.values():
        if not hasattr(rows, "pieces"):
            continue
        marks = row_marks(rows)
        for piece, at in rows.pieces:
            source = without_secrets(piece.source)
            for index, (place, mark) in enumerate(zip(piece.places.tolist(), marks[at].tolist(), strict=True)):
                now.add((source, place))
                if (was := before.get((source, place))) is None:
                    new.append((place, piece.where(index)))
                elif was != mark:
                    changed.append((place, piece.where(index)))
    gone = len(before.keys() - now)
    if not before or not now & before.keys():
        return ""  # another file, of which nothing is known row by row
    words = []
    if changed:
        words.append(f"{min(changed)[1]} is another row than before ({len(changed):,} of {len(now):,} differ)")
    if new:
        words.append(f"{counted(len(new), 'row')} from {min(new)[1]} on {'is' if len(new) == 1 else 'are'} new")
    if gone:
        words.append(f"{counted(gone, 'row')} {'is' if gone == 1 else 'are'} no more there")
    return "; ".join(words)


def _words(name: str, rows: Any, marks: Array, before: Array | None, number: int) -> str:
    """Return how rows differ, and where the first one stands that does."""
    if before is None:
        return f"the {name} rows of {rows.source} are others"
    both = min(len(before), len(marks))
    differ = np.flatnonzero(before[:both] != marks[:both])
    at = int(differ[0]) if len(differ) else both
    where = f", the first other one at {rows.where(at)}" if at < len(marks) else ""
    if len(before) != len(marks) and len(differ) != both:
        return f"{counted(len(marks), f'{name} row')} of {rows.source} in place of {number:,}{where}"
    if len(before) == len(marks) and np.array_equal(np.sort(before), np.sort(marks)):
        return f"the {name} rows of {rows.source} stand in another order{where}"
    if len(before) != len(marks):
        return f"the {name} rows of {rows.source} are others, {len(marks):,} in place of {number:,}"
    return f"{rows.where(at)} is another {name} row than before ({len(differ):,} of {len(marks):,} differ)"


def trained_before(begun: Begun, fit: Fit) -> str:
    """Return in words which rows that are held out now a fit has trained on before; "" where there are none.

    Args:
        begun: What it was begun with.
        fit: What it is.
    """
    roles = begun.said["roles"]
    then = [marks for name, marks in begun.marks.items() if "train" in roles.get(name, ())]
    sets = {name: rows for name, rows in fit.sets.items() if hasattr(rows, "pieces")}
    now = [row_marks(rows) for name, rows in sets.items() if "train" in fit.roles_of(name)]
    if not then or not now:
        return ""
    # What stands in both was known to when the fit was begun.
    left = np.setdiff1d(np.concatenate(then), np.concatenate(now))
    found = []
    for name, rows in sets.items():
        at = np.flatnonzero(np.isin(row_marks(rows), left))
        if len(at) and "train" not in fit.roles_of(name):
            found.append(f"{counted(len(at), f'{name} row')} ({rows.where(int(at[0]))}{', …' if len(at) > 1 else ''})")
    return listed(found) if found else ""
