"""What fits with overrides are made with: the configuration of each, what builds its parts, and its plugins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from stepbus.base import BadInput, ConfigError, Problem, did_you_mean
from stepbus.config import BASES, Config
from stepbus.fit import Prototype, make
from stepbus.kernel import Fit, check_policy
from stepbus.run.plans.checks import Fault, cut

if TYPE_CHECKING:
    from stepbus.fit import FitBuilder

# Settings, or sections, that are the whole run's, and why.
OF_THE_RUN = {
    "environment": "a run has one folder and one device",
    "hooks": "which plugins are on is the run's",
    "training.seed": "it is in the description of the fit: seed=…",
    "training.exact": "it is about the whole run",
    "data.train": "the rows of a fit are its sets",
    "data.validation": "the rows of a fit are its sets",
    "data.test": "the rows of a fit are its sets",
    **dict.fromkeys(
        [f"data.{name}" for name in ("id", "group", "stratify", "encoding", "separator", "weight", "soft_labels")],
        "the rows were read already",
    ),
}
# What says which labels there are: only an auxiliary fit may have its own.
LABELS = ("data.label", "data.task")


@frozen(eq=False)
class Variant:
    """What the fits of some overrides are made with.

    Args:
        config: The configuration.
        builder: What makes the parts of a fit.
        members: The prototypes of the plugins, those of scope "run" the run's own.
    """

    config: Config
    builder: FitBuilder
    members: tuple[Prototype, ...]


class Variants:
    """The variants of a run, each made once.

    Args:
        plain: That of fits without overrides.
    """

    def __init__(self, plain: Variant) -> None:
        self.plain = plain
        self._known: dict[str, Variant] = {"{}": plain}

    def of(self, fit: Fit) -> Variant:
        """Return the variant of a fit.

        Raises:
            BadInput: Its overrides cannot be used.
        """
        key = _key(fit)
        if key not in self._known:
            config = self.plain.config.updated(dict(fit.overrides))
            members = tuple(_member(each, config) for each in self.plain.members)
            self._known[key] = Variant(config, self.plain.builder.for_config(config), members)
        return self._known[key]

    def groups(self, fits: Sequence[Fit]) -> list[list[Fit]]:
        """Return fits by variant, in order; that of the first fit comes first."""
        found: dict[str, list[Fit]] = {}
        for fit in fits:
            found.setdefault(_key(fit), []).append(fit)
        return list(found.values())

    def problems(self, fits: Sequence[Fit], told: Callable[[Fault, str], Problem]) -> list[Problem]:
        """Return what is wrong with the overrides of fits, once for each.

        Args:
            fits: The fits, each sound by itself.
            told: Returns a fault and its setting as the problem of whoever made it.
        """
        problems: dict[Problem, None] = {}
        for group in self.groups(fits):
            for fit in group:
                refused = [told(Fault("overrides", name, words), str(name)) for name, words in self._refused(fit)]
                problems |= dict.fromkeys(refused)
                if refused or fit is not group[0]:
                    continue
                problems |= dict.fromkeys(self._unusable(fit, told))
        return list(problems)

    def _refused(self, fit: Fit) -> Iterator[tuple[Any, str]]:
        """Yield each override that is none of a fit's, and why."""
        plugins = {member.name: member for member in self.plain.members}
        for name in fit.overrides:
            words = f"fit {fit.name!r} overrides it with {cut(fit.overrides[name])}"
            if not isinstance(name, str) or "." not in name:
                near = did_you_mean(str(name), [*BASES, "plugins"])
                yield name, f"{words}: expected SECTION.SETTING or plugins.NAME.SETTING, got {cut(name)}{near}"
                continue
            section, key, *rest = name.split(".")
            why = OF_THE_RUN.get(section) or OF_THE_RUN.get(f"{section}.{key}")
            if name in LABELS and not fit.auxiliary:
                why = "the labels are the run's; an auxiliary fit may have its own"
            if section == "plugins" and key in plugins and plugins[key].scope == "run":
                why = f"{plugins[key].label} serves the whole run, and one fit has no settings of it"
            elif section == "plugins" and (not rest or rest[0] in ("use", "on_error")):
                why = f"which plugins are on is the run's; override single settings, plugins.{key}.SETTING"
            elif section == "plugins" and key not in plugins:
                why = f"the plugin {key!r} is not on{did_you_mean(key, plugins)}; switch it on for the whole run"
            if why:
                yield name, f"{words}, which no fit can: {why}"

    def _unusable(self, fit: Fit, told: Callable[[Fault, str], Problem]) -> Iterator[Problem]:
        """Yield what is wrong with a configuration that overrides make."""
        try:
            config = self.of(fit).config
        except ConfigError as error:
            for problem in error.problems:
                name = next((name for name in fit.overrides if name.startswith(problem.path) and problem.path), "")
                fault = Fault("overrides", name or fit.overrides, f"fit {fit.name!r} overrides it: {problem.message}")
                yield told(fault, problem.path)
            return
        except BadInput as error:
            yield told(Fault("overrides", fit.overrides, f"fit {fit.name!r} overrides settings: {error}"), "")
            return
        before, now = (
            [(each.name, each.loaded.cls) for each in which.plugins] for which in (self.plain.config, config)
        )
        if before != now:
            changed = " and ".join(sorted({name for name, _ in {*before} ^ {*now}}))
            words = f"the overrides of fit {fit.name!r} switch {changed} on or off, which no fit can; override settings"
            yield told(Fault("overrides", fit.overrides, words), "")


def _key(fit: Fit) -> str:
    return json.dumps(dict(fit.overrides), sort_keys=True, default=repr)


def _member(member: Prototype, config: Config) -> Prototype:
    """Return the prototype of a plugin under another configuration."""
    choice = next((choice for choice in config.plugins if choice.name == member.name), None)
    if member.scope == "run" or choice is None or choice.settings == member.settings:
        return member
    plugin = make(type(member.plugin), choice.settings, member.label)
    found = evolve(member, plugin=plugin, settings=choice.settings, disabled="")
    check_policy(found)
    return found
