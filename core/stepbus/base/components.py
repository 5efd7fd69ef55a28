"""Named, typed parts that a plugin class offers: an optimizer, a metric, a pooling, a data source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs
from attrs import evolve, field, frozen

from stepbus.base.errors import PluginError, StepbusError, did_you_mean, error_words
from stepbus.base.guards import FACTS, Maker, unheard_hooks
from stepbus.base.guards import WANTED as WANTED
from stepbus.base.problems import Problem
from stepbus.base.row_sources import claimed, reader_problem
from stepbus.base.settings import show, show_python

# What a section of a configuration or a setting of the section `model` or `training` picks.
KINDS = ("model", "head", "pooling", "loss", "optimizer", "scheduler", "metric", "data", "reader")


@frozen
class Component:
    """A part that a section or a setting picks by name.

    Args:
        kind: What it is: model, head, pooling, loss, optimizer, scheduler, metric, data, …
        name: How YAML names it, in `type:`.
        config: The attrs class of its settings; it is the schema of the section that picks it.
        build: Called with an instance of `config` and what the kind passes along; returns the part.
        metadata: What the kind wants known before anything is built, by name:
            head: `task` (binary, multiclass, multilabel or regression; None for any).
            loss: `tasks` that it is for.
            metric: `tasks` that it is for, `default` (those that have it without being asked), `greater_is_better`.
            optimizer: `averages` (whether its `weights` are evaluated and exported) is False unless said.
            reader: `suffixes` (endings of the files that it reads) or `schemes` (what stands before the colon of its
            sources), or both; `packed` (whether its files may also come as .gz or .zip) and `file` (whether a path
            stands behind its schemes, up to the first # or ?) are False unless said.
            model: `from_scratch` (names of settings that a pretrained folder has itself), `config` (settings → the
            content of config.json, weights unread), `shapes` (settings → parameter name → shape of the encoder,
            weights unread), `encoder` (settings → the encoder as it is built, weights unread, for the estimates of
            `stepbus plan`); all four are optional, and what none says is known once the model is built.

    Example:
        >>> class Offers:  # a plugin; `scheduler: {type: plain}` picks what it offers
        ...     components = [Component("scheduler", "plain", SchedulerSettings, Scheduler)]
        >>> create_trainer(config={"scheduler": "plain"}, plugins=[Offers]).config.scheduler.name
        'plain'
    """

    kind: str
    name: str
    config: type
    build: Callable[..., Any]
    metadata: dict[str, Any] = field(factory=dict)

    def unfit(self, base: type | None = None) -> str:
        """Return why no configuration can pick it, whatever its settings, or nothing.

        Args:
            base: The class that the settings of its section extend.
        """
        where = f"the {self.kind} {self.name!r}"
        if not callable(self.build):
            return f"{where}: expected a function as build, got {show_python(self.build)}"
        if base is not None and not (isinstance(self.config, type) and issubclass(self.config, base)):
            return f"{where}: its settings must extend stepbus.{base.__name__}"
        if not (isinstance(self.config, type) and attrs.has(self.config)):
            got = self.config.__name__ if isinstance(self.config, type) else show_python(self.config)
            return f"{where}: expected an attrs class as settings (write @define(frozen=True, kw_only=True)), got {got}"
        if not isinstance(self.metadata, dict):
            return f"{where}: expected a dictionary as metadata, got {self.metadata!r}"
        wanted = WANTED.get(self.kind, {})
        missing = ", ".join(f'"{name}": {wanted[name]}' for name in wanted if name not in self.metadata)
        if missing:
            return f"{where}: expected metadata={{{missing}}} in its Component, got none"
        for name, (fine, expected) in FACTS.get(self.kind, {}).items():
            if name in self.metadata and not fine(self.metadata[name]):
                return f"{where}: metadata: {name}: expected {expected}, got {self.metadata[name]!r}"
        wrong = reader_problem(self.metadata) if self.kind == "reader" else ""
        wrong = wrong or (self.unheard(self.build) if isinstance(self.build, type) else "")
        return f"{where}: {wrong}" if wrong else ""

    def unheard(self, part: Any) -> str:
        """Return what is wrong with the hooks of a part, or its class, that nobody would call; "" where that is fine.

        One that is a plugin itself (`is_plugin` in the metadata) is called as such.
        """
        return "" if self.metadata.get("is_plugin") else unheard_hooks(part, self.kind)

    def unnamed(self) -> str:
        """Return why nobody could name it, or nothing."""
        for what, value in (("kind", self.kind), ("name", self.name)):
            if not isinstance(value, str) or not value.strip() or not value.isprintable():
                return f"expected a text as {what} of each Component, got {value!r}"
        return ""


@frozen
class Selected:
    """A component that a configuration picked, with its settings; `provider` offers it, a metric may be `called` so.

    Example:
        >>> isinstance(load_config("production").scheduler, Selected), load_config("production").scheduler.name
        (True, 'cosine')
    """

    component: Component
    settings: Any
    provider: str = field(default="", eq=False, repr=False)
    called: str = ""

    @property
    def name(self) -> str:
        return self.component.name

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Build the part; the arguments are those of its kind.

        Raises:
            PluginError: Its build raised, `sys.exit` included, which would end a run in silence, or gave nothing.
        """
        try:
            part = self.component.build(self.settings, *args, **kwargs)
        except (KeyboardInterrupt, MemoryError, StepbusError):
            raise
        except BaseException as error:
            kind = self.component.kind
            told = f" (`stepbus contracts {kind}` says what it is given)" if kind in KINDS else ""
            raise self._unbuilt(f"{error_words(error)}; mend its build{told}, or pick another {kind}") from error
        if part is None:
            raise self._unbuilt("its build returned None; return the part")
        if wrong := self.component.unheard(part):
            raise self._unbuilt(wrong)
        return part

    @property
    def maker(self) -> Maker:
        """How messages name the part, and whom it comes from."""
        return Maker(f"the {self.component.kind} {self.name!r}", self.provider)

    def _unbuilt(self, why: str) -> PluginError:
        return PluginError(self.maker.signed(f"{self.maker.said} cannot be built: {why}"))

    def build_a(self, cls: type, *args: Any, **kwargs: Any) -> Any:
        """Build the part, which is to be an instance of a class, or what the class's `adopt` makes of it.

        Raises:
            PluginError: It is something else, or cannot be built.
        """
        part = self.build(*args, **kwargs)
        if not isinstance(part, cls) and hasattr(cls, "adopt"):
            adopted = cls.adopt(part)
            if adopted is not None:
                # A schedule's hooks are called where it is taken as it is, and not behind what stands for it.
                mend = f"extend stepbus.{cls.__name__}, or have the methods that it has"
                if adopted is not part and (wrong := unheard_hooks(part, "function", mend)):
                    raise self._unbuilt(wrong)
                return adopted
        if not isinstance(part, cls):
            expected = f"{cls.__module__.split('.')[0]}.{cls.__name__}"
            got = f"the class {part.__name__}" if isinstance(part, type) else show_python(part)
            raise self._unbuilt(f"expected its build to return a {expected}, got {got}")
        return part


def components_of(plugin: Any, label: str) -> list[Component]:
    """Return the components that a plugin offers.

    Args:
        plugin: A class, an instance or a module.
        label: How messages name it.

    Raises:
        PluginError: `components` is no list of them.
    """
    found = getattr(plugin, "components", ())
    if not isinstance(found, list | tuple):
        raise PluginError(f"{label}: expected components = [stepbus.Component(…), …], got {show_python(found)}")
    for part in found:
        if not isinstance(part, Component):
            got = part.__name__ if isinstance(part, type) else show_python(part)
            raise PluginError(f"{label}: expected components = [stepbus.Component(…), …], got {got} in it")
        if problem := part.unnamed():
            raise PluginError(f"{label}: {problem}")
    return list(found)


class Components:
    """The components of all loaded plugins, by kind and name.

    Args:
        elsewhere: Says how to switch on who offers a component, given its kind and name, where a plugin that is
            installed does; "" where none does.
    """

    def __init__(self, elsewhere: Callable[[str, str], str] = lambda kind, name: "") -> None:
        self._parts: dict[tuple[str, str], tuple[Component, str]] = {}
        self._homes: dict[tuple[str, str], Problem] = {}
        self._claims: dict[str, str] = {}
        self._asked: set[tuple[str, str]] = set()
        self._elsewhere = elsewhere

    def add(self, component: Component, provider: str, home: Problem | None = None) -> None:
        """Take in a component of a plugin, as messages name it, and where that was switched on, if anywhere.

        Raises:
            PluginError: Another plugin offers the same kind and name, or reads the same files.
        """
        key = (component.kind, component.name)
        if key in self._parts:
            passed = all(who.endswith("(passed in Python)") for who in (self._parts[key][1], provider))
            if component.kind == "metric" and passed:
                raise PluginError(
                    f"two metrics passed in Python are called '{component.name}': give one a class with a name of its "
                    'own (name = "…"), or leave one out of metrics=[…]'
                )
            raise PluginError(
                f"two plugins offer the {component.kind} '{component.name}': {self._parts[key][1]} and {provider}; "
                "switch one of them off under plugins:"
            )
        claims = claimed(component.kind, component.metadata)
        for claim in claims:
            if claim in self._claims:
                raise PluginError(
                    f"two plugins read {claim}: {self._claims[claim]} and {provider}; "
                    "switch one of them off under plugins:"
                )
        self._claims |= dict.fromkeys(claims, provider)
        self._parts[key] = (component, provider)
        self._homes[key] = home or Problem("plugins", "")

    def misfit(self, component: Component, words: str) -> Problem:
        """Return what is wrong with a component as a problem of the plugin that offers it."""
        home = self._homes[component.kind, component.name]
        return evolve(home, message=f"{self.provider(component)}: {words}")

    def names(self, kind: str) -> list[str]:
        """Return the names known for a kind, in order of arrival."""
        return [name for part_kind, name in self._parts if part_kind == kind]

    def get(self, kind: str, name: str) -> Component:
        """Return one component.

        Raises:
            PluginError: No loaded plugin offers it.
        """
        self._asked.add((kind, name))
        try:
            return self._parts[kind, name][0]
        except KeyError:
            raise PluginError(f"expected a known {kind}, got {show(name)}{self.nearest(kind, name)}") from None

    def nearest(self, kind: str, name: str) -> str:
        """Return the end of a sentence about a name that no component of a kind has: who has it, or what is known."""
        known = self.names(kind)
        switch = self._elsewhere(kind, name)
        near = f"; what offers it is installed: switch it on with {switch}" if switch else did_you_mean(name, known)
        return f"{near}; known: {', '.join(sorted(known)) or 'none, no plugin that offers one is switched on'}"

    def of_other_kinds(self, kinds: Collection[str]) -> Iterator[tuple[str, bool]]:
        """Yield a sentence for each that nothing can pick, and whether its kind looks like a misspelt one.

        Args:
            kinds: The kinds that sections and settings pick.
        """
        for part, provider in self:
            if part.kind not in kinds:
                near = did_you_mean(part.kind, kinds)
                known = ", ".join(sorted(kinds))
                yield f"{provider}: {part.name!r}: expected a kind out of {known}, got {part.kind!r}{near}", bool(near)

    def unpicked(self, bases: Mapping[str, type]) -> Iterator[Problem]:
        """Yield what is wrong with those that nobody asked for; `bases` has the class that settings of each extend."""
        for key, (part, _) in self._parts.items():
            if key not in self._asked and (problem := part.unfit(bases.get(part.kind))):
                yield self.misfit(part, problem)

    def provider(self, component: Component) -> str:
        """Return who offers a component that is known, as messages name it."""
        return self._parts[component.kind, component.name][1]

    def __iter__(self) -> Iterator[tuple[Component, str]]:
        return iter(self._parts.values())
