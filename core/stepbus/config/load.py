"""A configuration: read, laid over the defaults, its plugins imported by name, everything typed, every problem at once.

The order: files to marked trees → layers → plugins' `expand` → import what is named → components → settings. Neither
MLX nor data nor weights are touched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from stepbus.base import Components, ConfigError, Problem, Selected, StepbusError, values_without_secrets
from stepbus.base.scoring import with_metrics
from stepbus.base.trees import Given, Mark, Node, collecting, make_settings, plain, select, show_path
from stepbus.config.between import across, contradictions, off_and_set
from stepbus.config.choices import Loader, PluginChoice, Plugins, choice
from stepbus.config.copies import CopiedConfig
from stepbus.config.discovery import plugins as installed_plugins
from stepbus.config.keywords import keyword_layer, late_keywords, section_classes
from stepbus.config.layers import (
    COMPONENT_SECTIONS,
    TOP_KEYS,
    home_of,
    in_order,
    merge,
    merge_all,
    override_layer,
    read_defaults,
    read_layers,
    what_stays,
)
from stepbus.config.normaliser import Normaliser
from stepbus.config.original import leave_out, spell_values
from stepbus.config.sections import BASES as BASES
from stepbus.config.sections import EnvironmentSettings, TrainingSettings
from stepbus.config.showing import ShownConfig
from stepbus.config.suggestions import Suggestions, aliases, as_keyword

_PLACED = re.compile(rf"((?:{'|'.join(BASES)}|plugins)(?:\.\w+|\[\d+\])*): (.*)", re.DOTALL)


@frozen(eq=False, repr=False)
class Config(ShownConfig, CopiedConfig):
    """A whole configuration, typed and checked; `print` shows what was set, as YAML.

    Args:
        tree: What was written, over the defaults, as plain values; it loads again as it is.
        marks: Dotted path → where the value was written.
        model: The section, as the component that its `type` picked.
        data: The same.
        loss: The same.
        optimizer: The same.
        scheduler: The same.
        training: The section's settings.
        environment: The section's settings.
        plugins: Those switched on, in call order.
        hooks: Modules of hook functions: names, or files by absolute path.
        components: What the plugins offer.
        base: The folder that the configuration came from.
        notes: What was written and has no effect, with file and line.
        dropped: Those notes whose settings are in no section, and so would not be said of what is made of this one.
    """

    tree: dict[str, Any]
    marks: dict[str, Mark]
    model: Selected
    data: Selected
    loss: Selected
    optimizer: Selected
    scheduler: Selected
    training: TrainingSettings
    environment: EnvironmentSettings
    plugins: tuple[PluginChoice, ...]
    hooks: tuple[str, ...]
    components: Components
    base: Path
    _user: Node
    _loader: Loader
    _extras: tuple[Any, ...]
    notes: tuple[str, ...] = ()
    dropped: tuple[Problem, ...] = ()

    def names_plugin(self, name: str) -> bool:
        """Return whether a plugin was named by whoever wrote the configuration, not by another plugin's `expand`."""
        return "plugins" in self._user.value and name in self._user.value["plugins"].value

    def updated(
        self,
        keywords: Mapping[str, Any],
        overrides: Sequence[str] = (),
        plugins: Iterable[Any] = (),
        loader: Loader | None = None,
    ) -> Config:
        """Return the configuration with some settings changed, and with further plugins that were passed in Python.

        Args:
            keywords: Settings by name, by dotted path or by section__name.
            overrides: "section.key=value", as on the command line.
            plugins: Classes, instances and modules; those that are there already stay once.
            loader: What finds and imports plugins from now on; none keeps the one that there is.

        Raises:
            ConfigError: Every problem at once.
        """
        extras = list(self.extras)
        for plugin in with_metrics(plugins, keywords):
            if not any(plugin is known for known in extras):
                extras.append(plugin)
        if not (keywords or overrides or len(extras) > len(self.extras)) and loader in (None, self._loader):
            return self
        return _assemble(
            [self._user], self.base, overrides, keywords, tuple(extras), loader or self._loader, [], self.dropped
        )

    @classmethod
    def of_written(cls, user: Node, base: Path, extras: tuple[Any, ...], dropped: Sequence[Problem], by: Any) -> Config:
        """Return the configuration of what was written, as a copy or a pickle has it; `by` finds plugins."""
        return _assemble([user], base, (), {}, extras, by or installed_plugins, [], dropped)

    @property
    def extras(self) -> tuple[Any, ...]:
        """The classes, instances and modules that were passed in Python."""
        return self._extras

    def resolved(self) -> dict[str, Any]:
        """Return every setting with its value, defaults included, as JSON values; they load again as the same run."""
        values = self._values(places=True)
        # What was switched off would be switched on again by the defaults; a plugin of one's own is found by its `use`.
        for name, written in self.tree["plugins"].items():
            if written is False:
                values["plugins"][name] = False
            elif isinstance(written, Mapping):
                own = {key: written[key] for key in ("use", "on_error") if key in written}
                values["plugins"][name] = {**own, **values["plugins"][name]}
        return values

    def digest(self) -> str:
        """Return a SHA-256 of everything that decides what the run computes.

        Where files lie, where results go and how a value was spelt make no difference.
        """
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()

    def deciding(self) -> dict[str, Any]:
        """Return every setting that decides what the run computes, as JSON values, without mere places."""
        return self._values(places=False)

    def locate(self, problem: Problem) -> Problem:
        """Return a problem with the file and line of its path, or of what is nearest above it."""
        path = problem.path
        while path and path not in self.marks:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]  # of training.metrics[1] too
        mark = self.marks.get(path)
        if problem.file or mark is None or " (written " in problem.path:  # it has been located
            return problem
        named = f"{path} (written {mark.written})" if mark.written and path == problem.path else problem.path
        return attrs.evolve(problem, path=named, file=mark.file, line=mark.line)

    def place(self, error: StepbusError) -> Problem:
        """Return an error as a problem, with file and line where its words begin with a section or a setting's path."""
        found = _PLACED.fullmatch(str(error))
        if found is None:
            return Problem("", str(error))
        problem = self.locate(Problem(found[1], found[2]))
        return attrs.evolve(problem, message=problem.message + self._remedy(problem))

    def _remedy(self, problem: Problem) -> str:
        """Return where to give a setting that somebody misses, or ""."""
        if problem.path in self.marks or not problem.message.endswith("got none") or "." not in problem.path:
            return ""
        keyword = as_keyword(tuple(problem.path.split(".")))
        place = problem.file or "a file of yours"
        return f"; give it in {place}, with --set {problem.path}=…, or in Python as {keyword}=…"

    def _values(self, *, places: bool) -> dict[str, Any]:
        sections = {name: plain(getattr(self, name), places=places) for name in BASES}
        chosen = {choice.name: plain(choice.settings, places=places) or {} for choice in self.plugins}
        hooks = [hook if places else Path(hook).name for hook in self.hooks]
        found: dict[str, Any] = values_without_secrets({**sections, "plugins": chosen, "hooks": hooks})
        return found


