"""The best weights: kept where somebody may ask, put back where somebody did, never others in their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from stepbus import Axis, CheckpointError, PluginError, create_trainer, hookimpl
from stepbus.testing import play

# The best of four evaluations is the second, at step 10.
SCRIPT: dict[str, Any] = {"epochs": 4, "metrics": [{"eval_loss": loss} for loss in (0.5, 0.2, 0.4, 0.6)]}
BACK = "the best weights are back: eval_loss 0.2000 at step 10"


def asks_best(hook: str, step: int | None = None, name: str = "Asks", **attributes: Any) -> type:
    """Return a plugin class that asks for the best weights in a hook, at one step or whenever it is called."""

    def ask(self: Any, trainer: Any, state: Any) -> None:
        if step is None or state.step == step:
            trainer.control.request_best("so")

    ask.__name__ = hook
    return type(name, (), {"asks": ("best",), hook: hookimpl(ask), **attributes})


@pytest.mark.parametrize(
    "plugins",
    [
        [asks_best("on_fit_start")],
        [asks_best("on_metrics")],  # again and again
        [asks_best("on_metrics", 20)],
        [asks_best("on_epoch_end", 20)],
        [asks_best("on_step_end", 13)],
        [asks_best("on_metrics", 15), asks_best("on_epoch_end", 20, "Others")],
    ],
)
def test_the_best_weights_come_back_whenever_they_are_asked_for(plugins: list[type]) -> None:
    played = play(*plugins, **SCRIPT)
    assert played.trainer.model.step == 10
    assert BACK in played.messages
    assert played.result is not None
    assert played.result.metrics["eval_loss"] == 0.2


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_resume_changes_nothing_of_that(cut: int, tmp_path: Path) -> None:
    late = asks_best("on_metrics", 20)
    first = play(late, **SCRIPT, interrupt_at=cut, directory=tmp_path)
    played = play(late, **SCRIPT, resume_from=first.checkpoints[-1], directory=tmp_path)
    assert (played.trainer.model.step, BACK in played.messages) == (10, True)


def test_nothing_is_kept_where_nobody_may_ask() -> None:
    assert play(**SCRIPT).trainer.best_arrays == {}


def test_a_best_without_its_weights_is_forgotten_and_said(tmp_path: Path) -> None:
    first = play(**SCRIPT, interrupt_at=12, directory=tmp_path)
    played = play(asks_best("on_metrics"), **SCRIPT, resume_from=first.checkpoints[-1], directory=tmp_path)
    assert (
        "the best weights so far (eval_loss 0.2 at step 10) were not kept, because no plugin declared then that it may "
        "ask for them; the best is looked for from here on"
    ) in played.messages
    assert played.trainer.model.step == 15
    assert "the best weights are back: eval_loss 0.4000 at step 15" in played.messages


@pytest.mark.parametrize("stored", [{"step": 10, "more": 1}, {"steps": 10}])
def test_a_stored_best_of_another_model_is_refused(stored: dict[str, int], tmp_path: Path) -> None:
    late = asks_best("on_metrics", 20)
    first = play(late, **SCRIPT, interrupt_at=12, directory=tmp_path).checkpoints[-1]
    with pytest.raises(CheckpointError, match=r"expected .* of shape .*, as the model has it, got"):
        play(late, **SCRIPT, resume_from=evolve(first, best=stored), directory=tmp_path)


@pytest.mark.parametrize(
    ("plugin", "script", "words"),
    [
        (asks_best("on_fit_end"), {}, "on_fit_end .* but the fit has ended; ask in on_epoch_end or before"),
        (asks_best("on_evaluate", 3), {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 3},
         "the weights to export were chosen already"),
        (asks_best("on_step_end"), {"metrics": []}, "none without an evaluation, and there are no validation rows"),
        (asks_best("on_step_end"), {"eval_strategy": "no"}, "training.eval_strategy is no"),
        (asks_best("on_step_end"), {"directions": {"eval_loss": None}}, "does not say whether more or less of it"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_an_error_at_once(plugin: type, script: dict[str, Any], words: str) -> None:
    with pytest.raises(PluginError, match=rf"asks for the best weights back \(request_best\), but .*{words}|{words}"):
        play(plugin, **{**SCRIPT, **script})


def test_who_may_ask_for_evaluations_makes_a_best_possible() -> None:
    def on_step_end(self: Any, trainer: Any, state: Any) -> None:
        if state.step in (3, 6):
            trainer.control.request_evaluation()

    both = asks_best("on_metrics", asks=("evaluation", "best"), on_step_end=hookimpl(on_step_end))
    played = play(both, **{**SCRIPT, "metrics": SCRIPT["metrics"][1:], "eval_strategy": "no"})
    assert played.trainer.model.step == 3


def test_outside_of_a_fit_nothing_can_be_asked() -> None:
    def asks_in(hook: str) -> type:
        def ask(self: Any, run: Any) -> None:
            for kind in ("stop", "evaluation", "checkpoint", "best"):
                with pytest.raises(PluginError, match=f"{hook} asks for .*, but (no fit has begun|the fit has ended)"):
                    getattr(run.first.control, f"request_{kind}")("so")
            run.message(f"asked in {hook}")

        ask.__name__ = hook
        every = ("stop", "evaluation", "checkpoint", "best")
        return type("Asks", (), {"scope": "run", "asks": every, hook: hookimpl(ask)})

    for hook in ("on_run_start", "on_run_end", "on_close"):
        assert f"asked in {hook}" in play(asks_in(hook), **SCRIPT).messages


def test_a_metric_that_was_never_a_number_is_said() -> None:
    played = play(asks_best("on_fit_start"), epochs=1, metrics=[{"eval_loss": float("nan")}])
    assert [text for text in played.messages if "best" in text] == [
        "there are no best weights to put back, because eval_loss was never a number: asked for by asks at step 0: so"
    ]


def test_what_no_boundary_serves_any_more_is_said() -> None:
    class Late:
        asks = ("checkpoint", "evaluation")

        @hookimpl
        def on_predictions(self, trainer: Any, final: bool) -> None:
            if final:
                trainer.control.request_checkpoint("too late")

    assert (
        "asked for too late, and not done: a checkpoint, by late at step 20: too late" in play(Late, **SCRIPT).messages
    )


@pytest.mark.parametrize("cut", [None, 13, 20])
def test_a_real_fit_exports_the_weights_of_its_best_evaluation(
    cut: int | None, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    # A rate that grows worse: the metric is the number of the evaluation, so the first one is the best.
    import numpy as np

    from stepbus import find_folder, read_tensors

    kept: dict[str, Any] = {}

    class Late:
        asks = ("best",)

        @hookimpl
        def on_metrics(self, trainer: Any, state: Any) -> None:
            if state.step == 6:
                kept.update({name: np.array(value) for name, value in trainer.model.tensors().items()})
            if state.step == 22:
                trainer.control.request_best("late")

    class Cuts:
        affects_result = False

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == cut:
                trainer.run.signal = 2

    training = {"eval_strategy": "steps", "eval_steps": 2, "monitor": "eval_loss", "greater_is_better": None}
    plugins = {"metrics": True, "checkpoint": {"save_strategy": "steps", "save_steps": 4}}
    tree = tiny_config(training=training, plugins=plugins, optimizer={"learning_rate": 0.3})
    if cut is not None:
        with pytest.raises(Exception, match="interrupted"):
            create_trainer(config=tree, plugins=[Late, Cuts]).train()
        result = create_trainer(config=tree, plugins=[Late]).train(resume=True)
    else:
        result = create_trainer(config=tree, plugins=[Late]).train()
    assert result.best is not None
    values = {record["step"]: record["eval_loss"] for record in result.history}
    assert result.best.step == min(values, key=lambda step: values[step])
    assert result.metrics["eval_loss"] == pytest.approx(min(values.values()), rel=1e-5)
    assert result.best.step < 22
    assert result.model_path is not None
    exported = read_tensors(find_folder(str(result.model_path)))
    if result.best.step == 6:
        assert all(np.array_equal(np.array(exported[name]), kept[name]) for name in kept)


@pytest.mark.parametrize("cut", [None, 7, 13])
def test_every_fit_of_a_plan_keeps_its_own(cut: int | None, tmp_path: Path) -> None:
    class Folds:
        scope = "run"
        grows = (Axis("fold"),)

        @hookimpl
        def expand_fits(self, fits: list[Any]) -> list[Any]:
            return [evolve(fit, name=f"fold-{n}", scope={"fold": n}) for fit in fits for n in (1, 2)]

        @hookimpl
        def combine_results(self, results: list[Any]) -> Any:
            return results[-1]

        @hookimpl
        def on_fit_end(self, trainer: Any) -> None:
            steps.append(trainer.model.step)

    steps: list[int] = []
    plugins, script = (Folds, asks_best("on_metrics", 20)), {**SCRIPT, "directory": tmp_path}
    if cut is None:
        played = play(*plugins, **script)
        assert played.messages.count(BACK) == 2
    else:
        first = play(*plugins, **script, interrupt_at=cut)
        played = play(*plugins, **script, resume_from=first.checkpoints[-1])
        assert played.messages.count(BACK) == 2
    assert steps[-1] == 10
