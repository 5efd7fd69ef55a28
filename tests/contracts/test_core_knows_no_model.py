"""Core knows no encoder by name: what BERT's files call things is said by the component `bert`, and by none but it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "core" / "stepbus"
WORDS = re.compile(
    r"bert|layernorm\.|\.gamma|\.beta\b|cls\.predictions|pooler|lm_head|position_ids|encoder\.layer|(word|type)_embeddings",
    re.IGNORECASE,
)
# What the program is for, in its help.
SAID = {"Fine-tune BERT-type encoders on MLX."}
# Tokenizers are a format of files: tokenizer_config.json names the class of transformers that wrote them.
# The scripted parameters of the kit have the names that patterns of plugins meet in a real model.
FORMATS = {"text/tokens/build.py", "text/tokens/folder.py", "testing/scripted/parameters.py"}


def words_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield every name and every text of a module with its line; comments and docstrings are none."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str) and id(node) not in docs:
                yield getattr(node, "lineno", 0), value


def found(source: str) -> list[tuple[int, str]]:
    return [(line, word) for line, word in words_of(source) if WORDS.search(word) and word not in SAID]


@pytest.mark.parametrize("file", sorted(CORE.rglob("*.py")), ids=lambda file: str(file.relative_to(CORE)))
def test_no_name_and_no_text_of_core_is_berts(file: Path) -> None:
    if file.relative_to(CORE).as_posix() in FORMATS:
        assert found(file.read_text()), "it needs no exception any more"
    else:
        assert found(file.read_text()) == []


def test_such_a_word_would_be_seen() -> None:
    source = '"""BERT is fine."""\n\n\ndef f(x):\n    """bert"""\n    # bert\n    return x["LayerNorm.gamma"]\n'
    assert found(source) == [(7, "LayerNorm.gamma")]
