"""What a trainer is made of: a model, a configuration, and what else its maker says, looked at once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import BadInput, Problem, hookimpl, show
from stepbus.base.guards import unheard_hooks
from stepbus.base.trees import Mark, Node, from_python, plain
from stepbus.config import Config, load_config, read_layers
from stepbus.fit.loaders import is_module
from stepbus.kernel import protocols
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    from stepbus.compute import Loss

log = logging.getLogger(__name__)


@frozen(eq=False)
class Given:
    """What a trainer is made of.

    Args:
        config: The configuration, with the plugins that were passed.
        model: A model of the caller's; None where the configuration describes it.
    """

    config: Config
    model: Any


def given_to_trainer(
    model: Any,
    config: Any,
    plugins: Sequence[Any],
    callbacks: Sequence[Any],
    loss: Loss | str | Mapping[str, Any] | None,
    overrides: Mapping[str, Any],
) -> Given:
    """Return what a trainer is made of.

    Args:
        model: As `create_trainer` takes it, and so are the others; a configuration may also come first.
        config: A preset's name, a path, a mapping or a configuration.
        plugins: Classes, instances and modules with hooks.
        callbacks: More of them.
        loss: The loss of a module, or else the section `loss`.
        overrides: Settings by name.

    Raises:
        ConfigError: Something in the configuration is wrong; every problem at once.
    """
    if isinstance(model, Config) and not isinstance(config, Config):
        model, config = config, model
    module = is_module(model)
    given = model if module or hasattr(model, "section") else None  # one is a mapping too
    if given is None and not (model is None or isinstance(model, str | Mapping)):
        raise BadInput(
            "model: expected a model as create_model returns it, any mlx.nn.Module, a name, or the settings of the "
            f"section model, got {f'the class {model.__name__}' if isinstance(model, type) else a_thing(model)}"
        )
    named = is_section(loss)
    if loss is not None and named == module:
        raise BadInput(_other_loss(model, loss))
    # All settings of a model that is there: what a preset says of models in general does not change it.
    settings = None if module else getattr(given, "settings", None)
    described = plain(settings) if settings is not None else getattr(given, "section", None)
    # A model that is there says its whole section, over which keywords may well be laid.
    section = {} if model is None or module else {"model": model if given is None else _yielding(described)}
    said = {"loss": loss} if named else {}
    passed = [*listed_plugins(plugins), *map(marked, listed_plugins(callbacks, "callbacks"))]
    _once_each(passed)
    for name, part in (("model", model if module else None), ("loss", None if named else loss)):
        mend = f"name it among plugins=[…] as well: plugins=[{name}]"
        if not any(part is each for each in passed) and (wrong := unheard_hooks(part, name, mend)):
            raise BadInput(f"{name}: {wrong}")
    loaded = load_config(config, keywords={**section, **said, **overrides}, extra_plugins=passed)
    if given is not None and not module:
        _say_unused(config, loaded, given.section)
    return Given(loaded, given)


def _yielding(described: Any) -> Node:
    return from_python(described, Mark(yields=True), "model")


def marked(callback: Any) -> Any:
    """Return a callback whose class marks nothing as a hook with its `on_…` methods marked, as other libraries have it.

    Args:
        callback: A class or an instance, or what knows its hooks by itself.
    """
    cls = callback if isinstance(callback, type) else type(callback)
    methods = {name: inspect.getattr_static(cls, name, None) for name in dir(cls)}
    if isinstance(callback, ModuleType) or any(hasattr(each, "stepbus_impl") for each in methods.values()):
        return callback
    if issubclass(cls, protocols.TrainingHook):
        for name, method in methods.items():
            if name.startswith("on_") and inspect.isfunction(method):
                hookimpl(method)
    return callback


def is_section(loss: Any) -> bool:
    """Return whether a loss is the section of a configuration, and no function; a module of MLX is both."""
    return isinstance(loss, str | Mapping) and not callable(loss)


def _other_loss(model: Any, loss: Any) -> str:
    """Return that a loss is none for this model, in words."""
    if is_module(model):
        return (
            "loss: expected a function of outputs and labels, because the model is a module of yours, got "
            f"{show(loss)}; give it: loss=nn.losses.cross_entropy"
        )
    return (
        f"loss: expected the name of a loss or its settings, because the model is a {_kind(model)}, got "
        f"{a_thing(loss)}; a loss of your own is a plugin: stepbus plugins new NAME --kind loss"
    )


def _kind(model: Any) -> str:
    return "model of a configuration" if model is None or isinstance(model, str | Mapping) else type(model).__name__


def _say_unused(config: Any, loaded: Config, section: Mapping[str, Any]) -> None:
    """Say which settings of a model have no effect, because a model was given that has others."""
    written = config.tree["model"] if isinstance(config, Config) else {}
    for layer in [] if isinstance(config, Config) else read_layers(config, [])[0]:
        if isinstance(layer.value, Mapping) and "model" in layer.value:
            written = {**written, **(layer.value["model"].plain() or {})}
    for name, value in written.items():
        used, wished = _by_name(section.get(name)), _by_name(value)
        if name in section and used != wished:
            has = f"has {show(used)}"
        elif name not in section and wished is not None:
            has = "was made without it"
        else:
            continue
        problem = Problem(f"model.{name}", f"{show(wished)} has no effect, because a model was given that {has}")
        log.warning("%s; say it in create_model", loaded.locate(problem))


def _by_name(value: Any) -> Any:
    """Return a component without further settings as its name."""
    return value["type"] if isinstance(value, Mapping) and set(value) == {"type"} else value


def _once_each(passed: Sequence[Any]) -> None:
    """Refuse one object that stands twice among plugins and callbacks: its hooks would be called once."""
    for place, each in enumerate(passed):
        if any(each is other for other in passed[:place]):
            name = getattr(each, "__name__", None) or type(each).__name__
            raise BadInput(
                f"plugins: expected each object once, got one {name} twice, whose hooks are called once; plugins= and "
                "callbacks= are one list: leave one out"
            )


def listed_plugins(plugins: Iterable[Any] | None, argument: str = "plugins") -> Sequence[Any]:
    """Return what was passed, once and for all; names are refused: what is installed has a keyword of its own."""
    if plugins is not None and not isinstance(plugins, Iterable):
        raise BadInput(
            f"{argument}: expected a list of classes, instances and modules, got "
            f"{getattr(plugins, '__name__', None) or a_thing(plugins)}; write {argument}=[…]"
        )
    plugins = [plugins] if isinstance(plugins, str) else [*(plugins or ())]
    if names := [each for each in plugins if isinstance(each, str)]:
        raise BadInput(
            f"{argument}: expected classes, instances and modules, got {names[0]!r}; "
            f"write {names[0]}=True in place of it"
        )
    return plugins
