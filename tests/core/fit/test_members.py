"""From plugins named in a configuration, or passed in Python, to members of a bus."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import define

from stepbus import Component, PluginError, hookimpl, load_config
from stepbus.base.components import Components
from stepbus.fit.members import Prototype, for_fit, plugin_table, prototypes, run_scoped
from stepbus.kernel import Bus
from stepbus.kernel.member import Member


class Plain:
    @hookimpl
    def on_step_end(self) -> None: ...


class Remembers:
    @define(frozen=True, kw_only=True)
    class Config:
        start: int = 3

    def __init__(self, config: Config) -> None:
        self.config, self.count = config, config.start

    @hookimpl
    def on_step_end(self) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.count = saved["count"]


@pytest.fixture
def members(tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    return lambda *extras: prototypes(load_config(tiny_config()), extras)


def test_extras_come_after_what_the_configuration_names(members: Callable[..., Any]) -> None:
    found = members(Plain, Remembers(Remembers.Config(start=5)))
    assert [member.name for member in found][-2:] == ["plain", "remembers"]
    assert [member.scope for member in found][-2:] == ["fit", "fit"]


def test_an_object_without_settings_serves_the_whole_run(members: Callable[..., Any]) -> None:
    plugin = Plain()
    found = members(plugin)
    assert found[-1] in run_scoped(found)
    assert for_fit(found, [], alone=False, extras=[plugin])[-1].plugin is plugin


def test_each_fit_has_instances_of_its_own(members: Callable[..., Any]) -> None:
    plugin = Remembers(Remembers.Config(start=5))
    found = members(plugin)
    first, second = (for_fit(found, [], alone=False, extras=[plugin])[-1].plugin for _ in range(2))
    assert first is not second
    assert first is not plugin
    assert first.count == 5
    assert for_fit(found, [], alone=True, extras=[plugin])[-1].plugin is plugin


def test_a_built_component_with_hooks_joins_under_its_name(members: Callable[..., Any]) -> None:
    found = for_fit(members(), [("scheduler.mine", Plain()), ("scheduler.quiet", object())], alone=True)
    assert [member.name for member in found][-1] == "scheduler.mine"


class HearsTheRun(Remembers):
    @hookimpl
    def finish_predictions(self, predictions: Any) -> None: ...


class ServesTheRun(HearsTheRun):
    scope = "run"


class Nowhere(Plain):
    scope = "runs"


def test_a_hook_of_the_run_is_heard_or_refused_however_it_was_passed(members: Callable[..., Any]) -> None:
    words = r'HearsTheRun \(passed in Python\): finish_predictions belongs to the run; write scope = "run" in the class'
    for passed in (HearsTheRun, HearsTheRun(HearsTheRun.Config())):
        with pytest.raises(PluginError, match=words):
            members(passed)
    for passed in (ServesTheRun, ServesTheRun(ServesTheRun.Config())):
        assert len(run_scoped(members(passed)[-1:])) == 1
        assert Bus(run_scoped(members(passed))).hears("finish_predictions")


def test_another_scope_is_refused_wherever_it_comes_from(members: Callable[..., Any], tmp_path: Path) -> None:
    for passed in (Nowhere, Nowhere()):
        with pytest.raises(PluginError, match=r'Nowhere \(.*\): expected scope = "run" or "fit", got \'runs\''):
            members(passed)
    file = tmp_path / "nowhere.py"
    hook = "from stepbus import hookimpl\nclass Nowhere:\n    scope = None\n    @hookimpl\n"
    file.write_text(hook + "    def on_step_end(self): ...\n")
    with pytest.raises(PluginError, match=r'nowhere\.py: expected scope = "run" or "fit", got None'):
        prototypes(load_config({"plugins": {"mine": {"use": f"{file}:Nowhere"}}}))


def test_what_listens_to_nothing_is_refused(members: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match="it has neither hooks nor components; write @hookimpl"):
        members(object())
    with pytest.raises(PluginError, match="no function in it is a hook"):
        members(ModuleType("empty"))


def test_two_of_one_name_are_refused(members: Callable[..., Any]) -> None:
    with pytest.raises(PluginError, match=r"two plugins are called 'plain'; .* in Python .*: class Other\(Plain\)$"):
        members(Plain(), Plain())
    same = Plain()
    with pytest.raises(
        PluginError, match=r"^the plugin 'plain' was passed twice; plugins= and callbacks= are one list"
    ):
        members(same, same)


def test_two_plugins_that_offer_one_component_are_both_named() -> None:
    parts = Components()
    part = Component("metric", "mine", Remembers.Config, lambda settings: None)
    parts.add(part, "first, a 1")
    with pytest.raises(PluginError, match="two plugins offer the metric 'mine': first, a 1 and second, b 2"):
        parts.add(part, "second, b 2")
    with pytest.raises(PluginError, match=r"expected a known metric, got 'mien' \(did you mean 'mine'\?\)"):
        parts.get("metric", "mien")


def test_a_plugin_for_hooks_to_come_is_refused_wherever_it_comes_from(tmp_path: Path) -> None:
    class Future:
        requires_hooks = 99

        @hookimpl
        def on_step_end(self) -> None: ...

    with pytest.raises(PluginError, match=r"Future \(passed in Python\) needs hooks version 99, this stepbus has 2"):
        prototypes(load_config(None), [Future])
    (tmp_path / "later.py").write_text(
        "from stepbus import hookimpl\nrequires_hooks = 99\n\n@hookimpl\ndef on_step_end(): ...\n"
    )
    with pytest.raises(PluginError, match=r"later.py needs hooks version 99, this stepbus has 2"):
        prototypes(load_config({"hooks": [str(tmp_path / "later.py")]}))


def test_the_table_of_plugins_tells_settings_apart_by_digest() -> None:
    tables = [
        plugin_table(prototypes(load_config({"plugins": {"early_stopping": {"patience": patience}}})))
        for patience in (2, 3, 3)
    ]
    first, second, same = (table["early_stopping"] for table in tables)
    assert first["distribution"] == "stepbus"
    assert first["settings"] != second["settings"]
    assert second == same


def test_the_table_of_plugins_holds_objects_and_modules_of_hooks(members: Callable[..., Any], tmp_path: Path) -> None:
    hooks = tmp_path / "my_hooks.py"
    hooks.write_text("from stepbus import hookimpl\n\n@hookimpl\ndef on_step_end(): ...\n")
    config = load_config({"hooks": [str(hooks)]})
    found = plugin_table(prototypes(config, [Plain, Remembers(Remembers.Config(start=5))]))
    other = plugin_table(prototypes(config, [Plain, Remembers(Remembers.Config(start=6))]))
    assert found["my_hooks"]["distribution"] == "my_hooks.py"
    assert found["plain"]["distribution"] == "Plain"
    assert all(len(found[name]["version"]) == 16 for name in ("my_hooks", "plain", "remembers"))
    changed = {name for name in found if found[name] != other[name]}
    assert changed == {"remembers"}


def test_a_local_file_has_its_source_for_a_version(tmp_path: Path) -> None:
    text = "from stepbus import hookimpl\n\nclass Mine:\n    @hookimpl\n    def on_step_end(self): ...\n"
    versions = []
    for folder, source in (("a", text), ("b", text), ("c", text + "# another\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(source)
        tree = {"plugins": {"mine": {"use": str(tmp_path / folder / "mine.py") + ":Mine"}}}
        versions.append(plugin_table(prototypes(load_config(tree)))["mine"]["version"])
    assert versions[0] == versions[1] != versions[2]


def test_a_class_is_looked_at_before_it_is_made(members: Callable[..., Any]) -> None:
    class Loud:
        def __init__(self) -> None:
            raise AssertionError("made")

    with pytest.raises(PluginError, match=r"Loud \(passed in Python\): it has neither hooks nor components"):
        members(Loud)


def test_a_fits_members_are_made_from_prototypes_and_know_what_messages_say(members: Callable[..., Any]) -> None:
    found = members(Remembers)
    (before,) = [each for each in found if each.name == "remembers"]
    (after,) = [each for each in for_fit(found, [], alone=True) if each.name == "remembers"]
    assert (type(before), type(after)) == (Prototype, Member)
    assert after.plugin is not before.plugin
    assert (after.name, after.label, after.on_error, after.mend) == (
        before.name, before.label, before.on_error, before.mend
    )  # fmt: skip
    assert [type(each) for each in for_fit([Member("mine", "mine", Plain())], [], alone=False)] == [Member]


def test_a_constructor_that_raises_is_named(members: Callable[..., Any]) -> None:
    """It was a traceback; and one that exits ended the command with code 0 and nothing done."""

    class Wants(Plain):
        def __init__(self, config: Any) -> None: ...

    class Exits(Plain):
        def __init__(self) -> None:
            sys.exit(0)

    with pytest.raises(
        PluginError, match=r"^Wants \(passed in Python\): its constructor raised TypeError: .*write one in it$"
    ):
        members(Wants)
    with pytest.raises(
        PluginError, match=r"^Exits \(passed in Python\): its constructor raised SystemExit: 0; mend it"
    ):
        members(Exits)


def test_so_is_one_that_raises_for_its_fit_alone(members: Callable[..., Any]) -> None:
    class Once(Plain):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            if self.made > 1:
                raise ValueError("once is enough")

    with pytest.raises(PluginError, match=r"^Once \(passed in Python\): its constructor raised ValueError: once is"):
        for_fit(members(Once), [], alone=False)


def test_a_class_whose_settings_have_no_default_wants_an_object(members: Callable[..., Any]) -> None:
    class Wanting(Plain):
        @define(frozen=True, kw_only=True)
        class Config:
            goal: float

        def __init__(self, config: Any) -> None: ...

    words = (
        r"Wanting \(passed in Python\): its Config cannot be made of nothing: .*goal.*Wanting\(Wanting\.Config\(…\)\)$"
    )
    with pytest.raises(PluginError, match=words):
        members(Wanting)
    assert members(Wanting(Wanting.Config(goal=0.5)))[-1].name == "wanting"
