"""What a fit trains, and which tensors it has, as its plugins change a model whose weights are not read.

Arrays of MLX are lazy: a model is put together of numbers that nobody computes, and plugins are asked on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from stepbus.base import StepbusError, error_words
from stepbus.fit.computing import phases_of, transformed_model
from stepbus.fit.exporting import TRAINING, Origin, check_export

if TYPE_CHECKING:
    from stepbus.fit import FitSession
    from stepbus.plan.memory import Shapes

# Hooks that decide it.
CHANGING = ("transform_model", "trained_parameters", "transform_export")


@frozen
class Trained:
    """Parameters and tensors of a fit.

    Args:
        parameters: Shape of each parameter.
        trained: Shape of each parameter that any phase trains, by which the optimizer has its state.
        exported: Bytes of each tensor of the model as it is exported.
        training: Bytes of each tensor that checkpoints have besides, as it is trained.
    """

    parameters: Shapes
    trained: Shapes
    exported: dict[str, int]
    training: dict[str, int] = field(factory=dict)


def of_shapes(shapes: Shapes) -> Trained:
    """Return that all is trained.

    Args:
        shapes: Shape of each parameter.
    """
    sizes = {name: 4 * math.prod(shape) for name, shape in shapes.items()}
    return Trained(shapes, shapes, sizes)


def of_plugins(session: FitSession, shapes: Shapes, pooling: Any, head: Any, notes: list[str]) -> Trained:
    """Return what is trained once the plugins of a fit have changed its model.

    Args:
        session: The fit, its data prepared.
        shapes: Shape of each parameter of the model before that.
        pooling: As it is built.
        head: The same.
        notes: Takes why it is not known; then all counts as trained.
    """
    section, whole = session.config.model, of_shapes(shapes)
    if not any(map(session.bus.hears, CHANGING)):
        return whole
    say, upper = section.component.metadata.get("encoder"), "the estimates count every parameter as trained"
    if say is None:
        notes.append(f"{upper}: the model {section.name!r} does not say its encoder before its weights are read")
        return whole
    from mlx.utils import tree_flatten

    from stepbus.compute.models import Classifier

    try:
        outputs = session.data.codec.outputs
        model: Any = Classifier(say(section.settings), pooling, head, task=str(session.data.task), outputs=outputs)
        unread: Any = _Unread(session)
        unread.model = transformed_model(unread, model, kept=False)
        trained = dict.fromkeys(name for names in phases_of(unread).values() for name in names)
        check_export(unread)
    except (Exception, SystemExit) as error:  # the run says it, with what to do; no estimate is worth ending a plan
        notes.append(f"{upper}: {error if isinstance(error, StepbusError) else error_words(error)}")
        return whole
    found: Any = dict(tree_flatten(unread.model.parameters()))
    return Trained(
        {name: array.shape for name, array in found.items()},
        {name: found[name].shape for name in trained},
        unread.origin.stored["model"],
        unread.origin.stored.get(TRAINING, {}),
    )


class _Unread:
    """A fit as hooks see it whose model has no weights yet; what they tell of it is told when the fit begins.

    Args:
        session: The fit.
    """

    def __init__(self, session: FitSession) -> None:
        self._session, self.origin = session, Origin()
        self.model: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def message(self, *said: Any, **more: Any) -> None:
        """Tell nobody."""

    log = artifact = report = message
