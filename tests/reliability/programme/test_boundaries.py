"""A run that is cut at any boundary and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comparing import differences, facts, said
from configurations import OTHERS, SIX, sections
from cutting import Images, Moment, place_of, train
from safetensors.numpy import load_file

from stepbus import hookimpl

NO_SAVES = {"save_strategy": "no"}
SIXTH = "1 resume at every boundary, six"
OTHER = "1 resume at every boundary, others"
BETWEEN = "1 resume between boundaries and fits"
# Those that CI looks at, at two of their boundaries; the rest is left to the whole count.
LOOKED_AT = ("exponential", "schedule_free_ahead_of_the_host", "lora_and_ema", "cross_validation")


@pytest.mark.parametrize(
    "name",
    [*SIX, *(name if name in LOOKED_AT else pytest.param(name, marks=pytest.mark.full) for name in OTHERS)],
)
def test_resume_at_every_boundary(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, chosen: Callable[..., list[Any]], tally: Any
) -> None:
    config = tiny_config(**sections(name))
    # After every boundary, and inside at some updates, others for each name: an image costs as much as an update.
    images = Images(tmp_path / "images", lambda moment: moment[2] != "on_step_end" or (moment[1] + len(name)) % 4 == 0)
    result = train(config, tmp_path / "whole" / "run", plugins=(images,))
    expected = facts(tmp_path / "whole" / "run")
    boundaries = [moment for moment in images.taken if moment[2] == "on_checkpoint"]
    ends = [moment for moment in images.taken if moment[2] in ("on_fit_end", "on_fit_result")]
    inside = [moment for moment in images.taken if moment not in boundaries and moment not in ends]
    between = ends + random.Random(name).sample(inside, min(3, len(inside)))
    if name in SIX:
        assert {step for _, step, _ in boundaries} >= set(range(1, 23))
        assert result.status == ("stopped" if name == "early_stopping" else "ok")
    # A resume may change when checkpoints are written, and without them the test is quick.
    quick = {**config, "plugins": {**config["plugins"], "checkpoint": NO_SAVES}}
    wrong = []
    for moment in [*chosen(boundaries, 3 if name in SIX else 2), *chosen(between, 1)]:
        try:
            with tally(_row(name, moment), f"{name} {place_of(moment)}") as seen:
                run = tmp_path / "images" / place_of(moment) / "run"
                train(quick, run, resume=True)
                if found := differences(expected, facts(run)):
                    raise AssertionError(f"{name}, cut at {place_of(moment)}:\n{said(found)}")
                seen.went_on()
        except Exception as error:
            wrong.append(str(error))
        shutil.rmtree(tmp_path / "images" / place_of(moment))
    assert not wrong, "\n".join(wrong)


def _row(name: str, moment: Moment) -> str:
    """Return the row of the table that a moment counts in; before its first update a fit has no boundary yet."""
    if moment[2] != "on_checkpoint" or moment[1] == 0:
        return BETWEEN
    return SIXTH if name in SIX else OTHER


@pytest.mark.parametrize("name", ["ema_stops_early", "ema_ahead_of_the_host", "schedule_free"])
def test_averages_are_cut_before_at_and_after_their_best(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """What is cut above stops early, and what it exports scored what the best evaluation scored: its averages."""
    config = tiny_config(**sections(name))
    config["plugins"]["checkpoint"] = {**config["plugins"]["checkpoint"], "keep_last": 100, "keep_whole": True}
    result = train(config, tmp_path / "run")
    assert result.status == "stopped"
    assert 2 <= result.best.step < result.steps
    assert result.metrics["eval_loss"] == result.best.value
    folder = tmp_path / "run" / "fits" / "fit"
    checkpoint = folder / "checkpoints" / f"step-{result.best.step:08d}"
    weights, training, kept = (
        load_file(path)
        for path in (
            folder / "model" / "model.safetensors",
            checkpoint / "model.safetensors",
            checkpoint / "averaged.safetensors",
        )
    )
    assert all(weights[key].tobytes() == kept[key].tobytes() for key in weights)
    assert any(weights[key].tobytes() != training[key].tobytes() for key in weights)


@pytest.mark.parametrize("name", ["living_memory", pytest.param("ema", marks=pytest.mark.full)])
def test_what_is_written_slowly_is_of_its_moment(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates, evaluations and changes of what plugins remember go on while a checkpoint is written, for some steps."""
    config = tiny_config(**sections(name, "every_4_steps"))
    images = Images(tmp_path / "images", lambda moment: moment[2] == "on_checkpoint")
    original, updates = os.write, Updates()

    def slow(descriptor: int, content: Any) -> int:
        if threading.current_thread() is not threading.main_thread():
            updates.wait(2)  # of the first files
        return original(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", slow)
        train(config, tmp_path / "whole" / "run", plugins=(images, updates))
    expected = facts(tmp_path / "whole" / "run")
    assert {4, 8, 12, 16, 20} <= {step for _, step, _ in images.taken}
    assert max(updates.waited) >= 2, "nothing went on meanwhile"
    for moment in images.taken:
        run = tmp_path / "images" / place_of(moment) / "run"
        train({**config, "plugins": {**config["plugins"], "checkpoint": NO_SAVES}}, run, resume=True)
        assert not (found := differences(expected, facts(run))), said(found)


WAITS = 2


class Updates:
    """Let a writer wait until some updates were done after it began to wait, or until there are none for a while."""

    scope = "run"
    affects_result = False

    def __init__(self) -> None:
        self.number = 0
        self.waited: list[int] = []
        self.waiting: list[int] = []  # threads, of which each writes one checkpoint

    @hookimpl
    def on_step_end(self) -> None:
        """Count."""
        self.number += 1

    def wait(self, updates: int) -> None:
        """Wait; the main thread may wait for the writer itself, so there is an end to it."""
        here = threading.get_ident()
        if self.waiting.count(here) >= WAITS:
            return
        self.waiting.append(here)
        first = self.number
        for _ in range(40):
            if self.number >= first + updates:
                break
            time.sleep(0.005)
        self.waited.append(self.number - first)
