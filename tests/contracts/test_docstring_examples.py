"""Everything public has a docstring with an example, and every example runs here.

A docstring is one sentence; Args; Returns; Raises; and at its end

    Example:
        >>> create_trainer(config="quick_test").config.training.num_epochs
        1

Examples run in a folder with the files train.csv, dev.csv, run.yaml, and the trained run `runs`. They know every public
name, `np`, `pd`, and the things of `THINGS`, made anew for each example that names them. What they print is compared to
the letter, so it holds no times, no losses and no folders of this machine. A name without a docstring of its own (a
number, a decorator of pluggy) is shown in that of its module.
"""

from __future__ import annotations

import doctest
import importlib
import io
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import stepbus
import stepbus.testing

TOLD = (["bad", "poor", "dull"], ["good", "great", "fine"])
FILLING = ["the", "a", "film", "was", "and", "it", "plot", "end", "very", "so"]
WORDS = [*FILLING, *TOLD[0], *TOLD[1]]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
RUN = {
    "model": {
        "tokenizer": "tokenizer",
        "vocab_size": len(TOKENS),
        "hidden_size": 16,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "data": {"train": "train.csv", "validation": "dev.csv", "text": "text", "label": "label", "batch_size": 8},
    "optimizer": {"learning_rate": 3e-2},
    "training": {"num_epochs": 6},
    "plugins": {"progress": False},
}
# Methods that a user calls or overrides, by class; each has an example of its own, or is called in that of the class.
METHODS = {
    "Trainer": ["train", "evaluate", "predict", "save_checkpoint", "load_checkpoint", "update_config"],
    "Callback": [],
    "Control": ["request_stop", "request_evaluation", "request_checkpoint", "request_best"],
    "Metric": ["update", "compute", "reset"],
    "Optimizer": ["init", "update"],
    "Scheduler": ["rate", "decayed"],
}
# What an example may say to doctest: nothing, so that it is compared to the letter.
DIRECTIVE = re.compile(r"#\s*doctest:")


def reviews(number: int, seed: int) -> pd.DataFrame:
    """Return sentences and whether their one telling word is a good one; half of them are."""
    draw, rows = random.Random(seed), []
    for index in range(number):
        words = [*draw.choices(FILLING, k=draw.randint(4, 9)), draw.choice(TOLD[index % 2])]
        draw.shuffle(words)
        rows.append({"text": " ".join(words), "label": index % 2})
    return pd.DataFrame(rows)


def tiny_model() -> Any:
    return stepbus.create_model("bert_with_head", head_type="binary_classification", **RUN["model"])


def trained() -> Any:
    trainer = stepbus.create_trainer(config="run.yaml")
    trainer.train()
    return trainer


# Name in an example -> what makes it; those that another one needs come before it.
THINGS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "train": lambda _: pd.read_csv("train.csv"),
    "dev": lambda _: pd.read_csv("dev.csv"),
    "model": lambda _: tiny_model(),
    "trainer": lambda _: trained(),
}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, a configuration, a tokenizer and a trained run."""
    place = tmp_path_factory.mktemp("examples")
    (place / "tokenizer").mkdir()
    (place / "tokenizer" / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    (place / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    reviews(64, 1).to_csv(place / "train.csv", index=False)
    reviews(16, 2).to_csv(place / "dev.csv", index=False)
    (place / "run.yaml").write_text(yaml.safe_dump(RUN))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        trained()
    return place


def public() -> Iterator[tuple[str, Any, str]]:
    """Yield every public name, what it is, and the docstring that shows it."""
    for module in (stepbus, stepbus.testing):
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, type) and value.__name__ != name and hasattr(module, value.__name__):
                continue  # another name of a class that has its own
            path = name if module is stepbus else f"testing.{name}"
            if isinstance(value, type) or (callable(value) and hasattr(value, "__code__")):
                yield path, value, vars(value).get("__doc__") or "" if isinstance(value, type) else value.__doc__ or ""
            elif isinstance(value, ModuleType) and value.__name__.startswith("stepbus."):
                yield path, value, value.__doc__ or ""
            else:
                home = importlib.import_module(f"stepbus.{vars(stepbus)['_HOME'][name]}")
                yield path, value, home.__doc__ or ""
    for name, value in vars(stepbus.protocols).items():
        if getattr(value, "_is_runtime_protocol", False) and value.__module__ == stepbus.protocols.__name__:
            yield f"protocols.{name}", value, value.__doc__ or ""
    for owner, methods in METHODS.items():
        for name in methods:
            yield f"{owner}.{name}", getattr(getattr(stepbus, owner), name), method_words(owner, name)


def method_words(owner: str, name: str) -> str:
    """Return a method's docstring where it has an example, else that of its class, whose example calls it."""
    cls = getattr(stepbus, owner)
    words = getattr(cls, name).__doc__ or ""
    return words if ">>>" in words else cls.__doc__ or ""


