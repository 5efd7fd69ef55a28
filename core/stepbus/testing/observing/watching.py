"""Watching what Python code touches: files while a plugin is built, the device while its hooks run."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What an audit hook is told of the file system, of processes and of the network.
TOUCHING = (
    "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.", "tempfile.",
    "subprocess.", "socket.connect",
)  # fmt: skip
WAITING = ("eval", "async_eval", "synchronize")
READING = ("item", "tolist", "__array__", "__float__", "__int__", "__bool__", "__index__")

_touched: list[list[str]] = []
_running: list[str] = []


@contextmanager
def files_touched() -> Iterator[list[str]]:
    """Give a list of what is done to files, processes and the network meanwhile; imports are passed over."""
    _install()
    found: list[str] = []
    _touched.append(found)
    try:
        yield found
    finally:
        _touched.remove(found)


@functools.cache
def _install() -> None:
    # An audit hook stays for good; it sees what goes past every patched function.
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _touched and event.startswith(TOUCHING) and not _importing():
        _touched[-1].append(f"{event} {arguments[0]!r}" if arguments else event)


def _importing() -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return False


def watched(cls: type) -> type:
    """Return a subclass whose hooks say that they are running.

    Args:
        cls: A class of plugins.
    """
    hooks: dict[str, Any] = {}
    for name in dir(cls):
        function = inspect.getattr_static(cls, name, None)
        options = getattr(function, "stepbus_impl", None)
        if inspect.isfunction(function) and options and not (options.get("wrapper") or options.get("hookwrapper")):
            hooks[name] = _saying(name, function)
    return type(cls.__name__, (cls,), {"__module__": cls.__module__, **hooks})


def _saying(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def hook(*arguments: Any) -> Any:
        _running.append(name)
        try:
            return function(*arguments)
        finally:
            _running.pop()

    return hook


def device_calls(play: Callable[[], Any]) -> dict[str, str]:
    """Return hook -> the first call in it that waits for the device.

    Args:
        play: Runs hooks of `watched` classes.
    """
    known = "mlx.core" in sys.modules
    found = _device_calls(play)
    # One that imports MLX in a hook was not watched the first time.
    return found if known or "mlx.core" not in sys.modules else _device_calls(play)


def _device_calls(play: Callable[[], Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    core: Any = sys.modules.get("mlx.core")
    before: list[tuple[Any, str, Any]] = []
    if core is not None:
        places = [(core, name, f"mx.{name}") for name in WAITING]
        places += [(core.array, name, f"array.{name}") for name in READING]
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in places if hasattr(owner, name)]
        words = {(owner, name): shown for owner, name, shown in places}
        for owner, name, function in before:
            setattr(owner, name, _noting(function, words[owner, name], found))
    try:
        play()
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
    return found


def _noting(function: Callable[..., Any], shown: str, found: dict[str, str]) -> Callable[..., Any]:
    def noting(*arguments: Any, **keywords: Any) -> Any:
        if _running:
            found.setdefault(_running[-1], shown)
        return function(*arguments, **keywords)

    return noting