def load_config(
    source: Path | str | Mapping[str, Any] | Config | None = None,
    overrides: Sequence[str] = (),
    keywords: Mapping[str, Any] | None = None,
    extra_plugins: Iterable[Any] = (),
    loader: Loader = installed_plugins,
) -> Config:
    """Load and check a configuration.

    Args:
        source: A file, a preset's name, plain values, a configuration, or None for the defaults alone.
        overrides: "section.key=value" each, as after --set; the last one counts.
        keywords: Settings by name (`learning_rate=1e-5`), sections and plugins by theirs (`early_stopping=True`).
        extra_plugins: Classes, instances and modules passed in Python: their components may be picked, and a trainer of
            this configuration calls their hooks.
        loader: What finds and imports plugins.

    Raises:
        ConfigError: Every problem at once, in the order of the files.

    Example:
        >>> load_config("run.yaml", overrides=["training.num_epochs=1"]).training.num_epochs
        1
    """
    extras = with_metrics(extra_plugins, source, keywords)
    if isinstance(source, Config):
        return source.updated(keywords or {}, overrides, extras, None if loader is installed_plugins else loader)
    problems: list[Problem] = []
    layers, base = read_layers(source, problems)
    return _assemble(layers, base, overrides, keywords or {}, extras, loader, problems)


