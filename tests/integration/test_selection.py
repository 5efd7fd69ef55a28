"""Who decides after an evaluation is observed, whatever it is called and however it came in."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from stepbus import hookimpl
from stepbus.base import PluginError
from stepbus.testing import play
from stepbus.testing.script import ScriptedRows
from stepbus_plugins.early_stopping import EarlyStopping
from stepbus_plugins.nan_guard import NanGuard
from stepbus_plugins.schedules.plateau import PlateauConfig, ReduceOnPlateau

RISING = [{"eval_loss": 0.5}, {"eval_loss": 0.6}, {"eval_loss": 0.7}]


class Mine(EarlyStopping):
    """The same under another name."""


@define
class Asks:
    """Asks for something at one step, before that step's evaluation."""

    kind: str
    at: int = 1
    asks: Any = ("stop", "evaluation", "checkpoint", "best")
    selects: Any = None

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.at:
            getattr(trainer.control, f"request_{self.kind}")("because")


def selected(*plugins: Any, **more: Any) -> dict[str, str]:
    played = play(*plugins, metrics=RISING, epochs=3, steps_per_epoch=2, monitor="eval_loss", **more)
    assert played.result is not None
    return played.result.selected


@pytest.mark.parametrize("stopper", [EarlyStopping, Mine, EarlyStopping(EarlyStopping.Config(patience=1))])
def test_early_stopping_selects_by_whatever_name_it_comes(stopper: Any) -> None:
    found = selected(stopper)
    assert list(found) == ["validation"]
    assert found["validation"].endswith(" at step 2")


def test_a_stop_alone_selects_when_it_comes_and_not_before() -> None:
    settings = {"patience": 1, "restore_best": False}
    assert selected((EarlyStopping, settings)) == {"validation": "early_stopping at step 4"}
    # It looked, and the weights are those of a run without it.
    assert selected((EarlyStopping, {"patience": 9, "restore_best": False})) == {}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Asks("stop", at=1), {}),  # nothing was evaluated yet
        (Asks("stop", at=3), {"validation": "asks at step 3"}),
        (Asks("stop", at=3, asks=("stop",), selects=False), {}),
        (Asks("evaluation", at=3), {}),
        (Asks("checkpoint", at=3), {}),
        (Asks("best", at=1), {"validation": "asks at step 1"}),  # scores choose it, when it is put back
    ],
)
def test_what_counts_as_a_decision(asked: Any, found: dict[str, str]) -> None:
    assert selected(asked) == found


def test_a_change_of_the_rate_is_a_decision_and_the_same_rate_is_none() -> None:
    class Sets:
        """Sets the base rate after each evaluation."""

        def __init__(self, factor: float) -> None:
            self.factor = factor

        @hookimpl
        def on_metrics(self, trainer: Any) -> None:
            trainer.optimizer.learning_rate *= self.factor

    assert selected(Sets(1.0)) == {}
    assert selected(Sets(0.5)) == {"validation": "sets at step 2"}


def test_a_component_decides_like_a_plugin() -> None:
    settings = PlateauConfig(patience=0)
    parts = {"scheduler.reduce_on_plateau": lambda: ReduceOnPlateau(settings)}
    assert selected(parts=parts) == {"validation": "scheduler.reduce_on_plateau at step 4"}
    never = {"scheduler.reduce_on_plateau": lambda: ReduceOnPlateau(PlateauConfig(patience=9))}
    assert selected(parts=never) == {}


def test_only_what_was_evaluated_before_is_selected_on() -> None:
    sets = {name: ScriptedRows(name, 8) for name in ("train", "validation", "stop")}
    played = play(
        EarlyStopping, metrics=RISING, epochs=3, steps_per_epoch=2, monitor="eval_loss", sets=sets, directions={
            "eval_loss": False
        }
    )  # fmt: skip
    assert played.result is not None
    assert played.result.selected == {"stop": "early_stopping at step 2"}
    assert set(played.result.lineage.rows) == {"scripted train", "scripted stop"}
    assert played.result.notices == []


def test_a_plugin_that_evaluates_by_itself_has_seen_what_it_reads() -> None:
    class Evaluates:
        """Reads the scored rows, and stops."""

        asks = ("stop",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 1:
                with trainer.data.sets["validation"].batches() as batches:
                    list(batches)
                trainer.control.request_stop("seen enough")

    assert selected(Evaluates) == {"validation": "evaluates at step 1"}


def test_a_plugin_that_goes_back_to_a_checkpoint_has_chosen_weights() -> None:
    class GoesBack:
        """Goes back to the first checkpoint once."""

        asks = ("checkpoint",)

        def __init__(self) -> None:
            self.path: Any = None
            self.gone = False

        @hookimpl
        def on_metrics(self, trainer: Any, state: Any) -> None:
            if state.step == 2 and self.path is None:
                trainer.control.request_checkpoint()

        @hookimpl
        def on_epoch_start(self, trainer: Any, state: Any) -> None:
            if state.step == 4 and not self.gone:
                self.gone = True
                trainer.load_checkpoint(self.path)

        @hookimpl
        def on_checkpoint(self, checkpoint: Any) -> None:
            self.path = checkpoint

    played = play(GoesBack(), metrics=RISING, epochs=3, steps_per_epoch=2)
    assert played.control.selected == {"validation": "goes_back at step 2"}
    assert [move for move in played.moves if move.startswith("launch")].count("launch 3") == 2


def test_what_is_asked_when_the_weights_are_chosen_decides_nothing() -> None:
    class Late:
        """Asks in the final evaluation."""

        asks = ("stop",)

        @hookimpl
        def on_predictions(self, trainer: Any, final: bool) -> None:
            if final:
                trainer.control.request_stop("too late")

    assert selected(Late) == {}


def test_a_resume_knows_what_was_decided() -> None:
    class Once:
        """Halves the rate after the first evaluation."""

        @hookimpl
        def on_metrics(self, trainer: Any, state: Any) -> None:
            if state.step == 2:
                trainer.optimizer.learning_rate *= 0.5

    plugins, script = (Once, Asks("checkpoint", at=3)), {"metrics": RISING, "epochs": 3, "steps_per_epoch": 2}
    first = play(*plugins, **script)
    (snapshot,) = first.checkpoints
    again = play(*plugins, **script, resume_from=snapshot)
    for played in (first, again):
        assert played.result is not None
        assert played.result.selected == {"validation": "once at step 2"}
    assert again.control.evaluated == ["validation"]


def test_the_plan_names_who_may_decide() -> None:
    played = play(
        NanGuard, Mine, Asks("stop", asks=("stop",), selects=False), metrics=RISING, epochs=2, monitor="eval_loss"
    )
    assert played.run.deciding == ["mine"]
    parts = {"scheduler.reduce_on_plateau": lambda: ReduceOnPlateau(PlateauConfig())}
    assert play(metrics=RISING, parts=parts).run.deciding == ["scheduler.reduce_on_plateau"]
    assert play(Asks("stop", at=99, asks=("stop",)), metrics=RISING, eval_strategy="no").run.deciding == []


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (Asks("stop", selects="never"), r"expected selects = True or selects = False, got 'never'"),
        (Asks("stop", selects=False), r"says selects = False and asks for the best weights back, which are chosen by"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(plugin: Any, sentence: str) -> None:
    with pytest.raises(PluginError, match=sentence):
        play(plugin, metrics=RISING)
