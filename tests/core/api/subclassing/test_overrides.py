"""What a trainer's subclass writes: refused when the class is made, with what to do here, unless somebody calls it."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepbus import BaseTrainer, PluginError, Trainer, hookimpl
from stepbus.api.subclassing.foreign import EVENTS, FOREIGN
from stepbus.kernel.hook_checks import SPECIFICATIONS

FIXTURES = Path(__file__).parents[3] / "fixtures"
ELSEWHERE = json.loads((FIXTURES / "foreign_trainer" / "trainer.json").read_text())


def nothing(self: Any, *arguments: Any, **keywords: Any) -> None:
    """A method that does nothing."""


def made(*bases: type, **body: Any) -> Any:
    return type("CustomTrainer", bases or (BaseTrainer,), body)


def refused(**body: Any) -> str:
    with pytest.raises(PluginError) as caught:
        made(**body)
    return re.sub(r"^\S+\.py:\d+: ", "", str(caught.value), flags=re.MULTILINE)


def test_base_trainer_is_a_name_of_trainer() -> None:
    assert BaseTrainer is Trainer


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train_epoch", "write training_step(self, batch, state); for what comes around it write on_epoch_start"),
        ("on_step_end", "it is a hook: write on_step_end with @hookimpl in a class of its own"),
        ("on_train_begin", "it is a hook: write on_fit_start with @hookimpl"),
        ("on_epoch_begin", "it is a hook: write on_epoch_start with @hookimpl"),
        ("on_steps_end", "no such hook fires (did you mean 'on_step_end'?); `stepbus hooks` lists"),
        ("transform_gradients", "it is a hook: write transform_gradients with @hookimpl"),
        ("compute_loss", "pick a loss in section loss, or write wrap_loss with @hookimpl"),
        (
            "log",
            "write on_log with @hookimpl in a class of its own, and hand that over: plugins=[…]; training_step may",
        ),
        ("evaluation_step", "the run evaluates by itself; write on_predictions with @hookimpl"),
        ("evaluate", "the run evaluates by itself; write on_predictions with @hookimpl"),
        ("predict", "the run evaluates by itself; write on_predictions with @hookimpl"),
        ("save_checkpoint", "the run saves by itself; write on_checkpoint with @hookimpl"),
        ("load_checkpoint", "the run goes on by itself with train(resume=True)"),
        (
            "create_optimizer",
            "pick one in section optimizer, or write one: `stepbus plugins new NAME --kind optimizer`",
        ),
        ("get_train_dataloader", "hand loaders to train(loader, validation_loader), or write prepare_data"),
        (
            "should_stop",
            "write on_metrics with @hookimpl in a class of its own, and hand that over: plugins=[…], and let",
        ),
    ],
)
def test_what_nobody_calls_is_refused_with_what_does_it_here(name: str, words: str) -> None:
    said = refused(**{name: nothing})
    assert said.startswith(f"CustomTrainer.{name}: nothing calls it; {words}")


def test_the_sentence_names_file_and_line() -> None:
    def compute_loss(self: Any, batch: Any) -> None: ...

    with pytest.raises(PluginError) as caught:
        made(compute_loss=compute_loss)
    line = compute_loss.__code__.co_firstlineno
    assert str(caught.value).startswith(f"{__file__}:{line}: CustomTrainer.compute_loss: ")


@pytest.mark.parametrize("name", sorted({*ELSEWHERE["methods"], *ELSEWHERE["events"]} - {"training_step", "train"}))
def test_every_method_of_another_librarys_trainer_is_refused(name: str) -> None:
    assert refused(**{name: nothing}).startswith(f"CustomTrainer.{name}: nothing calls it; ")


@pytest.mark.parametrize("name", [name for name in SPECIFICATIONS if name != "training_step"])
def test_every_hook_is_refused(name: str) -> None:
    assert f"CustomTrainer.{name}: nothing calls it; it is a hook: write {name} with @hookimpl" in refused(
        **{name: nothing}
    )
    marked = hookimpl(lambda self: None)
    assert refused(**{name: marked}).startswith(f"CustomTrainer.{name}: it is a hook, and a trainer is no plugin; ")


def test_what_is_named_for_other_libraries_is_there_here() -> None:
    assert set(EVENTS.values()) <= SPECIFICATIONS.keys()
    named = set(re.findall(r"write (\w+) with @hookimpl", " ".join(FOREIGN.values())))
    assert named and named <= SPECIFICATIONS.keys()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("trainning_step", "training_step"),
        ("train_step", "training_step"),
        ("process_grads", "process_gradients"),
        ("compute_loss_and_grads", "compute_loss_and_gradients"),
        ("compute_loss_and_gradient", "compute_loss_and_gradients"),
    ],
)
def test_a_near_miss(name: str, meant: str) -> None:
    assert refused(**{name: nothing}) == (
        f"CustomTrainer.{name}: nothing calls it (did you mean {meant!r}?); take that name, or one that is less like it"
    )


@pytest.mark.parametrize("name", ["_builder", "_start", "plugins", "codec", "predict_rows", "of_model"])
def test_what_is_stepbuss_own(name: str) -> None:
    assert refused(**{name: nothing}) == f"CustomTrainer.{name}: it is stepbus's own; take another name"


@pytest.mark.parametrize("name", ["config", "model", "loss", "fits"])
def test_what_each_trainer_sets(name: str) -> None:
    assert refused(**{name: 3}) == f"CustomTrainer.{name}: each trainer sets it when it is made; hand it over there"


@pytest.mark.parametrize("name", ["optimizer", "state"])
def test_what_a_step_gives(name: str) -> None:
    assert refused(**{name: nothing}).startswith(f"CustomTrainer.{name}: it would never be used; ")


@pytest.mark.parametrize(
    "name", ["helper", "freeze_all", "compute_gradient_norm", "patience", "_own", "train", "update_config"]
)
def test_helpers_are_the_users_own(name: str) -> None:
    assert hasattr(made(**{name: nothing}), name)


def test_everything_is_said_at_once() -> None:
    said = refused(compute_loss=nothing, on_step_end=nothing, label_smoother=0.1)
    assert [line.partition(":")[0] for line in said.splitlines()] == [
        "CustomTrainer.compute_loss",
        "CustomTrainer.on_step_end",
        "CustomTrainer.label_smoother",
    ]


# What the user's own code calls ------------------------------------------------------------------------------------


def calls(name: str) -> Any:
    """Return a method that calls another one of the trainer."""
    found: dict[str, Any] = {}
    exec(f"def method(self, *arguments, **keywords):\n    return self.{name}(*arguments)", found)
    return found["method"]


def test_a_method_that_a_step_calls() -> None:
    assert made(training_step=calls("compute_loss"), compute_loss=nothing)


def test_a_method_that_is_called_through_others() -> None:
    assert made(training_step=calls("one"), one=calls("compute_loss"), compute_loss=nothing)
    assert made(train=calls("evaluate"), evaluate=nothing)
    assert made(anything=calls("log"), log=nothing)
    assert made(rate=property(calls("log")), log=nothing)
    assert made(rate=functools.cached_property(calls("log")), log=nothing)
    assert made(rate=staticmethod(calls("log")), log=nothing)

    def by_name(self: Any) -> Any:
        return getattr(self, "log")  # noqa: B009 - what is tested

    assert made(anything=by_name, log=nothing)

    def inside(self: Any) -> Any:
        return lambda: self.log()

    assert made(anything=inside, log=nothing)


def test_a_method_that_only_itself_or_another_such_one_calls() -> None:
    assert "CustomTrainer.log: nothing calls it" in refused(log=calls("log"))
    said = refused(train_epoch=calls("evaluation_step"), evaluation_step=nothing)
    assert len(said.splitlines()) == 2


def test_a_method_of_ours_that_the_step_does_not_call() -> None:
    words = "CustomTrainer.process_gradients: training_step is written anew and does not call it; call it there, or"
    assert refused(training_step=nothing, process_gradients=nothing).startswith(words)
    assert made(process_gradients=nothing)
    assert made(training_step=calls("process_gradients"), process_gradients=nothing)


def test_a_step_that_calls_the_one_above() -> None:
    class Both(BaseTrainer):
        def training_step(self, batch: Any, state: Any) -> Any:
            return super().training_step(batch, state)

        def process_gradients(self, gradients: Any) -> Any:
            return gradients

    assert Both.process_gradients is not BaseTrainer.process_gradients


def test_a_class_below_a_users_own() -> None:
    above = made(training_step=calls("compute_loss"), compute_loss=nothing)
    assert made(above, compute_loss=nothing)
    assert made(above, compute_loss=nothing, helper=nothing)
    with pytest.raises(PluginError, match=r"CustomTrainer\.compute_loss: nothing calls it"):
        made(above, training_step=nothing)


def test_a_mixin_counts_too() -> None:
    class Mixin:
        def log(self) -> None: ...

    with pytest.raises(PluginError, match=r"CustomTrainer\.log: nothing calls it"):
        made(Mixin, BaseTrainer)
    assert made(Mixin, BaseTrainer, helper=calls("log"))


# Signatures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method", "words"),
    [
        ("training_step", lambda self, batch: 0, "expected training_step(self, batch, state), got (self, batch)"),
        (
            "training_step",
            lambda self, model, inputs: 0,
            "expected training_step(self, batch, state), got (self, model, inputs); the model is self.model",
        ),
        ("training_step", None, "expected a method training_step(self, batch, state), got a NoneType"),
        ("training_step", property(nothing), "expected a method training_step(self, batch, state), got a property"),
        ("training_step", staticmethod(lambda batch: 0), "expected training_step(batch, state), got (batch)"),
        (
            "process_gradients",
            lambda self, gradients, other: 0,
            "expected process_gradients(self, gradients), got (self, gradients, other)",
        ),
        ("compute_loss_and_gradients", lambda self: 0, "expected compute_loss_and_gradients(self, batch), got (self)"),
    ],
)
def test_a_method_that_takes_something_else(name: str, method: Any, words: str) -> None:
    assert refused(**{name: method}) == f"CustomTrainer.{name}: {words}"


def test_a_step_that_nobody_would_wait_for() -> None:
    async def later(self: Any, batch: Any, state: Any) -> None: ...

    def yields(self: Any, batch: Any, state: Any) -> Any:
        yield batch

    wanted = (
        "CustomTrainer.training_step: expected a method training_step(self, batch, state) that returns, got one with "
    )
    assert refused(training_step=later) == f"{wanted}async"
    assert refused(training_step=yields) == f"{wanted}yield"


def test_other_names_for_the_arguments() -> None:
    assert made(training_step=lambda self, inputs, where, more=None: 0)
    assert made(training_step=lambda self, *both: 0)
    assert made(process_gradients=staticmethod(lambda gradients: gradients))


# On an object ---------------------------------------------------------------------------------------------------------


def test_what_is_put_on_a_trainer_is_looked_at_too() -> None:
    trainer = Trainer()
    for name in ("compute_loss", "log", "on_step_end", "evaluate", "train_step"):
        with pytest.raises(PluginError, match=f"^Trainer.{name}: nothing calls it"):
            setattr(trainer, name, lambda: 0)
    with pytest.raises(
        PluginError, match=re.escape("Trainer.training_step: expected training_step(batch, state), got (b)")
    ):
        trainer.training_step = lambda b: 0  # type: ignore[method-assign, misc, assignment]
    with pytest.raises(PluginError, match=r"Trainer\.optimizer: it would never be used; pick one in section optimizer"):
        trainer.optimizer = 3
    with pytest.raises(PluginError, match=r"Trainer\._start: it is stepbus's own; take another name"):
        trainer._start = None
    trainer.note, trainer.helper, trainer.patience = "x", len, 3  # type: ignore[attr-defined]
    assert trainer.note == "x"  # type: ignore[attr-defined]


def test_an_init_that_does_not_call_the_one_above() -> None:
    class Forgets(BaseTrainer):
        def __init__(self) -> None:
            self.scale = 1.0

    for use in (lambda: Forgets().train(), lambda: Forgets().predict([]), lambda: Forgets().config):
        with pytest.raises(AttributeError, match=re.escape("Forgets: its __init__ has not called super().__init__(")):
            use()


def test_all_that_a_trainer_holds_is_known() -> None:
    assert vars(Trainer()).keys() == Trainer._held


def test_what_is_not_there_is_said_with_what_to_do() -> None:
    with pytest.raises(AttributeError, match="a Trainer has no attribute 'add_callback'; hand plugins over"):
        Trainer().add_callback  # type: ignore[attr-defined]  # noqa: B018 - it raises
    with pytest.raises(AttributeError, match="has no attribute 'optimizer'; it is there within a training step alone"):
        Trainer().optimizer  # noqa: B018 - it raises