@cache
def shown() -> dict[str, str]:
    return {name: words for name, _, words in public()}


def examples(words: str) -> list[doctest.Example]:
    """Return the examples under the docstring's `Example:`."""
    section = re.split(r"^ *Example:\n", words, maxsplit=1, flags=re.MULTILINE)[1:]
    return doctest.DocTestParser().get_examples(section[0]) if section else []


def lacking(name: str, words: str) -> str:
    """Return what is wrong with what a docstring shows of a name, or nothing."""
    found = examples(words)
    if not found:
        return f"{name}: expected a docstring that ends with `Example:` and lines of >>>"
    source = "".join(example.source for example in found)
    if DIRECTIVE.search(source) or DIRECTIVE.search(words):
        return f"{name}: expected an example that is compared to the letter, got a directive to doctest"
    if not re.search(rf"\b{name.rpartition('.')[2]}\b", source + "".join(each.want for each in found)):
        return f"{name}: expected an example that names it"
    return ""


def run(name: str, words: str) -> str:
    """Run a docstring's examples where the process stands, and return what differs, or nothing."""
    source = "".join(example.source for example in examples(words))
    names: dict[str, Any] = {each: getattr(stepbus, each) for each in dir(stepbus)}
    names |= {each: getattr(stepbus.testing, each) for each in dir(stepbus.testing)}
    names |= {"np": np, "pd": pd, "stepbus": stepbus, "Path": Path, "__name__": "example"}
    for thing, make in THINGS.items():
        if re.search(rf"\b{thing}\b", source):
            names[thing] = make(names)
    said = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(doctest.DocTest(examples(words), names, name, None, None, words), out=said.write)
    return said.getvalue()


@pytest.mark.parametrize("name", sorted(shown()))
def test_its_docstring_has_an_example_that_is_true(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shown()[name]
    assert not (problem := lacking(name, words)), problem
    monkeypatch.chdir(folder)
    assert not (differs := run(name, words)), differs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("Count.", "expected a docstring that ends with"),
        ("Count.\n\nExample:\n    counted(1)\n", "expected a docstring that ends with"),
        (">>> counted(1, 'row')\n'1 row'\n", "expected a docstring that ends with"),
        ("Count.\n\nExample:\n    >>> 1 + 1\n    2\n", "expected an example that names it"),
        ("Count.\n\nExample:\n    >>> counted(1, 'x')  # doctest: +SKIP\n    2\n", "compared to the letter"),
    ],
)
def test_what_an_example_lacks(words: str, said: str) -> None:
    assert said in lacking("counted", words)


def test_an_example_that_is_not_true() -> None:
    words = "Count.\n\nExample:\n    >>> counted(2, 'row')\n    '2 row'\n"
    assert lacking("counted", words) == ""
    assert "Expected:\n    '2 row'\nGot:\n    '2 rows'" in run("counted", words)


def test_names_of_each_kind_are_held() -> None:
    held = shown()
    assert {"create_trainer", "ConfigError", "Session", "HOOKS_VERSION", "hookimpl", "mx", "testing.play"} <= {*held}
    assert {"Trainer.train", "Metric.update"} <= {*held}
    assert isinstance(stepbus.mx, ModuleType)
