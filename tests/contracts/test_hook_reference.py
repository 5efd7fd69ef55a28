"""The hook reference in CONTRIBUTING.md is what the hookspecs say, and hooks do not vanish in silence.

python tests/contracts/test_hook_reference.py      writes the reference and the record of hooks anew
"""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stepbus.author.hook_reference import as_markdown, reference
from stepbus.base.version import HOOKS_VERSION
from stepbus.cli.main import main
from stepbus.kernel import events

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
RECORD = Path(__file__).with_name("hooks.json")
REFERENCE = re.compile(r"(<!-- hooks: [^\n]*-->\n).*?(<!-- end of hooks -->)", re.DOTALL)


def record() -> dict[str, Any]:
    """Return what this version of the hooks promises: each hook's arguments, and which of them are deprecated."""
    known = events.specifications()
    deprecated = [name for name in known if getattr(events, name).stepbus_spec.get("warn_on_impl")]
    return {"hooks": {name: list(arguments) for name, arguments in known.items()}, "deprecated": deprecated}


def broken_promises(before: dict[str, Any], after: dict[str, Any], *, same_version: bool) -> list[str]:
    """Return what one record takes away from the one before it, and may not.

    Args:
        before: The older record.
        after: The newer one.
        same_version: Whether both are of one version; a new one may drop what was deprecated before.
    """
    found = []
    for hook, arguments in before["hooks"].items():
        if hook not in after["hooks"]:
            if same_version:
                found.append(f"{hook} is gone: raise HOOKS_VERSION")
            elif hook not in before["deprecated"]:
                found.append(f"{hook} is gone: deprecate it for a version first (warn_on_impl)")
            continue
        for argument in set(arguments) - set(after["hooks"][hook]):
            if same_version:
                found.append(f"{hook} no longer gives {argument}: raise HOOKS_VERSION")
    return found


def test_the_reference_is_what_the_specs_say() -> None:
    written = REFERENCE.search(CONTRIBUTING.read_text())
    assert written is not None
    assert written.group(0).split("\n", 1)[1].removesuffix("<!-- end of hooks -->") == as_markdown()


def test_every_hook_says_what_it_is_for() -> None:
    for hook in reference().values():
        assert hook.purpose.endswith("."), hook.name
        obvious = {"trainer", "state", "run"}
        unsaid = [name for name, meaning in hook.arguments.items() if not meaning and name not in obvious]
        assert not unsaid or hook.name == "on_exception", (hook.name, unsaid)


def test_the_record_holds_the_hooks_of_this_version() -> None:
    known = json.loads(RECORD.read_text())
    assert known[str(HOOKS_VERSION)] == record(), "write the record anew: python tests/contracts/" + __file__


def test_no_version_broke_a_promise() -> None:
    versions = [entry for _, entry in sorted(json.loads(RECORD.read_text()).items(), key=lambda pair: int(pair[0]))]
    for before, after in pairwise(versions):
        assert broken_promises(before, after, same_version=False) == []


def test_a_removal_is_refused_and_an_addition_is_not() -> None:
    before = {"hooks": {"on_log": ["state", "record"], "on_old": []}, "deprecated": []}
    added = {"hooks": {"on_log": ["state", "record", "more"], "on_old": [], "on_new": []}, "deprecated": []}
    assert broken_promises(before, added, same_version=True) == []
    gone = {"hooks": {"on_log": ["state"]}, "deprecated": []}
    assert broken_promises(before, gone, same_version=True) == [
        "on_log no longer gives record: raise HOOKS_VERSION",
        "on_old is gone: raise HOOKS_VERSION",
    ]
    assert broken_promises(before, gone, same_version=False) == [
        "on_old is gone: deprecate it for a version first (warn_on_impl)"
    ]
    assert broken_promises(before | {"deprecated": ["on_old"]}, gone, same_version=False) == []


def test_the_command_prints_one_hook(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks", "on_step_end"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("on_step_end(trainer, state, step)\n  watches and asks, of a fit\n")
    assert "step: The update's numbers." in printed


def test_an_unknown_hook_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hooks", "on_step_ends"]) == 2
    assert "there is no hook 'on_step_ends' (did you mean 'on_step_end'?)" in capsys.readouterr().err


def write() -> None:
    """Write the reference and the record, unless that would break a promise."""
    text = CONTRIBUTING.read_text()
    CONTRIBUTING.write_text(REFERENCE.sub(lambda match: match[1] + as_markdown() + match[2], text))
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    version = str(HOOKS_VERSION)
    if version in known and (broken := broken_promises(known[version], record(), same_version=True)):
        sys.exit("\n".join(broken))
    RECORD.write_text(json.dumps(known | {version: record()}, indent=1) + "\n")


if __name__ == "__main__":
    write()
