"""What a trainer shows of itself: its model, whether it is trained, what was set, where its runs lie, what is next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api.fits import FitModels
from stepbus.base import as_written, counted, error_words, listed, one_line, without_secrets
from stepbus.base.showing import html_table, short_path
from stepbus.compute.models import model_in_words
from stepbus.config import settings_in_brief

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.run import Start


class ShownTrainer:
    """How a trainer is shown; nothing is computed for that, and nothing raises.

    Example:
        >>> from stepbus import create_trainer
        >>> print(create_trainer(config={"training": {"num_epochs": 2}}))
        model     bert, made when training begins
        trained   not yet
        settings  training.num_epochs 2
        folder    runs
        next      trainer.train(rows)
    """

    config: Config
    model: Any
    result: Any
    fits: Sequence[Any]
    _made_from: Any
    _models: Any
    _session: FitSession | None
    _start: Start | None

    def __str__(self) -> str:
        return "\n".join(f"{name:<8}  {words}" for name, words in trainer_lines(self))

    def __repr__(self) -> str:
        model, trained, *_ = (words for _, words in trainer_lines(self))
        return f"<{type(self).__name__} of {model}; trained: {trained}>"

    def _repr_html_(self) -> str:
        return html_table(trainer_lines(self))


def trainer_lines(trainer: ShownTrainer) -> list[tuple[str, str]]:
    """Return what a trainer is, as five names and words of one line each.

    Args:
        trainer: In any state.
    """
    told: dict[str, Callable[[ShownTrainer], str]] = {
        "model": _model,
        "trained": _trained,
        "settings": lambda trainer: settings_in_brief(trainer.config) + _passed(trainer),
        "folder": _folder,
        "next": _next,
    }
    return [(name, _words(trainer, tell)) for name, tell in told.items()]


def _words(trainer: ShownTrainer, tell: Callable[[ShownTrainer], str]) -> str:
    try:
        return one_line(as_written(without_secrets(tell(trainer))), 400)
    except Exception as error:  # what is broken is shown all the same, and by this most of all
        return one_line(f"unknown ({error_words(error)})")


def _several(trainer: ShownTrainer) -> bool:
    return isinstance(trainer.fits, FitModels)


def _model(trainer: ShownTrainer) -> str:
    if trainer.model is None and _several(trainer):
        return f"{trainer.config.model.name}, {counted(len(trainer.fits), 'model')} of a run"
    if trainer.model is None:
        source = trainer.config.model.settings.pretrained
        return f"{trainer.config.model.name}{f' ({source})' if source else ''}, made when training begins"
    return model_in_words(trainer.model, trainer._made_from)


def _trained(trainer: ShownTrainer) -> str:
    loaded = f"; weights of a checkpoint: {short_path(trainer._start.path)}" if trainer._start else ""
    return f"{_how(trainer)}{loaded}"


def _how(trainer: ShownTrainer) -> str:
    if isinstance(trainer.fits, FitModels):
        missing = f", without {listed(trainer.fits.missing)}" if trainer.fits.missing else ""
        return f"{counted(len(trainer.fits), 'fit')}{missing}: {', '.join(trainer.fits.folders)}"
    if trainer._session is None:
        return "not yet" if trainer._models is None or not trainer.fits else "opened as it was trained"
    session = trainer._session
    done = f"{session.state.step:,} of {counted(session.state.total_steps, 'step')}"
    if trainer.result is not None:
        return f"{trainer.result.status}, {done}"
    return f"{'interrupted' if session.cut else 'the latest train failed'}, {done} done"


def _passed(trainer: ShownTrainer) -> str:
    names = [getattr(each, "__name__", None) or type(each).__name__ for each in trainer.config.extras]
    return f"; plugins {', '.join(names)}" if names else ""


def _folder(trainer: ShownTrainer) -> str:
    if trainer.result is not None:
        return short_path(trainer.result.directory)
    if trainer._session is not None:
        return short_path(trainer._session.run.directory)
    return short_path(Path(trainer.config.environment.output_dir))


def _next(trainer: ShownTrainer) -> str:
    if trainer._session is not None and trainer.result is None:
        return "trainer.train(…, resume=True), or trainer.train(…) for a new run from these weights"
    return "trainer.train(rows)" if trainer._models is None else "trainer.predict(rows)"
