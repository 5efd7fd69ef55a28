"""What can go wrong, as a tree.

StepbusError                exit code 1
├── BadInput                exit code 2: one clear sentence, no traceback
│   ├── ConfigError         every problem of a configuration at once
│   ├── DataError           a row set that cannot be used
│   ├── ModelError          weights or a folder that cannot be used
│   ├── PluginError         a plugin that cannot be found, loaded or understood
│   └── CheckpointError     a checkpoint that cannot be written, trusted or resumed
├── PluginFailure           a plugin raised while the run was under way
└── Interrupted             a signal asked for the end, and a checkpoint was written (130 or 143)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from stepbus.base.quoting import sentence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from stepbus.base.problems import Problem


class StepbusError(Exception):
    """The root of every error that stepbus raises on purpose."""

    exit_code = 1

    def __init__(self, *words: Any) -> None:
        # Texts of libraries and of foreign folders are quoted in many sentences, and quote URLs in turn.
        super().__init__(*(sentence(word) if isinstance(word, str) else word for word in words))


class BadInput(StepbusError):
    """Something that the user gave cannot be used; the message says what to do."""

    exit_code = 2


class DataError(BadInput):
    """A row set that cannot be used."""


class ModelError(BadInput):
    """A model folder or its weights cannot be used."""


class PluginError(BadInput):
    """A plugin cannot be found, loaded or understood."""


class CheckpointError(BadInput):
    """A checkpoint cannot be written, trusted or resumed."""


class PluginFailure(StepbusError):
    """A plugin raised while the run was under way."""


class Interrupted(StepbusError):
    """A signal asked for the end of the run; its exit code is 128 plus the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class ConfigError(BadInput):
    """Every problem of a configuration at once.

    Args:
        problems: What is wrong, in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def error_words(error: BaseException) -> str:
    """Return what was raised as a sentence can hold it: "TypeError: words", or its class alone where it has none."""
    return f"{type(error).__name__}: {error}" if str(error).strip() else type(error).__name__


def mention(error: BaseException, later: Iterable[BaseException]) -> None:
    """Note on an error what else went wrong while it was on its way; it stays the one that is raised.

    Args:
        error: The first cause.
        later: What was raised after it; what says the same is left out.
    """
    for other in later:
        said = [str(error), *getattr(error, "__notes__", ())]
        for text in (str(other), *getattr(other, "__notes__", ())):
            if text and text not in said:
                error.add_note(text)


def raise_first(error: BaseException | None, later: Iterable[BaseException]) -> None:
    """Raise what `outcome` returns, if anything is wrong."""
    first = outcome(error, later)
    if first is not None and first is not error:
        raise first from error
    if first is not None:
        raise first


def outcome(error: BaseException | None, later: Iterable[BaseException]) -> BaseException | None:
    """Return the error that something ends with, the others noted on it; None where there is none.

    Args:
        error: The first cause, if there is one.
        later: What was raised after it; only the user's own interrupt goes before the first cause.
    """
    found = [each for each in (error, *later) if each is not None]
    found.sort(key=lambda each: not isinstance(each, KeyboardInterrupt))
    for first in found[:1]:
        mention(first, found[1:])
        return first
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
