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
    """The root of every error that stepbus raises on purpose.

    Example:
        >>> try:
        ...     create_trainer(config="quick_test", num_epochs=0)
        ... except StepbusError as error:  # whatever stepbus raises on purpose
        ...     print(error.exit_code, error)
        2 training.num_epochs: expected a number of at least 1, got 0
    """

    exit_code = 1

    def __init__(self, *words: Any) -> None:
        # Texts of libraries and of foreign folders are quoted in many sentences, and quote URLs in turn.
        super().__init__(*(sentence(word) if isinstance(word, str) else word for word in words))


class BadInput(StepbusError):
    """Something that the user gave cannot be used; the message says what to do.

    Example:
        >>> try:
        ...     open_trainer("nowhere")
        ... except BadInput as error:  # a ModelError is one, and so is every other that a user can mend
        ...     print(type(error).__name__, error.exit_code)
        ModelError 2
    """

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        from stepbus.base.showing import short_traceback  # IPython asks, nobody else

        return short_traceback(self)


class DataError(BadInput):
    """A row set that cannot be used.

    Example:
        >>> create_trainer(config="run.yaml").train("trian.csv")
        Traceback (most recent call last):
        stepbus.base.errors.DataError: trian.csv: expected a file, got nothing (did you mean 'train.csv'?)
    """


class ModelError(BadInput):
    """A model folder or its weights cannot be used.

    Example:
        >>> read_config(Path("tokenizer"))
        Traceback (most recent call last):
        stepbus.base.errors.ModelError: tokenizer/config.json: the file cannot be read: No such file or directory
    """


class PluginError(BadInput):
    """A plugin cannot be found, loaded or understood.

    Example:
        >>> import_module("my_hooks.py")
        Traceback (most recent call last):
        stepbus.base.errors.PluginError: there is no file my_hooks.py; paths are relative to the YAML file
    """


class CheckpointError(BadInput):
    """A checkpoint cannot be written, trusted or resumed.

    Example:
        >>> trainer.load_checkpoint("nowhere")
        Traceback (most recent call last):
        stepbus.base.errors.CheckpointError: nowhere: expected a checkpoint or a folder of some, found none
    """


class PluginFailure(StepbusError):
    """A plugin raised while the run was under way.

    Example:
        >>> class Fails(Callback):
        ...     def on_epoch_end(self):
        ...         raise ValueError("no luck")
        >>> try:
        ...     create_trainer(config="run.yaml", callbacks=[Fails()]).train()
        ... except PluginFailure as error:
        ...     print(str(error).partition(", at ")[0])
        Fails (passed in Python): on_epoch_end raised ValueError at step 8: no luck
    """


class Interrupted(StepbusError):
    """A signal asked for the end of the run; its exit code is 128 plus the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def _render_traceback_(self) -> list[str]:
        from stepbus.base.showing import short_traceback  # IPython asks, nobody else

        return short_traceback(self)


class ConfigError(BadInput):
    """Every problem of a configuration at once.

    Args:
        problems: What is wrong, in the order of the file.

    Example:
        >>> load_config({"training": {"num_epochs": 0, "log_steps": 0}})
        Traceback (most recent call last):
        stepbus.base.errors.ConfigError: training.num_epochs: expected a number of at least 1, got 0
        training.log_steps: expected a number of at least 1, got 0
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
    """Return " (did you mean 'x'?)" for the nearest known word, or nothing.

    Example:
        >>> "got 'adamv'" + did_you_mean("adamv", ["adamw", "sgd", "lion"])
        "got 'adamv' (did you mean 'adamw'?)"
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
