"""Components as strangers get them wrong: one sentence that names who offers it, before or at the first step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import StepbusError, create_trainer, import_module

bad: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "bad_components.py"))
SMALL = {
    "training": {"num_epochs": 1, "max_steps": 2},
    "plugins": {"progress": False, "checkpoint": False, "history": False, "costs": False},
}


@pytest.fixture
def configured(tiny_config: Callable[..., dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that lays the sections of a case over the smallest configuration."""

    def make(sections: dict[str, Any]) -> dict[str, Any]:
        tree = tiny_config(**{**SMALL, **{name: {**SMALL.get(name, {}), **own} for name, own in sections.items()}})
        for section in tree.values():
            for key in [key for key, value in section.items() if value is bad.DROP]:
                del section[key]
        return tree

    return make


@pytest.mark.parametrize("name", bad.CASES)
def test_a_bad_component_is_one_sentence_with_the_name_of_its_plugin(
    name: str, configured: Callable[..., Any], tmp_path: Path, tally: Any
) -> None:
    case, listens = bad.CASES[name], bad.Listens()
    with tally("6 bad components", name) as seen:
        with pytest.raises(StepbusError) as caught:
            create_trainer(config=configured(case.sections), plugins=[bad.offered(case.part), listens]).train()
        sentence = str(caught.value)
        print(f"{name} -> [{type(caught.value).__name__}] {sentence}", file=sys.stderr)
        assert "Offers (passed in Python)" in sentence
        rest = sentence
        for words in case.says:
            assert words in rest, (words, sentence)
            rest = rest.partition(words)[2]
        assert "\n" not in sentence
        assert listens.steps == 0
        assert case.late or not (tmp_path / "run").exists()
        seen.refused(sentence)
