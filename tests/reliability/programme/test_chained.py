"""A run that is cut again and again, by errors, signals and kills, ends with the same bits as one that was not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from comparing import differences, facts, said
from configurations import ALL, SAVES, SIX, sections
from cutting import PATIENCE, Moment, cut, train

COUNT = 40
HOOKS = ("on_step_end", "on_step_end", "on_metrics", "on_checkpoint")


def chains() -> list[tuple[int, str, str]]:
    """Return a configuration and when it saves, for each of the chains: all configurations come before the second."""
    names = [*SIX, *(name for name in ALL if name not in SIX)]
    plain = [name for name in names if name not in ("no_evaluation", "cross_validation_of_averages")]
    found = []
    for number in range(COUNT):
        name = names[number % len(names)]
        saves = list(SAVES)[number % len(SAVES)]
        found.append((number, name, "epochs" if saves == "best" and name not in plain else saves))
    return found


def cuts(number: int, fits: dict[str, int]) -> list[tuple[Moment, str]]:
    """Return when and how a chain is cut, in the order of the run: five times at most, the first two in one update."""
    draw = random.Random(f"chain {number}")
    places = [(fit, step) for fit, steps in fits.items() for step in range(1, steps + 1)]
    before_the_end = range(max(2, len(places) - PATIENCE))  # a fit may stop after a few updates
    drawn = sorted(draw.sample(before_the_end, min(4, len(before_the_end))))
    drawn.insert(0, drawn[0])
    return [((*places[place], draw.choice(HOOKS)), draw.choice(("signal", "error", "kill"))) for place in drawn]


def test_a_run_that_is_cut_again_and_again(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, chosen: Callable[..., list[Any]], tally: Any
) -> None:
    wrong = []
    for number, name, saves in chosen(chains(), 2):
        folder = tmp_path / f"chain-{number}"
        config = tiny_config(**sections(name, saves))
        result = train(config, folder / "whole" / "run")
        expected = facts(folder / "whole" / "run")
        fits = {part.fit.name: part.steps for part in result.parts} or {"fit": result.steps}
        moments = cuts(number, fits)
        case = f"chain {number}: {name}, saves {saves}, cut at {moments}"
        try:
            with tally("1 chained resumes", number) as seen:
                run, resume, done = folder / "cut-0" / "run", False, 0
                for place, (moment, how) in enumerate(moments, 1):
                    run, was_cut = cut(config, run, moment, how, folder / f"cut-{place}", resume=resume)
                    resume, done = True, done + was_cut
                train(config, run, resume=True)
                if found := differences(expected, facts(run)):
                    raise AssertionError(said(found))
                assert done >= 2, "it was hardly cut"
                seen.went_on()
        except Exception as error:
            wrong.append(f"{case}:\n{error}")
    assert not wrong, "\n".join(wrong)
