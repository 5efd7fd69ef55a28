"""What the caller gave: code that a resume compares, and loaders that do not do for what is asked."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any

from stepbus.base import Problem
from stepbus.fit import source_digest
from stepbus.fit.loaders.sources import Loader
from stepbus.kernel import hooks_of

if TYPE_CHECKING:
    from stepbus.config import Config


def only_once(loader: Loader, config: Config) -> list[Problem]:
    """Return what is wrong with an iterator, which gives its batches once.

    Args:
        loader: The loader of a set.
        config: The configuration.
    """
    if not loader.reads_once:
        return []
    mend = "hand over a function that returns a new one, a list, or an object with __iter__"
    if loader.name != "train":
        return [
            Problem(
                "", f"{loader.name}: expected a loader that can be read at each evaluation, got an iterator; {mend}"
            )
        ]
    if config.training.num_epochs > 1 and is_written(config, "training.num_epochs"):
        return [
            config.locate(
                Problem(
                    "training.num_epochs",
                    f"expected 1, because the training loader is an iterator, which can be read once, got "
                    f"{config.training.num_epochs}; {mend}",
                )
            )
        ]
    return []


def makers_of_fits(config: Config) -> list[Problem]:
    """Return what is wrong with plugins that make several fits of one: they deal out rows, and there are none.

    Args:
        config: The configuration.
    """
    return [
        config.locate(
            Problem(
                f"plugins.{each.name}",
                "expected none that makes several fits, because a loader's batches are not dealt out and the model is "
                "one object, got one; leave it out, and train on one loader after the other",
            )
        )
        for each in config.plugins
        if "expand_fits" in hooks_of(each.loaded.cls, each.loaded.label)
    ]


def code_of(model: Any) -> str:
    """Return a module's name with a digest of the code of its classes, those of MLX left out.

    Args:
        model: The module.
    """
    kinds = {type(module) for _, module in model.named_modules()}
    own = sorted((kind for kind in kinds if not kind.__module__.startswith("mlx.")), key=lambda kind: kind.__qualname__)
    code = "".join(f"{kind.__qualname__} {source_digest(kind)}\n" for kind in own)
    return type(model).__name__ + (f" {hashlib.sha256(code.encode()).hexdigest()[:16]}" if own else "")


def is_written(config: Config, path: str) -> bool:
    """Say whether somebody wrote a setting, and it is no preset's."""
    return path in config.marks and not config.marks[path].preset


def _plainly(value: Any) -> str:
    """Return a value in words that are the same in every process."""
    plain = value is None or isinstance(value, bool | int | float | str) or hasattr(value, "dtype")
    return repr(value) if plain else type(value).__qualname__


def words_of(function: Any) -> str:
    """Return a function's name with a digest of its code; "" for none."""
    if function is None:
        return ""
    if isinstance(function, functools.partial):
        values = [
            *map(_plainly, function.args),
            *(f"{key}={_plainly(value)}" for key, value in function.keywords.items()),
        ]
        return f"{words_of(function.func)} with {', '.join(values)}"
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", "") or ""
    code = "" if module.startswith("mlx.") else source_digest(function) or source_digest(type(function))
    return f"{name} {code}".strip()
