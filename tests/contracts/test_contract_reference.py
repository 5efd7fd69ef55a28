"""The reference of contracts is what the code says: every kind, everything that hooks are given, each with words.

python tests/contracts/test_contract_reference.py      writes the part of CONTRIBUTING.md anew
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from stepbus import load_config
from stepbus.author.kinds import as_markdown, as_text, names
from stepbus.author.kinds.contracts import CONTRACTS, GIVEN, classes
from stepbus.author.kinds.members import members
from stepbus.author.kinds.trials import TRIALS
from stepbus.base.components import WANTED
from stepbus.cli.main import main
from stepbus.config.discovery.plugins import installed, load_class
from stepbus.config.sections import BASES
from stepbus.kernel import events

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"
REFERENCE = re.compile(r"(<!-- contracts: [^\n]*-->\n).*?(<!-- end of contracts -->)", re.DOTALL)


OFFERS = """
import stepbus
from attrs import define

@define(frozen=True, kw_only=True)
class Settings{base}:
    least: int = stepbus.setting(meaning="of rows")

facts = {{"tasks": ("binary",), "greater_is_better": None, "task": None, "suffixes": (".mine",)}}

class Offers:
    components = [stepbus.Component("{kind}", "mine", Settings, Settings, facts)]
"""


def offered() -> list[Any]:
    return [part for name in installed() for part in load_class(name).components]


def test_contributing_has_it_as_it_is() -> None:
    written = [found.group(0) for found in REFERENCE.finditer(CONTRIBUTING.read_text())]
    assert [text.split("\n", 1)[1].removesuffix("<!-- end of contracts -->") for text in written] in (
        [],
        [as_markdown()],
    )


@pytest.mark.parametrize("kind", CONTRACTS)
def test_a_contract_says_how_settings_are_given(kind: str, tmp_path: Path) -> None:
    """What it says is YAML that gives a component of the kind a setting of its own."""
    written = yaml.safe_load(CONTRACTS[kind].set_by.replace("NAME", "mine").replace("SETTING: VALUE", "least: 3"))
    bases = {kind: base.__name__ for kind, base in BASES.items()}
    base = f"(stepbus.{bases[kind]})" if kind in bases else ""
    (tmp_path / "mine.py").write_text(OFFERS.format(base=base, kind=kind))
    config = load_config({**written, "plugins": {"offers": {"use": f"{tmp_path}/mine.py:Offers"}}})
    places = {
        "head": lambda: config.model.settings.head,
        "pooling": lambda: config.model.settings.pooling,
        "metric": lambda: config.training.metrics[0],
        "reader": lambda: config.data.settings.readers["mine"],
    }
    found = places.get(kind, lambda: getattr(config, kind))()
    assert (found.name, found.settings.least) == ("mine", 3)


def test_every_kind_has_a_contract_and_a_trial() -> None:
    kinds = {part.kind for part in offered()}
    assert kinds <= CONTRACTS.keys()
    assert CONTRACTS.keys() == TRIALS.keys()
    assert WANTED.keys() <= CONTRACTS.keys()
    for kind in CONTRACTS.keys() & BASES.keys():
        assert f"stepbus.{BASES[kind].__name__}" in as_text(kind)
    for kind, wanted in WANTED.items():
        assert all(fact in as_text(kind) for fact in wanted)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_builds_take_what_the_contract_says(kind: str) -> None:
    """Each of ours can be called as the contract has it."""
    said = re.fullmatch(r"build\(settings(?:, (.*))?\)", CONTRACTS[kind].build)
    assert said is not None
    words = (said[1] or "").split(", ") if said[1] else []
    keyword = words[words.index("*") + 1 :] if "*" in words else []
    parts = [part for part in offered() if part.kind == kind]
    assert parts
    for part in parts:
        plain = ["settings", *words[: len(words) - len(keyword) - bool(keyword)]]
        # What it is told only where it names it: of a pooling, how many layers there are.
        asked = [word for word in inspect.signature(part.build).parameters if word in ("layers",) and kind == "pooling"]
        inspect.signature(part.build).bind(*plain, **dict.fromkeys([*keyword, *asked]))


# Said in the words of another one: of the requests that wait, `stop` speaks for all kinds.
SAID_BESIDE = {"Control": {"evaluation", "checkpoint", "best"}}


@pytest.mark.parametrize("name", sorted(classes()))
def test_each_member_has_words(name: str) -> None:
    cls = classes()[name]
    found = {member.name: member for member in members(cls)}
    named = [key for key in vars(cls) if key == "__call__" or not key.startswith("_")]
    public = {key for key in named if inspect.isfunction(vars(cls)[key])}
    if attrs.has(cls):
        public |= {field.name for field in attrs.fields(cls)}
    if getattr(cls, "_is_protocol", False):
        public |= set(inspect.get_annotations(cls))
    assert public
    assert public <= found.keys()
    assert {key for key in public if not found[key].meaning} == SAID_BESIDE.get(name, set())


def test_what_hooks_are_given_is_there() -> None:
    """Every type that a hook's arguments have is one of the objects that the reference describes."""
    given = {
        each.strip(" |")
        for each in re.findall(
            r"\b(Run|Session|Plan|Fit\w*|TrainingState|StepResult|Predictions)\b", inspect.getsource(events)
        )
    }
    assert given - {"FitData"} <= GIVEN.keys()


def test_the_command_prints_one_and_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "optimizer"]) == 0
    one = capsys.readouterr().out
    assert one.startswith("optimizer (a kind of component)\n  picked by optimizer: {type: NAME}\n")
    assert "update(parameter, gradient, state, scalars): Return a parameter after one update" in one
    assert main(["contracts"]) == 0
    every = capsys.readouterr().out
    assert all(as_text(name) in every for name in names())
    assert main(["contracts", "--markdown"]) == 0
    assert capsys.readouterr().out == as_markdown()


def test_an_unknown_one_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contracts", "sheduler"]) == 2
    assert "there is no contract of 'sheduler' (did you mean 'scheduler'?)" in capsys.readouterr().err


def write() -> None:
    """Write the part of CONTRIBUTING.md, where it has one."""
    text = CONTRIBUTING.read_text()
    CONTRIBUTING.write_text(REFERENCE.sub(lambda match: match[1] + as_markdown() + match[2], text))


if __name__ == "__main__":
    write()
