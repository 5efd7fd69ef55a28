"""What the reliability programme counts: each case that ran, by row, and the table of them.

CI runs a fixed sample of the generated cases; `pytest tests/reliability -m full -s` runs all of them and prints the
table. A case counts when its test passed; one that did not is counted as lost.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Scripts that fork import the modules of the programme as well, from where they lie.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "programme")]

SEED = 20240607
# Row of the table in words -> how many cases it wants.
ROWS = {
    "1 resume at every boundary, six": 132,
    "1 resume at every boundary, others": 690,
    "1 resume between boundaries and fits": 200,
    "1 chained resumes": 40,
    "1 negative controls": 12,
    "2 SIGKILL before each file operation": 180,
    "2 SIGKILL at random times": 100,
    "3 SIGTERM and SIGINT": 48,
    "4 damaged checkpoint files": 216,
    "4 hostile safetensors headers": 500,
    "4 hostile manifests": 60,
    "5 malformed configurations by hand": 80,
    "5 fuzzed configurations": 500,
    "6 disk full or read-only": 60,
    "6 plugins that raise": 120,
    "6 plugins that hang": 20,
    "6 trackers": 40,
    "6 bad components": 34,
    "6 misdeeds of plugins": 30,
    "6 two runs at once": 20,
    "6 numbers that are none": 40,
    "7 canary secrets": 60,
    "7 formulas in predictions": 60,
}
OUTCOMES = ("refused", "went on", "lost")
# (row, case) -> its outcomes; a case that ran twice counts once.
_counted: dict[tuple[str, str], set[str]] = {}


class Case:
    """What a case came to: `refused` with a sentence, `went_on` (resumed, fell back, or simply harmless), or both."""

    def __init__(self) -> None:
        self.outcomes: set[str] = set()

    def refused(self, sentence: str) -> None:
        """Count a refusal; it has to say something, and to be no traceback."""
        assert sentence.strip()
        assert "Traceback" not in sentence
        self.outcomes.add("refused")

    def went_on(self) -> None:
        """Count that work went on as if nothing had happened."""
        self.outcomes.add("went on")


Tally = Callable[[str, object], Any]


@pytest.fixture
def tally() -> Tally:
    """Return a context manager tally(row, case) that counts one case; leaving it by an exception counts it as lost."""

    @contextmanager
    def count(row: str, case: object) -> Iterator[Case]:
        assert row in ROWS
        seen = Case()
        outcomes = _counted.setdefault((row, str(case)), set())
        try:
            yield seen
        except BaseException:
            outcomes.add("lost")
            raise
        assert seen.outcomes, "a case that shows nothing"
        outcomes |= seen.outcomes

    return count


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of generated cases."""
    config.addinivalue_line("markers", "generated(name, cases, sample): one test for each case; CI runs a fixed sample")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each generated case, and mark those outside the fixed sample `full`."""
    for mark in metafunc.definition.iter_markers("generated"):
        name, cases, most = *mark.args, mark.kwargs["sample"]
        listed: Sequence[Any] = list(cases)
        chosen = set(random.Random(SEED).sample(range(len(listed)), min(most, len(listed))))
        metafunc.parametrize(
            name,
            [
                pytest.param(case, id=str(case), marks=[] if place in chosen else [pytest.mark.full])
                for place, case in enumerate(listed)
            ],
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let `-m full` run the sample as well: what is counted is the whole, and takes as long as it takes."""
    if config.option.markexpr == "full":
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
            if "tally" in getattr(item, "fixturenames", ()):
                item.add_marker("full")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Count what another process of pytest-xdist has counted."""
    for row, case, outcomes in getattr(node, "workeroutput", {}).get("counted", ()):
        _counted.setdefault((row, case), set()).update(outcomes)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Give what was counted to the process that prints the table, where that is another."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["counted"] = [(row, case, sorted(outcomes)) for (row, case), outcomes in _counted.items()]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of what ran, where all was asked for."""
    if config.option.markexpr == "full" and _counted:
        terminalreporter.write_line("")
        for line in [*table(), *resume_line()]:
            terminalreporter.write_line(line)


def table() -> list[str]:
    """Return the lines of the table: for each row wanted, tried, and the cases of each outcome."""
    lines = [f"{'row':<38}{'wanted':>8}{'tried':>8}{'refused':>9}{'went on':>9}{'lost':>6}"]
    for row, wanted in ROWS.items():
        found = [outcomes for (where, _), outcomes in _counted.items() if where == row]
        numbers = [sum(outcome in outcomes for outcomes in found) for outcome in OUTCOMES]
        lines.append(f"{row:<38}{wanted:>8}{len(found):>8}{numbers[0]:>9}{numbers[1]:>9}{numbers[2]:>6}")
    return lines


def resume_line() -> list[str]:
    """Return the resume programme in one sentence, where it ran."""

    def counted(row: str, outcome: str) -> str:
        found = [outcomes for (where, _), outcomes in _counted.items() if where == row]
        return f"{sum(outcome in outcomes and 'lost' not in outcomes for outcomes in found)} of {len(found)}"

    rows = list(ROWS)[:8]
    if not any(where in rows for where, _ in _counted):
        return []
    six, others, between, chained, controls, operations, times, signals = rows
    return [
        "",
        f"resume programme: boundaries of six configurations {counted(six, 'went on')} bit-equal, of others "
        f"{counted(others, 'went on')}, moments between {counted(between, 'went on')}; chained resumes "
        f"{counted(chained, 'went on')}; negative controls noticed {counted(controls, 'refused')}; kills before file "
        f"operations {counted(operations, 'went on')}, at random times {counted(times, 'went on')}; signals "
        f"{counted(signals, 'went on')}",
    ]
