"""Components as strangers get them wrong: one sentence that names who offers it, before or at the first step."""

from __future__ import annotations

import json
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
        assert "Offers (passed in Python)" in sentence
        rest = sentence
        for words in case.says:
            assert words in rest, (words, sentence)
            rest = rest.partition(words)[2]
        assert "\n" not in sentence
        assert listens.steps == 0
        assert case.late or not (tmp_path / "run").exists()
        seen.refused(sentence)


PACKAGE = """
from attrs import define
from stepbus import Component

@define(frozen=True, kw_only=True)
class Nothing: ...

def worst(labels, predictions):
    return None

FACTS = {"tasks": ("binary",), "greater_is_better": False}

class Worst:
    \"\"\"A metric that says nothing.\"\"\"

    components = [Component("metric", "worst", Nothing, lambda settings: worst, FACTS)]
"""


def test_on_the_command_line_it_is_the_package_with_its_version(configured: Callable[..., Any], tmp_path: Path) -> None:
    made: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
    made.install(tmp_path / "packs", "worst-pack", PACKAGE, {"worst": "Worst"}, version="2.5")
    config = configured({"training": {"metrics": ["worst"]}, "plugins": {"worst": {}}})
    (tmp_path / "run.yaml").write_text(json.dumps(config))
    done = made.stepbus("train", "run.yaml", paths=(tmp_path / "packs",), folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr == (
        "stepbus: the metric 'worst': expected a number, or numbers by name, from it, got None; mend it, or leave it "
        "out of training.metrics (worst, worst-pack 2.5)\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_component_that_nobody_picks_is_looked_at_too(configured: Callable[..., Any]) -> None:
    part = bad.CASES["a metric without facts"].part
    with pytest.raises(StepbusError, match=r"Offers \(passed in Python\): the metric 'bad': expected metadata="):
        create_trainer(config=configured({}), plugins=[bad.offered(part)])


def test_one_of_a_kind_that_nothing_picks_is_said(configured: Callable[..., Any]) -> None:
    part = bad.Component("quantizer", "mine", bad.Nothing, bad.Plain)
    trainer = create_trainer(config=configured({}), plugins=[bad.offered(part)])
    (said,) = trainer.config.notes
    assert said.startswith("Offers (passed in Python): 'mine': expected a kind out of ")
    assert said.endswith("got 'quantizer'; it has no effect")


@pytest.mark.parametrize("name", ["my.metric", "MyMetric", "top/5 ~%"])
def test_any_printable_name_works(name: str, configured: Callable[..., Any]) -> None:
    part = bad.Component("metric", name, bad.Nothing, lambda settings: lambda labels, said: 0.25, bad.ANY)
    config = configured({"training": {"metrics": [name]}})
    result = create_trainer(config=config, plugins=[bad.offered(part)]).train()
    assert result.metrics[f"eval_{name}"] == 0.25
