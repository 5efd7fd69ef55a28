"""Fits that are alike share their compiled steps, and each has the bits that it has alone."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import evolve

from stepbus import create_model, create_trainer, hookimpl, import_module
from stepbus.base import PluginError, PluginFailure

Make = Callable[..., dict[str, Any]]
techniques = import_module(str(Path(__file__).parents[1] / "fixtures" / "techniques.py"))


class Only:
    """Keeps one fit of the plan, which then is alone in a process as far as anybody can tell."""

    scope = "run"

    def __init__(self, name: str = "") -> None:
        self.name = name

    @hookimpl(trylast=True)
    def expand_fits(self, fits: Any) -> Any:
        return [evolve(fit, scope={}) for fit in fits if fit.name == self.name]


def folds(tiny_config: Make, out: Path, plugins: Any = (), **sections: Any) -> dict[str, Any]:
    shown = {
        "progress": False,
        "gradient_clipping": {"max_norm": 0.5},
        "cross_validation": {"folds": 3},
        **dict(plugins),
    }
    training = {"num_epochs": 1, "max_steps": 6, **sections.pop("training", {})}
    data = {"validation": None, **sections.pop("data", {})}
    tree: dict[str, Any] = tiny_config(
        plugins=shown, data=data, training=training, environment={"output_dir": str(out)}, **sections
    )
    return tree


def digest(result: Any) -> str:
    return hashlib.sha256((result.model_path / "model.safetensors").read_bytes()).hexdigest()


def traces(whole: Any) -> list[int]:
    return [part.traces for part in whole.parts]


SECTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulating": {"training": {"gradient_accumulation_steps": 2}},
    "lower": {"training": {"precision": "bfloat16"}},
    "evaluating": {"training": {"eval_strategy": "steps", "eval_steps": 2}, "plugins": {"early_stopping": {}}},
    "two_optimizers": {"optimizer": {"type": "muon"}},
    "other_losses_and_gradients": {
        "plugins": {
            "rdrop": {},
            "multi_sample_dropout": {},
            "adversarial_training": {},
        }
    },
    "changing_rate": {
        "training": {"eval_strategy": "steps", "eval_steps": 1},
        "scheduler": {"type": "reduce_on_plateau", "patience": 0},
    },
}


@pytest.mark.parametrize("name", SECTIONS)
def test_each_fold_has_the_bits_that_it_has_alone(name: str, tiny_config: Make, tmp_path: Path) -> None:
    sections = SECTIONS[name]
    whole = create_trainer(config=folds(tiny_config, tmp_path / "all", **sections)).train()
    first, *later = traces(whole)
    assert first > 0
    assert later == [0, 0]
    for part in whole.parts[2:]:
        tree = folds(tiny_config, tmp_path / part.fit.name, **sections)
        alone = create_trainer(config=tree, plugins=[Only(part.fit.name)]).train()
        assert digest(alone) == digest(part)
        assert alone.metrics == part.metrics
        assert alone.traces == first


def test_a_model_of_the_callers_with_frozen_and_other_weights(tiny_config: Make, tmp_path: Path) -> None:
    def model() -> Any:
        import mlx.core as mx

        settings = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
        made = create_model("bert", **settings)
        made.encoder.embeddings.freeze()
        made.head.update({"weight": made.head.weight.astype(mx.bfloat16)})
        return made

    given = model()
    whole = create_trainer(given, config=folds(tiny_config, tmp_path / "all")).train()
    assert traces(whole)[1:] == [0, 0]
    alone = create_trainer(model(), config=folds(tiny_config, tmp_path / "alone"), plugins=[Only("fold-3")]).train()
    assert digest(alone) == digest(whole.parts[2])
    assert all(given.tensors()[name] is array for name, array in given.tensors().items())


def test_a_resume_in_the_middle_has_the_same_bits(tiny_config: Make, tmp_path: Path) -> None:
    class Cuts:
        """Fails in the second fold."""

        armed = True

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if Cuts.armed and trainer.fit_name == "fold-2" and state.step == 4:
                raise RuntimeError("cut")

    plugins = {"checkpoint": {"save_steps": 3}}
    whole = create_trainer(config=folds(tiny_config, tmp_path / "all", plugins), plugins=[Cuts()])
    with pytest.raises(PluginFailure, match="cut"):
        whole.train()
    Cuts.armed = False
    resumed = whole.train(resume=True)
    straight = create_trainer(config=folds(tiny_config, tmp_path / "straight", plugins)).train()
    assert list(map(digest, resumed.parts)) == list(map(digest, straight.parts))
    assert [part.traces > 0 for part in resumed.parts] == [True, True, False]


class Halves:
    """Halves gradients, in every fit or in one."""

    keys: ClassVar[list[Any]] = []

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        from mlx.utils import tree_map

        return lambda gradients: tree_map(lambda array: array * 0.5, gradients)


class Keyed(Halves):
    """Says when fits are alike."""

    def trace_key(self, trainer: Any) -> Any:
        return self.key(trainer)

    def __init__(self, key: Any = None) -> None:
        self.key = key


@pytest.mark.parametrize(
    ("plugin", "shares"),
    [
        (Halves(), False),
        (Keyed(lambda trainer: "same"), True),
        (Keyed(lambda trainer: trainer.fit_name), False),
        (Keyed(lambda trainer: None), False),
        (Keyed(lambda trainer: trainer), False),
    ],
)
def test_a_plugin_says_when_two_fits_are_alike(plugin: Any, shares: bool, tiny_config: Make, tmp_path: Path) -> None:
    whole = create_trainer(config=folds(tiny_config, tmp_path / "run"), plugins=[plugin]).train()
    assert [each == 0 for each in traces(whole)[1:]] == [shares, shares]


@pytest.mark.parametrize(
    ("key", "error", "sentence"),
    [
        (lambda trainer: 1 / 0, PluginFailure, r"Keyed \(passed in Python\): trace_key raised ZeroDivisionError"),
        ("text", PluginError, r"Keyed \(passed in Python\): expected trace_key\(trainer\) as a method, got 'text'"),
    ],
)
def test_a_bad_trace_key_names_its_plugin(
    key: Any, error: Any, sentence: str, tiny_config: Make, tmp_path: Path
) -> None:
    plugin: Any = Keyed(key)
    if isinstance(key, str):
        plugin.trace_key = key
    with pytest.raises(error, match=sentence):
        create_trainer(config=folds(tiny_config, tmp_path / "run"), plugins=[plugin]).train()


def test_what_fits_held_makes_room(tiny_config: Make, tmp_path: Path) -> None:
    import mlx.core as mx

    class Weighs:
        """Notes what the device holds when a fit begins."""

        scope = "run"

        def __init__(self) -> None:
            self.found: list[int] = []

        @hookimpl
        def on_fit_start(self) -> None:
            gc.collect()
            self.found.append(mx.get_active_memory())

    for plugin in (Keyed(lambda trainer: trainer.fit_name), Keyed(lambda trainer: "same")):
        weighs = Weighs()
        tree = folds(tiny_config, tmp_path / "run", model={"hidden_size": 64})
        create_trainer(config=tree, plugins=[plugin, weighs]).train()
        assert weighs.found[2] <= weighs.found[1] * 1.1


@pytest.mark.parametrize(
    ("overrides", "shares"),
    [
        ({"optimizer.learning_rate": 1e-4}, True),
        ({"optimizer.weight_decay": 0.3}, False),
        ({"plugins.gradient_clipping.max_norm": 2.0}, False),
        ({"model.dropout": 0.4}, False),
    ],
)
def test_overrides_that_change_what_is_computed_share_nothing(
    overrides: dict[str, Any], shares: bool, tiny_config: Make, tmp_path: Path
) -> None:
    class Varied:
        """Overrides settings in the second fold."""

        scope = "run"

        @hookimpl(trylast=True)
        def expand_fits(self, fits: Any) -> Any:
            return [evolve(fit, overrides=overrides if fit.name == "fold-2" else {}) for fit in fits]

    whole = create_trainer(config=folds(tiny_config, tmp_path / "all"), plugins=[Varied()]).train()
    assert [each == 0 for each in traces(whole)[1:]] == [shares, shares]
    alone = create_trainer(config=folds(tiny_config, tmp_path / "alone"), plugins=[Varied(), Only("fold-2")]).train()
    assert digest(alone) == digest(whole.parts[1])
    plain = create_trainer(config=folds(tiny_config, tmp_path / "plain"), plugins=[Only("fold-2")]).train()
    assert digest(plain) != digest(alone)


GROUPS = {
    "together": techniques.TOGETHER,
    "lora": ("lora", "last_four", "layerwise_decay", "focal", "awp", "swa"),
    "free": ("schedule_free", "gradient_checkpointing", "rdrop", "float16"),
}


@pytest.mark.parametrize("group", GROUPS)
def test_folds_with_all_techniques_have_the_bits_that_they_have_alone(
    group: str, tiny_config: Make, tmp_path: Path
) -> None:
    def tree(out: Path) -> dict[str, Any]:
        training = {"num_epochs": 2, "max_steps": 8}
        plain = folds(tiny_config, out, {"cross_validation": {"folds": 2}}, training=training)
        return techniques.together(plain, *GROUPS[group])

    whole = create_trainer(config=tree(tmp_path / "all")).train()
    first, second = traces(whole)
    # Where classes are weighed by how often a fold has them, its steps are its own. A model that was unwrapped at the
    # end of a fit is scored by steps of its own, in two shapes here.
    assert second <= first if group == "together" else second == 2
    alone = create_trainer(config=tree(tmp_path / "alone"), plugins=[Only("fold-2")]).train()
    assert digest(alone) == digest(whole.parts[1])
    assert alone.metrics == whole.parts[1].metrics


class ByName:
    """Takes a number from the fit in one of the hooks, and says that fits are alike."""

    def __init__(self, hook: str, key: Any = "same") -> None:
        self.hook, self.key = hook, key

    def trace_key(self, trainer: Any) -> Any:
        return trainer.fit_name if self.key is None else self.key

    def factor(self, trainer: Any, hook: str) -> float | None:
        return {"fold-1": 1.0, "fold-2": 2.0, "fold-3": 3.0}[trainer.fit_name] if hook == self.hook else None

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        if (factor := self.factor(trainer, "wrap_loss")) is None:
            return None

        def scaled(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return rows * factor, named

        return scaled

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        if (factor := self.factor(trainer, "wrap_gradient")) is None:
            return None

        def scaled(parameters: Any, batch: Any) -> Any:
            total, weight, named, gradients = value_and_grad(parameters, batch)
            return total, weight, named, {name: array * factor for name, array in gradients.items()}

        return scaled

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        from mlx.utils import tree_map

        if (factor := self.factor(trainer, "transform_gradients")) is None:
            return None
        return lambda gradients: tree_map(lambda array: array * factor, gradients)

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        import mlx.core as mx

        if (factor := self.factor(trainer, "after_update")) is None:
            return None
        return {"sum": mx.zeros(())}, lambda parameters, arrays: {"sum": arrays["sum"] + factor}


class OwnStep:
    def trace_key(self, trainer: Any) -> Any:
        return "same"

    @hookimpl
    def training_step(self, trainer: Any) -> Any:
        factor = {"fold-1": 1.0}.get(trainer.fit_name, 2.0)

        def step(model: Any, optimizer: Any, batch: Any) -> Any:
            loss, gradients = optimizer.loss_and_gradients(batch)
            optimizer.update(model, gradients)
            return loss * factor

        return step


@pytest.mark.parametrize(
    "plugin",
    [*(ByName(hook) for hook in ("wrap_loss", "wrap_gradient", "transform_gradients", "after_update")), OwnStep()],
    ids=lambda plugin: getattr(plugin, "hook", "training_step"),
)
def test_a_trace_key_that_is_wrong_is_refused(plugin: Any, tiny_config: Make, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        create_trainer(config=folds(tiny_config, tmp_path / "run"), plugins=[plugin]).train()
    hook = getattr(plugin, "hook", "training_step")
    assert f"{type(plugin).__name__} (passed in Python): {hook}: expected a trace_key of its own" in str(caught.value)
    assert "factor is 2.0 in this fit, and was 1.0 there; put it into trace_key" in str(caught.value)


class FromStart:
    """Holds the weights that a fit begins with, or a multiple that each fold has of its own."""

    def __init__(self, alike: bool) -> None:
        self.alike = alike

    def trace_key(self, trainer: Any) -> Any:
        return "same"

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        from mlx.utils import tree_flatten, tree_map_with_path

        factor = 1.0 if self.alike or trainer.fit_name == "fold-1" else 0.5
        first: dict[str, Any] = {name: array * factor for name, array in tree_flatten(trainer.model.parameters())}
        return lambda gradients: tree_map_with_path(lambda name, array: array + first[name], gradients)


@pytest.mark.parametrize(
    ("make", "shares"),
    [
        (lambda: ByName("wrap_loss", None), [False, False]),
        (lambda: FromStart(alike=False), [False, True]),
        (lambda: FromStart(alike=True), [True, True]),
    ],
    ids=["trace_key", "arrays", "same_arrays"],
)
def test_folds_whose_functions_differ_have_steps_of_their_own(
    make: Any, shares: list[bool], tiny_config: Make, tmp_path: Path
) -> None:
    whole = create_trainer(config=folds(tiny_config, tmp_path / "all"), plugins=[make()]).train()
    assert [each == 0 for each in traces(whole)[1:]] == shares
    tree = folds(tiny_config, tmp_path / "alone")
    alone = create_trainer(config=tree, plugins=[make(), Only("fold-2")]).train()
    assert digest(alone) == digest(whole.parts[1])
