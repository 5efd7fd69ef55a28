"""How long training stands still for a checkpoint of a real model: updates with one written meanwhile, and without.

    python tests/benchmarks/checkpoint_stall.py [--pairs N] [--updates N] [--rows N] [--tokens N]
        [--waiting | --unwritten | --bare] [--apart] [--busy]

all-MiniLM-L6-v2 with AdamW (272 MB a checkpoint), every batch alike. A pair is twice the same number of updates, with a
checkpoint begun before the first of them and without; which comes first alternates. Counted is all until the updates
are done and the checkpoint is durable and told of, so what is taken before, what competes for the cores, and what is
told afterwards. The updates have to last longer than the writing, or else that is waited for; the table says so. With
--waiting, training waits for each checkpoint, as where memory is tight; with --unwritten nothing is written, which
leaves what training itself does for one; with --bare the thread only writes the arrays' bytes to one file and syncs it,
which adds to that what the machine's disk takes, whoever writes. With --apart, training is held to one core of the CPU
and the writer to another: a core is to spare, as where a GPU trains. (Linux alone holds a thread to a core.)

Two cores of a virtual machine may be one: with --busy, a pair has a third stretch of the same updates, without a
checkpoint, while a thread like the writer's computes from its beginning to its end (SHA-256 of a block that stays in
its cache). What that costs for as long as the pair's writing computed, a machine takes for any second thread; what a
checkpoint costs beyond it is the checkpoint's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from stepbus import create_trainer, hookimpl, import_module
from stepbus.fit.checkpointing import DiskCheckpoints
from stepbus.fit.checkpointing import disk as checkpointing
from stepbus.storage.checkpoints import Writer

PRETRAINED = import_module(str(Path(__file__).parents[1] / "fixtures" / "minilm.py")).SOURCE
WARM_UP = 6  # updates before the first pair: traces, and the memory of a second set of weights
BLOCK = bytes(256 * 1024)  # fits any core's own cache

WRITTEN, WITHOUT, BUSY = "written", "without", "busy"
WRITER = "STALL_CORE_OF_THE_WRITER"


class Pairs:
    """Ask for checkpoints in every other stretch of updates, and take the times."""

    asks = ("checkpoint",)

    def __init__(self, pairs: int, updates: int, kinds: tuple[str, ...]) -> None:
        self.kinds = [kind for pair in range(pairs) for kind in (kinds if pair % 2 == 0 else kinds[::-1])]
        # A stretch: the update at whose boundary it begins -> its kind; one more update lies between two.
        first = WARM_UP + updates
        self.begins = {first + place * (updates + 1): kind for place, kind in enumerate(self.kinds)}
        self.ends = {begin + updates: begin for begin in self.begins}
        self.total = max(self.ends) + 1
        self.began: dict[int, float] = {}
        self.seconds: dict[int, float] = {}
        self.waited: dict[int, float] = {}
        self.told: dict[int, int] = {}
        self.written: dict[int, tuple[float, float]] = {}  # step -> how long writing lasted, and computed, in seconds
        self.beside, self.busy = Writer(), False

    @hookimpl
    def is_boundary(self, trainer: Any, step: int) -> bool | None:
        done = step - 1
        if (begin := self.ends.get(done)) is not None and begin not in self.seconds:
            self.close()
            self.seconds[begin] = time.perf_counter() - self.began[begin]
            self.waited[begin] = trainer.times.checkpoints.seconds - self.waited[begin]
        return step in self.begins or step in self.ends or step == WARM_UP

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == WARM_UP:
            trainer.control.request_checkpoint("warm-up")
        if state.step in self.begins:
            self.began[state.step] = time.perf_counter()
            self.waited[state.step] = trainer.times.checkpoints.seconds
            if self.begins[state.step] == WRITTEN:
                trainer.control.request_checkpoint("stretch")
            if self.begins[state.step] == BUSY:
                self.busy = True
                self.beside.also(self.compute)

    def close(self) -> None:
        """Let the thread end that computes."""
        self.busy = False

    def compute(self) -> None:
        """Compute in this thread as long as the stretch lasts, touching no memory but a core's."""
        while self.busy:
            hashlib.sha256(BLOCK)

    @hookimpl
    def on_checkpoint(self, state: Any, checkpoint: Path) -> None:
        self.told[int(checkpoint.name[5:])] = state.step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--updates", type=int, default=16)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    how = parser.add_mutually_exclusive_group()
    for name in ("--waiting", "--unwritten", "--bare"):
        how.add_argument(name, action="store_true")
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--busy", action="store_true")
    given = parser.parse_args()
    if given.apart:
        keep_apart()
    kinds = (WRITTEN, WITHOUT, BUSY) if given.busy else (WRITTEN, WITHOUT)
    pairs = Pairs(given.pairs, given.updates, kinds)
    write = checkpointing.Taken.write

    def timed(taken: checkpointing.Taken) -> Path:
        began, computed = time.perf_counter(), time.thread_time()
        if given.unwritten or given.bare:
            path = taken.folder / f"step-{taken.snapshot.step:08d}"
            if given.bare:
                bare(taken)
        else:
            path = write(taken)
        pairs.written[taken.snapshot.step] = time.perf_counter() - began, time.thread_time() - computed
        return path

    checkpointing.Taken.write = timed  # type: ignore[method-assign]
    if given.unwritten or given.bare:
        DiskCheckpoints.retire = lambda *_: None  # type: ignore[method-assign]
    if given.waiting:
        submit = DiskCheckpoints.submit

        def waits(self: DiskCheckpoints, session: Any, snapshot: checkpointing.Taken) -> None:
            submit(self, session, snapshot)
            self.writer.wait()

        DiskCheckpoints.submit = waits  # type: ignore[method-assign]
    rows = [(" ".join(["film"] * (given.tokens - 2)), row % 2) for row in range(given.rows)] * pairs.total
    with tempfile.TemporaryDirectory(prefix="stepbus-stall-") as folder, closing(pairs):
        train = Path(folder, "train.csv")
        train.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
        create_trainer(
            config={
                "model": {"pretrained": PRETRAINED},
                "data": {
                    "type": "text", "train": str(train), "label": "label", "batch_size": given.rows,
                    "max_length": given.tokens,
                },
                "optimizer": {"learning_rate": 1e-6},
                "training": {"num_epochs": 1, "eval_strategy": "no"},
                "plugins": {"progress": False, "checkpoint": {"save_strategy": "no"}},
                "environment": {"output_dir": str(Path(folder, "run"))},
            },
            plugins=[pairs],
        ).train()  # fmt: skip
    show(pairs, kinds)


