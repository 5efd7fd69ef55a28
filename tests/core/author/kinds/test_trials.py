"""Each kind of component tried out: what is sound passes, and what is not is told before a run."""

from __future__ import annotations

import itertools
import json
import re
import sys
from typing import Any, ClassVar

import mlx.nn as nn
import pytest
from attrs import define

from stepbus import (
    Component,
    DataError,
    DataSettings,
    LossSettings,
    Metric,
    ModelError,
    ModelSettings,
    Optimizer,
    OptimizerSettings,
    Scheduler,
    SchedulerSettings,
    Source,
    Table,
    mx,
    setting,
)
from stepbus.author.checks import problems_of
from stepbus.author.kinds import trial_problem
from stepbus.config.discovery.plugins import LoadedPlugin, installed, load_class
from stepbus.testing import assert_conforms


@define(frozen=True, kw_only=True)
class Nothing:
    """No settings."""


@define(frozen=True, kw_only=True)
class Needs:
    """One that has no default."""

    must: int = setting(meaning="given by who picks it")


class Good(nn.Linear):
    def loss(self, logits: Any, labels: Any) -> Any:
        return mx.logsumexp(logits, axis=-1) - mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1)

    def predictions(self, logits: Any) -> Any:
        return mx.softmax(logits, axis=-1)


class MeanLoss(Good):
    def loss(self, logits: Any, labels: Any) -> Any:
        return super().loss(logits, labels).mean()


class WideLoss(Good):
    def loss(self, logits: Any, labels: Any) -> Any:
        return super().loss(logits, labels)[:, None]


class Centred(Good):
    def loss(self, logits: Any, labels: Any) -> Any:
        losses = super().loss(logits, labels)
        return losses - losses.mean()


class OnePrediction(Good):
    def predictions(self, logits: Any) -> Any:
        return mx.argmax(logits, axis=-1)


class NoTokens(nn.Module):
    def __call__(self, hidden: Any, mask: Any) -> Any:
        return (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)


class AllTokens(nn.Module):
    def __call__(self, hidden: Any, mask: Any) -> Any:
        return hidden


class Layers(nn.Module):
    """The first tokens of all layers beside each other."""

    all_layers = True

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.output_size = width * (layers + 1)

    def __call__(self, hidden: Any, mask: Any) -> Any:
        return mx.concatenate([each[:, 0] for each in hidden], axis=-1)


def of_layers(settings: Any, width: int, layers: int) -> Any:
    return Layers(width, layers)


def of_one_layer(settings: Any, width: int) -> Any:
    return Layers(width, 1)


class Constant(Scheduler):
    def decayed(self, step: int, total_steps: int, base: float) -> Any:
        return base


class Falls(Scheduler):
    def decayed(self, step: int, total_steps: int, base: float) -> Any:
        return base * (1 - step)


class Forgets(Scheduler):
    def decayed(self, step: int, total_steps: int, base: float) -> Any:
        return None


class Plain(Optimizer):
    def __init__(self, settings: Any = None) -> None: ...

    def init(self, parameter: Any) -> Any:
        return {"m": mx.zeros_like(parameter)}

    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter - scalars["learning_rate"] * gradient, {"m": gradient}


class Averages(Plain):
    def weights(self, parameter: Any, state: Any) -> Any:
        return parameter - state["m"]


class WrongAverages(Plain):
    def weights(self, parameter: Any, state: Any) -> Any:
        return parameter[:, 0] if parameter.ndim == 2 else parameter


class NoAverages(Plain):
    def weights(self, parameter: Any, state: Any) -> Any:
        return parameter / 0


class OtherState(Plain):
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter, {"m": gradient, "v": gradient}


class OtherShape(Plain):
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter.reshape(-1)[:1], state


class Infinite(Plain):
    def update(self, parameter: Any, gradient: Any, state: Any, scalars: Any) -> Any:
        return parameter / 0, state


class Rows(Metric):
    def update(self, predictions: Any, targets: Any) -> None:
        self.rows = len(targets)

    def compute(self) -> Any:
        return self.rows


class Words(Rows):
    def compute(self) -> Any:
        return "many"


class Breaks(Rows):
    def compute(self) -> Any:
        raise ZeroDivisionError("no rows")


