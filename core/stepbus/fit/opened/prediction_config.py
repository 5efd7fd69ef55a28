"""The part of a configuration that prediction needs: what an exported folder says of it, and what of that is believed.

A folder is data, and whoever sent it chose every word in it. So it names components by the entry points of installed
plugins, and nothing else: what would import a file or a module, call a function, read another configuration or write
somewhere is refused by name, unless the caller trusts the folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from stepbus.base import Component, ConfigError, ModelError, Problem, Selected, one_line
from stepbus.compute.models import head_for
from stepbus.config import Config, PluginChoice, load_config
from stepbus.config.discovery import NAME, installed, may_implement, may_offer_components
from stepbus.fit import PASSED
from stepbus.fit.opened.folder_code import from_folder, missing_code
from stepbus.fit.opened.passed_classes import as_handed_over, entry_names
from stepbus.fit.opened.passed_metrics import metrics_written, with_passed_metrics
from stepbus.fit.opened.places import place_of, without_places
from stepbus.fit.opened.readers import put_back, reading_plugins, set_apart
from stepbus.fit.opened.wishes import SECTIONS, Wish, of_sections, shown_place
from stepbus.fit.predicting import takes_part
from stepbus.kernel import PREDICTION_HOOKS

# The task of the labels picks among these when a folder is opened.
_BY_TASK = ("head", "metric")
_TRAINING = ("optimizer", "scheduler")
# Where the model lies is known, whatever the folder says.
_OWN = ("model.pretrained", "model.tokenizer")


class UntrustedError(ModelError):
    """A folder asks for more than installed components, and nobody said that it may."""


def prediction_tree(config: Config, task: str | None = None) -> dict[str, Any]:
    """Return what opens a trained model again, as JSON values: components, their settings, and who offers them.

    Files and folders are left out. Code of the user's own that prediction needs is named, and wants trust when the
    folder is opened.

    Args:
        config: The configuration that trained it.
        task: What the labels are; without it, whoever offers a head or a metric is kept.
    """
    plugins: dict[str, Any] = {name: False for name, node in config.tree["plugins"].items() if node is False}
    needed, reading = _providers(config, task), reading_plugins(config)
    readers = dict[str, tuple[Any, list[str]]]()
    for choice in config.plugins:
        label, written = choice.loaded.label, plugin_tree(config, choice)
        if label in needed or takes_part(choice.loaded.cls, of_run=False):
            plugins[choice.name] = written
        elif label in reading and choice.loaded.origin != "built-in":
            readers[choice.name] = (written, reading[label])
        elif choice.loaded.origin != "built-in" and not config.names_plugin(choice.name):
            plugins[choice.name] = False  # the `expand` of another one would ask for it again
    # Offered by a package, a class that was passed in Python is there as well when the folder is opened.
    passed = entry_names(filter(inspect.isclass, config.extras))  # an object has settings of its own
    plugins |= {name: {} for cls, name in passed.items() if f"{cls} {PASSED}" in needed}
    sections = {name: without_places(getattr(config, name), config.tree[name]) for name in SECTIONS}
    # Sizes of a model from scratch stand in config.json from now on.
    for name in config.model.component.metadata.get("from_scratch", ()):
        sections["model"].pop(name, None)
    training = metrics_written(config, passed)
    return set_apart({**sections, "training": training, "plugins": plugins}, readers)


def plugin_tree(config: Config, choice: PluginChoice) -> Any:
    """Return what makes a plugin of a configuration again, as JSON values: its settings, and the code of one's own."""
    return without_places(choice.settings, config.tree["plugins"][choice.name])


def _providers(config: Config, task: str | None = None) -> set[str]:
    """Return the labels of the plugins whose components prediction picks, or may pick where no task is known."""
    picked = [config.model, config.data, config.loss, *(config.training.metrics or ())]
    needed = {(part.kind, part.name) for selected in picked for part in _parts(selected)}
    if task is None:
        by_task = [part for part, _ in config.components if part.kind in _BY_TASK]
    else:
        by_task = [head_for(config.components, config.model.settings.head, task).component]
        if config.training.metrics is None:
            metrics = [part for part, _ in config.components if part.kind == "metric"]
            by_task += [part for part in metrics if task in part.metadata.get("default", ())]
    needed |= {(part.kind, part.name) for part in by_task}
    return {
        provider
        for part, provider in config.components
        if (part.kind, part.name) in needed and part.kind != "reader"  # rows may come from elsewhere
    }