def bare(taken: checkpointing.Taken) -> None:
    """Write the bytes of a snapshot to one file in place of the one before, and sync it; nothing is hashed or read."""
    path = taken.folder.parent / "bare"
    path.unlink(missing_ok=True)
    with path.open("wb", buffering=0) as file:
        for arrays in taken.snapshot.arrays.values():
            for array in arrays.values():
                file.write(array.data)
        os.fsync(file.fileno())


def keep_apart() -> None:
    """Hold training to the first core, and the thread that writes to the second."""
    if WRITER not in os.environ:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("--apart: expected two cores at least, got one")
        os.sched_setaffinity(0, cores[:1])  # and begun again, since MLX has looked at how many there are
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, WRITER: str(cores[1])})
    run = Writer._run

    def moved(writer: Writer, work: Any, before: Any) -> None:
        os.sched_setaffinity(0, [int(os.environ[WRITER])])
        run(writer, work, before)

    Writer._run = moved  # type: ignore[method-assign]


def show(pairs: Pairs, kinds: tuple[str, ...]) -> None:
    """Print a line for each pair, and the medians."""
    begins, rows = list(pairs.begins), []
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    print(f"training on {cores} cores, load {os.getloadavg()[0]:.1f}; seconds, differences and waiting in ms")
    also = "  a busy thread's   beyond it" if BUSY in kinds else ""
    print(f"pair   written  without   differs   waited   writing lasted   computed{also}")
    for number in range(len(begins) // len(kinds)):
        of = {pairs.begins[begin]: begin for begin in begins[len(kinds) * number :][: len(kinds)]}
        seconds = {kind: pairs.seconds[begin] for kind, begin in of.items()}
        lasted, computed = pairs.written[of[WRITTEN]]
        row = [seconds[WRITTEN] - seconds[WITHOUT], pairs.waited[of[WRITTEN]], lasted, computed]
        if BUSY in kinds:
            busy = (seconds[BUSY] - seconds[WITHOUT]) * computed / seconds[BUSY]
            row += [busy, row[0] - busy]
        rows.append(row)
        late = "" if lasted < seconds[WRITTEN] else "   longer than the updates: take more"
        print(f"{number + 1:4}  {seconds[WRITTEN]:8.3f} {seconds[WITHOUT]:8.3f} {in_columns(row)}{late}")
    print(f"median  {'':16}{in_columns([statistics.median(column) for column in zip(*rows, strict=True)])}")
    differs = [row[0] for row in rows]
    if len(differs) > 1:
        lower, _, upper = statistics.quantiles(differs, n=4)
        print(f"quartiles of the difference: {1e3 * lower:.1f} and {1e3 * upper:.1f} ms")


def in_columns(row: list[float]) -> str:
    """Return a row of the table: seconds for the writing, milliseconds for all else."""
    differs, waited, lasted, computed, *busy = row
    words = f"{1e3 * differs:9.1f} {1e3 * waited:8.1f} {lasted:16.2f} {computed:10.2f}"
    return words + "".join(f" {1e3 * value:{width}.1f}" for value, width in zip(busy, (16, 11), strict=False))


if __name__ == "__main__":
    main()
