"""The tutorial in CONTRIBUTING.md, followed to the letter in an environment of its own.

Files are saved and commands typed as they stand, in order, in an empty folder. The environment's `pip` is the real one,
told to do without a network and without dependencies (--no-index --no-deps --no-build-isolation): it finds stepbus,
pytest and hatchling in the environment that runs the tests.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from stepbus import import_module

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
environment = import_module(str(ROOT / "tests" / "third_party" / "environment.py"))


@frozen
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file's name in its first line, where it has one."""
        found = re.match(r"# ([\w./-]+\.(?:py|yaml))\n", self.text)
        return found[1] if found else None


def tutorial() -> str:
    """Return the two sections, from their headings to the next one."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    start = text.index("## Write a plugin in five minutes\n")
    publish = text.index("\n## Publish it\n", start)
    return text[start : text.index("\n## ", publish + 1)]


BLOCKS = [Block(*found) for found in FENCE.findall(tutorial())]


def missing(expected: str, shown: str) -> str | None:
    """Return the first expected line that does not come, in order, in what was shown; … stands for anything."""
    lines = iter(shown.splitlines())
    for line in expected.splitlines():
        pattern = ".*".join(map(re.escape, line.rstrip().split("…")))
        if not any(re.fullmatch(pattern, each.rstrip()) for each in lines):
            return line
    return None


def test_lines_are_looked_for_in_order() -> None:
    assert missing("a … c\nd", "x\na b c\nd \ny") is None
    assert missing("d\na … c", "a b c\nd") == "a … c"
    assert missing("a", "ab") == "a"


def test_every_block_is_a_file_a_command_or_what_it_prints() -> None:
    assert len(BLOCKS) > 20
    for before, block in pairwise([Block("sh", ""), *BLOCKS]):
        assert block.language in ("sh", "python", "yaml", "text")
        assert (block.file is not None) == (block.language in ("python", "yaml")), block.text
        assert block.language != "text" or before.language == "sh", block.text
    assert tutorial().count("```") == 2 * len(BLOCKS)


def test_it_goes_from_a_file_to_a_package_that_runs_by_name() -> None:
    text = tutorial()
    steps = [
        "use: ./my_plugin.py:PrintLoss",
        "hooks: [./my_hooks.py]",
        "request_stop(",
        "assert_conforms(",
        "stepbus plugins new mean_loss --package",
        "pip install -e ./stepbus-mean-loss",
        "  mean_loss: {every: 28}",
        "requires_hooks",
        "python -m build",
    ]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_followed_word_by_word_it_works(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> None:
    place = tmp_path_factory.mktemp("tutorial")
    own: Any = environment.make(place / "venv")
    folder = place / "empty"
    folder.mkdir()
    typed = 0
    for block, after in pairwise([*BLOCKS, Block("", "")]):
        if block.file is not None:
            (folder / block.file).write_text(block.text)
        elif block.language == "sh":
            expected = after.text if after.language == "text" else ""
            done = own.run("sh", "-e", "-c", block.text, folder=folder)
            shown = done.stdout + done.stderr
            # What begins so is a refusal.
            wanted = 2 if expected.startswith("stepbus: ") else 0
            assert done.returncode == wanted, f"{block.text}\n{shown}"
            line = missing(expected, shown)
            assert line is None, f"after\n{block.text}\nexpected the line\n{line}\nin\n{shown}"
            typed += 1
    assert typed == sum(block.language == "sh" for block in BLOCKS) > 8