def leaves(*_: Any) -> Any:
    sys.exit(3)


def refuses(*_: Any) -> Any:
    raise ModelError("model.head: not for these labels")


def head(build: Any, task: Any = "binary", config: Any = Nothing) -> Component:
    def made(settings: Any, hidden_size: int, outputs: int) -> Any:
        return build(hidden_size, outputs)

    return Component("head", "mine", config, made, {"task": task})


def pooling(cls: Any) -> Component:
    return Component("pooling", "mine", Nothing, lambda settings, hidden_size: cls())


ROWS = [{"text": "a good film", "label": 1}, {"text": "a bad film", "label": 0}, {"text": "fine", "label": 1}]
COUNTER = itertools.count()


def reader(read: Any, **facts: Any) -> Component:
    def build(settings: Any) -> Any:
        return type("Made", (), {"read": staticmethod(read)})()

    return Component("reader", "mine", Nothing, build, {"suffixes": (".mine",), **facts})


def refusing(source: Source) -> Any:
    raise DataError(f"{source}: expected a file of mine, got another")


def model(settings: Any, *, outputs: int, head: Any, seed: int) -> Any: ...


def loss(build: Any, *tasks: str) -> Component:
    return Component("loss", "mine", LossSettings, build, {"tasks": tasks or ("binary",)})


def other_model(settings: Any, hidden_size: int) -> Any: ...


CASES = [
    (head(Good), ""),
    (head(Good, "multiclass"), ""),
    (head(refuses), ""),
    (head(leaves, config=Needs), ""),
    (head(MeanLoss), "loss: expected one for each row, [3], got an array []"),
    (head(WideLoss), "loss: expected one for each row, [3], got an array [3, 1]"),
    (head(OnePrediction, None), "predictions: expected [B, K], here [3, 2], got an array [3]"),
    (head(lambda hidden, outputs: Good(hidden, 1)), "expected logits [B, K], here [3, 2], got [3, 1]"),
    (head(Centred), "expected each row to say what it says whatever the other rows of the batch are"),
    (head(leaves), "SystemExit: 3"),
    (head(lambda hidden, outputs: None), "returned None"),
    (head(lambda hidden, outputs: nn.Linear(hidden, outputs)), "expected methods loss and predictions, got no loss"),
    (pooling(AllTokens), "expected [B, D], here [3, 8], got [3, 5, 8]"),
    (Component("pooling", "mine", Nothing, of_layers), ""),
    (Component("pooling", "mine", Nothing, of_one_layer), "expected [B, D], here [3, 16], got [3, 56]"),
    (pooling(NoTokens), "expected finite numbers for a row without any token, as padded rows are, got others"),
    (loss(lambda settings, facts: lambda logits, labels: logits[:, 0] * facts.counts[0]), ""),
    (
        loss(lambda settings, facts: lambda logits, labels: logits.mean()),
        "expected one for each row, [3], got an array []",
    ),
    (
        loss(lambda settings, facts: lambda logits, labels: labels.astype(logits.dtype), "binary", "multilabel"),
        r"expected one for each row, \[3\], got an array \[3, 2\] \(for multilabel\)",
    ),
    (loss(lambda settings: max), "takes 1 positional argument but 2 were given"),
    (loss(lambda settings, facts: 3), "expected its build to return a function of logits and labels, got 3"),
    (Component("scheduler", "mine", SchedulerSettings, Constant), ""),
    (
        Component("scheduler", "mine", SchedulerSettings, Falls),
        "its rate of update 3 as a finite number",
    ),
    (
        Component("scheduler", "mine", SchedulerSettings, Forgets),
        "rate of update 1 as a finite number of at least 0",
    ),
    (Component("scheduler", "mine", SchedulerSettings, lambda settings: settings), "to return a stepbus.Scheduler"),
    (Component("optimizer", "mine", OptimizerSettings, Plain), ""),
    (Component("optimizer", "mine", OptimizerSettings, Averages, {"averages": True}), ""),
    (Component("optimizer", "mine", OptimizerSettings, Averages), 'write metadata={"averages": True} in its Component'),
    (
        Component("optimizer", "mine", OptimizerSettings, WrongAverages, {"averages": True}),
        r"weights: expected {name: array} of parameters, 'dense.weight' as float32 \[4, 3\], got float32 \[4\]",
    ),
    (Component("optimizer", "mine", OptimizerSettings, NoAverages, {"averages": True}), "weights: expected finite"),
    (Component("optimizer", "mine", OptimizerSettings, OtherState), "'v', which was not there before"),
    (Component("optimizer", "mine", OptimizerSettings, OtherShape), "update: expected"),
    (Component("optimizer", "mine", OptimizerSettings, Infinite), "update: expected finite numbers"),
    (Component("optimizer", "mine", OptimizerSettings, Optimizer), "Optimizer() takes no arguments"),
    (Rows.component("mine", greater_is_better=None), ""),
    (Words.component("mine", greater_is_better=None), "many"),
    (Breaks.component("mine", greater_is_better=None), "ZeroDivisionError: no rows"),
    (
        Component("data", "mine", DataSettings, lambda settings: object()),
        "without fit, texts, state_dict",
    ),
    (Component("model", "mine", ModelSettings, model), ""),
    (Component("model", "mine", ModelSettings, other_model), "expected build(settings, *, outputs, head, seed)"),
    (reader(lambda source: None), "reading rows-0.mine: expected rows, got None"),
    (reader(lambda source: 3), "reading rows-0.mine: expected a frame, .* got the int 3"),
    (reader(lambda source: Table(ROWS, [3, 2, 1])), "of 3 rows, .*, got 2 for row 2 after 3"),
    (reader(lambda source: Table(ROWS, [0, 1, 2])), "got 0 for row 1"),
    (reader(lambda source: [{"text": str(next(COUNTER))}]), "reading a file twice: expected the same rows"),
    (reader(lambda: ROWS), r"expected read\(source\), got one that takes other arguments"),
    (reader(lambda source: 3, schemes=("mine",), file=True, suffixes=()), "reading mine:rows-0.txt: expected a frame"),
    (reader(lambda source: 3, schemes=("mine",), suffixes=()), ""),
    (reader(lambda source: ROWS), ""),
    (reader(lambda source: Table(iter(ROWS), None)), "got a list_iterator"),
    (reader(lambda source: iter(ROWS)), ""),
    (reader(lambda source: json.loads(source.text())), ""),
    (reader(lambda source: []), ""),
    (reader(refusing), ""),
    (Component("sampler", "mine", Nothing, leaves), ""),
]


