"""One plugin imported by itself, in a process of its own: `python -m stepbus.author.probing NAME` prints JSON.

Whatever a plugin does when it is imported (raise, exit, print, hang, crash) stays in that process. Those that stepbus
brings share one, which begins once for all of them; only where something in it fails is each looked at by itself.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

TIMEOUT_SECONDS = 10.0
# What a process may take beside the import: to begin, with stepbus and MLX; and to try the parts, with their imports.
START_SECONDS = 10.0
TRYING = 6  # times as long as the import


@frozen
class Finding:
    """What importing one plugin brought to light.

    Args:
        seconds: How long the import took.
        error: Why it could not be imported.
        problems: What is wrong with it.
        description: What `plugins show` tells of it.
        fragment: What it adds to the schema, as the arguments of a `schema.Fragment`.
        hung: Whether it did not end in time.
    """

    seconds: float = 0.0
    error: str = ""
    problems: list[str] = field(factory=list)
    description: dict[str, Any] = field(factory=dict)
    fragment: dict[str, Any] = field(factory=dict)
    hung: bool = False


def probe(
    arguments: Sequence[Sequence[str]], timeout: float = TIMEOUT_SECONDS, owners: Sequence[str] = ()
) -> list[Finding]:
    """Run a process for each list of arguments, a few at a time, and return what each found.

    Args:
        arguments: What stands after `python -m stepbus.author.probing`, for each process.
        timeout: Seconds that each import may take.
        owners: The package of each; once an import of a package hangs, its others are not waited for as well.
    """
    hanging: dict[str, str] = {}
    owners = owners or [""] * len(arguments)
    ours = [words[-1] for words, owner in zip(arguments, owners, strict=True) if _is_ours(words, owner)]
    looked_at = _one(["--several", "--", *ours], timeout).description if ours else {}

    def one(words: Sequence[str], owner: str) -> Finding:
        if _is_ours(words, owner) and words[-1] in looked_at:
            return Finding(**looked_at[words[-1]])
        if owner in hanging:
            return Finding(error=f"not looked at, because {hanging[owner]} of the same package hangs; mend that first")
        found = _one(words, timeout)
        if found.hung and owner:
            hanging.setdefault(owner, words[-1])
        return found

    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(one, arguments, owners))


def _is_ours(words: Sequence[str], owner: str) -> bool:
    return owner == "stepbus" and list(words) == arguments_for(words[-1])


def _one(arguments: Iterable[str], timeout: float) -> Finding:
    # -P keeps the working directory off the path, as the command `stepbus` does.
    command = [sys.executable, "-P", "-m", "stepbus.author.probing", "--timeout", str(timeout), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment, timeout=(1 + TRYING) * timeout + START_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _hung(timeout)
    try:
        return Finding(**json.loads(ended.stdout))
    except (ValueError, TypeError):
        how = f"with exit code {ended.returncode}" if ended.returncode >= 0 else f"by signal {-ended.returncode}"
        return Finding(error=f"importing it ended the process {how}")


def _hung(timeout: float, place: str = "", what: str = "its import", times: int = 1) -> Finding:
    words = f"{what} did not end within {times * timeout:g} s{place}; if it is only slow, say --timeout {6 * timeout:g}"
    return Finding(timeout, words, hung=True)


def arguments_for(name: str, use: str | None = None, folder: Path | None = None) -> list[str]:
    """Return the arguments that make a process look at one plugin.

    Args:
        name: Its name.
        use: "module:Class" or "file.py:Class", for one that no entry point names.
        folder: What a relative path starts from.
    """
    return ["--use", use or "", "--folder", str(folder or ""), "--", name]


class Answer:
    """Where the process says what it found, once: when it is done, or when an import has taken too long.

    Args:
        descriptor: What the reader of the JSON reads.
        timeout: Seconds that the import may take.
    """

    def __init__(self, descriptor: int, timeout: float) -> None:
        self.descriptor, self.timeout = descriptor, timeout
        self._once = threading.Lock()
        self._watch: threading.Timer | None = None

    def watch(self, what: str = "its import", times: int = 1) -> None:
        """Begin to count; stepbus itself is imported, and what comes now is the plugin's.

        Args:
            what: What may take too long.
            times: How many times as long as an import.
        """
        if self._watch is not None:
            self._watch.cancel()
        found = functools.partial(_hung, self.timeout, what=what, times=times)
        self._watch = threading.Timer(times * self.timeout, lambda: self.give(found(_where())))
        self._watch.daemon = True
        self._watch.start()

    def give(self, found: Finding) -> None:
        """Say it, and end at once: a thread that the plugin started must not keep the process alive."""
        self._once.acquire()  # and never let go: who comes second waits for the end
        with os.fdopen(self.descriptor, "w", encoding="utf-8") as stream:
            json.dump(attrs.asdict(found), stream)
        os._exit(0)


def _where() -> str:
    """Return the line of the plugin's own at which the main thread is, as ": it is at mine.py:3"."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    ours = str(Path(__file__).parents[1])
    library = sysconfig.get_paths()["stdlib"]
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(("<", ours)) and ("site-packages" in file or not file.startswith(library)):
            return f": it is at {Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def look(answer: Answer, name: str, use: str | None = None, folder: Path | None = None) -> Finding:
    """Import one plugin into this process and return what is found.

    Args:
        answer: Watches how long it takes.
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

    answer.watch()
    start = time.perf_counter()
    try:
        loaded = load_class(name, use, folder)
    except PluginError as error:
        return Finding(time.perf_counter() - start, str(error))
    seconds = time.perf_counter() - start
    answer.watch("trying it out", TRYING)
    return Finding(
        seconds,
        problems=problems_of(loaded),
        description=describe(loaded, use),
        fragment=attrs.asdict(fragment(loaded)),
    )


def look_at_several(answer: Answer, names: Iterable[str]) -> Finding:
    """Import installed plugins one after another; the description has what is found of each, by its name."""
    return Finding(description={name: attrs.asdict(look(answer, name)) for name in names})


def look_at_command(answer: Answer, value: str) -> Finding:
    """Import the function of an added command and return what is found."""
    module, _, attribute = value.partition(":")
    answer.watch()
    start = time.perf_counter()
    function = getattr(importlib.import_module(module), attribute)
    seconds = time.perf_counter() - start
    return Finding(
        seconds, problems=[] if callable(function) else [f"expected a function, got {type(function).__name__}"]
    )


def look_at_name(answer: Answer, value: str) -> Finding:
    """Import what a package adds to stepbus's public names."""
    from stepbus.base import PluginError
    from stepbus.config.discovery import package_names

    answer.watch()
    start = time.perf_counter()
    try:
        package_names.target(value)
    except PluginError as error:
        return Finding(error=str(error))
    return Finding(time.perf_counter() - start)


