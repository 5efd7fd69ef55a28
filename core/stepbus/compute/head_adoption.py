"""A trained head that is taken over by the names of its labels, or made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import evolve

from stepbus.compute.head_labels import IN_UNITS, PROBLEM_TYPES, HeadMeaning

if TYPE_CHECKING:
    from stepbus.compute.model import Classifier
    from stepbus.text.labels import LabelCodec


def adopt_head(model: Classifier, codec: LabelCodec, renew: Any) -> None:
    """Make a head that a file brought along fit the labels: by their names, or else anew; `model.loaded` says which.

    Args:
        model: The model.
        codec: The labels.
        renew: Called for a head that must start anew; gives its parameters their first values.
    """
    wanted = HeadMeaning(
        tuple(codec.columns if codec.task == "regression" else codec.names),
        PROBLEM_TYPES[model.task],
        {"mean": codec.mean, "sd": codec.sd, "transform": codec.target} if codec.task == "regression" else None,
    )
    before, model.meaning = model.meaning, wanted
    if before is None:
        return
    reason, said = _unfit(before, wanted), None
    if reason is None and model.head_names != {"classifier.weight", "classifier.bias"} and before != wanted:
        reason = "its outputs cannot be put in another order"
    if reason is not None:
        renew()
        said = f"the head starts anew: {reason}"
    elif wanted.target is not None:
        said = _rescale(model, before, wanted.target)
    else:
        said = _permute(model, before, wanted)
    if said is not None:
        model.loaded = evolve(model.loaded, notes=(*model.loaded.notes, said))


def _unfit(before: HeadMeaning, wanted: HeadMeaning) -> str | None:
    """Return why a head cannot be taken over, or None."""
    assert wanted.names is not None
    if before.other is not None:
        return before.other
    if before.problem is not None and before.problem != wanted.problem:
        return f"the file's is for {before.problem}, and the labels are for {wanted.problem}"
    labels = _listed(wanted.names)
    if before.names is None:
        if wanted.target is None and wanted.names != tuple(map(str, range(len(wanted.names)))):
            return (
                f"the file calls its outputs LABEL_0, LABEL_1, …, which does not say which of {labels} they are; "
                "id2label in its config.json would"
            )
    elif _order(before.names, wanted.names) is None:
        return f"the file's labels are {_listed(before.names)}, and those of the data are {labels}"
    if wanted.target is not None:
        transform = (before.target or IN_UNITS).get("transform")
        if transform != wanted.target["transform"]:
            return f"the file's target is transformed by {transform}, and data.target is {wanted.target['transform']}"
    return None


def _order(names: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Return where each wanted name stands among those of a file, by letter or else without case; None without all."""
    for spell in (str, str.casefold):
        spelt = [spell(name) for name in names]
        looked_for = [spell(name) for name in wanted]
        if len(set(spelt)) == len(spelt) and sorted(spelt) == sorted(looked_for):
            return [spelt.index(name) for name in looked_for]
    return None


def _permute(model: Classifier, before: HeadMeaning, wanted: HeadMeaning) -> str | None:
    """Put the outputs in the order of the labels."""
    assert wanted.names is not None
    if before.names is None:
        return f"the head's outputs LABEL_0, LABEL_1, … are taken for the labels {_listed(wanted.names)}"
    order = _order(before.names, wanted.names)
    if order is None or order == list(range(len(order))):
        return None
    rows = mx.array(order)
    model.head.update({name: array[rows] for name, array in model.head.parameters().items()})
    mx.eval(model.head.parameters())
    return f"the head's outputs were put in the order {_listed(wanted.names)}; the file has {_listed(before.names)}"


def _rescale(model: Classifier, before: HeadMeaning, target: Mapping[str, Any]) -> str | None:
    """Turn an output in another unit into one of the standardised target: the same predictions, in the same unit."""
    old = before.target or IN_UNITS
    scale, shift = old["sd"] / target["sd"], (old["mean"] - target["mean"]) / target["sd"]
    if scale == 1 and shift == 0:
        return None
    head = model.head.parameters()
    model.head.update({"weight": head["weight"] * scale, "bias": head["bias"] * scale + shift})
    mx.eval(model.head.parameters())
    unit = "the target's own unit" if before.target is None else "the units that stepbus_target says"
    return f"the head's output is taken for values in {unit}, and now counts in the deviations of these training rows"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
