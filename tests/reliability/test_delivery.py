"""Every result is told once, and what plugins remember of it counts once, wherever a run was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepbus import BadInput, create_trainer, hookimpl, import_module
from stepbus.run import ledger
from stepbus.run.keeping.delivery import Deliveries
from stepbus.storage.digests import sealed
from stepbus.storage.durable import to_json

SCRIPT = Path(__file__).with_name("delivery_points.py")
CountResults = import_module(str(Path(__file__).parents[1] / "fixtures" / "tracker.py")).CountResults
SIX = 6  # updates of a fit
WHOLE = ["fit fold-1 ok", "fit fold-2 ok", "fold of fold-1, fold-2"]
END = f"end {2 * SIX} ['fold-1', 'fold-2', 'fold'] [{SIX}, {SIX}]"


PLACES: dict[str, tuple[Any, str]] = {
    "note_end": (Deliveries, "note_end"),
    "keep": (ledger, "write"),
    "note_told": (Deliveries, "note_told"),
}


class Cut(BaseException):
    """Ends a run at once."""


@pytest.fixture
def tree(tiny_config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A cross-validation of two folds, with a checkpoint at each second update."""
    saves = {"save_strategy": "steps", "save_steps": 2, "keep_finished": True}
    return tiny_config(
        training={"max_steps": SIX},
        data={"validation": None},
        plugins={"cross_validation": {"folds": 2}, "progress": False, "checkpoint": saves},
    )


def train(tree: dict[str, Any], lines: Path, *, resume: bool = False, allow_changed: bool = False) -> Any:
    """Do a run whose tracker writes to a file."""
    tracker = type("CountResults", (CountResults,), {"lines": lines})
    return create_trainer(config=tree, plugins=[tracker]).train(resume=resume, allow_changed=allow_changed)


# Where a run is killed -> which of its lines are there twice after a resume.
POINTS: dict[str, list[str]] = {
    "before step 1": [],
    "after step 3": [],  # after a checkpoint of the first fit
    "before note_end 1": [],
    "before keep 1": [],
    "after keep 1": [],  # done, and not told of
    "before note_told 1": [WHOLE[0]],  # told, and not written down
    "after note_told 1": [],
    "before step 7": [],  # in the second fit, before its first checkpoint
    "after step 9": [],
    "before keep 2": [],
    "after keep 2": [],
    "before note_told 2": [WHOLE[1]],
    "after note_told 2": [],
    "before note_told 3": [WHOLE[2]],
    "after note_told 3": [],
}


