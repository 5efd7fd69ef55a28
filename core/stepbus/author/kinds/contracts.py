"""The contract of each kind of component, and of what hooks are given, read from the code that keeps it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen

from stepbus.author.kinds.docstrings import line, sections, wrapped
from stepbus.author.kinds.members import Member, members
from stepbus.base import BadInput, Component, did_you_mean
from stepbus.base.guards import WANTED
from stepbus.config import BASES


@frozen
class Contract:
    """What a component of one kind gets and gives.

    Args:
        kind: The kind.
        picked: How YAML picks one.
        set_by: How YAML gives it settings.
        build: How its build is called.
        returns: What that returns, in words.
        cls: The class that says what the part offers, by name.
    """

    kind: str
    picked: str
    set_by: str
    build: str
    returns: str
    cls: str

    @property
    def facts(self) -> str:
        """What its metadata says, in words of `Component`'s own documentation, or nothing."""
        told = sections(inspect.getdoc(Component) or "")["Args"].partition("metadata:")[2]
        found = re.search(rf"^ +{self.kind}: (.*?)(?=^ +\w+: |\Z)", told, re.MULTILINE | re.DOTALL)
        return line(found[1]) if found else ""


def classes() -> dict[str, Any]:
    """Return every class that a contract speaks of, by name."""
    from stepbus.base.scoring import Metric
    from stepbus.compute import LossFacts, LossFunction, Optimizer, ParameterUpdater, Scheduler
    from stepbus.compute.models import Classifier, Encoder, Head, Pooling
    from stepbus.compute.stepping import StepOptimizer
    from stepbus.compute.watching import Diagnosis
    from stepbus.kernel import (
        Control,
        Fit,
        FitData,
        FitResult,
        Plan,
        Predictions,
        Run,
        Session,
        StepResult,
        TrainingState,
    )
    from stepbus.text import TextSource
    from stepbus.text.rows import Reader, Source

    kinds = (
        Diagnosis,
        Classifier,
        Encoder,
        Pooling,
        Head,
        LossFunction,
        LossFacts,
        Optimizer,
        ParameterUpdater,
        StepOptimizer,
        Scheduler,
        Metric,
        TextSource,
        Reader,
        Source,
    )
    given = (Run, Session, Plan, Fit, FitResult, Predictions, TrainingState, StepResult, Control, FitData)
    return {cls.__name__: cls for cls in (*kinds, *given)}


CONTRACTS = {
    each.kind: each
    for each in (
        Contract(
            "model", "model: {type: NAME}", "model: {type: NAME, SETTING: VALUE}",
            "build(settings, *, outputs, head, seed)",
            "the whole classifier, batch → logits, as stepbus.compose puts it together of an Encoder, the pooling of "
            "the settings and the head", "Classifier",
        ),
        Contract(
            "head", "model: {head: NAME}", "model: {head: {type: NAME, SETTING: VALUE}}",
            "build(settings, hidden_size, outputs)",
            "a Head", "Head",
        ),
        Contract(
            "pooling", "model: {pooling: NAME}", "model: {pooling: {type: NAME, SETTING: VALUE}}",
            "build(settings, hidden_size)",
            "a Pooling; where it also names an argument `layers`, it is told how many the encoder has", "Pooling",
        ),
        Contract(
            "loss", "loss: {type: NAME}", "loss: {type: NAME, SETTING: VALUE}",
            "build(settings, facts)",
            "a LossFunction for the labels that LossFacts tells of; a stepbus.DataError whose words begin with "
            "`loss.SETTING:` refuses labels that a setting does not fit", "LossFunction",
        ),
        Contract(
            "optimizer", "optimizer: {type: NAME}", "optimizer: {type: NAME, SETTING: VALUE}",
            "build(settings)", "a stepbus.Optimizer", "Optimizer",
        ),
        Contract(
            "scheduler", "scheduler: {type: NAME}", "scheduler: {type: NAME, SETTING: VALUE}",
            "build(settings)", "a stepbus.Scheduler", "Scheduler",
        ),
        Contract(
            "metric", "training: {metrics: [NAME]}",
            "training: {metrics: [{type: NAME, name: ITS_OTHER_NAME, SETTING: VALUE}]}",
            "build(settings)",
            "a function of labels and predictions of a whole set, such as a stepbus.Metric; it gives a number, or "
            "several by name; a `build` that has an argument `codec` is given what knows the labels and their "
            "thresholds, None where labels came as numbers", "Metric",
        ),
        Contract(
            "reader", "the ending or the scheme of a source, data: {train: FILE.ENDING}, data: {train: SCHEME:REST}",
            "data: {readers: {NAME: {SETTING: VALUE}}}", "build(settings)", "a Reader", "Reader",
        ),
        Contract(
            "data", "data: {type: NAME}", "data: {type: NAME, SETTING: VALUE}", "build(settings)",
            "a stepbus.TextSource, which turns rows into texts", "TextSource",
        ),
    )
}  # fmt: skip