@pytest.mark.parametrize(("part", "words"), CASES)
def test_a_component_tried_out(part: Component, words: str) -> None:
    found = trial_problem(part)
    assert (found != "") == (words != ""), found
    assert words in found or re.search(words, found)


@pytest.mark.parametrize("name", sorted(installed()))
def test_those_of_this_project_are_sound(name: str) -> None:
    for part in load_class(name).components:
        assert trial_problem(part) == "", part.name


def test_the_doctor_and_the_kit_say_the_same() -> None:
    class Offers:
        """Offer a head and a schedule."""

        components: ClassVar[list[Component]] = [
            head(MeanLoss),
            Component("scheduler", "mine", SchedulerSettings, Falls),
        ]

    problems = problems_of(LoadedPlugin("offers", Offers, "mine-pack", "1.0"))
    assert problems[0] == "the head 'mine': loss: expected one for each row, [3], got an array []"
    assert problems[1].startswith("the scheduler 'mine': expected its rate of update 3 ")
    with pytest.raises(AssertionError, match=r'Offers breaks the rule "is well made": the head .mine.: loss'):
        assert_conforms(Offers)


def test_a_misspelt_kind_comes_before_all_else() -> None:
    class Offers:
        components: ClassVar[list[Component]] = [Component("optimiser", "mine", object, leaves)]

    (problem,) = problems_of(LoadedPlugin("offers", Offers, "mine-pack", "1.0"))
    said = (
        "the optimiser 'mine': expected a known kind, got 'optimiser' (did you mean 'optimizer'?); known: model, head,"
    )
    assert problem.startswith(said)


def test_nothing_is_tried_that_is_wrong_already() -> None:
    class Offers:
        components: ClassVar[list[Component]] = [Component("head", "mine", Nothing, leaves)]

    (problem,) = problems_of(LoadedPlugin("offers", Offers, "mine-pack", "1.0"))
    assert "metadata" in problem