def _parts(selected: Selected) -> Iterator[Component]:
    """Yield a picked component and those that its settings pick."""
    yield selected.component
    for field in attrs.fields(type(selected.settings)):
        value = getattr(selected.settings, field.name)
        for inner in _inside(value):
            if isinstance(inner, Selected):
                yield from _parts(inner)


def open_config(
    tree: Any, folder: Path, place: str, *, trust: bool, plugins: Sequence[Any] = ()
) -> tuple[Config, list[Wish]]:
    """Return the configuration that a folder describes.

    Args:
        tree: What `prediction_tree` returned, as it was read.
        folder: Where the model lies.
        place: The file that `tree` is from, for messages.
        trust: Grant whatever it asks for.
        plugins: Classes and objects passed in Python, whose components may be picked.

    Returns:
        The configuration, and the wishes that were granted.

    Raises:
        UntrustedError: It asks for more than installed components.
        ModelError: It cannot be understood.
    """
    if isinstance(tree, dict):
        tree = {"loss": {"type": "auto"}, **tree}  # which a folder of before does not say
    if not isinstance(tree, dict) or not all(isinstance(tree.get(name), dict) for name in (*SECTIONS, "plugins")):
        wanted = "the mappings model, data, loss and plugins under config"
        raise ModelError(f"{place}: expected {wanted}, got something else")
    tree = with_passed_metrics(tree, plugins)
    handed_over = entry_names(plugins).values()  # with settings a folder's own counts, and both are refused in words
    named = {name: own for name, own in tree["plugins"].items() if own != {} or name not in handed_over}
    tree = {**tree, "plugins": named}
    tree = from_folder(put_back(tree, place, trust=trust), SECTIONS, folder)
    wishes = [*of_sections(tree), *_of_plugins(tree["plugins"], place)]
    wishes += [
        Wish(path, f"reads the folder or downloads {shown_place(tree['model'][name])}")
        for path in _OWN
        if tree["model"].get(name := path.removeprefix("model.")) is not None
    ]
    tree = {**tree, "model": {**tree["model"], "pretrained": str(folder.resolve()), "tokenizer": None}}
    if wishes and not trust:
        # What its settings ask for is named along, as far as they can be understood without what is refused.
        with suppress(ModelError):
            wishes += _of_config(_load(_granting_nothing(tree), place, plugins))
        raise _refusal(wishes, place)
    # Prediction calls no hook, so no module of hooks is imported, trusted or not.
    hooks = tree.pop("hooks", None)
    if missing := missing_code(tree, SECTIONS):
        path, file = missing
        raise ModelError(
            f"{place}: {path}: expected the file {one_line(file, 300)}, whose code takes part in what this predicts, "
            "found none; bring it back to where it was"
        ) from ConfigError([Problem(path, f"there is no file {file}")])
    config = _load(tree, place, plugins)
    left_out = [Wish("hooks", "left out, because prediction calls none")] if hooks else []
    wishes = [*(wish for wish in wishes if wish.path != "hooks"), *_of_config(config), *left_out]
    if wishes and not trust:
        raise _refusal(wishes, place)
    return config, wishes


def needs_trust(config: Config, task: str | None = None) -> bool:
    """Return whether what a run of a configuration writes wants trust when it is opened: it names the user's own code.

    Args:
        config: The configuration that trains.
        task: What the labels are.
    """
    if not isinstance(config.model.settings.head, Selected):
        return False  # a scripted run picks no parts, and writes nothing that opens
    kept = prediction_tree(config, task)["plugins"]
    of_run = [choice for choice in config.plugins if takes_part(choice.loaded.cls, of_run=True)]
    named = {**kept, **{choice.name: plugin_tree(config, choice) for choice in of_run}}
    if any(isinstance(settings, Mapping) and "use" in settings for settings in named.values()):
        return True
    parts = [config.model.settings, config.data.settings, config.loss.settings, *(config.training.metrics or ())]
    parts += [choice.settings for choice in config.plugins if named.get(choice.name)]
    return any(_names_code(part) for part in parts)


