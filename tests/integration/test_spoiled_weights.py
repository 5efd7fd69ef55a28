"""Finite gradients that become weights which are not finite: nothing of that is kept without a word."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from attrs import define

from stepbus import Component, Optimizer, OptimizerSettings, StepbusError, create_trainer, hookimpl, import_module, mx
from stepbus.base.errors import Interrupted
from stepbus.compute import CompiledSteps
from stepbus.fit.checkpointing import disk, serving
from stepbus.fit.computing import spoiled

OwnStep: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "own_step.py")).OwnStep

NAN, INF = float("nan"), float("inf")


class Net(nn.Module):
    """Two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 8), nn.Linear(8, 2)

    def __call__(self, x: mx.array) -> mx.array:
        return self.b(mx.tanh(self.a(x)))


def batches(number: int = 5) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    return [{"x": draw.normal(size=(4, 3)).astype(np.float32), "labels": draw.integers(0, 2, 4)} for _ in range(number)]


@define(frozen=True, kw_only=True)
class Settings(OptimizerSettings):
    """An optimizer that breaks."""


class Breaks(Optimizer):
    """Momentum that puts a number into one weight, or into what it keeps of it, in one update.

    Beside it, it keeps infinities that are meant.
    """

    at, where, value = 3, "weight", NAN

    def init(self, parameter: mx.array) -> dict[str, mx.array]:
        return {"m": mx.zeros_like(parameter), "least": mx.full(parameter.shape, INF), "count": mx.array(0)}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        first = mx.arange(parameter.size).reshape(parameter.shape) == 1
        hit = (scalars["step"] == self.at) & first & (parameter.shape == (8, 3))
        m = 0.9 * state["m"] + gradient
        new = parameter - scalars["learning_rate"] * m
        if self.where == "weight":
            new = mx.where(hit, self.value, new)
        else:
            m = mx.where(hit, self.value, m)
        return new, {"m": m, "least": state["least"], "count": state["count"] + 1}


def breaking(at: int, where: str = "weight", value: float = NAN) -> Any:
    """Return a plugin that offers such an optimizer."""
    made = type("Breaks", (Breaks,), {"at": at, "where": where, "value": value})
    parts = [Component("optimizer", "breaks", Settings, lambda settings: made())]
    return type("Offers", (), {"__doc__": "Offer an optimizer.", "components": parts})


class Words:
    """Keep what is said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        self.said.append((level, text))

    def with_level(self, level: str) -> list[str]:
        return [text for each, text in self.said if each == level]


def trainer(folder: Path, *plugins: Any, model: Any = None, **sections: Any) -> Any:
    config: dict[str, Any] = {
        "environment": {"output_dir": str(folder / "run")},
        "plugins": {"progress": False, **sections.pop("switched", {})},
        "training": {"num_epochs": 2, **sections.pop("training", {})},
    }
    for name, section in sections.items():
        config[name] = {**config.get(name, {}), **section}
    return create_trainer(model or Net(), loss=nn.losses.cross_entropy, config=config, plugins=list(plugins))


def kept(folder: Path) -> dict[str, bool]:
    """Return the files of weights below a folder, and whether all of each is finite."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        # What this optimizer keeps as "least" is infinite on purpose.
        arrays = [array for name, array in mx.load(str(path)).items() if not name.endswith("least")]
        floats = [array for array in arrays if mx.issubdtype(array.dtype, mx.floating)]
        found[str(path.relative_to(folder / "run"))] = all(bool(mx.isfinite(array).all()) for array in floats)
    return found


LAST_WORD = "{} changed nothing, because a loss, a gradient or a new weight was no finite number; the first at step {}"
OPTIMIZER = {"optimizer": {"type": "breaks"}}


@pytest.mark.parametrize("at", [1, 3, 5, 10])  # the first, one in the middle, the last of an epoch, the last of all
@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (
            "weight",
            NAN,
            "the new value of a.weight that the optimizer gives, while its gradient is finite: 1 NaN",
        ),
        ("weight", INF, "the new value of a.weight that the optimizer gives, while its gradient is finite: 1 infinite"),
        (
            "state",
            NAN,
            "what the optimizer keeps of a.weight as 'm', while its gradient is finite: 1 NaN",
        ),
    ],
)
def test_what_an_optimizer_makes_of_finite_gradients_is_not_taken_over(
    where: str, value: float, said: str, at: int, tmp_path: Path
) -> None:
    words = Words()
    with pytest.raises(StepbusError) as caught:
        trainer(tmp_path, words, breaking(at, where, value), **OPTIMIZER).train(batches(), batches(2))
    sentence = str(caught.value)
    assert sentence.startswith(f"the optimizer gives no finite number at step {at}; the first numbers that are not ")
    assert said in sentence
    assert f"rows {', '.join(str(at * 4 - 4 - 20 * (at > 5) + row) for row in range(3))} and " in sentence
    assert [text for text in words.with_level("warning") if text.startswith(f"update {at} changed nothing, because ")]
    files = kept(tmp_path)
    assert files
    assert all(files.values())
    assert not [name for name in files if "model/" in name]


