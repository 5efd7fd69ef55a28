"""One plugin imported by itself, in a process of its own: `python -m stepbus.author.probing NAME` prints JSON.

Whatever a plugin does when it is imported (raise, exit, print, hang, crash) stays in that process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

TIMEOUT_SECONDS = 60.0


@frozen
class Finding:
    """What importing one plugin brought to light.

    Args:
        seconds: How long the import took.
        error: Why it could not be imported.
        problems: What is wrong with it.
        description: What `plugins show` tells of it.
        fragment: What it adds to the schema, as the arguments of a `schema.Fragment`.
    """

    seconds: float = 0.0
    error: str = ""
    problems: list[str] = field(factory=list)
    description: dict[str, Any] = field(factory=dict)
    fragment: dict[str, Any] = field(factory=dict)


def probe(arguments: Sequence[Sequence[str]], timeout: float = TIMEOUT_SECONDS) -> list[Finding]:
    """Run a process for each list of arguments, a few at a time, and return what each found.

    Args:
        arguments: What stands after `python -m stepbus.author.probing`, for each process.
        timeout: Seconds that each may take.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(lambda each: _one(each, timeout), arguments))


def _one(arguments: Iterable[str], timeout: float) -> Finding:
    # -P keeps the working directory off the path, as the command `stepbus` does.
    command = [sys.executable, "-P", "-m", "stepbus.author.probing", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(timeout, f"its import did not end within {timeout:g} s")
    try:
        return Finding(**json.loads(ended.stdout))
    except (ValueError, TypeError):
        how = f"with exit code {ended.returncode}" if ended.returncode >= 0 else f"by signal {-ended.returncode}"
        return Finding(error=f"importing it ended the process {how}")


def arguments_for(name: str, use: str | None = None, folder: Path | None = None) -> list[str]:
    """Return the arguments that make a process look at one plugin.

    Args:
        name: Its name.
        use: "module:Class" or "file.py:Class", for one that no entry point names.
        folder: What a relative path starts from.
    """
    return ["--use", use or "", "--folder", str(folder or ""), "--", name]


def look(name: str, use: str | None = None, folder: Path | None = None) -> Finding:
    """Import one plugin into this process and return what is found.

    Args:
        name: Its name.
        use: "module:Class" or "file.py:Class", for one that no entry point names.
        folder: What a relative path starts from.
    """
    # What stepbus itself needs is no cost of the plugin's.
    from stepbus.author.checks import problems_of
    from stepbus.author.description import describe
    from stepbus.author.schema import fragment
    from stepbus.base import PluginError
    from stepbus.config.discovery import load_class
    from stepbus.device import backend as backend

    start = time.perf_counter()
    try:
        loaded = load_class(name, use, folder)
    except PluginError as error:
        return Finding(time.perf_counter() - start, str(error))
    seconds = time.perf_counter() - start
    return Finding(
        seconds,
        problems=problems_of(loaded),
        description=describe(loaded, use),
        fragment=attrs.asdict(fragment(loaded)),
    )


def look_at_command(value: str) -> Finding:
    """Import the function of an added command and return what is found."""
    module, _, attribute = value.partition(":")
    start = time.perf_counter()
    function = getattr(importlib.import_module(module), attribute)
    seconds = time.perf_counter() - start
    return Finding(
        seconds, problems=[] if callable(function) else [f"expected a function, got {type(function).__name__}"]
    )


def look_at_config(source: str) -> Finding:
    """Load a configuration with its plugins, build them, and return every problem."""
    from stepbus.base import ConfigError, StepbusError
    from stepbus.config import load_config
    from stepbus.fit import prototypes

    start = time.perf_counter()
    problems: list[str] = []
    try:
        prototypes(load_config(source))
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
    except StepbusError as error:
        problems = [str(error)]
    return Finding(time.perf_counter() - start, problems=problems)


def main(words: Sequence[str] | None = None) -> None:
    """Print what was found, and end at once: a thread that the plugin started must not keep the process alive."""
    parser = argparse.ArgumentParser(prog="python -m stepbus.author.probing")
    parser.add_argument("name", help="an installed plugin; with --command or --config, what these say")
    parser.add_argument("--use", default="", help="module:Class or file.py:Class, in place of the installed one")
    parser.add_argument("--folder", default="", help="folder that a relative path starts from")
    parser.add_argument("--command", action="store_true", help="NAME is module:function, a command")
    parser.add_argument("--config", action="store_true", help="NAME is a configuration, to be loaded as a whole")
    chosen = parser.parse_args(words)
    # What the plugin prints is not for the reader of the JSON.
    answer = os.dup(1)
    os.dup2(2, 1)
    try:
        if chosen.command:
            found = look_at_command(chosen.name)
        elif chosen.config:
            found = look_at_config(chosen.name)
        else:
            found = look(chosen.name, chosen.use or None, Path(chosen.folder) if chosen.folder else None)
    except BaseException as error:
        found = Finding(error=f"{type(error).__name__}: {error}")
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(attrs.asdict(found), stream)
    os._exit(0)


if __name__ == "__main__":
    main()
