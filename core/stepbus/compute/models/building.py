"""The model that a configuration and labels describe, built from components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve

from stepbus.base import Components, DataError, ModelError, PluginError, Selected
from stepbus.base.guards import Maker

if TYPE_CHECKING:
    from stepbus.compute.models.model import Classifier

# Of a head that is built only to be asked.
_WIDTH = 8


def head_for(components: Components, head: Selected | None, task: str) -> Selected:
    """Return the head that was picked, for these labels where it is for any, or for `auto` the one that fits them.

    Args:
        components: What the plugins offer.
        head: The model section's `head`.
        task: What the labels are: binary, multiclass, multilabel or regression.

    Raises:
        DataError: The picked head is for other labels.
    """
    meant = head.component.metadata["task"] if head is not None else None
    if head is not None and meant == task:
        return head
    if head is None or head.name == "auto":
        part = components.get("head", task)
        return Selected(part, part.config(), components.provider(part))
    if meant is None:
        part = evolve(head.component, metadata={**head.component.metadata, "task": task})
        return Selected(part, head.settings, head.provider)
    raise DataError(
        f"model.head: {head.name} is for {meant} labels, and the labels are {task}; set data.task, or leave head out"
    )


def tell_classes(head: Any, classes: Sequence[str]) -> None:
    """Tell a head which classes its outputs stand for, where it wants to know.

    Args:
        head: The head.
        classes: The classes in the order of the outputs.

    Raises:
        DataError: It cannot serve them.
    """
    take = getattr(head, "take_classes", None)
    if take is not None:
        with Maker(f"the head {type(head).__name__}").calling("take_classes", ModelError):
            take(tuple(classes))


def rehearse_head(components: Components, head: Selected | None, task: str, classes: Sequence[str]) -> None:
    """Build a small head that has an order of its classes, to see whether it fits the labels; no weights are loaded.

    Args:
        components: What the plugins offer.
        head: The model section's `head`.
        task: What the labels are.
        classes: The classes in the order of the outputs.

    Raises:
        BadInput: It does not.
    """
    chosen = head_for(components, head, task)
    if hasattr(chosen.settings, "order"):
        tell_classes(chosen.build(_WIDTH, len(classes)), classes)


def build_model(components: Components, selected: Selected, *, outputs: int, task: str, seed: int) -> Classifier:
    """Build the model of a configuration for one kind of labels.

    Args:
        components: What the plugins offer.
        selected: The model section.
        outputs: Logits a row.
        task: What the labels are: binary, multiclass, multilabel or regression.
        seed: Seed of whatever is newly initialised.

    Raises:
        BadInput: The section, the folder or the head cannot be used.
    """
    head = head_for(components, selected.settings.head, task)
    model: Classifier = selected.build(outputs=outputs, head=head, seed=seed)
    return model


def whole_classifier(model: Any, selected: Selected) -> Classifier:
    """Return what a component of kind `model` built, once it is known to be a classifier.

    Args:
        model: What its build returned.
        selected: The model section.

    Raises:
        PluginError: It is something else.
    """
    from stepbus.compute.models.model import Classifier

    if not isinstance(model, Classifier):
        words = "expected its build to return a whole classifier, as stepbus.compose makes it, got"
        raise selected.maker.fault(f"{words} a {type(model).__name__}", PluginError)
    model.providers.setdefault("encoder", selected.provider)
    return model