def test_a_run_goes_on_from_before_an_update_that_was_not_taken_over(tmp_path: Path) -> None:
    """Where only a warning is wanted, the weights are those of a run whose optimizer does nothing in that update."""
    words = Words()
    warns = {"nan_guard": {"policy": "warn"}}
    result = trainer(tmp_path, breaking(3), words, switched=warns, **OPTIMIZER).train(batches())
    assert result.status == "ok"
    assert set(kept(tmp_path).values()) == {True}
    # The number of the update stands still, so that each one after it breaks as well.
    assert (result.steps, result.skipped, result.first_skipped) == (10, 8, 3)
    assert words.with_level("warning")[-1] == LAST_WORD.format("8 of 10 updates", 3)


def test_it_stops_where_every_array_is_looked_at(tmp_path: Path) -> None:
    debug = {"environment": {"output_dir": str(tmp_path / "run"), "debug": True}}
    with pytest.raises(
        StepbusError, match=r"^step 3: .* in the new value of a\.weight that the optimizer gives, while"
    ):
        trainer(tmp_path, breaking(3), **OPTIMIZER, **debug).train(batches())


def test_it_is_seen_in_an_accumulation_window_and_in_a_step_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(StepbusError, match=r"^the optimizer gives no finite number at step 2; .* a\.weight"):
        trainer(tmp_path, breaking(2), **OPTIMIZER, training={"gradient_accumulation_steps": 2}).train(batches())

    with pytest.raises(StepbusError, match=r"^the optimizer gives no finite number at step 4; .* a\.weight"):
        trainer(tmp_path, breaking(4), OwnStep(), **OPTIMIZER).train(batches())


class Rate:
    """Set a learning rate after an update, that float32 does not hold: the next one spoils the weights."""

    def __init__(self, after: int) -> None:
        self.after = after

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.after:
            trainer.optimizer.learning_rate = 1e300


class Averages:
    """Follow the weights, and make NaN of what is finite in one update."""

    averages = True

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        at = self.at
        start = {name.replace(".", "/"): array for name, array in trainer.optimizer.trained(trainer.model).items()}

        def follow(parameters: Any, arrays: Any) -> Any:
            now = arrays["count"] + 1
            found = {name: (array + parameters[name.replace("/", ".")]) / 2 for name, array in arrays["of"].items()}
            found["a/weight"] = mx.where(now == at, NAN, found["a/weight"])
            return {"count": now, "of": found}

        def weights(parameters: Any, arrays: Any) -> Any:
            return {name.replace("/", "."): array for name, array in arrays["of"].items()}

        return {"count": mx.array(0), "of": start}, follow, weights


AVERAGE = "the average of a.weight that counts in its place, while the weight itself is finite: 24 NaN of 24 numbers"
VALUE = "the new value of a.weight that the optimizer gives, while its gradient is finite: "


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("plugin", [Rate(9), Averages(10)])
def test_what_the_last_update_spoils_is_not_exported(plugin: Any, validated: bool, tmp_path: Path) -> None:
    with pytest.raises(StepbusError) as caught:
        trainer(tmp_path, plugin).train(batches(), batches(2) if validated else None)
    said = AVERAGE if isinstance(plugin, Averages) else VALUE
    begins = "the weights are not finite after step 10; the first numbers that are not finite are in "
    assert str(caught.value).startswith(begins + said)
    assert [name for name in kept(tmp_path) if "model/" in name] == []
    assert set(kept(tmp_path).values()) == {True}


def of_best(folder: Path) -> str:
    """Return the checkpoint that is marked as the best, or ""."""
    marks = list(folder.rglob("BEST"))
    return marks[0].read_text().strip() if marks else ""


