"""Whole runs, killed or interrupted at chosen moments, resumed and compared; run as a script.

It forks where MLX was imported and never used.

python points.py CASES FOLDER   one line of JSON for each case of the file, in order; see `done`
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

# What a child would otherwise import for itself.
import pandas as pandas
import pyarrow as pyarrow
import tokenizers as tokenizers
from comparing import differences, facts, said
from cutting import Images, image, place_of, train
from kill_points import in_child
from recording import JOURNAL
from sending import Sender
from sklearn import metrics as metrics

from stepbus.cli.main import main as command_line

Case = dict[str, Any]


def ends(child: int) -> int:
    """Wait for a child; return the signal that ended it, negative, or its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def moment(words: str) -> tuple[str, int, str]:
    """Return a moment that is written as "HOOK FIT STEP"."""
    hook, fit, step = words.split()
    return fit, int(step), hook


class Programme:
    """The cases of one file.

    Args:
        told: The configurations by name, and the cases.
        folder: Where the runs lie.
    """

    def __init__(self, told: dict[str, Any], folder: Path) -> None:
        self.configs, self.cases, self.folder = told["configs"], told["cases"], folder
        self.expected: dict[str, dict[str, str]] = {}
        self.written: dict[str, int] = {}  # bytes of the journal of the whole run
        self.operations: dict[tuple[str, str, str], int] = {}

    def whole(self, name: str) -> None:
        """Do a run that is not cut, with images of the moments that cases begin with."""
        if name in self.expected:
            return
        wanted = {moment(case["from"]) for case in self.cases if case["config"] == name and case.get("from")}
        run = self.folder / name / "whole" / "run"

        def work() -> None:
            images = Images(self.folder / name / "images", lambda now: now in wanted)
            train(self.configs[name], run, plugins=(Sender(), images))

        if any("sent" in case for case in self.cases):
            run.parent.mkdir(parents=True)
            code, words = self.command(name, run, [], {})
            assert code == 0, words
        else:
            assert ends(in_child(work)) == 0
        self.written[name] = (run.parent / JOURNAL).stat().st_size
        self.expected[name] = facts(run)

    def count(self, case: Case) -> int:
        """Return how many file operations lie between two moments of a case."""
        key = (case["config"], case["moment"], case["until"])
        if key not in self.operations:
            run, resume = self.prepared(case, "counted")
            file = run.parent / "operations.txt"

            def work() -> None:
                os.environ |= {"MOMENT": case["moment"], "UNTIL": case["until"], "COUNTED": str(file)}
                train(self.configs[case["config"]], run, resume=resume, plugins=(Sender(),))

            assert ends(in_child(work)) == 0
            self.operations[key] = int(file.read_text())
            shutil.rmtree(run.parent)
        return self.operations[key]

    def prepared(self, case: Case, name: str) -> tuple[Path, bool]:
        """Return the run that a case begins with, and whether it is there already."""
        run = self.folder / case["config"] / name / "run"
        if not case.get("from"):
            run.parent.mkdir(parents=True)
            return run, False
        image(self.folder / case["config"] / "images" / place_of(moment(case["from"])) / "run", run.parent)
        return run, True

    def killed(self, case: Case, number: int) -> dict[str, Any]:
        """Kill a run before a file operation, or once it came so far; then go on to its end."""
        run, resume = self.prepared(case, f"case-{number}")
        config = self.configs[case["config"]]
        found: dict[str, Any] = {"codes": []}
        if "part" in case:
            operations = self.count(case)
            found["operation"] = min(operations, 1 + int(case["part"] * operations))
        for share, later in case.get("moments", [(0.0, 0.0)]):
            there = resume or (run / "run.json").exists()

            def work(there: bool = there) -> None:
                if "part" in case:
                    told = {"OPERATION": str(found["operation"]), "THREAD": str(run.parent / "thread.txt")}
                    os.environ |= {"MOMENT": case["moment"], **told}
                train(config, run, resume=there, plugins=(Sender(),))

            child = in_child(work)
            found["codes"].append(ends(child) if "part" in case else self.kill(child, case, run, share, later))
        begun = (run / "run.json").exists()
        found["begun"] = begun
        if "part" in case:
            found["thread"] = (run.parent / "thread.txt").read_text()
        found["last"] = ends(
            in_child(lambda: print(train(config, run, resume=begun, plugins=(Sender(),)), file=sys.stderr))
        )
        found["left"] = sorted(
            str(path.relative_to(run)) for path in run.rglob(".*") if path.name.startswith((".tmp", ".trash", ".repl"))
        )
        return found | {"different": said(differences(self.expected[case["config"]], facts(run)))}

    def kill(self, child: int, case: Case, run: Path, share: float, later: float) -> int:
        """Kill a child some seconds after its run came to a share of what the whole one did; return what ended it."""
        journal, least = run.parent / JOURNAL, share * self.written[case["config"]]
        while not journal.exists() or journal.stat().st_size < least:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break  # which was faster than this one looked
            time.sleep(0.001)
        time.sleep(later)
        os.kill(child, signal.SIGKILL)
        return ends(child)

    def command(self, name: str, run: Path, words: list[str], moment: dict[str, str]) -> tuple[int, str]:
        """Do a command in a child; return its exit code and what it said.

        Args:
            name: The configuration, which gets journal and sender as plugins of its own.
            run: The folder.
            words: Further words of the command.
            moment: What is sent and when, as the sender reads it.
        """
        here, file = Path(__file__).parent, run.parent / "config.json"
        tree = {**self.configs[name], "environment": {"output_dir": str(run)}}
        local = {
            "journal": {"use": f"{here / 'recording.py'}:Journal"},
            "sender": {"use": f"{here / 'sending.py'}:Sender"},
        }
        file.write_text(json.dumps({**tree, "plugins": {**tree["plugins"], **local}}))

        def work() -> None:
            os.environ |= moment
            with (run.parent / "said.txt").open("w") as said_there:
                os.dup2(said_there.fileno(), 1)
                os.dup2(said_there.fileno(), 2)
            os._exit(command_line(["train", str(file), *words]))

        code = ends(in_child(work))
        return code, (run.parent / "said.txt").read_text()

    def interrupted(self, case: Case, number: int) -> dict[str, Any]:
        """Interrupt a command by a signal, and go on by the command that it names."""
        run, _ = self.prepared(case, f"case-{number}")
        sent = {"MOMENT": case["moment"], "SENT": str(case["sent"]), "OPERATION": str(case["operation"])}
        code, words = self.command(case["config"], run, [], sent)
        begun = (run / "run.json").exists()
        again, words_again = self.command(case["config"], run, ["--resume"] if begun else [], {})
        found = {"code": code, "begun": begun, "again": again, "said": words, "said_again": words_again}
        if again == 0:
            found["different"] = said(differences(self.expected[case["config"]], facts(run)))
        return found

    def done(self, case: Case, number: int) -> dict[str, Any]:
        """Do a case; return what came of it: `different` is empty where the run ended with the same bits."""
        self.whole(case["config"])
        found = self.interrupted(case, number) if "sent" in case else self.killed(case, number)
        shutil.rmtree(self.folder / case["config"] / f"case-{number}")
        return found


if __name__ == "__main__":
    programme = Programme(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    for place, each in enumerate(programme.cases):
        print(json.dumps(programme.done(each, place)), flush=True)
