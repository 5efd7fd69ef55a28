"""What the walk through the original shares: a folder of rows, models and trainers that are trained once.

A test is called by the number of the line that it walks, `test_line_107_…`, or has it in its id, `[line-133]`; it runs
the words of the original, import lines adapted, and asserts what they give.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from attrs import frozen

import stepbus

TOLD = {1: ["good", "great", "fine"], 0: ["bad", "poor", "dull"]}
WORDS = ["the", "a", "film", "was", "and", "very", "it", "plot", "end", *TOLD[1], *TOLD[0]]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


@frozen
class World:
    """A folder with rows and a tokenizer, and what configurations and models of it are like."""

    folder: Path

    def tree(self, output: Path, **sections: Any) -> dict[str, Any]:
        """Return a configuration of 2 epochs of 8 updates; keywords are laid over its sections."""
        tree: dict[str, Any] = {
            "model": self.model_section(),
            "data": {**self.data(), "train": str(self.file("train")), "validation": str(self.file("dev"))},
            "optimizer": {"learning_rate": 3e-3},
            "training": {"num_epochs": 2, "log_steps": 3},
            "environment": {"output_dir": str(output / "runs")},
            "plugins": {"progress": False},
        }
        for name, section in sections.items():
            tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
        return tree

    def model_section(self) -> dict[str, Any]:
        size = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32}
        return {"tokenizer": str(self.folder / "tokenizer"), "vocab_size": len(TOKENS), **size}

    def data(self) -> dict[str, Any]:
        return {"text": "text", "label": "label", "batch_size": 4, "max_length": 16, "cache": False}

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.csv"

    def frame(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.file(name))

    def model(self, head_type: str = "binary_classification", **settings: Any) -> Any:
        """Return `create_model("bert_with_head", head_type=…)`, tiny and from scratch."""
        return stepbus.create_model("bert_with_head", head_type=head_type, **{**self.model_section(), **settings})


def reviews(number: int, seed: int) -> pd.DataFrame:
    """Return sentences and whether their one telling word is a good one; half of them are."""
    draw, rows = random.Random(seed), []
    for index in range(number):
        words = [*draw.choices(WORDS[:9], k=draw.randint(3, 9)), draw.choice(TOLD[index % 2])]
        draw.shuffle(words)
        rows.append({"text": f"{' '.join(words)}", "label": index % 2, "who": f"g{index % 8}"})
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("walk")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(TOKENS) + "\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    reviews(32, 1).to_csv(folder / "train.csv", index=False)
    reviews(16, 2).to_csv(folder / "dev.csv", index=False)
    return World(folder)


@frozen
class Done:
    """A trained trainer, its result, and every hook call on the way."""

    trainer: Any
    result: Any
    recorder: Any

    @property
    def folder(self) -> Path:
        return Path(self.result.directory)


Train = Callable[..., Done]


@pytest.fixture(scope="session")
def train_once(world: World, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return a function that trains once for each set of keywords, for all tests that ask for the same."""
    known: dict[str, Done] = {}

    def train(**sections: Any) -> Done:
        if (key := repr(sections)) not in known:
            from stepbus.testing import Recorder

            recorder = Recorder()
            tree = world.tree(tmp_path_factory.mktemp("run"), **sections)
            trainer = stepbus.create_trainer(config=tree, plugins=[recorder])
            known[key] = Done(trainer, trainer.train(), recorder)
        return known[key]

    return train


@pytest.fixture(scope="session")
def done(train_once: Train) -> Done:
    """The plain fit of 16 updates, 2 epochs and 2 evaluations."""
    return train_once()
