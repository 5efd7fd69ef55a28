"""Two runs at once: who comes second gets a folder of his own or a sentence, and the first is not disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparing import differences, left

from stepbus import CheckpointError, create_trainer
from stepbus.storage import checkpoints
from stepbus.storage.durable import lock_folder

ROW = "6 two runs at once"
WAITS = """
import time
from pathlib import Path
from stepbus import hookimpl

class Waits:
    affects_result = False

    @hookimpl
    def on_step_end(self, state):
        here = Path(__file__).parent
        if state.step == 7:
            (here / "waiting").touch()
            while not (here / "go").exists():
                time.sleep(0.01)
"""
RACE = """
import json, multiprocessing, os, sys, time
from pathlib import Path
from stepbus.storage.locks import lock_folder
from stepbus.base.errors import CheckpointError

def enter(barrier, folder, answers):
    barrier.wait()
    try:
        with lock_folder(folder):
            answers.put(["held", os.getpid()])
            done.wait()
    except CheckpointError as error:
        answers.put(["refused", str(error)])
        done.wait()

context = multiprocessing.get_context("fork")
for number in range(int(sys.argv[2])):
    barrier, answers, done = context.Barrier(4), context.Queue(), context.Event()
    folder = Path(sys.argv[1]) / f"run-{number}"
    processes = [context.Process(target=enter, args=(barrier, folder, answers)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    done.set()
    for process in processes:
        process.join(60)
    print(json.dumps(found), flush=True)
"""


@pytest.fixture
def first(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A configuration whose run is under way in another process, and waits after step 7; checkpoint 6 is durable."""
    (tmp_path / "waits.py").write_text(WAITS)
    saves = {"save_strategy": "steps", "save_steps": 3, "keep_last": 3}
    tree = tiny_config(plugins={"progress": False, "checkpoint": saves})
    tree["plugins"]["waits"] = {"use": str(tmp_path / "waits.py") + ":Waits"}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "stepbus.cli", "train", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    latest = tmp_path / "run" / "fits" / "fit" / "checkpoints" / "LATEST"  # what its writer does last

    def there() -> bool:
        return (tmp_path / "waiting").exists() and latest.exists() and latest.read_text() == "step-00000006\n"

    while not there() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "waiting").exists(), process.communicate()[1] if process.poll() is not None else "it hangs"
    yield {"tree": tree, "process": process, "go": tmp_path / "go"}
    (tmp_path / "go").touch()
    process.wait(120)


def test_a_second_run_beside_one_that_is_under_way(first: dict[str, Any], tmp_path: Path, tally: Any) -> None:
    run, process = tmp_path / "run", first["process"]
    tree = {**first["tree"], "plugins": {**first["tree"]["plugins"], "waits": False}}
    newest = checkpoints.scan(run / "fits" / "fit" / "checkpoints")[-1]
    before = {path.name for path in (run / "fits" / "fit" / "checkpoints").iterdir()}
    for given in (True, run, str(run), newest):
        with tally(ROW, f"resume={given if given is True else Path(given).relative_to(tmp_path)}") as seen:
            with pytest.raises(CheckpointError, match=rf"process {process.pid} is running in this folder") as caught:
                create_trainer(config=tree).train(resume=given)
            seen.refused(str(caught.value))
    with tally(ROW, "the lock itself") as seen:
        with pytest.raises(CheckpointError, match=rf"process {process.pid} is running") as caught, lock_folder(run):
            pytest.fail("two hold one folder")
        seen.refused(str(caught.value))
    with tally(ROW, "a reader") as seen:
        assert checkpoints.verify(newest).step == 6
        seen.went_on()
    with tally(ROW, "a run of its own") as seen:
        result = create_trainer(config=tree).train()
        assert result.directory == tmp_path / "run-2"
        seen.went_on()
    assert {path.name for path in (run / "fits" / "fit" / "checkpoints").iterdir()} == before
    with tally(ROW, "the first goes on") as seen:
        first["go"].touch()
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        assert not differences(left(tmp_path / "run-2"), left(run))
        seen.went_on()


def test_who_enters_a_folder_in_the_same_moment(tmp_path: Path, tally: Any) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", RACE, str(tmp_path), "20"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    rounds = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rounds) == 20
    for number, answers in enumerate(rounds):
        with tally(ROW, f"four at once, {number}") as seen:
            held = [words for kind, words in answers if kind == "held"]
            refused = [words for kind, words in answers if kind == "refused"]
            assert len(held) == 1, answers
            assert len(refused) == 3
            for sentence in refused:
                # Whoever asks before the holder has written its number hears of an unknown one.
                assert f"process {held[0]} is running" in sentence or "process unknown is running" in sentence
                seen.refused(sentence)
            seen.went_on()
