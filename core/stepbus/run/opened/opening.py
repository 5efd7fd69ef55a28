"""A run that was opened: the plugins that take part in its predictions, made anew with what they remember."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import ConfigError, ModelError, listed
from stepbus.fit import prototypes
from stepbus.fit.opened import open_config, other_code
from stepbus.fit.plugins import restore_stored
from stepbus.kernel import Bus, Predictions
from stepbus.run import PREDICT_FILE, files, folders, ledger
from stepbus.run.opened import keeping
from stepbus.run.prediction import Together

if TYPE_CHECKING:
    from stepbus.kernel import Fit, Member

log = logging.getLogger(__name__)


class OpenedRun:
    """A run that was opened to predict; hooks get it as `run`.

    Args:
        directory: Its folder.
        trust: Grant what else predict.json asks for.
        plugins: Classes and objects passed in Python, which may take part.

    Attributes:
        id: The run's own number.
        directory: Its folder.
        fits: Its fits, without rows.
        config: The configuration of a model of it, once one predicts.
        codec: What turns labels into numbers and back, once a model predicts.

    Raises:
        ModelError: The run has not come to its end, predict.json is damaged, of another run or of models that were
            trained on since, or asks for more than installed plugins.
    """

    config: Any = None
    codec: Any = None

    def __init__(self, directory: Path, *, trust: bool = False, plugins: Sequence[Any] = ()) -> None:
        self.directory, self.said = directory, keeping.read(directory)
        self.id: str = str(self.said["run"])
        self.fits: list[Fit] = keeping.fits_of(self.said)
        self._refuse_others()
        members = _members(directory, self.said, trust=trust, plugins=plugins)
        bus = Bus(members)
        bus.on_disabled = log.warning
        arrays = keeping.read_arrays(directory, self.said)
        restore_stored(bus, self.said["states"], arrays, f"{directory / PREDICT_FILE}: states")
        self.together = Together(bus, tuple(self.fits), keeping.combiners_of(self.said), self.said["decisions"])

    def _refuse_others(self) -> None:
        """Refuse a description of another run, or one from before its models went on: what plugins know is of those.

        Raises:
            ModelError: It is one.
        """
        run = folders.read_run(self.directory)
        found = ""
        if run["id"] != self.id:
            found = "that of another run"
        elif self.said["plugins"]:
            planned = [fit["name"] for fit in run["facts"]["fits"] if not fit.get("auxiliary")]
            named = [fit.name for fit in self.fits]
            others = [name for name in planned if name not in named] + [name for name in named if name not in planned]
            known = dict(zip(named, (fit["model"] for fit in self.said["fits"]), strict=True))
            others += [name for name in named if name in planned and self._model_of(name) not in (None, known[name])]
            found = f"that from before {listed(others)} went on" if others else ""
        if found:
            raise ModelError(
                f"{self.directory / PREDICT_FILE}: expected how the models of this run predict together, got {found}; "
                f"`stepbus train … --resume {self.directory}` writes it anew, or name the model of one fit"
            )

    def _model_of(self, fit: str) -> str | None:
        """Return the digest of the model that a fit has now; None where it is not done."""
        return ledger.kept_model(self.directory / files.FITS / fit, fit, self.id)

    @property
    def combined_by(self) -> list[str]:
        """The plugins that combine and finish predictions."""
        return [member.name for member in self.together.bus.members]

    def predict(self, predictions: Sequence[Predictions], config: Any, codec: Any) -> Predictions:
        """Return what the fits say together of the same rows.

        Args:
            predictions: One for each of `fits`.
            config: The configuration of one of the models.
            codec: What turns labels into numbers and back.
        """
        self.config, self.codec = config, codec
        return self.together.finish(self, self.together.combine(self, predictions))

    def predicted(self) -> dict[str, Predictions]:
        """Return what the run itself said of its rows to predict; nothing where a model is another one by now.

        Raises:
            ModelError: The file is damaged.
        """
        for fit, known in zip(self.fits, self.said["fits"], strict=True):
            if self._model_of(fit.name) != known["model"]:
                return {}
        return keeping.read_predicted(self.directory, self.said)

    @property
    def has_predicted(self) -> bool:
        """Whether the run had rows to predict."""
        return keeping.PREDICTED in self.said["files"]

    @property
    def source(self) -> str | None:
        """The file of the rows to predict, as the configuration named it; None where Python gave others."""
        test = self.said.get("test")
        return test if isinstance(test, str) else None

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        log.log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table, as lines of the log."""
        log.info("%s", "\n".join([title, *("\t".join(row) for row in [columns, *rows])]))


def _members(directory: Path, said: Mapping[str, Any], *, trust: bool, plugins: Sequence[Any]) -> list[Member]:
    """Make the plugins that predict.json names, and no other."""
    named: Mapping[str, Any] = said["plugins"]
    if not named:
        return []
    place = directory / PREDICT_FILE
    known = {name: settings for name, settings in named.items() if settings is not None}
    tree = {"model": {}, "data": {}, "plugins": known}
    try:
        config, granted = open_config(tree, directory, str(place), trust=trust, plugins=plugins)
    except ModelError as error:
        if not isinstance(error.__cause__, ConfigError):
            raise
        raise ModelError(
            f"{error}\nput there what it names, or say `stepbus train … --resume {directory}` where it lies now, which "
            "writes this file anew"
        ) from error
    if granted:
        log.warning("%s: trusted, so it had its way:\n  %s", place, "\n  ".join(map(str, granted)))
    made = {member.name: member for member in prototypes(config, plugins) if member.scope == "run"}
    if missing := [name for name in named if name not in made]:
        raise ModelError(
            f"{place}: expected the plugin {missing[0]!r}, which takes part in what this run predicts and was passed "
            "in Python, got none; in Python pass it again, open_run(RUN, plugins=[…]); the command line cannot pass "
            "one, and takes the model of a fit"
        )
    if words := other_code(said.get("code"), config, plugins):
        log.warning("%s: %s", place, words)
    return [made[name] for name in named]
