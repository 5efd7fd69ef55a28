"""What a further `train` starts with: the memory of the caller's objects, and a section `model` that may differ."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError, PluginError, error_words, listed
from stepbus.base.trees import plain

if TYPE_CHECKING:
    from stepbus.base import Selected
    from stepbus.config import Config


class Memories:
    """What objects passed in Python remember before the first run, so that each run finds them so.

    Args:
        plugins: What was passed; objects with `state_dict` and `load_state_dict` have a memory.

    Raises:
        PluginError: One cannot say what it remembers.
    """

    def __init__(self, plugins: Sequence[Any]) -> None:
        self.kept: list[tuple[Any, Any]] = []
        for plugin in plugins:
            known = not isinstance(plugin, type)
            if known and hasattr(plugin, "state_dict") and hasattr(plugin, "load_state_dict"):
                try:
                    self.kept.append((plugin, copy.deepcopy(plugin.state_dict())))
                except (Exception, SystemExit) as error:
                    raise _failure(plugin, "state_dict", error) from error

    def put_back(self) -> None:
        """Give each object what it remembered then.

        Raises:
            PluginError: One does not take it.
        """
        for plugin, memory in self.kept:
            try:
                plugin.load_state_dict(copy.deepcopy(memory))
            except (Exception, SystemExit) as error:
                raise _failure(plugin, "load_state_dict", error) from error


def _failure(plugin: Any, method: str, error: BaseException) -> PluginError:
    return PluginError(
        f"{type(plugin).__name__} (passed in Python): {method} raised {error_words(error)}; each train "
        "starts with the state from before the first one"
    )


def model_changes(before: Selected, now: Selected) -> bool:
    """Return whether a section `model` describes another model than the one that is there.

    Args:
        before: What that was made from.
        now: The section of the next `train`.

    Raises:
        ModelError: It names other weights to start from.
    """
    was, wanted = ({**plain(each), "tokenizer": None} for each in (before, now))
    if was["pretrained"] != wanted["pretrained"]:
        raise ModelError(
            f"model.pretrained: it was {was['pretrained']}, is {wanted['pretrained']}, and this trainer has weights "
            "already, from which it trains on; create another trainer to start from others"
        )
    return bool(was != wanted)


def check_own(model: Any, session: Any) -> None:
    """Refuse to go on where somebody put another model in the place of the one that was trained.

    Args:
        model: What the trainer has as `model`.
        session: The fit that its model comes from; None where there was none.

    Raises:
        ModelError: It is another one.
    """
    if session is not None and model is not session.model:
        raise ModelError(
            "trainer.model is another object than the one that this trainer trained, which predicts, is saved and goes "
            "on; create_trainer(model, …) makes a trainer of the other one"
        )


def defaults_of(config: Config) -> str:
    """Return what of a training nobody set, where a model was opened that brings no such settings, or "".

    Args:
        config: The configuration of the next training.
    """
    said = []
    if "optimizer.learning_rate" not in config.marks:
        said.append(f"{config.optimizer.name} with a learning rate of {config.optimizer.settings.learning_rate:g}")
    if not {"training.num_epochs", "training.max_steps"} & config.marks.keys():
        said.append(f"{config.training.num_epochs} epochs with seed {config.training.seed}")
    if not said:
        return ""
    return (
        "a model that was opened brings its data, model and loss, and no settings of a training: it trains with the "
        f"defaults, {listed(said)}; update_config(learning_rate=…, num_epochs=…) sets others"
    )


def why_none(fits: int) -> str:
    """Return why a trainer has no training state to save or to load into, and what to do about it.

    Args:
        fits: How many models it has.
    """
    if not fits:
        return (
            "call train first, or train(resume=PATH) to go on from a run's checkpoint; open_trainer(PATH) opens the "
            "model of any checkpoint"
        )
    if fits == 1:
        return "this model was opened from a folder, which keeps none; train, or open another folder"
    return (
        "each fit of the run has a model of its own, one of trainer.fits, and checkpoints, where they are kept, in "
        "fits/NAME/checkpoints; train(resume=PATH) goes on from one, and open_trainer(PATH) opens it"
    )
