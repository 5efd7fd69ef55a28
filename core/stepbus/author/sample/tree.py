"""The configuration of the smallest real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepbus.author.sample.rows import LABELS, write_tokenizer


def tiny_tree(folder: Path, task: str | None = None) -> dict[str, Any]:
    """Return the configuration of a tiny run, and write its tokenizer.

    Args:
        folder: Where everything of it lies.
        task: The kind of its labels; none reads class numbers.
    """
    from stepbus.config import load_config

    return {
        # With its type, so that the settings below fall away where another one is picked.
        "model": {
            "type": load_config().model.name,
            "tokenizer": str(folder / "tokenizer"),
            "vocab_size": write_tokenizer(folder / "tokenizer"),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 64,
        },
        "data": {
            "type": "text", "label": LABELS.get(task or "", "label"), "batch_size": 8, "max_length": 32, "cache": False,
        },
        "optimizer": {"learning_rate": 1e-2},
        "training": {"num_epochs": 2, "log_steps": 1},
        "environment": {"output_dir": str(folder / "run")},
        "plugins": {"progress": False},
    }  # fmt: skip
