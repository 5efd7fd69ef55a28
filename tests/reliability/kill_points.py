"""Kill a process before each file operation of a save; run as a script, because forking wants a process without MLX.

python kill_points.py each SCENARIO FOLDER      one line of JSON for each operation
python kill_points.py free LAST BEST FOLDER     the same while a finished fit's checkpoints are freed
python kill_points.py random COUNT SEED FOLDER  one line of JSON for each moment
python kill_points.py fill FOLDER               save until the disk is full; one line of JSON
"""

from __future__ import annotations

import faulthandler
import fcntl
import itertools
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stepbus.base.errors import CheckpointError
from stepbus.base.retention import Retention
from stepbus.storage.checkpoints import (
    Checkpoint,
    Snapshot,
    Writer,
    empty_trash,
    held,
    latest_valid,
    mark_best,
    read_document,
    retire,
    scan,
    share_files,
    verify,
)
from stepbus.storage.checkpoints import write_checkpoint as write
from stepbus.storage.durable import lock_folder

# A killed process loses nothing that it gave to the system, so these tests need no disk (test_checkpoints.py holds the
# order of the syncs); they count as operations all the same.
os.fsync = lambda descriptor: None  # type: ignore[assignment]
fcntl.fcntl = lambda descriptor, command: 0  # type: ignore[assignment, misc]

LONGEST = 600  # seconds; a child takes some
OPERATIONS = (
    "open", "write", "fsync", "close", "mkdir", "rename", "replace", "unlink", "rmdir", "ftruncate", "pwrite", "link",
    "symlink",
)  # fmt: skip
# Scenario -> (steps that are there, step that is saved, the best step).
SCENARIOS: dict[str, tuple[list[int], int, int]] = {
    "first": ([], 0, 0),
    "next": ([0, 100], 200, 0),
    "again": ([100], 100, 100),
    "retiring": ([0, 100, 200, 300], 500, 100),  # the best one is thinned
    "recovering": ([0, 100, 150], 200, 0),
}


def snapshot(step: int, label: str, size: int = 50) -> Snapshot:
    numbers = np.random.default_rng(step).standard_normal((size, 3)).astype(np.float32)
    return Snapshot(
        step=step,
        arrays={"model": {"weight": numbers}, "optimizer": {"m": numbers * 2}},
        documents={"state.json": {"step": step, "label": label}},
        copies={"script.txt": Path(__file__)},
        facts={"config": {"seed": 1}},
    )


def to_use(names: Any) -> dict[str, str]:
    return {name: name for name in names if name not in ("optimizer.safetensors", "state.json")}


def save(folder: Path, step: int, label: str, best: int) -> None:
    """Do what a resumed run does until it is told of its next checkpoint: a thread writes it, and empties the trash."""
    with lock_folder(folder.parent):
        latest_valid(folder, lambda text: None)
        writer, taken = Writer(), held(folder, snapshot(step, label))

        def write_beside() -> Path:
            path = write(folder, taken).path
            if step == best:
                mark_best(folder, best)
            return path

        def empty(trash: Path) -> None:
            writer.also(lambda: empty_trash(trash))

        writer.start(write_beside)
        writer.wait()
        retire(folder, Retention(last=2, best=1), [best], thinning=to_use, empty=empty)
        writer.wait(everything=True)
        writer.written()
        assert not writer.failed


def die_before(number: int, sent: int = signal.SIGKILL, told: str = "") -> Iterator[int]:
    """Let every file operation of any thread count, and kill this process before the one with that number.

    Args:
        number: The operation, from 1; a write is torn first. 0 only counts.
        sent: The signal; any other than SIGKILL tears nothing.
        told: A file that gets the name of the thread that died, if any.

    Returns:
        The counter, whose next number is that of the next operation.
    """
    counter = itertools.count(1)  # one step of it is atomic, whichever thread asks
    place, put = os.open(told, os.O_CREAT | os.O_WRONLY) if told else 0, os.write

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            if next(counter) == number:
                if told:
                    put(place, threading.current_thread().name.encode())
                if name == "write" and sent == signal.SIGKILL:
                    original(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), sent)
            return original(*args, **kwargs)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(name, getattr(os, name)))
    return counter


def in_child(work: Callable[[], None]) -> int:
    """Start a child and return its process id; one that hangs says where it stands, and ends."""
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    return child


def outcome(folder: Path, best: int) -> dict[str, Any]:
    """Say what a run that is started now finds, and what is left after its next save."""
    said: list[str] = []
    with lock_folder(folder.parent):  # the dead holder's lock is free at once
        try:
            found: Checkpoint | None = latest_valid(folder, said.append)
        except CheckpointError as error:
            return {"error": str(error)}
        result: dict[str, Any] = {"said": said, "step": None}
        if found is not None:
            result |= {"step": found.step, "label": read_document(found, "state.json")["label"]}
        retire(folder, Retention(last=2, best=1), [best])  # as the first boundary does, before anything is written
        result["best"] = best in [verify(path).step for path in scan(folder)]
        write(folder, snapshot(1000, "after"))
        retire(folder, Retention(last=2, best=1), [best], thinning=to_use)
    result["left"] = sorted(path.name for path in folder.iterdir())
    return result


