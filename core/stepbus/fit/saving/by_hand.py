"""Checkpoints that a plugin writes or reads by hand, and the one by which a fit tries the disk."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stepbus.base import CheckpointError
from stepbus.fit.computing import spoiled
from stepbus.fit.saving.suiting import other_reading
from stepbus.storage import checkpoints, is_averaged

if TYPE_CHECKING:
    from stepbus.fit import FitBuilder, Fitting
    from stepbus.kernel import Checkpointer, Control, Steps

BY_HAND = "by-hand"  # in a fit's folder of checkpoints; nothing resumes from there, and nothing of it is removed

NONE_TO_GO_ON_FROM = "a checkpoint is written by hand, though {}; it is none to go on from"


def note_loaded(session: Fitting, checkpoint: checkpoints.Checkpoint) -> None:
    """Note that the model of a fit that has ended has the weights of a checkpoint, which may not be those of its step.

    Args:
        session: The fit.
        checkpoint: The checkpoint.
    """
    facts, step = checkpoint.facts, session.state.step
    # Averages are none, nor is what was put in their place before it was saved.
    own = facts.get("run") == session.run.id and "weights" not in facts and not is_averaged(checkpoint.path)
    session.not_of_step = "" if own and checkpoint.step == step else f"those of {checkpoint.path} were loaded"


class SavesByHand:
    """What a session offers to its plugins beside the checkpoints of its own course."""

    directory: Path
    disk: Checkpointer
    builder: FitBuilder
    control: Control
    steps: Steps

    def save_checkpoint(self, path: str | Path | None = None, save_optimizer: bool = True) -> Path:
        """Write a checkpoint now, in a folder or the fit's own, and return where it lies.

        Args:
            path: The folder to write it in; none takes the fit's own, where one without the optimizer's state, or of
                weights that are not finite, lies in `by-hand` and takes nobody's place.
            save_optimizer: Keep the optimizer's state, without which no resume is exact.
        """
        folder = None if path is None else Path(path)
        fit: Any = self
        if words := spoiled(fit):
            fit.message(NONE_TO_GO_ON_FROM.format(words), "warning")
        if folder is None and (words or not save_optimizer):
            folder = self._own_folder / BY_HAND
        return self.disk.save(self, folder, optimizer=save_optimizer)

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back what a checkpoint holds.

        Args:
            path: The checkpoint's folder.
            load_optimizer: Put the optimizer's state back as well.

        Raises:
            CheckpointError: It is damaged, or of other labels, another head or another pooling.
            ModelError: It is of another model.
        """
        from stepbus.text import TextData  # which brings MLX

        checkpoint, fit = self.disk.load(self, Path(path), optimizer=load_optimizer), cast("Any", self)
        if isinstance(fit.data, TextData) and (words := other_reading(checkpoint, fit.config.data, fit.data.encoder)):
            fit.message(words, "warning")
        self.control.decide()  # which weights to go on with

    def try_disk(self) -> bool:
        """Write a checkpoint, read it back and remove it again: a full or read-only disk is found before any work.

        Returns:
            Whether that was done. Not where no file has the first weights and none of the settings: whoever is killed
            then cannot begin anew to the same bits, so ask for a checkpoint, which stays.

        Raises:
            CheckpointError: The disk does not take one.
        """
        if not self.builder.begins_anew:
            return False
        place = checkpoints.trial_place(self._own_folder)
        try:
            self.disk.save(self, place)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(place), str(self._own_folder))) from error
        finally:
            checkpoints.discard(place)
            with suppress(OSError):
                self._own_folder.rmdir()  # a run that fails before its first checkpoint leaves no empty folder
        self.steps.restart_clock()
        return True

    @property
    def _own_folder(self) -> Path:
        return self.directory / "checkpoints"