def _names_code(settings: Any) -> bool:
    if isinstance(settings, Selected):
        return _names_code(settings.settings)
    fields = attrs.fields(type(settings)) if attrs.has(type(settings)) else ()
    values = [(field, getattr(settings, field.name)) for field in fields]
    return any(
        place_of(field, value) == "code" or any(_names_code(inner) for inner in _inside(value))
        for field, value in values
    )


def _load(tree: Mapping[str, Any], place: str, plugins: Sequence[Any]) -> Config:
    try:
        return load_config(tree, extra_plugins=plugins)
    except ConfigError as error:
        listed = "\n  ".join(one_line(as_handed_over(str(problem)), 1000) for problem in error.problems)
        raise ModelError(f"{place}: expected components and settings that are known here, got:\n  {listed}") from error


def _granting_nothing(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a tree that names installed components and their settings."""
    named = {name: value for name, value in tree["plugins"].items() if not [*_of_plugins({name: value}, "")]}
    return {**{name: tree[name] for name in SECTIONS}, "plugins": named}


def _refusal(wishes: list[Wish], place: str) -> UntrustedError:
    listed = "\n  ".join(dict.fromkeys(map(str, wishes)))
    return UntrustedError(
        f"{place}: expected nothing but installed components and their settings, got a folder that asks for more:\n"
        f"  {listed}\n"
        "nothing of this was done; if you know who wrote it and want it, say --trust (in Python: trust=True)"
    )


def _of_config(config: Config) -> Iterator[Wish]:
    """Yield what typed settings ask for, and the plugins of others that offer nothing which prediction needs."""
    yield from (wish for wish in _of_settings("model", config.model.settings) if wish.path not in _OWN)
    yield from _of_settings("data", config.data.settings)
    yield from _of_settings("loss", config.loss.settings)
    for metric in config.training.metrics or ():
        yield from _of_settings("training.metrics", metric)
    needed = _providers(config) | reading_plugins(config).keys()
    for choice in config.plugins:
        yield from _of_settings(f"plugins.{choice.name}", choice.settings)
        predicts = any(takes_part(choice.loaded.cls, of_run=run) for run in (True, False))
        if choice.loaded.origin != "built-in" and not (choice.loaded.label in needed or predicts):
            yield Wish(f"plugins.{choice.name}", "is a plugin that prediction does not need")


def _of_plugins(named: Mapping[str, Any], place: str) -> Iterator[Wish]:
    """Yield the plugins that are no installed ones with components; nothing is imported to find out."""
    known = installed()
    for name, settings in named.items():
        if isinstance(settings, dict) and "use" in settings:
            module, _, attribute = str(settings["use"]).rpartition(":")
            named_code = one_line(module or attribute, 300)
            yield Wish(f"plugins.{one_line(name)}.use", f"imports {named_code} and makes its {one_line(attribute)}")
        elif settings is False or not NAME.fullmatch(name):
            continue  # what is no name is refused when it is loaded
        elif name not in known:
            raise ModelError(
                f"{place}: plugins.{one_line(name)}: expected an installed plugin, since the model has a part of it, "
                "got a name that no installed package offers; install the package"
            )
        elif known[name].distribution != "stepbus" and not (
            may_offer_components(known[name].value, beside=_TRAINING)
            or may_implement(known[name].value, PREDICTION_HOOKS)
        ):
            yield Wish(f"plugins.{name}", f"imports {known[name].value}, which offers nothing that prediction needs")


def _of_settings(path: str, settings: Any) -> Iterator[Wish]:
    """Yield the places and the code that typed settings name."""
    if isinstance(settings, Selected):
        yield from _of_settings(path, settings.settings)
    if not attrs.has(type(settings)) or isinstance(settings, Selected):
        return
    for field in attrs.fields(type(settings)):
        value, here = getattr(settings, field.name), f"{path}.{field.alias or field.name}"
        kind = place_of(field, value)
        if kind == "code":
            module, _, function = str(value).rpartition(":")
            yield Wish(here, f"imports {module} and calls its {function}")
        elif kind is not None and value != field.default:
            does = {"source": "reads the folder or downloads", "output": "writes to"}.get(kind, "reads or writes")
            yield Wish(here, f"{does} {shown_place(value)}")
        for inner in _inside(value):
            yield from _of_settings(here, inner)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    yield from value if isinstance(value, tuple | list) else (value,)