def test_a_kill_at_each_boundary(tree: dict[str, Any], tmp_path: Path) -> None:
    """The last one is killed twice, in one run and in its resume."""
    (tmp_path / "config.json").write_text(json.dumps(tree))
    points = [*POINTS, "after keep 1, after step 3"]
    for place in range(len(points)):
        (tmp_path / "runs" / str(place)).mkdir(parents=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "error", str(SCRIPT), str(tmp_path / "config.json"), str(tmp_path / "runs")]
    done = subprocess.run(
        [*command, *points], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {case["point"]: case for case in map(json.loads, done.stdout.splitlines())}
    assert [*found] == points
    for point, case in found.items():
        assert case["ends"] == [-signal.SIGKILL] * (len(case["ends"]) - 1) + [0], (point, done.stderr)
        *said, end = case["lines"]
        assert end == END, (point, case)
        assert sorted(said) == sorted([*WHOLE, *POINTS.get(point, [])]), (point, case)
        assert list(dict.fromkeys(said)) == WHOLE, (point, case)


def test_a_run_that_was_done_only_begins_and_ends(tree: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    for _ in range(3):
        train(tree, lines, resume=lines.exists())
    assert lines.read_text().splitlines() == [*WHOLE, END, END, END]


def test_a_fit_that_goes_on_is_told_of_again(tree: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    more = {**tree, "training": {**tree["training"], "max_steps": SIX + 2}}
    train(more, lines, resume=True, allow_changed=True)
    assert lines.read_text().splitlines()[:-1] == [*WHOLE, END, *WHOLE]


def test_a_fit_that_is_done_again_is_told_of_again(tree: dict[str, Any], tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    (tmp_path / "run" / "fits" / "fold-2" / "result.json").unlink()
    train(tree, lines, resume=True)
    assert lines.read_text().splitlines()[4:-1] == WHOLE[1:]


def test_a_fit_that_goes_on_from_its_checkpoint_has_the_later_ones_told_again(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    """What its checkpoint remembers knows nothing of the later fits, which are done."""
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    (tmp_path / "run" / "fits" / "fold-1" / "result.json").unlink()
    train(tree, lines, resume=True)
    # The updates of fold-2, which is not done again, are nowhere any more; its result counts.
    assert lines.read_text().splitlines()[4:] == [*WHOLE, f"end {SIX} ['fold-1', 'fold-2', 'fold'] [{SIX}, {SIX}]"]
    train(tree, lines, resume=True)
    assert lines.read_text().splitlines()[8:] == [f"end {SIX} ['fold-1', 'fold-2', 'fold'] [{SIX}, {SIX}]"]


@pytest.mark.parametrize("name", ["fold-1", "fold-2"])
def test_a_fit_that_begins_anew_is_counted_once(name: str, tree: dict[str, Any], tmp_path: Path) -> None:
    """Its folder is removed, as refusals of other rows advise: nobody knows what was remembered before it."""
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    shutil.rmtree(tmp_path / "run" / "fits" / name)
    said: list[str] = []

    class Listens:
        scope, affects_result = "run", False

        @hookimpl
        def on_message(self, text: str) -> None:
            said.append(text)

    tracker = type("CountResults", (CountResults,), {"lines": lines})
    create_trainer(config=tree, plugins=[tracker, Listens]).train(resume=True)
    assert lines.read_text().splitlines()[4:] == [*WHOLE, f"end {SIX} ['fold-1', 'fold-2', 'fold'] [{SIX}, {SIX}]"]
    words = (
        f"{name} is done again, and what plugins remembered before is not known: they start anew, and are told again"
    )
    assert f"{words} of fold-1 and fold-2" in said


def test_a_plan_without_some_fits_is_counted_without_them(tree: dict[str, Any], tmp_path: Path) -> None:
    """A change that was allowed: what plugins remember of fits that the plan has no more goes with them."""
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    train({**tree, "plugins": {**tree["plugins"], "cross_validation": False}}, lines, resume=True, allow_changed=True)
    assert lines.read_text().splitlines()[4:] == ["fit fit ok", f"end {SIX} ['fit'] [{SIX}]"]


@pytest.mark.parametrize("place", ["note_end", "keep", "note_told"])
def test_an_end_while_an_earlier_fit_is_done_again(
    place: str, tree: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put back is never the memory that had counted the fit before."""
    lines = tmp_path / "lines.txt"
    train(tree, lines)
    shutil.rmtree(tmp_path / "run" / "fits" / "fold-1")
    owner, method = PLACES[place]
    with monkeypatch.context() as patch:
        original = getattr(owner, method)

        def ends(*arguments: Any, **more: Any) -> None:
            original(*arguments, **more)
            raise Cut

        patch.setattr(owner, method, ends)
        with pytest.raises(Cut):
            train(tree, lines, resume=True)
    train(tree, lines, resume=True)
    assert lines.read_text().splitlines()[-1] == f"end {SIX} ['fold-1', 'fold-2', 'fold'] [{SIX}, {SIX}]"


def test_a_run_of_one_fit(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    tree = tiny_config(training={"max_steps": 3})
    train(tree, lines)
    train(tree, lines, resume=True)
    end = "end 3 ['fit'] [3]"
    assert lines.read_text().splitlines() == ["fit fit ok", end, end]


@contextmanager
def one_sentence(*words: str) -> Iterator[None]:
    with pytest.raises(BadInput) as caught:
        yield
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def other(run: Path, /, **changes: Any) -> None:
    """Rewrite what was told, with a digest that fits."""
    saved = json.loads((run / "delivered.json").read_text())
    del saved["digest"]
    (run / "delivered.json").write_text(to_json(sealed({**saved, **changes})))


def arrays(run: Path) -> Path:
    return next(run.glob("delivered-*.safetensors"))


ELSEWHERE = {"fit": "", "plugins": {}, "decisions": {}, "arrays": {"file": "../x", "size": 1, "sha256": "0" * 64}}
DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda run: (run / "delivered.json").write_text(""),
    "other words": lambda run: (run / "delivered.json").write_text("[]"),
    "a digit": lambda run: (run / "delivered.json").write_text(
        (run / "delivered.json").read_text().replace('"number": ', '"number": 1')
    ),
    "a folder": lambda run: ((run / "delivered.json").unlink(), (run / "delivered.json").mkdir()),
    "a link": lambda run: (
        (run / "delivered.json").rename(run / "elsewhere"),
        (run / "delivered.json").symlink_to("elsewhere"),
    ),
    "of another run": lambda run: other(run, run="x"),
    "no list": lambda run: other(run, told="fit fold-1"),
    "no names": lambda run: other(run, told=[1]),
    "no memory": lambda run: other(run, after=[]),
    "a path": lambda run: other(run, after=ELSEWHERE),
    "arrays lost": lambda run: arrays(run).unlink(),
    "arrays emptied": lambda run: arrays(run).write_bytes(b""),
}


def test_every_damage_is_one_sentence_and_its_mend_helps(tree: dict[str, Any], tmp_path: Path) -> None:
    run, lines = tmp_path / "run", tmp_path / "lines.txt"
    train(tree, lines)
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    for damage in DAMAGES.values():
        shutil.rmtree(run)
        shutil.copytree(whole, run)
        damage(run)
        before = sorted(path for path in run.rglob("*") if path.name != ".lock")
        with one_sentence("run/delivered.json: expected what plugins were told", "remove it, and they are told again"):
            train(tree, lines, resume=True)
        assert sorted(path for path in run.rglob("*") if path.name != ".lock") == before
    (run / "delivered.json").unlink()
    lines.unlink()
    train(tree, lines, resume=True)
    assert lines.read_text().splitlines() == [*WHOLE, "end 0 ['fold-1', 'fold-2', 'fold'] [6, 6]"]


def test_a_state_that_its_plugin_cannot_read_is_one_sentence(tree: dict[str, Any], tmp_path: Path) -> None:
    train(tree, tmp_path / "lines.txt")
    other(tmp_path / "run", after={"fit": "", "plugins": {"count_results": {}}, "decisions": {}, "arrays": None})
    with one_sentence("run/delivered.json: plugins.count_results: expected what its state_dict returned"):
        train(tree, tmp_path / "lines.txt", resume=True)