def each(scenario: str, folder: Path) -> None:
    present, step, best = SCENARIOS[scenario]
    template = folder / "template" / "checkpoints"
    template.mkdir(parents=True)
    for earlier in present:
        write(template, snapshot(earlier, "old"))
    if scenario == "recovering":  # killed between two renames, and the newest is damaged besides
        (template / "step-00000100").rename(template / f".replaced-step-00000100-{'0' * 32}")
        (template / "step-00000150" / "state.json").write_text("{")
    number, status = 0, signal.SIGKILL.value
    while status != 0:
        number += 1
        run = folder / f"run-{number}"
        shutil.copytree(template.parent, run, copy_function=os.link)  # nothing is ever changed in place

        def work(run: Path = run, number: int = number) -> None:
            die_before(number)
            save(run / "checkpoints", step, "new", best)

        _, status = os.waitpid(in_child(work), 0)
        if status not in (0, signal.SIGKILL.value):
            raise SystemExit(f"the child of operation {number} ended with status {status}")
        result = {"operation": number, "killed": status != 0, **outcome(run / "checkpoints", best)}
        print(json.dumps(result), flush=True)
        shutil.rmtree(run)


def freed(last: int | None, best: int, folder: Path) -> None:
    """Free the checkpoints of a finished fit, killed before each operation; then once more, as a resume does."""
    template, keep = folder / "template" / "checkpoints", Retention(last, best)
    template.mkdir(parents=True)
    for step in (0, 100, 200, 300):
        write(template, snapshot(step, "old"))
    mark_best(template, 100)
    # The exported weights have the bytes of the best checkpoint's, and a file of their own.
    shutil.copy(template / "step-00000100" / "model.safetensors", template.parent / "model.safetensors")

    def work(run: Path) -> None:
        with lock_folder(run):
            retire(run / "checkpoints", keep, [100, 200], thinning=to_use, finished=True)
            if (run / "checkpoints").exists():
                share_files(run / "checkpoints", run / "model.safetensors")

    number, status = 0, signal.SIGKILL.value
    while status != 0:
        number += 1
        run = folder / f"run-{number}"
        shutil.copytree(template.parent, run, symlinks=True)

        def killed(run: Path = run, number: int = number) -> None:
            die_before(number)
            work(run)

        _, status = os.waitpid(in_child(killed), 0)
        if status not in (0, signal.SIGKILL.value):
            raise SystemExit(f"the child of operation {number} ended with status {status}")
        result: dict[str, Any] = {"operation": number, "killed": status != 0, "found": None}
        checkpoints = run / "checkpoints"
        if last != 0:
            found = latest_valid(checkpoints, print)
            result["found"] = None if found is None else found.step
        if checkpoints.exists():
            work(run)
        result["left"] = sorted(path.name for path in checkpoints.iterdir()) if checkpoints.exists() else []
        whole = {path.name: not verify(path).lacks for path in scan(checkpoints)}
        same = [(checkpoints / name / "model.safetensors").samefile(run / "model.safetensors") for name in whole]
        print(json.dumps({**result, "whole": whole, "same": same}), flush=True)
        shutil.rmtree(run)


def at_random(count: int, seed: int, folder: Path) -> None:
    moments = random.Random(seed)
    for number in range(count):
        checkpoints = folder / f"run-{number}" / "checkpoints"
        checkpoints.mkdir(parents=True)
        write(checkpoints, snapshot(0, "old"))
        journal = folder / f"journal-{number}"
        journal.touch()

        def work(checkpoints: Path = checkpoints, journal: Path = journal) -> None:
            for step in range(1, 1000):
                save(checkpoints, step, "new", 0)
                with journal.open("a") as file:  # what was reported durable
                    file.write(f"{step}\n")

        child = in_child(work)
        time.sleep(moments.uniform(0.002, 0.08))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        reported = [int(line) for line in journal.read_text().split()]
        print(json.dumps({"reported": max(reported, default=0), **outcome(checkpoints, 0)}), flush=True)
        shutil.rmtree(checkpoints.parent)


def fill(folder: Path) -> None:
    """Save ever larger checkpoints on a disk that is too small, then on one that is read-only."""
    checkpoints = folder / "run" / "checkpoints"
    result: dict[str, Any] = {}
    step = 0
    while "full" not in result:
        try:
            write(checkpoints, snapshot(step, "new", size=1000))
            step += 1
        except CheckpointError as error:
            result["full"] = str(error)
    found = latest_valid(checkpoints, print)
    result |= {"saved": step, "found": None if found is None else found.step}
    result["left"] = sorted(path.name for path in checkpoints.iterdir())
    os.system(f"mount -o remount,ro {folder}")
    try:
        write(checkpoints, snapshot(0, "new"))
    except CheckpointError as error:
        result["read_only"] = str(error)
    found = latest_valid(checkpoints, print)
    result["found_read_only"] = None if found is None else found.step
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "each":
        each(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1] == "free":
        freed(None if sys.argv[2] == "none" else int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    elif sys.argv[1] == "random":
        at_random(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        fill(Path(sys.argv[2]))