def look_at_config(answer: Answer, source: str) -> Finding:
    """Load a configuration with its plugins, build them, and return every problem."""
    from stepbus.base import ConfigError, StepbusError
    from stepbus.config import load_config
    from stepbus.fit import prototypes

    answer.watch("loading it", TRYING)
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
    """Print what was found, and end at once."""
    parser = argparse.ArgumentParser(prog="python -m stepbus.author.probing")
    parser.add_argument("names", nargs="+", help="an installed plugin; with --command and the others, what these say")
    parser.add_argument("--several", action="store_true", help="NAMES are installed plugins")
    parser.add_argument("--use", default="", help="module:Class or file.py:Class, in place of the installed one")
    parser.add_argument("--folder", default="", help="folder that a relative path starts from")
    parser.add_argument("--command", action="store_true", help="NAME is module:function, a command")
    parser.add_argument("--public", action="store_true", help="NAME is module:attribute, a name of the root's")
    parser.add_argument("--config", action="store_true", help="NAME is a configuration, to be loaded as a whole")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds that the import may take")
    chosen = parser.parse_args(words)
    name = chosen.names[0]
    # What the plugin prints is not for the reader of the JSON.
    answer = Answer(os.dup(1), chosen.timeout)
    os.dup2(2, 1)
    from stepbus.base import error_words

    try:
        if chosen.several:
            found = look_at_several(answer, chosen.names)
        elif chosen.command:
            found = look_at_command(answer, name)
        elif chosen.public:
            found = look_at_name(answer, name)
        elif chosen.config:
            found = look_at_config(answer, name)
        else:
            found = look(answer, name, chosen.use or None, Path(chosen.folder) if chosen.folder else None)
    except BaseException as error:
        found = Finding(error=error_words(error))
    answer.give(found)


if __name__ == "__main__":
    main()
