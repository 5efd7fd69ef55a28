"""What a trainer saves and loads when somebody asks it to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api import check_own, why_none
from stepbus.api.arguments import flag
from stepbus.api.naming.by_hand import load_weights, named_checkpoint, reading_as, save_by_hand
from stepbus.base import CheckpointError, from_here, usable
from stepbus.fit.loaders import is_module
from stepbus.run import Start

if TYPE_CHECKING:
    from stepbus.api import Models
    from stepbus.fit import FitSession


class CheckpointMethods:
    """Checkpoints by hand."""

    model: Any
    plugins: Any
    fits: Sequence[Any]
    _models: Models | None
    _session: FitSession | None
    _start: Start | None

    def save_checkpoint(self, path: str | Path | None = None, save_optimizer: bool = True) -> Path:
        """Write a checkpoint now.

        Args:
            path: The folder to write it in; none takes that of the fit's checkpoints, or `by-hand` in it, where no
                resume looks, for weights that are not those of the last step and for one without the optimizer's state.
                `load_checkpoint` takes the same path, and the one returned.
            save_optimizer: Keep the optimizer's state, without which no resume is exact.

        Returns:
            The checkpoint's folder, as an absolute path.

        Raises:
            CheckpointError: There is nothing to save yet, or the folder cannot be written.
        """
        save_optimizer = flag(save_optimizer, "save_optimizer")
        folder = None if path is None else from_here(usable(path, CheckpointError))
        return save_by_hand(self._trained("save"), folder, optimizer=save_optimizer)

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back the weights of a checkpoint; the next `train` goes on with it where its plan is the same.

        A model that was not trained yet predicts with them, and with the checkpoint's labels and texts.

        Args:
            path: The checkpoint's folder, or the one that `save_checkpoint` was given, of which the newest is taken.
            load_optimizer: Put the optimizer's state back as well.

        Raises:
            CheckpointError: There is none, it is damaged or of another model, or no model is there to put it into.
        """
        load_optimizer = flag(load_optimizer, "load_optimizer")
        untrained = self._session is None and not self.fits and self.model is not None  # one of the caller's
        opened = self._models if self._session is None and tuple(self.fits) == (self,) else None
        model = self.model if untrained or opened or is_module(self.model) else self._trained("load").model
        place = named_checkpoint(from_here(usable(path, CheckpointError)))
        load_weights(self._session, model, place, opened and opened.first.data, optimizer=load_optimizer)
        self._start = Start(place, load_optimizer)
        if untrained and not is_module(self.model):
            self._models = reading_as(place, self.model, self.plugins)

    def _trained(self, verb: str) -> FitSession:
        """Return the fit that the model comes from."""
        if self._session is not None:
            check_own(self.model, self._session)
            return self._session
        into = "" if verb == "save" else " into"
        raise CheckpointError(f"there is no training state to {verb}{into}: {why_none(len(self.fits))}")
