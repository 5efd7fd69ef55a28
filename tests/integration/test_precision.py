"""Which number format training computes in, what stays float32 all the same, and where it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from safetensors import safe_open

from stepbus import CheckpointError, StepbusError, create_trainer, hookimpl, import_module
from stepbus.config.sections import TrainingSettings
from stepbus.device import choice
from stepbus.plan.planning import describe_plan

OwnStep: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "own_step.py")).OwnStep
Config = Callable[..., dict[str, Any]]
LOWER = ["bfloat16", "float16"]


class Dtypes:
    """Keep the number formats of all that a fit holds after an update, and what its forward computes in."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.computed: list[Any] = []
        self.evaluated: list[Any] = []

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        named: Any = tree_flatten(trainer.model.parameters())
        self.found |= {f"model.{name}": array.dtype for name, array in named}
        self.found |= {name: array.dtype for name, array in trainer.optimizer.arrays().items()}

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        def seen(parameters: Any, batch: Any) -> Any:
            total, weight, named, gradients = value_and_grad(parameters, batch)
            self.found |= {f"gradient.{name}": array.dtype for name, array in gradients.items()}
            self.found |= {"total": total.dtype, "weight": weight.dtype}
            return total, weight, named, gradients

        return seen

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        def seen(forward: Any, batch: Any) -> Any:
            self.computed.append(forward.pooled(batch).dtype)
            return loss(forward, batch)

        return seen


WHOLE = ("step", "good_steps")  # which count


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("window", [1, 2])
def test_every_array_that_lasts_is_float32(precision: str, window: int, tiny_config: Config, tmp_path: Path) -> None:
    tree = tiny_config(
        training={"precision": precision, "gradient_accumulation_steps": window, "num_epochs": 1},
        plugins={"progress": False, "ema": {"decay": 0.9}},
    )
    seen = Dtypes()
    create_trainer(config=tree, plugins=[seen]).train()
    other = {name: dtype for name, dtype in seen.found.items() if dtype != mx.float32}
    assert {name.rpartition(".")[2]: dtype for name, dtype in other.items()} == dict.fromkeys(
        {name.rpartition(".")[2] for name in other}, mx.int32
    )
    assert {name.rpartition(".")[2] for name in other} <= {*WHOLE, "updates"}
    assert len([name for name in seen.found if name.startswith("gradient.")]) > 10
    assert any(name.startswith("plugins.ema") for name in seen.found)
    assert set(seen.computed) == {getattr(mx, precision)}
    files = [*tmp_path.rglob("step-*/*.safetensors"), *tmp_path.rglob("model/model.safetensors")]
    assert {each.name for each in files} >= {"model.safetensors", "optimizer.safetensors", "averaged.safetensors"}
    for path in files:
        with safe_open(path, framework="np") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        assert {name for name, kind in kinds.items() if kind not in ("F32", "I32")} == set(), path


@pytest.mark.parametrize("precision", LOWER)
def test_accumulators_are_float32(precision: str, tiny_config: Config, monkeypatch: Any) -> None:
    from stepbus.compute.stepping.traced import Traced

    kept: list[Any] = []
    own = Traced._micro_step

    def watched(self: Any, batch: Any, sums: Any) -> Any:
        found = own(self, batch, sums)
        kept.extend(array.dtype for _, array in tree_flatten(found))
        return found

    monkeypatch.setattr(Traced, "_micro_step", watched)
    training = {"precision": precision, "gradient_accumulation_steps": 2, "max_steps": 2}
    create_trainer(config=tiny_config(training=training)).train()
    assert set(kept) == {mx.float32}


@pytest.mark.parametrize("precision", LOWER)
def test_an_evaluation_is_that_of_the_exported_model_in_float32(precision: str, tiny_config: Config) -> None:
    """The loss at the end is what `evaluate` gives, whose steps know no lower precision: equal to the last bit."""
    tree = tiny_config(training={"precision": precision, "num_epochs": 1})
    trainer = create_trainer(config=tree)
    result = trainer.train()
    from stepbus import open_trainer

    found = open_trainer(result.model_path).evaluate(tree["data"]["validation"])
    assert found["eval_loss"] == result.metrics["eval_loss"]