class Follows:
    """Follow the weights with arrays that nobody evaluates: one turns NaN, the others begin so or are infinite."""

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        holes = mx.array([NAN, 1.0])
        start = {"of": {"mean": mx.zeros(2)}, "holes": holes, "least": mx.array(INF), "count": mx.array(0)}

        def follow(parameters: Any, arrays: Any) -> Any:
            mean = mx.where(arrays["count"] == 6, mx.array(NAN), parameters["b.bias"])
            least = mx.where(arrays["count"] > 3, mx.array(-INF), arrays["least"])
            return {"of": {"mean": mean}, "holes": holes, "least": least, "count": arrays["count"] + 1}

        return start, follow


@pytest.mark.parametrize("switched", [{}, {"nan_guard": False}])
def test_what_a_plugin_follows_the_weights_with_is_said_to_be_no_number_and_the_weights_are_kept(
    switched: Any, tmp_path: Path
) -> None:
    class Seventh:
        asks = ("checkpoint",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step in (6, 7):
                trainer.control.request_checkpoint("so")
                trainer.save_checkpoint(tmp_path / str(state.step))  # likewise by hand

    words = Words()
    result = trainer(tmp_path, Follows(), Seventh(), words, switched=switched).train(batches(), batches(2))
    assert result.status == "ok"
    said = "keeps what is no number: the array 'of.mean' of Follows (passed in Python): after_update has 2 NaN, float32"
    assert [text for text in words.with_level("warning") if "no number" in text] == [
        f"the checkpoint of step 7 {said} [2]"
    ] * 2
    assert not [text for text in words.with_level("warning") if "not finite" in text]


class Trails(Follows):
    """Follow the weights, into what they become."""

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        def follow(parameters: Any, arrays: Any) -> Any:
            return {"mean": (arrays["mean"] + parameters["b.bias"]) / 2}

        return {"mean": mx.zeros(2)}, follow


@pytest.mark.parametrize("tight", [False, True])
def test_of_a_checkpoint_that_is_not_written_nothing_is_said_to_be_kept(
    tight: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seventh:
        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 7:
                trainer.save_checkpoint()

    if tight:
        monkeypatch.setattr(disk, "free_memory", lambda: 0)
    words = Words()
    trainer(tmp_path, Rate(4), Trails(), Seventh(), words, switched=OFF).train(batches(), batches(2))
    said = [text.partition(" (")[0].partition(":")[0] for text in words.with_level("warning")]
    assert [text for text in said if "checkpoint" in text] == [
        "no checkpoint of step 5 is written, because a.weight is not finite",
        "a checkpoint is written by hand, though a.weight is not finite",
        "the checkpoint of step 7 keeps what is no number",
        "no checkpoint of step 10 is written, because a.weight is not finite",
    ]


OFF, WARN = {"nan_guard": False}, {"nan_guard": {"policy": "warn"}}


@pytest.mark.parametrize("plugin", [Rate(4), Averages(5)])
def test_a_boundary_after_an_update_that_spoils_ends_the_run_before_anything_is_kept(
    plugin: Any, tmp_path: Path
) -> None:
    with pytest.raises(StepbusError, match=r"^the weights are not finite after step 5; "):
        trainer(tmp_path, plugin).train(batches(), batches(2))
    assert {name.split("/")[3] for name in kept(tmp_path)} == {"step-00000000"}
    mended = type(plugin)(99)
    resumed = trainer(tmp_path, mended).train(batches(), batches(2), resume=True, allow_changed=True)
    assert (resumed.status, resumed.steps) == ("ok", 10)
    assert set(kept(tmp_path).values()) == {True}


@pytest.mark.parametrize("switched", [OFF, WARN])
@pytest.mark.parametrize("plugin", [Rate(4), Averages(5)])
def test_where_a_run_goes_on_no_checkpoint_holds_spoiled_weights_and_the_export_is_said_to(
    plugin: Any, switched: Any, tmp_path: Path
) -> None:
    words = Words()
    result = trainer(tmp_path, plugin, words, switched=switched).train(batches(), batches(2))
    average = "the average of " if isinstance(plugin, Averages) else ""
    said = words.with_level("warning")
    for step in (5, 10):
        refused = [text for text in said if text.startswith(f"no checkpoint of step {step} is written, because ")]
        assert len(refused) == 1
        assert refused[0].startswith(
            f"no checkpoint of step {step} is written, because {average}a.weight is not finite"
        )
    exported = [text for text in said if text.startswith("the exported model is of no use, because a.weight is not ")]
    assert len(exported) == 1
    files = kept(tmp_path)
    assert {name.split("/")[2]: finite for name, finite in files.items()} == {"checkpoints": True, "model": False}
    assert result.best is None
    assert of_best(tmp_path) == ""


@pytest.mark.parametrize(("plugin", "refused"), [(Rate(4), 2), (Averages(5), 2), (Rate(99), 0)])
@pytest.mark.parametrize("tight", [False, True])
def test_the_thread_that_writes_finds_what_training_would_and_training_does_not_wait_for_it(
    plugin: Any, refused: int, tight: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory is tight, training writes, and looks in the same way."""
    looked: list[int] = []

    def counted(session: Any) -> str:
        looked.append(session.state.step)
        return spoiled(session)

    monkeypatch.setattr(serving, "spoiled", counted)
    if tight:
        monkeypatch.setattr(disk, "free_memory", lambda: 0)
    said = []
    for name in ("thread", "training"):
        if name == "training":
            monkeypatch.setattr(CompiledSteps, "may_hold_masks", lambda _: True)
        words = Words()
        trainer(tmp_path / name, plugin, words, switched=OFF).train(batches(), batches(2))
        said.append(sorted(text for text in words.with_level("warning") if text.startswith("no checkpoint of step")))
        assert all(finite for path, finite in kept(tmp_path / name).items() if "checkpoints" in path)
    assert said[0] == said[1]
    assert len(said[0]) == refused
    assert looked == [0, 0, 5, 10]  # by training: at the start, where minus infinity may be meant; then at each


@pytest.mark.parametrize("switched", [OFF, WARN])
def test_a_score_that_is_a_number_whatever_the_weights_are_makes_them_no_best(switched: Any, tmp_path: Path) -> None:
    words = Words()
    training = {"monitor": "train_loss", "greater_is_better": False}
    result = trainer(tmp_path, words, Rate(4), switched=switched, training=training).train(batches())
    assert np.isfinite(result.history[0]["train_loss"])  # of the weights before
    assert result.best is None
    said = [text.partition(" (")[0] for text in words.with_level("warning") if "as the best" in text]
    assert said == ["step 5 does not count as the best, because a.weight is not finite"]


def test_a_checkpoint_by_hand_of_spoiled_weights_is_said_to_be_one_and_nothing_goes_on_from_it(tmp_path: Path) -> None:
    class Saves:
        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step in (3, 7):
                paths.append(trainer.save_checkpoint())

    paths: list[Path] = []
    words = Words()
    made = trainer(tmp_path, Rate(4), Saves(), words, switched=OFF)
    made.train(batches(), batches(2))
    said = "a checkpoint is written by hand, though a.weight is not finite ("
    assert [text.startswith(said) for text in words.with_level("warning") if "by hand" in text] == [True]
    assert [path.parent.name for path in paths] == ["checkpoints", "by-hand"]
    assert made.save_checkpoint().parent.name == "by-hand"
    assert [text.startswith(said) for text in words.with_level("warning") if "by hand" in text] == [True, True]


def test_a_mask_among_the_weights_is_none_that_is_spoiled(tmp_path: Path) -> None:
    class Masked(Net):
        def __init__(self) -> None:
            super().__init__()
            self.mask = mx.array([0.0, 0.0, -INF])  # which MLX takes for a weight that is trained

        def __call__(self, x: mx.array) -> mx.array:
            return super().__call__(mx.softmax(x + self.mask, axis=-1))

    for number, more in enumerate(({}, OPTIMIZER, {"environment": {"debug": True}})):
        words, folder = Words(), tmp_path / str(number)
        sections: dict[str, Any] = {**more}
        environment = {**sections.pop("environment", {}), "output_dir": str(folder / "run")}
        made = trainer(folder, words, breaking(99), model=Masked(), environment=environment, **sections)
        assert made.train(batches(), batches(2)).status == "ok"
        assert not [text for text in words.with_level("warning") if "finite" in text and "debug" not in text]


class Promises(Breaks):
    """The same, which says that it keeps itself what was finite."""

    skips = True

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        return super().update(parameter, gradient, state, scalars)


class Masks:
    """Put minus infinity into the mask, or into another number of it, after an update."""

    def __init__(self, place: int, at: int) -> None:
        self.place, self.at = place, at

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.put(trainer, 2)

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.at:
            self.put(trainer, self.place)

    def put(self, trainer: Any, place: int) -> None:
        bias = np.array(trainer.model.b.bias) if place < 2 else np.array(trainer.model.mask)
        bias[place] = -INF
        trainer.model.update({"b": {"bias": mx.array(bias)}} if place < 2 else {"mask": mx.array(bias)})


class Soft(Net):
    """Two layers behind a mask that is put in later."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = mx.zeros(3)

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(mx.softmax(x + self.mask, axis=-1))


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("at", [5, 10])
def test_minus_infinity_that_training_makes_is_no_mask(at: int, validated: bool, tmp_path: Path) -> None:
    made = type("Promises", (Promises,), {"at": at, "value": -INF})
    parts = [Component("optimizer", "breaks", Settings, lambda settings: made())]
    offers = type("Offers", (), {"__doc__": "Offer an optimizer.", "components": parts})
    said = rf"^the weights are not finite after step {at}; .* the new value of a\.weight that .*: 1 infinite of 24 "
    with pytest.raises(StepbusError, match=said):
        trainer(tmp_path, offers, **OPTIMIZER).train(batches(), batches(2) if validated else None)
    assert set(kept(tmp_path).values()) == {True}
    # Where nobody watches, it is kept nowhere without a word.
    words, folder = Words(), tmp_path / "unwatched"
    trainer(folder, offers, words, switched=OFF, **OPTIMIZER).train(batches(), batches(2))
    refused = [text for text in words.with_level("warning") if text.startswith("no checkpoint of step ")]
    assert len(refused) == (2 if at == 5 else 1)
    assert [text for text in words.with_level("warning") if "the exported model is of no use, because a.weight" in text]


@pytest.mark.parametrize("place", [2, 0])
def test_a_mask_that_is_there_before_the_first_update_is_one_and_another_number_is_not(
    place: int, tmp_path: Path
) -> None:
    made = trainer(tmp_path, Masks(place, 5), model=Soft())
    if place == 2:
        assert made.train(batches(), batches(2)).status == "ok"
        loaded = trainer(tmp_path, model=Soft())  # which has none of its own, and goes on with one that was loaded
        loaded.load_checkpoint(made.save_checkpoint(tmp_path / "mine"), load_optimizer=False)
        assert loaded.train(batches(), batches(2)).status == "ok"
        return
    with pytest.raises(
        StepbusError, match=r"^the weights are not finite after step 5; .* of b\.bias .*: 1 infinite of "
    ):
        made.train(batches(), batches(2))


def test_a_mask_that_a_plugin_loads_is_one(tmp_path: Path) -> None:
    class Third:
        def __init__(self, *, loads: bool) -> None:
            self.loads = loads

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 3 and self.loads:
                trainer.load_checkpoint(places[0])
                trainer.save_checkpoint(tmp_path / "again")
                raise EOFError
            if state.step == 3:
                places.append(trainer.save_checkpoint(tmp_path / "mine"))

    places: list[Path] = []
    trainer(tmp_path, Masks(2, 99), Third(loads=False), model=Soft()).train(batches(), batches(2))
    words = Words()
    made = trainer(tmp_path / "other", Third(loads=True), words, model=Soft())
    with pytest.raises(StepbusError, match="EOFError"):
        made.train(batches(), batches(2))
    assert np.array(made.model.mask)[2] == -INF
    assert not [text for text in words.with_level("warning") if "finite" in text]


def test_minus_infinity_of_a_phase_before_is_no_mask_of_the_next(tmp_path: Path) -> None:
    class Phases:
        @hookimpl
        def phases(self, trainer: Any) -> list[int]:
            return [4]

    words = Words()
    trainer(tmp_path, Masks(0, 4), Phases(), words, model=Soft(), switched=OFF).train(batches(), batches(2))
    assert [text for text in words.with_level("warning") if text.startswith("no checkpoint of step 5 is written")]


def holed(*at: int) -> list[dict[str, Any]]:
    """Return batches of which some hold NaN, counted from 1."""
    found = batches()
    for number in at:
        found[number - 1]["x"][2, 1] = NAN
    return found


class Ends:
    """Ask for the stop, or send the signal of Ctrl-C, after an update."""

    asks = ("stop",)

    def __init__(self, at: int, *, signalled: bool) -> None:
        self.at, self.signalled = at, signalled

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.at and self.signalled:
            os.kill(os.getpid(), signal.SIGINT)
        elif state.step == self.at:
            trainer.control.request_stop("enough")


@pytest.mark.parametrize("signalled", [True, False])
def test_updates_that_changed_nothing_are_counted_at_the_end_however_it_comes(signalled: bool, tmp_path: Path) -> None:
    words = Words()
    made = trainer(tmp_path, words, Ends(7, signalled=signalled), switched=WARN)
    if signalled:
        with pytest.raises(Interrupted):
            made.train(holed(2, 4))
    else:
        result = made.train(holed(2, 4))
        assert (result.status, result.skipped, result.first_skipped) == ("stopped", 3, 2)
    assert [text for text in words.with_level("warning") if "changed nothing" in text][1:] == [
        LAST_WORD.format("3 of 7 updates", 2)
    ]
    if signalled:  # what the run before it counted is counted
        words = Words()
        result = trainer(tmp_path, words, switched=WARN).train(holed(2, 4), resume=True, allow_changed=True)
        assert (result.steps, result.skipped, result.first_skipped) == (10, 4, 2)
        said = [text for text in words.with_level("warning") if "changed nothing" in text]
        assert said == [LAST_WORD.format("4 of 10 updates", 2)]
        assert "; 4 of them changed nothing, the first at step 2" in str(result)
        saved = json.loads(next(tmp_path.rglob("result.json")).read_text())
        assert (saved["skipped"], saved["first_skipped"]) == (4, 2)
        again = trainer(tmp_path, switched=WARN).train(holed(2, 4), resume=True, allow_changed=True)
        assert (again.skipped, again.first_skipped) == (4, 2)  # as the finished fit has it


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("at", [7, 5])
def test_a_stop_after_an_update_that_spoils_exports_nothing(at: int, validated: bool, tmp_path: Path) -> None:
    with pytest.raises(StepbusError, match=rf"^the weights are not finite after step {at}; "):
        trainer(tmp_path, Rate(at - 1), Ends(at, signalled=False)).train(batches(), batches(2) if validated else None)
    assert set(kept(tmp_path).values()) == {True}
    assert not [name for name in kept(tmp_path) if "model/" in name]


def test_ctrl_c_at_spoiled_weights_does_not_say_that_a_checkpoint_was_written(tmp_path: Path) -> None:
    words = Words()
    with pytest.raises(Interrupted, match=r"^interrupted by SIGINT; what is finished is kept: "):
        trainer(tmp_path, words, Rate(2), Ends(3, signalled=True), switched=OFF).train(batches())
    assert "it was asked for by engine at step 3: interrupted" in words.with_level("warning")[-1]
    assert set(kept(tmp_path).values()) == {True}


def test_a_run_without_such_updates_has_no_such_word(tmp_path: Path) -> None:
    words = Words()
    result = trainer(tmp_path, words, switched=WARN).train(batches())
    assert (result.skipped, result.first_skipped) == (0, 0)
    assert not [text for _, text in words.said if "changed nothing" in text]


@pytest.mark.parametrize("plugin", [Rate(7), Rate(9), Averages(10)])  # seen by the next loss; by the last look, twice
def test_a_stop_at_weights_that_are_not_finite_exports_the_best_ones(plugin: Any, tmp_path: Path) -> None:
    words = Words()
    made = trainer(tmp_path, plugin, words, switched={"nan_guard": {"policy": "stop"}})
    result = made.train(batches(), batches(2))
    assert (result.status, result.best.step) == ("stopped", 5)
    assert [text.partition(":")[0] for _, text in words.said if "the best weights" in text] == [
        "the best weights are back"
    ]
    assert set(kept(tmp_path).values()) == {True}
    assert [name for name in kept(tmp_path) if "model/" in name]
    assert result.metrics["eval_loss"] == result.history[0]["eval_loss"]  # of the very weights that are exported
    assert not [text for text in words.with_level("warning") if "of no use" in text]
    assert list(result.selected) == ["validation"]  # whose scores chose them


@pytest.mark.parametrize("validated", [True, False])
def test_a_stop_without_a_finite_best_says_that_the_export_is_of_no_use(validated: bool, tmp_path: Path) -> None:
    words = Words()
    made = trainer(tmp_path, Rate(3), words, switched={"nan_guard": {"policy": "stop"}})
    result = made.train(batches(), batches(2) if validated else None)
    assert (result.status, result.best) == ("stopped", None)
    assert [text for text in words.with_level("warning") if "the exported model is of no use, because " in text]


def test_a_stop_at_a_bad_row_exports_the_weights_as_they_stand(tmp_path: Path) -> None:
    words = Words()
    made = trainer(tmp_path, words, Ends(99, signalled=False), switched={"nan_guard": {"policy": "stop"}})
    data = [*batches(), *holed(3)]
    result = made.train(data, batches(2), num_epochs=1)
    assert (result.status, result.steps, result.skipped) == ("stopped", 8, 1)
    assert not [text for _, text in words.said if "the best weights" in text]
