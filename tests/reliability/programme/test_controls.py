"""Negative controls: a resume that lacks one thing is noticed, and the same resume with it is exact."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from comparing import differences, facts, said
from configurations import sections
from cutting import Images, train
from leaving_out import in_arrays, in_document, newest, weights_of_the_moment

from stepbus import CheckpointError, hookimpl

NO_SAVES = {"save_strategy": "no"}


def zeros(name: str, array: Any) -> Any:
    return array * 0


def without(part: str, key: str, value: Any) -> Callable[[Path], None]:
    """Return what puts another value where state.json has one."""
    return in_document(lambda document: document[part].__setitem__(key, value))


def none_of(*names: str, value: Any = None) -> Callable[[Path], None]:
    """Return what gives plugins the memory of their beginning."""

    def change(document: dict[str, Any]) -> None:
        for name in names:
            del document["plugins"][name]

    return in_document(change)


# --- what a fit does not keep, because it is a function of the step: broken in the functions -------------------------


def step_seeds(patch: pytest.MonkeyPatch, step: int) -> None:
    """Dropout begins as at the first update."""
    from stepbus.compute.stepping import steps

    original = steps.mix
    patch.setattr(steps, "mix", lambda seed, number, *micro: original(seed, number - step, *micro))


def place_in_the_epoch(patch: pytest.MonkeyPatch, step: int) -> None:
    """The epoch begins anew with its first batch."""
    from stepbus.text.data import TextData

    original = TextData.windows
    patch.setattr(TextData, "windows", lambda self, epoch, start: original(self, epoch, 0))


def order_of_the_epoch(patch: pytest.MonkeyPatch, step: int) -> None:
    """Every epoch has the order of the first."""
    from stepbus.text import data

    original = data.epoch_order
    patch.setattr(data, "epoch_order", lambda *given, epoch, **more: original(*given, epoch=0, **more))


def place_in_the_schedule(patch: pytest.MonkeyPatch, step: int) -> None:
    """The schedule begins anew."""
    from stepbus.compute.stepping.steps import CompiledSteps

    original = CompiledSteps.launch

    def launch(self: Any, window: Any, number: int) -> Any:
        rate, self.rate = self.rate, lambda done: rate(done - step)
        try:
            return original(self, window, number)
        finally:
            self.rate = rate

    patch.setattr(CompiledSteps, "launch", launch)


def phase(patch: pytest.MonkeyPatch, step: int) -> None:
    """What the present phase has unfrozen is forgotten until the next one."""
    from stepbus_plugins.freeze import Freeze

    original = Freeze.trained_parameters
    present = step // 4 * 4

    @hookimpl
    def forgetful(self: Any, trainer: Any, model: Any, names: Any, step: int) -> Any:
        return original(self, trainer, model, names, 0 if step == present else step)

    patch.setattr(Freeze, "trained_parameters", forgetful)


@frozen
class Control:
    """One thing that is left out.

    Args:
        of: The configuration.
        step: The checkpoint that is gone on from.
        lacks: Changes the checkpoint, or (patch, step) the functions.
        seen_in: A word of the first difference.
    """

    of: str
    step: int
    lacks: Callable[..., None]
    seen_in: str


CONTROLS: dict[str, Control] = {
    "the optimizer's moments": Control(
        "dropout",
        13,
        in_arrays("optimizer", lambda name, array: array * 0 if name.startswith("parameters.") else None),
        "14 update",
    ),
    "the optimizer's number of updates": Control(
        "dropout", 13, in_arrays("optimizer", lambda name, array: array * 0 if name == "step" else None), "14 update"
    ),
    "the weights": Control("dropout", 13, in_arrays("model", zeros), "14 update"),
    "the seed of the step": Control("dropout", 13, step_seeds, "14 update"),
    "the place in the epoch": Control("dropout", 13, place_in_the_epoch, "14 update rows"),
    "the order of the epoch": Control("dropout", 13, order_of_the_epoch, "14 update rows"),
    "the place in the schedule": Control("linear", 13, place_in_the_schedule, "14 update"),
    "sums of the log interval": Control("dropout", 13, without("state", "interval", {}), "15 log"),
    "sums of the epoch": Control("dropout", 13, without("state", "of_epoch", {}), "metrics train_loss"),
    "the history": Control("dropout", 13, without("state", "history", []), "history"),
    "the count of rows": Control("dropout", 13, without("state", "samples_seen", 0), "14 update state samples_seen"),
    "the latest metrics": Control("dropout", 13, without("state", "metrics", {}), "14 update state metrics"),
    "the base learning rate": Control(
        "plateau", 20, without("optimizer", "learning_rate", 3e-2), "21 update base_rate"
    ),
    "the count of a plateau": Control("plateau", 5, none_of("scheduler.reduce_on_plateau"), "plugins"),
    "early stopping's patience": Control("early_stopping", 13, none_of("early_stopping"), "update"),
    "a streak of bad steps": Control("not_finite", 4, none_of("nan_guard"), "update"),
    "a plugin's array": Control(
        "living_memory", 13, in_arrays("plugins", zeros), "22 end plugins remembers sums"
    ),
    "the request to stop": Control("early_stopping", 22, without("control", "stop", []), "update"),
    "the request for the best": Control("early_stopping", 13, without("control", "best", []), "end"),
    "who selected by the scores": Control("early_stopping", 13, without("control", "selected", {}), "selected"),
    "the best so far": Control("ema", 16, without("state", "best", None), "best"),
    "the best weights": Control("ema_stops_early", 5, weights_of_the_moment, "model"),
    "averages of ema": Control(
        "ema", 13, in_arrays("optimizer", lambda name, array: array * 0 if "plugins.ema.mean" in name else None), "ema"
    ),
    "the count of ema": Control(
        "ema", 13, in_arrays("optimizer", lambda name, array: array * 0 if name.endswith(".updates") else None), "ema"
    ),
    "averages of swa": Control(
        "swa", 13, in_arrays("optimizer", lambda name, array: array * 0 if "plugins.swa" in name else None), "swa"
    ),
    "the loss scale": Control(
        "float16_overflows",
        13,
        in_arrays("optimizer", lambda name, array: array * 0 + 65536 if name == "loss_scale" else None),
        "14 update loss_scale",
    ),
    "what lora trains": Control("lora", 13, in_arrays("training", zeros), "14 update"),
    "the phase of the unfreezing": Control("gradual_unfreezing", 13, phase, "fits neither"),
}  # fmt: skip
SAMPLE = ("dropout", "early_stopping", "ema", "lora")  # sixteen of them


@pytest.mark.parametrize(
    "name",
    [
        name if name in SAMPLE else pytest.param(name, marks=pytest.mark.full)
        for name in dict.fromkeys(control.of for control in CONTROLS.values())
    ],
)
def test_what_is_left_out_is_noticed(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, tally: Any
) -> None:
    controls = {word: control for word, control in CONTROLS.items() if control.of == name}
    steps = {control.step for control in controls.values()}
    config = tiny_config(**sections(name))
    images = Images(tmp_path / "images", lambda moment: moment[2] == "on_checkpoint" and moment[1] in steps)
    train(config, tmp_path / "whole" / "run", plugins=(images,))
    expected = facts(tmp_path / "whole" / "run")
    quick = {**config, "plugins": {**config["plugins"], "checkpoint": NO_SAVES}}

    def resumed(step: int, word: str, lacks: Callable[..., None] | None) -> list[str]:
        run = tmp_path / word / "run"
        shutil.copytree(tmp_path / "images" / f"fit-{step:02}-on_checkpoint", run.parent)
        with pytest.MonkeyPatch.context() as patch:
            if lacks is None:
                pass
            elif lacks.__code__.co_argcount == 1:
                lacks(newest(run))
            else:
                lacks(patch, step)
            train(quick, run, resume=True)
        return differences(expected, facts(run))

    for step in steps:
        assert not (found := resumed(step, f"nothing-{step}", None)), said(found)
    wrong = []
    for word, control in controls.items():
        try:
            with tally("1 negative controls", word) as seen:
                try:
                    found = resumed(control.step, word, control.lacks)
                except CheckpointError as error:
                    found = [str(error)]  # noticed before anything was trained
                assert found, f"{word}: nobody noticed that it was left out"
                assert any(control.seen_in in each for each in found), f"{word}: noticed in {said(found)}"
                seen.refused(found[0])
        except Exception as error:
            wrong.append(f"{word}: {error}")
    assert not wrong, "\n".join(wrong)
