"""The checkpoints of a fit played through by their sizes: what stands at each moment, at most, and what stays.

How much that is depends on which evaluation is the best: where each is better than the one before, the newest
checkpoint is the best one as well. So several courses are played, and the smallest and the largest of them told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from attrs import evolve, frozen

from stepbus.base import Retention

Contents = dict[tuple[str, int], int]  # what a file holds, by kind and step -> bytes


class Moment(NamedTuple):
    """A moment at which a checkpoint may be written.

    Args:
        step: The update.
        sure: Whether it is written whatever the evaluation says.
        evaluated: Whether there is an evaluation, which may be the best so far.
    """

    step: int
    sure: bool
    evaluated: bool


@frozen
class Sizes:
    """What a checkpoint has, in bytes.

    Args:
        weights: The model's weights.
        optimizer: The optimizer's state, with what plugins keep in it.
        keeps_best: Whether the best weights lie beside others.
        averages: Whether averages of the weights do, which are what is used.
        beside: The other files of a whole one.
        to_use: Those of one that is there to be used only.
        done: What comes when the training is done beside the model's weights: predictions, the result, other files.
        training: What is trained, beside the weights that would be exported, where it is something else.
        best: The best weights beside others, where they are not as they would be exported.
    """

    weights: int
    optimizer: int
    keeps_best: bool = False
    averages: bool = False
    beside: int = 0
    to_use: int = 0
    done: int = 0
    training: int = 0
    best: int | None = None


@frozen
class _Kept:
    step: int
    best: int | None  # the best step when it was written
    whole: bool = True


def moments(
    total: int, per_epoch: int, every: int | str | None, evaluations: int | str | None, enough: int
) -> list[Moment]:
    """Return when checkpoints may be written, the last one of the fit at the end.

    Args:
        total: Updates of the fit; 0: nobody can tell.
        per_epoch: Updates of an epoch; 0: nobody can tell.
        every: What `Retention.every` says.
        evaluations: Updates between evaluations, "epoch", or None where there are none.
        enough: How many are wanted; others between the first and the last are left out.
    """
    if total < 1 or every is None or (per_epoch < 1 and "epoch" in (every, evaluations)):  # as many as it takes
        return [Moment(step, True, evaluations is not None) for step in range(1, enough + 1)]
    saves = {"epoch": per_epoch, "best": 0}.get(every, 0) if isinstance(every, str) else every
    seen = (per_epoch if evaluations == "epoch" else 0) if isinstance(evaluations, str | None) else evaluations
    start = seen - saves * enough  # what is saved before has given way by the first evaluation
    chosen = {total, *_multiples(saves, start, total, enough), *_multiples(seen, start, total, enough)}
    return [
        Moment(step, _is_due(saves, step) or (step == total and every != "best"), _is_due(seen, step))
        for step in sorted(chosen)
    ]


def _is_due(every: int, step: int) -> bool:
    return bool(every and step % every == 0)


def _multiples(of: int, start: int, total: int, enough: int) -> Iterable[int]:
    """Return the first multiples of a number from a start on, up to a total."""
    first = -(-max(start, 1) // of) * of if of else 0
    return range(first, min(total, first + of * enough) + 1, of) if of else ()


def play(when: Sequence[Moment], keep: Retention, sizes: Sizes) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the bytes of checkpoints and model at most, and when the fit is done: the least and the most of each.

    Args:
        when: The moments at which checkpoints may be written; none where nobody asks for any.
        keep: Which of them stay.
        sizes: What they have.
    """
    seen = sum(each.evaluated for each in when)
    courses = {better for better in (1, 2, 3, *range(seen - keep.best - 2, seen + 1)) if 1 <= better <= seen} or {0}
    played = [_play(when, keep, sizes, better) for better in sorted(courses)]
    most, end = zip(*played, strict=True)
    return (min(most), max(most)), (min(end), max(end))


def _play(when: Sequence[Moment], keep: Retention, sizes: Sizes, better: int) -> tuple[int, int]:
    """Play a fit whose first evaluations are each better than the one before, and the others worse than all."""
    kind = "averaged" if sizes.averages else "weights"
    standing: list[_Kept] = []
    ranked: list[int] = []
    best: int | None = None
    most = _size([_Kept(0, None)], sizes) if when else 0  # the one that tries the disk
    evaluated = 0
    for step, sure, is_evaluated in when:
        evaluated += is_evaluated
        improves = is_evaluated and evaluated <= better
        if improves:
            best = step
        if is_evaluated:
            ranked = [step, *ranked] if improves else [*ranked, step]
        if not (sure or improves):
            continue
        standing.append(_Kept(step, best))
        most = max(most, _size(standing, sizes))
        standing = _staying(standing, ranked, keep, finished=False)
    model = (kind, best if sizes.keeps_best and best is not None else when[-1].step if when else 0)
    exported = _size(standing, sizes) + sizes.weights + sizes.done
    most = max(most, exported)
    if keep.finished is None:
        return most, exported
    standing = _staying(standing, ranked, keep.finished, finished=True)
    alike: Contents = {model: sizes.weights}  # the same bytes lie once
    for each in standing:
        alike |= dict(_contents(each, sizes))
    return most, sum(alike.values()) + sizes.done


def _staying(standing: list[_Kept], ranked: list[int], keep: Retention, *, finished: bool) -> list[_Kept]:
    """Return what `stepbus.storage.checkpoints.retire` leaves."""
    newest, least = [each.step for each in reversed(standing) if each.whole], 1 if finished else 2
    to_use = [step for step in ranked if step in {each.step for each in standing}]
    to_use = to_use[: keep.best if finished else max(keep.best, 1)]
    if keep.last is None:
        whole = set(newest[:least])
    else:
        others = [step for step in newest if step not in to_use]
        whole = set(others[: keep.last if finished else max(keep.last, least)])
        whole |= set(to_use) & set(newest[: least if keep.last or not finished else 0])
    stay = [each for each in standing if each.step in whole | set(to_use)]
    return [each if each.step in whole or keep.whole else evolve(each, whole=False) for each in stay]


def _size(standing: Sequence[_Kept], sizes: Sizes) -> int:
    return sum(size for each in standing for _, size in _contents(each, sizes))


def _contents(kept: _Kept, sizes: Sizes) -> Iterator[tuple[tuple[str, int], int]]:
    """Yield the files of a checkpoint: what each holds, and its bytes."""
    used = "averaged" if sizes.averages else "weights"
    if not kept.whole:
        yield (used, kept.step), sizes.weights
        yield ("beside", kept.step), sizes.to_use
        return
    yield ("weights", kept.step), sizes.weights
    yield ("training", kept.step), sizes.training
    yield ("optimizer", kept.step), sizes.optimizer
    yield ("beside", kept.step), sizes.beside
    if sizes.averages:
        yield (used, kept.step), sizes.weights
    if sizes.keeps_best and kept.best is not None and (kept.best != kept.step or sizes.averages):
        yield ((used, kept.best), sizes.weights) if sizes.best is None else (("best", kept.best), sizes.best)
