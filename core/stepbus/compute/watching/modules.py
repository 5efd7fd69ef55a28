"""The calls of a model's modules, seen from outside while they happen; the modules themselves stay as they are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.nn as nn


def _owner(cls: type) -> type | None:
    """Return the class that a class has its call from."""
    return next((each for each in cls.__mro__ if "__call__" in vars(each)), None)


@contextmanager
def calls_seen(model: nn.Module, given: Callable[..., None], answered: Callable[..., None]) -> Iterator[None]:
    """Tell of each call of a module inside of a model.

    Not the modules but their classes are changed meanwhile: whoever asks for the class of one finds it.

    Args:
        model: The model.
        given: Told the path of a module, the module, and the arguments of a call before it.
        answered: Told the path, the module and what it gave.
    """
    paths: dict[int, str] = {}
    for path, module in model.named_modules():
        paths.setdefault(id(module), path)
    running: set[int] = set()

    def seen(function: Any) -> Any:
        @functools.wraps(function)
        def call(module: Any, *arguments: Any, **named: Any) -> Any:
            # What a class calls of the class above it is one call.
            if id(module) not in paths or id(module) in running:
                return function(module, *arguments, **named)
            running.add(id(module))
            try:
                given(paths[id(module)], module, arguments, named)
                answer = function(module, *arguments, **named)
            finally:
                running.discard(id(module))
            answered(paths[id(module)], module, answer)
            return answer

        return call

    classes = {type(module) for _, module in model.named_modules()}
    # Found before any is put in: a class may have its call from another one of them.
    calls = {cls: vars(owner)["__call__"] for cls in classes if (owner := _owner(cls)) is not None}
    own = {cls: vars(cls)["__call__"] for cls in calls if "__call__" in vars(cls)}
    try:
        for cls, call in calls.items():
            cls.__call__ = seen(call)
        yield
    finally:
        for cls in calls:
            if cls in own:
                cls.__call__ = own[cls]
            elif "__call__" in vars(cls):
                del cls.__call__
