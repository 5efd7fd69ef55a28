"""What is wrong with the plugins that are installed and with those that a configuration names."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from stepbus.author.listing import Named, aligned, named
from stepbus.author.probing import TIMEOUT_SECONDS, Finding, arguments_for, probe
from stepbus.base import ConfigError, counted
from stepbus.config.discovery import package_commands, package_names, plugins, presets

ENTRY_POINT_GROUPS = (plugins.GROUP, package_commands.GROUP, presets.GROUP, package_names.GROUP)


@frozen
class Diagnosis:
    """What was found about one plugin.

    Args:
        name: Its name in YAML.
        source: built-in, third-party or local.
        distribution: The package that brings it.
        version: That package's version.
        value: Where its class is.
        milliseconds: How long its import took.
        problems: What is wrong with it, a sentence each.
        components: (kind, name) of each component that it offers.
        claims: What its readers read, which no two plugins that are on may share: "files ending in .csv".
    """

    name: str
    source: str
    distribution: str
    version: str
    value: str
    milliseconds: float
    problems: list[str]
    components: list[tuple[str, str]] = field(factory=list)
    claims: list[str] = field(factory=list)

    @property
    def label(self) -> str:
        """How messages name it: "early_stopping, stepbus 0.1.0"."""
        return f"{self.name}, {self.owner}"

    @property
    def owner(self) -> str:
        """Where it comes from, in a few words."""
        return f"{self.distribution} {self.version}".strip() or self.value


@frozen
class Report:
    """Everything that the doctor found.

    Args:
        plugins: A diagnosis of each plugin.
        problems: What is wrong beside them, a sentence each.
    """

    plugins: list[Diagnosis]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems and not any(each.problems for each in self.plugins)


def examine(config: str | None = None, timeout: float = TIMEOUT_SECONDS) -> Report:
    """Import every installed plugin of others in a process of its own, and look at everything else that can be wrong.

    Args:
        config: A configuration whose own plugins and settings are looked at too.
        timeout: Seconds that the imports of one package may hang.
    """
    known = plugins.installed().values()
    offers = [offer for plugin in known for offer in (plugin, *plugin.rivals, *plugin.hidden)]
    rivals = {plugin.name for plugin in known if plugin.rivals or plugin.hidden}
    commands = plugins.entries(package_commands.GROUP)
    local, problems = _local(config)
    # A name that is offered twice is loaded by its class, so that each of the two is looked at.
    wanted = [arguments_for(offer.name, offer.value if offer.name in rivals else None) for offer in offers]
    wanted += [arguments_for(name, said.use, said.folder) for name, said in local.items()]
    wanted += [["--command", "--", command.value] for command in commands]
    names = plugins.entries(package_names.GROUP)
    wanted += [["--public", "--", name.value] for name in names]
    wanted += [["--config", "--", config]] if config is not None else []
    owners = [offer.distribution for offer in offers] + [str(said.use).rpartition(":")[0] for said in local.values()]
    owners += [each.distribution for each in (*commands, *names)] + ([""] if config is not None else [])
    findings = iter(probe(wanted, timeout, owners))
    diagnoses = [_installed(offer, next(findings), offers) for offer in offers]
    diagnoses += [_of_config(name, said, next(findings)) for name, said in local.items()]
    for command in commands:
        found = next(findings)
        problems += [
            f"the command {command.name!r} of {command.distribution} {command.version} ({command.value}): {reason}"
            for reason in [*filter(None, [found.error]), *found.problems]
        ]
    for name in names:
        if reason := next(findings).error:
            problems.append(f"stepbus.{name.name} of {name.distribution} {name.version} ({name.value}): {reason}")
    problems += package_commands.name_problems() + package_names.name_problems()
    if config is not None:
        found = next(findings)
        problems += [f"{config}: {found.error}"] if found.error else found.problems
    problems += [
        *broken_presets(),
        *presets.hidden_presets(),
        *unseen_entry_points(distributions()),
        *components_twice(diagnoses),
    ]
    return Report(diagnoses, list(dict.fromkeys(problems)))


def _local(config: str | None) -> tuple[dict[str, Named], list[str]]:
    """Return the plugins that a configuration names by `use:`, and why it cannot be read."""
    if config is None:
        return {}, []
    try:
        return {name: said for name, said in named(config)[0].items() if said.use is not None}, []
    except ConfigError as error:
        return {}, [str(problem) for problem in error.problems]


def _installed(offer: plugins.InstalledPlugin, found: Finding, offers: Sequence[plugins.InstalledPlugin]) -> Diagnosis:
    problems = _reasons(found, offer.name, f"{offer.distribution} {offer.version}")
    others = [other for other in offers if other.name == offer.name and other is not offer]
    owners = ", ".join(f"{other.distribution} {other.version}" for other in others)
    if any(other.distribution == plugins.OURS for other in others):
        words = f"its name is that of a built-in plugin, which goes first; use: {offer.value} reaches it"
        problems = [f"{words}, and another name mends it", *problems]
    elif others and offer.distribution != plugins.OURS:
        problems = [f"its name is offered by {owners} too; say which with use: {offer.value}", *problems]
    source = "built-in" if offer.distribution == "stepbus" else "third-party"
    return Diagnosis(
        offer.name, source, offer.distribution, offer.version, offer.value, _milliseconds(found), problems,
        _components(found), _claims(found),
    )  # fmt: skip


def _of_config(name: str, said: Named, found: Finding) -> Diagnosis:
    value = str(said.use)
    problems = _reasons(found, name, Path(value).name.partition(":")[0])
    told = (_milliseconds(found), problems, _components(found), _claims(found))
    return Diagnosis(name, "local", Path(value).name, "", value, *told)


def _reasons(found: Finding, name: str, owner: str) -> list[str]:
    """Return what is wrong, without the name that stands above it and without the advice to switch it off."""
    if not found.error:
        return found.problems
    reason = found.error.removeprefix(f"{name} ({owner}) ").removeprefix(f"{name}, {owner} ")
    return [re.split("; switch it off with|, or switch the plugin off", reason)[0]]


def _milliseconds(found: Finding) -> float:
    return round(found.seconds * 1000, 1)


def _components(found: Finding) -> list[tuple[str, str]]:
    return [(part["kind"], part["name"]) for part in found.description.get("components", ())]


def _claims(found: Finding) -> list[str]:
    return [claim for part in found.description.get("components", ()) for claim in part["claims"]]


def components_twice(diagnoses: Iterable[Diagnosis]) -> list[str]:
    """Return a sentence for each component that two plugins offer, and for all that their readers share.

    Two of one name are a problem already, and are passed over.
    """
    offered: dict[str, dict[str, str]] = {}
    for each in diagnoses:
        found = [f"offer the {kind} {name!r}" for kind, name in each.components]
        for words in [*found, *(f"read {claim}" for claim in each.claims)]:
            offered.setdefault(words, {}).setdefault(each.name, each.label)
    return [
        f"two plugins {words}: {' and '.join(owners.values())}; only one of them can be switched on"
        for words, owners in offered.items()
        if len(owners) > 1
    ]


def broken_presets() -> list[str]:
    """Return a sentence for each preset of a package that is offered twice or has no file."""
    problems = []
    for name in dict.fromkeys(entry.name for entry in plugins.entries(presets.GROUP)):
        try:
            presets.preset_path(name)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def unseen_entry_points(installed: Iterable[Distribution]) -> list[str]:
    """Return a sentence for each editable install whose pyproject.toml names entry points that it has not seen.

    Args:
        installed: The distributions to look at.
    """
    problems = []
    for distribution in installed:
        folder = editable_folder(distribution)
        if folder is None or not (folder / "pyproject.toml").is_file():
            continue
        try:
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        except (OSError, ValueError) as error:
            problems.append(f"{folder / 'pyproject.toml'} cannot be read: {error}")
            continue
        seen = {(point.group, point.name, point.value) for point in distribution.entry_points}
        for group in ENTRY_POINT_GROUPS:
            written: dict[str, Any] = project.get("entry-points", {}).get(group, {})
            unseen = [name for name, value in written.items() if (group, name, value) not in seen]
            if unseen:
                problems.append(
                    f"{distribution.metadata['Name']} is installed from {folder}, whose pyproject.toml now says "
                    f"otherwise about {group}: {', '.join(unseen)}; pip install -e {folder}"
                )
    return problems


def editable_folder(distribution: Distribution) -> Path | None:
    """Return the folder that a distribution is installed from, where it is an editable install."""
    text = distribution.read_text("direct_url.json")
    try:
        where = json.loads(text or "{}")
        editable = where.get("dir_info", {}).get("editable") is True
        return Path(unquote(urlsplit(where["url"]).path)) if editable else None
    except (ValueError, KeyError, AttributeError):
        return None


def render_report(report: Report) -> str:
    """Return a report as text for people: a line for each plugin, what is wrong below it, and a summary."""
    rows = [("wrong" if each.problems else "ok", each.name, each.owner, _time(each)) for each in report.plugins]
    lines = []
    for line, each in zip(aligned(rows), report.plugins, strict=True):
        lines += [line, *(f"       {problem}" for problem in each.problems)]
    if report.problems:
        lines += ["", *report.problems]
    wrong = sum(bool(each.problems) for each in report.plugins)
    count = counted(len(report.plugins), "plugin")
    if report.ok:
        return "\n".join([*lines, "", f"{count}, all is well"])
    others = len(report.problems)
    beside = f", {others} more problem{'s' if others > 1 else ''} beside them" if others else ""
    return "\n".join([*lines, "", f"{count}, {wrong} of them wrong{beside}"])


def _time(diagnosis: Diagnosis) -> str:
    return f"{diagnosis.milliseconds:7.1f} ms"
