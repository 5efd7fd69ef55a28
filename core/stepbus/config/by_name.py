"""A configuration by the name that the original has for loading it."""

from __future__ import annotations

from pathlib import Path

from stepbus.config.load import Config, load_config


def get_trainer_config(name_or_path: str | Path) -> Config:
    """Load a configuration by a preset's name or a file's path.

    Example:
        >>> get_trainer_config("production").training.num_epochs
        10
    """
    return load_config(name_or_path)
