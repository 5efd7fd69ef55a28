"""Cutting a run: as a kill would leave it, by a signal, or by an error; and going on with it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from recording import JOURNAL, Journal

from stepbus import Trainer, hookimpl, load_config
from stepbus.base.errors import Interrupted

# A moment: the fit's name, the updates done in it, and the hook.
Moment = tuple[str, int, str]


PATIENCE = 3  # updates


class Cut(Exception):
    """What ends a run that is cut by an error."""


def image(run: Path, into: Path) -> None:
    """Copy a run and its journal as a kill would leave them now.

    Args:
        run: The folder of a run, which goes on meanwhile.
        into: The folder for the copy, which is named as the run.
    """
    ignored = shutil.ignore_patterns(".tmp-*", ".trash-*", ".replaced-*")  # which the writer may hold just now
    into.mkdir(parents=True)

    def copy(source: str, target: str) -> None:
        with suppress(FileNotFoundError):
            # Files of a checkpoint are never changed in place.
            (os.link if f"{os.sep}step-" in source else shutil.copy2)(source, target)

    shutil.copytree(run, into / run.name, ignore=ignored, copy_function=copy, symlinks=True)
    shutil.copy2(run.parent / JOURNAL, into / JOURNAL)


class Images:
    """Take an image of the run at moments.

    Args:
        folder: Where they are put, each in a folder named after its moment.
        wanted: Called with a moment; whether there is to be one.
    """

    scope = "run"
    affects_result = False

    def __init__(self, folder: Path, wanted: Callable[[Moment], bool] = lambda moment: True) -> None:
        self.folder, self.wanted = folder, wanted
        self.taken: list[Moment] = []

    def _take(self, run: Any, fit: str, step: int, hook: str) -> None:
        moment = (fit, step, hook)
        if self.wanted(moment) and moment not in self.taken:
            image(run.directory, self.folder / place_of(moment))
            self.taken.append(moment)

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Any, state: Any) -> None:
        """Take one after an update, before anything that is due after it."""
        self._take(trainer.run, trainer.fit_name, state.step, "on_step_end")

    @hookimpl(trylast=True)
    def on_checkpoint(self, trainer: Any, checkpoint: Path) -> None:
        """Take one where a checkpoint has become durable, named after its step and without any later one."""
        moment = (trainer.fit_name, step_of(checkpoint), "on_checkpoint")
        before = len(self.taken)
        self._take(trainer.run, *moment)
        if len(self.taken) > before:
            folder = self.folder / place_of(moment) / checkpoint.relative_to(trainer.run.directory.parent).parent
            for later in folder.glob("step-*"):
                if step_of(later) > moment[1]:
                    shutil.rmtree(later)

    @hookimpl(trylast=True)
    def on_fit_end(self, trainer: Any, state: Any, result: Any) -> None:
        """Take one before the result of a fit is kept."""
        self._take(trainer.run, trainer.fit_name, state.step, "on_fit_end")

    @hookimpl(trylast=True)
    def on_fit_result(self, run: Any, result: Any) -> None:
        """Take one between two fits."""
        self._take(run, result.fit.name, result.steps, "on_fit_result")


def step_of(checkpoint: Path) -> int:
    """Return the updates of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))


def place_of(moment: Moment) -> str:
    """Return the name of a moment's folder."""
    fit, step, hook = moment
    return f"{fit}-{step:02}-{hook}"


class Cutter:
    """Cut a run at a moment, once.

    Args:
        moment: When.
        how: "signal" (a checkpoint is written), "error", or "kill" (an image is taken, and then the run is ended).
        into: Where the image is put.
    """

    scope = "run"
    affects_result = False

    def __init__(self, moment: Moment, how: str, into: Path) -> None:
        self.moment, self.how, self.into = moment, how, into
        self.done = False

    def _cut(self, trainer: Any, step: int, hook: str) -> None:
        fit, least, wanted = self.moment
        # A hook that does not come any more is not waited for.
        late = hook == "on_step_end" and step >= least + PATIENCE
        if self.done or trainer.fit_name != fit or step < least or not (hook == wanted or late):
            return
        self.done = True
        if self.how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
            return
        if self.how == "kill":
            image(trainer.run.directory, self.into)
        raise Cut

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Any, state: Any) -> None:
        """Cut after an update."""
        self._cut(trainer, state.step, "on_step_end")

    @hookimpl(trylast=True)
    def on_metrics(self, trainer: Any, state: Any) -> None:
        """Cut between an evaluation and the checkpoint that keeps it."""
        self._cut(trainer, state.step, "on_metrics")

    @hookimpl(trylast=True)
    def on_checkpoint(self, trainer: Any, state: Any) -> None:
        """Cut where a checkpoint has just become durable."""
        self._cut(trainer, state.step, "on_checkpoint")


def train(config: dict[str, Any], run: Path, *, resume: bool = False, plugins: tuple[Any, ...] = ()) -> Any:
    """Do a run or go on with it in a trainer of its own, with a journal; return its result.

    Args:
        config: The configuration.
        run: Its folder.
        resume: Whether it goes on.
        plugins: Who cuts it or looks on.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    tree = {**config, "environment": {**config.get("environment", {}), "output_dir": str(run)}}
    return Trainer(load_config(tree), plugins=[Journal, *plugins]).train(resume=resume)


def cut(config: dict[str, Any], run: Path, moment: Moment, how: str, into: Path, *, resume: bool) -> tuple[Path, bool]:
    """Do a run, or go on with it, until it is cut.

    Args:
        config: The configuration.
        run: Its folder.
        moment: When it is cut.
        how: By what, see `Cutter`.
        into: Where it goes on after a kill.
        resume: Whether it goes on already.

    Returns:
        Where to go on, and whether it was cut: a run that came past the moment before is done.
    """
    cutter = Cutter(moment, how, into)
    try:
        train(config, run, resume=resume, plugins=(cutter,))
    except Interrupted:
        assert cutter.how == "signal"
    except Exception as error:
        if not isinstance(error.__cause__, Cut) and not isinstance(error, Cut):
            raise
    return (into / run.name if cutter.done and how == "kill" else run), cutter.done
