"""Rows that a tiny model can learn, with a label of each task, and a vocabulary that knows any text."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

GOOD = ("good", "great", "fine", "lovely")
BAD = ("bad", "poor", "awful", "dull")
PLAIN = ("the", "a", "film", "was", "and", "very", "it", "plot", "cast", "end")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Task -> the column that is its label.
LABELS: dict[str, Any] = {
    "binary": "label",
    "multiclass": "kind",
    "multilabel": ["label", "long"],
    "regression": "value",
}


def tiny_rows(number: int, seed: int) -> dict[str, list[Any]]:
    """Return columns: id, text, and the labels label (0 or 1), kind (three classes), long (0 or 1), value (a number).

    Args:
        number: How many rows.
        seed: Where the draw starts.
    """
    draw = random.Random(seed)
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "text", "label", "kind", "long", "value")}
    for place in range(number):
        kind = place % 3  # each class is there
        words = draw.choices(PLAIN, k=draw.randint(3, 9))
        if kind:
            words[draw.randrange(len(words))] = draw.choice(GOOD if kind == 2 else BAD)
        row = (f"row-{seed}-{place}", " ".join(words), int(kind == 2), ("plain", "bad", "good")[kind])
        for name, cell in zip(columns, (*row, int(len(words) > 5), kind - 1 + len(words) / 10), strict=True):
            columns[name].append(cell)
    return columns


def write_tokenizer(folder: Path) -> int:
    """Write a vocabulary of the rows' words, and of single characters for any other text; return its size.

    Args:
        folder: Where to write it; made if it is not there.
    """
    characters = string.ascii_lowercase + string.digits
    words = [*SPECIAL, *GOOD, *BAD, *PLAIN, *characters, *(f"##{each}" for each in characters), *string.punctuation]
    words = list(dict.fromkeys(words))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}), encoding="utf-8")
    return len(words)