def _assemble(
    layers: list[Node],
    base: Path,
    overrides: Sequence[str],
    keywords: Mapping[str, Any],
    extras: tuple[Any, ...],
    loader: Loader,
    problems: list[Problem],
    dropped: Iterable[Problem] = (),
) -> Config:
    known = loader.installed()
    normalise = Normaliser(known, problems)
    normalise.dropped += dropped
    by_path, late = keyword_layer(keywords, known, problems)
    files = [normalise(layer) for layer in layers]
    over = [override_layer(text, problems) for text in overrides]
    named = [text.partition("=")[0].strip() for text in overrides]
    problems += off_and_set(list(zip(named, over, strict=True)), aliases(), TOP_KEYS)
    typed = [normalise(layer) for layer in (by_path, *over)]
    user = merge_all([*files, *typed])
    normalise.dropped += what_stays(merge_all(files), typed[0])
    defaults = normalise(read_defaults())
    # What a section lacks is missing in the user's file, not in the defaults.
    home = Mark(layers[-1].mark.file if layers and not layers[-1].mark.preset else None, None, base)
    for name in BASES:
        defaults.value[name] = defaults.value[name].remark(lambda mark: home)
    chosen = Plugins(loader, normalise, problems)
    tree = chosen.expand(defaults, user)
    components = chosen.components(extras)
    notes = chosen.check_kinds(components)
    users = user.value["plugins"].value if "plugins" in user.value else {}
    by_name = late_keywords(late, tree, components, chosen.loaded, known, users, BASES, problems)
    problems += contradictions(typed[0], by_name)
    user, tree = merge(user, by_name), merge(tree, by_name)
    # Structuring writes absolute paths into the tree and takes stale keys out: it gets a copy.
    tree = tree.remark(lambda mark: mark)
    for name in BASES:
        tree.value[name] = Node(tree.value[name].value, home_of(name, files, home))
    plugins = tree.value["plugins"].value
    plugins |= {name: Node(node.value, home) for name, node in plugins.items() if node.mark.preset}

    spell_values(tree, components.names("metric"))
    classes = section_classes(tree, components, BASES)
    normalise.dropped += leave_out(tree, classes, components)
    classes |= {("plugins", name): each.config_class for name, each in chosen.loaded.items() if each.config_class}
    classes |= {("data", "readers", part.name): part.config for part, _ in components if part.kind == "reader"}
    root = Given(tree, components=components, near=Suggestions(classes, components).at, incomplete=chosen.failed)
    sections: dict[str, Any] = {}
    for name, cls in BASES.items():
        with collecting(problems):
            given = root.inner(name)
            sections[name] = select(given, name, cls) if name in COMPONENT_SECTIONS else make_settings(given, cls)
    choices = [choice(loaded, root, problems) for loaded in chosen.loaded.values()]
    problems += components.unpicked(BASES)
    if not problems:
        problems += across(sections, tree)
    if problems:
        raise ConfigError(in_order(problems))
    return Config(
        tree=tree.plain(),
        marks={show_path(path): node.mark for path, node in tree.walk() if path},
        plugins=tuple(choices),
        hooks=tuple(tree.value["hooks"].plain()),
        components=components,
        base=base,
        notes=tuple(dict.fromkeys(map(str, [*normalise.dropped, *root.notes, *notes]))),
        dropped=tuple(dict.fromkeys(normalise.dropped)),
        user=user,
        loader=loader,
        extras=extras,
        **sections,
    )
