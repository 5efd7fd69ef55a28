"""A session of mode predict: what hooks of prediction get of a folder that was opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError, ModelError, show
from stepbus.fit import prototypes
from stepbus.fit.plugins import restore_stored
from stepbus.fit.predicting import STATES
from stepbus.kernel import Bus
from stepbus.storage import DESCRIPTION, tensor_files

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.kernel import FitData, Steps

log = logging.getLogger(__name__)


class OpenedSession:
    """What an opened folder has in place of a fit in progress; hooks get it as `trainer`.

    Args:
        folder: The model's folder.
        name: What it is called in messages.
        config: What of its configuration prediction needs.
        data: Turns rows into batches.
        model: The model.
        steps: The compiled evaluation.
        bus: The plugins that take part.
    """

    mode = "predict"

    def __init__(
        self, folder: Path, name: str, config: Config, data: FitData, model: Any, steps: Steps, bus: Bus
    ) -> None:
        self.directory, self.fit_name, self.config, self.data = folder, name, config, data
        self.model, self.steps, self.bus = model, steps, bus
        bus.on_disabled = log.warning

    def message(self, text: str, level: str = "info") -> None:
        """Tell the user something in one sentence; level is info or warning."""
        log.log(logging.WARNING if level == "warning" else logging.INFO, "%s", text)

    def report(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show the user a table, as lines of the log."""
        log.info("%s", "\n".join([title, *("\t".join(row) for row in [columns, *rows])]))


def opened_bus(folder: Path, config: Config, saved: Any, plugins: Sequence[Any] = ()) -> Bus:
    """Return the plugins of a folder that take part whenever its model predicts, with what they remember.

    Args:
        folder: The folder, verified.
        config: The configuration that it describes.
        saved: Name -> state, as `fit_states` returned them.
        plugins: Classes and objects passed in Python, which may take part.

    Raises:
        ModelError: A plugin is missing, or cannot read its state.
    """
    place = folder / DESCRIPTION
    if not isinstance(saved, Mapping):
        raise ModelError(f"{place}: predicting: expected a mapping, got {show(saved)}")
    if not saved:
        return Bus([])
    made = {member.name: member for member in prototypes(config, plugins)}
    if missing := [name for name in saved if name not in made]:
        raise ModelError(
            f"{place}: expected the plugin {show(missing[0])}, which takes part in what this model predicts and was "
            "passed in Python, got none; in Python pass it again, open_trainer(FOLDER, plugins=[…]); the command line "
            "cannot pass one"
        )
    bus = Bus([made[name] for name in saved])
    restore_stored(bus, saved, _arrays(folder), f"{place}: predicting")
    return bus


def _arrays(folder: Path) -> dict[str, Any]:
    """Return the arrays of states: beside an exported model by themselves, in a checkpoint among those of all."""
    for name in (STATES, "plugins.safetensors"):
        if os.path.lexists(folder / name):
            try:
                tensor_files.check_tensors(folder / name)
                return dict(tensor_files.read_tensors(folder / name))
            except CheckpointError as error:
                raise ModelError(str(error)) from error
    return {}