class Scales:
    """Keep the loss scale, whether the update was done, and the gradient norm of each update."""

    def __init__(self) -> None:
        self.found: list[tuple[float, bool, float]] = []
        self.losses: list[float] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.found.append((step.loss_scale, step.skipped, step.scalars.get("gradient_norm", 0.0)))
        self.losses.append(step.loss)


class Larger:
    """A loss that is larger by a factor, so that its scaled gradient leaves float16 for real."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        factor = self.factor

        def larger(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return rows * factor, named

        return larger


@pytest.mark.parametrize(
    "plugins",
    [
        {},
        {"lora": {"rank": 2}},
        {"ema": {"decay": 0.9}},
        {"adversarial_training": {"epsilon": 0.1}},
        {"gradient_clipping": False},
    ],
    ids=["plain", "lora", "ema", "adversarial", "unclipped"],
)
def test_a_real_overflow_halves_the_scale_and_training_recovers(plugins: Any, tiny_config: Config) -> None:
    """The rate of adamw does not hang on the size of a loss, which is 30 times as large here."""
    factor, found = 30.0, {}
    for precision in ("float32", "float16"):
        tree = tiny_config(
            optimizer={"type": "adamw", "learning_rate": 3e-3},
            training={"precision": precision, "num_epochs": 16 if "adversarial_training" in plugins else 8},
            plugins={"progress": False, **plugins},
            model={"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0},
            environment={"output_dir": tiny_config()["environment"]["output_dir"] + precision},
        )
        scales = Scales()
        result = create_trainer(config=tree, plugins=[scales, Larger(factor)]).train()
        found[precision] = (scales, result)
    scales, result = found["float16"]
    done = [scale for scale, skipped, _ in scales.found if not skipped]
    lost = [scale for scale, skipped, _ in scales.found if skipped]
    assert lost[:1] == [65536.0]  # the first one overflows
    assert lost == [65536.0 / 2**place for place in range(len(lost))]  # half each time
    assert len(done) > 70
    assert set(done) <= {65536.0 / 2**place for place in range(1, len(lost) + 1)}
    # Two trainings that differ by the skipped updates and by float16's 11 bits: the losses end within 0.1.
    mean = {name: np.mean(each.losses[-11:]) / factor for name, (each, _) in found.items()}
    assert mean["float16"] == pytest.approx(mean["float32"], abs=0.1)
    assert all(np.isfinite(value) for value in result.metrics.values())


def test_without_an_overflow_float16_is_close_to_float32_step_by_step(tiny_config: Config) -> None:
    """11 bits of mantissa: each loss within 2e-3 over 22 updates without dropout."""
    found = []
    for precision in ("float32", "float16"):
        tree = tiny_config(
            training={"precision": precision},
            model={"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0},
            environment={"output_dir": tiny_config()["environment"]["output_dir"] + precision},
        )
        scales = Scales()
        create_trainer(config=tree, plugins=[scales]).train()
        found.append(scales)
    assert not any(skipped for _, skipped, _ in found[1].found)
    np.testing.assert_allclose(found[1].losses, found[0].losses, atol=2e-3)
    norms = [[norm for _, _, norm in each.found] for each in found]
    np.testing.assert_allclose(norms[1], norms[0], rtol=0.02)  # clipping sees gradients without the scale


def test_clipping_comes_after_the_scale_is_taken_off(tiny_config: Config) -> None:
    """One update of SGD at rate 1 and max_norm 0.01: the weights move by 0.01 together, whatever the scale is."""
    moved: list[float] = []

    class Moved:
        def __init__(self) -> None:
            self.before: dict[str, Any] = {}

        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            self.before = self.now(trainer)

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            now = self.now(trainer)
            moved.append(float(np.sqrt(sum(np.square(now[name] - self.before[name]).sum() for name in now))))

        def now(self, trainer: Any) -> dict[str, Any]:
            named: Any = tree_flatten(trainer.model.parameters())
            return {name: np.array(array, dtype=np.float64) for name, array in named}

    tree = tiny_config(
        optimizer={"type": "sgd", "learning_rate": 1.0, "weight_decay": 0.0},
        scheduler={"type": "constant"},
        training={"precision": "float16", "max_steps": 1},
        plugins={"progress": False, "gradient_clipping": {"max_norm": 0.01}},
    )
    create_trainer(config=tree, plugins=[Moved()]).train()
    assert moved == [pytest.approx(0.01, rel=1e-3)]


def test_a_resume_goes_on_with_the_scale(tiny_config: Config, tmp_path: Path) -> None:
    class Cut:
        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 6:
                trainer.run.signal = 15

    def tree(name: str) -> dict[str, Any]:
        return tiny_config(training={"precision": "float16"}, environment={"output_dir": str(tmp_path / name)})

    whole = Scales()
    create_trainer(config=tree("a"), plugins=[whole, Larger(1000.0)]).train()
    with pytest.raises(StepbusError):
        create_trainer(config=tree("b"), plugins=[Scales, Larger(1000.0), Cut]).train()
    (path,) = [*(tmp_path / "b").rglob("step-00000006/optimizer.safetensors")]
    with safe_open(path, framework="np") as file:
        scale = file.get_tensor("loss_scale")
    assert (float(scale), whole.found[0][1]) == (whole.found[6][0], True)
    assert float(scale) < 65536.0


class TestAuto:
    def test_it_is_said_in_run_and_checkpoint_and_plan(self, tiny_config: Config, tmp_path: Path, capsys: Any) -> None:
        tree = tiny_config(
            training={"precision": "auto", "num_epochs": 1},
            plugins={"progress": {"bar": "never"}},
        )
        create_trainer(config=tree).train()
        assert "  precision  float32 (auto)\n" in capsys.readouterr().out
        assert json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["precision"] == "float32"
        manifests = [*(tmp_path / "run").rglob("step-*/manifest.json")]
        assert manifests
        for manifest in manifests:
            assert json.loads(manifest.read_text())["facts"]["precision"] == "float32"
        assert describe_plan(tree)["precision"] == "float32"

    def test_a_lower_one_says_what_stays(self, tiny_config: Config, capsys: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(choice, "has_fast_bfloat16", lambda kind, architecture: True)
        seen = Dtypes()
        tree = tiny_config(training={"precision": "auto", "max_steps": 2}, plugins={"progress": {"bar": "never"}})
        create_trainer(config=tree, plugins=[seen]).train()
        out = capsys.readouterr().out
        assert "  precision  bfloat16 (auto), weights and evaluations in float32\n" in out
        assert set(seen.computed) == {mx.bfloat16}

    def test_a_resume_where_it_is_another_one_is_refused_by_name(self, tiny_config: Config, monkeypatch: Any) -> None:
        class Cut:
            @hookimpl
            def on_step_end(self, trainer: Any, state: Any) -> None:
                if state.step == 3:
                    trainer.run.signal = 15

        tree = tiny_config(training={"precision": "auto"})
        with pytest.raises(StepbusError):
            create_trainer(config=tree, plugins=[Cut]).train()
        with monkeypatch.context() as patch:
            patch.setattr(choice, "has_fast_bfloat16", lambda kind, architecture: True)
            with pytest.raises(CheckpointError, match=r"precision was 'float32', is 'bfloat16'"):
                create_trainer(config=tree, plugins=[Cut]).train(resume=True)
        named = {**tree, "training": {**tree["training"], "precision": "bfloat16"}}
        with pytest.raises(CheckpointError) as caught:
            create_trainer(config=named, plugins=[Cut]).train(resume=True)
        assert str(caught.value).count("precision was") == 1  # once, under the name of the setting
        assert "training.precision was 'auto', is 'bfloat16'" in str(caught.value)


def test_the_setting_says_that_dropout_draws_other_masks(tiny_config: Config, monkeypatch: Any) -> None:
    """And so it is: the mask of the pooled vector at one seed, in each format."""
    words = "from one seed, dropout may draw other masks in half precision than in float32"
    assert words in attrs.fields(TrainingSettings).precision.metadata["meaning"]
    seen: dict[str, Any] = {}
    drop = nn.Dropout.__call__

    def dropped(self: Any, x: Any) -> Any:
        made = drop(self, x)
        if self.training and x.ndim == 2:
            seen.setdefault(precision, np.array((made != 0).astype(mx.int32)))
        return made

    monkeypatch.setattr(nn.Dropout, "__call__", dropped)
    for precision in ("float32", *LOWER):
        tree = tiny_config(training={"max_steps": 1, "precision": precision}, environment={"debug": True})
        create_trainer(config=tree, dropout=0.5).train()
    assert seen["float32"].shape == seen["bfloat16"].shape == seen["float16"].shape == (4, 16)
    assert (seen["float32"] != seen["bfloat16"]).any()
    assert (seen["float16"] == seen["bfloat16"]).all()


class Spoils:
    """Make a weight NaN after an update, so that no loss is a number, whatever its scale is."""

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == 2:
            trainer.model.head.weight = trainer.model.head.weight * float("nan")


class Begins:
    """Begin with a loss scale that is too large."""

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        trainer.optimizer.state["loss_scale"] = mx.array(2.0**24)


class Moves:
    """Look at moved weights alone, as SAM does: an overflow there makes the loss no number."""

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        def moved(parameters: Any, batch: Any) -> Any:
            gradients = value_and_grad(parameters, batch)[3]
            return value_and_grad({name: array + 1e-3 * gradients[name] for name, array in parameters.items()}, batch)

        return moved


KINDS = {
    "plain": ((), {}),
    "accumulated": ((), {"gradient_accumulation_steps": 2}),
    "own step": ((OwnStep(),), {}),
    "moved": ((Moves(),), {}),
    "moved and accumulated": ((Moves(),), {"gradient_accumulation_steps": 2}),
}


def of_kind(kind: str, tiny_config: Config, *plugins: Any, policy: str = "raise", **sections: Any) -> Any:
    more, training = KINDS[kind]
    guard = {"progress": False, "nan_guard": {"policy": policy}}
    tree = tiny_config(training={"precision": "float16", **training}, plugins=guard, **sections)
    return create_trainer(config=tree, plugins=[*more, *plugins])


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_no_scale_mends_is_no_overflow(kind: str, tiny_config: Config) -> None:
    """It is acted upon at once, and says nothing of the scale, which stays where it was."""
    with pytest.raises(StepbusError, match=r"^the loss is nan at step 3; "):
        of_kind(kind, tiny_config, Spoils()).train()
    scales = Scales()
    result = of_kind(kind, tiny_config, Spoils(), scales, policy="warn").train()
    assert [skipped for _, skipped, _ in scales.found] == [False, False] + [True] * (result.steps - 2)
    assert {scale for scale, _, _ in scales.found} == {65536.0}


@pytest.mark.parametrize("kind", KINDS)
def test_an_overflow_halves_the_scale_whatever_becomes_of_the_loss(kind: str, tiny_config: Config) -> None:
    scales = Scales()
    result = of_kind(kind, tiny_config, Begins(), scales).train()
    lost = [skipped for _, skipped, _ in scales.found].index(False)
    assert 2 < lost < result.steps - 2
    assert [scale for scale, _, _ in scales.found][:lost] == [2.0 ** (24 - place) for place in range(lost)]
    for (scale, skipped, _), (later, _, _) in pairwise(scales.found):
        assert later == scale / (2 if skipped else 1)
    assert np.isfinite(scales.losses[0]) == (not kind.startswith("moved"))  # and it went on


def test_what_an_optimizer_makes_of_finite_gradients_is_no_overflow(tiny_config: Config) -> None:
    scales = Scales()

    class Changes:
        @hookimpl
        def transform_gradients(self, trainer: Any) -> Any:
            state = trainer.optimizer.state

            def change(gradients: Any) -> Any:
                bad = mx.where(state["step"] == 2, mx.array(float("nan")), mx.array(1.0))
                return tree_map(lambda array: array * bad, gradients)

            return change

    with pytest.raises(
        StepbusError, match=r" at step 3; .* Changes \(passed in Python\): transform_gradients gives it"
    ):
        of_kind("plain", tiny_config, Changes(), scales).train()
    assert [scale for scale, _, _ in scales.found] == [65536.0] * 3