# What hooks are given, and what hangs on it: the class that says what it offers -> where it comes from.
GIVEN = {
    "Run": "`run` of the hooks of a run, and `trainer.run`",
    "Session": "`trainer` of the hooks of a fit",
    "Plan": "`plan` of validate_plan",
    "Fit": "`run.fits`, `trainer.fit`, `result.fit`",
    "FitResult": "`result`, `run.results`",
    "Predictions": "`result.predictions[NAME]`",
    "TrainingState": "`state`, `trainer.state`",
    "StepResult": "`step` of on_step_end",
    "Diagnosis": "`trainer.explain_step()`, which may be asked in on_step_end",
    "Control": "`trainer.control`; what a plugin asks for stands in its class, in `asks`",
    "FitData": "`trainer.data`",
    "Classifier": "`trainer.model`, where a configuration describes it",
    "ParameterUpdater": "`trainer.optimizer`",
    "StepOptimizer": "`optimizer` of the function that `training_step` gives",
    "Source": "`source` of a reader",
    "LossFacts": "`facts` of a loss's build",
    "Encoder": "`trainer.model.encoder`, made by a component of kind model",
}


def names() -> list[str]:
    """Return what `stepbus contracts` knows: each kind of component, then what hooks are given."""
    return [*CONTRACTS, *GIVEN]


def _purpose(cls: Any) -> str:
    return sections(inspect.getdoc(cls) or "")[""]


def _offered(cls: Any) -> list[Member]:
    """Return what a class offers to who uses it; what says nothing of itself is nobody else's."""
    return [member for member in members(cls) if member.meaning]


def _of_kind(contract: Contract) -> list[str]:
    """Return what a kind asks for, a sentence each."""
    base, facts = BASES.get(contract.kind), contract.facts
    must = ", ".join(WANTED.get(contract.kind, {}))
    lines = [f"picked by `{contract.picked}`"]
    said = f"its settings extend stepbus.{base.__name__}" if base else "its settings are any attrs class"
    lines += [f"{said}, and are given by `{contract.set_by}`"]
    lines += [f"`{contract.build}` returns {contract.returns}"]
    if facts:
        lines += [f"metadata of its Component: {facts.rstrip('.')}" + (f"; it must say {must}" if must else "")]
    return lines


def as_text(name: str) -> str:
    """Return one contract for the terminal.

    Raises:
        BadInput: There is none of that name.
    """
    if name in CONTRACTS:
        contract = CONTRACTS[name]
        lines, cls = [f"{name} (a kind of component)"], classes()[contract.cls]
        for sentence in _of_kind(contract):
            lines += wrapped(sentence.replace("`", ""), "  ")
        lines += wrapped(f"{cls.__name__}: {_purpose(cls)}", "  ")
    elif name in GIVEN:
        cls = classes()[name]
        lines = [f"{name} (given to hooks: {GIVEN[name].replace('`', '')})", *wrapped(_purpose(cls), "  ")]
    else:
        raise BadInput(f"there is no contract of {name!r}{did_you_mean(name, names())}; `stepbus contracts` prints all")
    for member in _offered(cls):
        lines += wrapped(f"{member.signature}: {member.meaning}", "    ")
        for argument, meaning in member.arguments.items():
            lines += wrapped(f"{argument}: {meaning}", "      ")
    return "\n".join(lines)


def as_markdown() -> str:
    """Return all contracts as CONTRIBUTING.md has them."""
    lines, known = [], classes()
    for kind, contract in CONTRACTS.items():
        cls = known[contract.cls]
        lines += [f"- **{kind}**: {'; '.join(_of_kind(contract))}. {cls.__name__}: {_purpose(cls)}", *_listed(cls)]
    for name, place in GIVEN.items():
        lines += [f"- **`{name}`** ({place}). {_purpose(known[name])}", *_listed(known[name])]
    return "\n".join(lines) + "\n"


def _listed(cls: Any) -> Iterable[str]:
    return (f"  - `{member.signature}`: {member.meaning}" for member in _offered(cls))
