"""`plugins doctor`: each plugin in a process of its own, and a sentence for everything that is wrong."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from attrs import define

from stepbus import Component, OptimizerSettings, hookimpl, setting
from stepbus.author import probing
from stepbus.author.checks import problems_of, settings_problems
from stepbus.author.description import describe
from stepbus.author.doctor import (
    Diagnosis,
    Report,
    _installed,
    components_twice,
    editable_folder,
    render_report,
    unseen_entry_points,
)
from stepbus.author.probing import Finding, arguments_for, probe
from stepbus.base.errors import PluginError
from stepbus.base.version import HOOKS_VERSION
from stepbus.config.discovery.plugins import InstalledPlugin, LoadedPlugin, import_module, installed, load_class

fakes = import_module(str(Path(__file__).parents[2] / "fixtures" / "distributions.py"))


def build(settings: Any) -> Any:
    from stepbus import Optimizer

    return type("Fine", (Optimizer,), {"init": lambda *_: {}, "update": lambda self, parameter, *_: (parameter, {})})()


def problems(cls: Any) -> list[str]:
    return problems_of(LoadedPlugin("mine", cls, "mine-pack", "1.0"))


class Watches:
    @hookimpl
    def on_epoch_end(self, state: Any) -> None: ...


@pytest.mark.parametrize("name", [name for name, plugin in installed().items() if plugin.distribution == "stepbus"])
def test_nothing_is_wrong_with_ours(name: str) -> None:
    assert problems_of(load_class(name)) == []


def test_every_hook_that_is_wrong_is_named() -> None:
    class Wrong:
        @hookimpl
        def on_stpe_end(self, state: Any) -> None: ...

        @hookimpl
        def on_epoch_end(self, stat: Any) -> None: ...

        @hookimpl
        def on_run_end(self) -> None: ...

        def on_log(self) -> None: ...

    assert sorted(problems(Wrong)) == [
        "on_epoch_end gives no argument 'stat' (did you mean 'state'?); it gives: trainer, state",
        "on_log is a hook's name; write @hookimpl above it",
        'on_run_end belongs to the run; write scope = "run" in the class',
        "there is no hook 'on_stpe_end' (did you mean 'on_step_end'?)",
    ]


def test_a_plugin_with_nothing_in_it() -> None:
    class Empty: ...

    assert problems(Empty) == ["it has neither hooks nor components; write @hookimpl above its methods"]
    assert problems(lambda: None) == ["expected a class, got a function"]


def test_comparing_by_value() -> None:
    @define
    class ByAttrs(Watches):
        count: int = 0

    @dataclasses.dataclass
    class ByDataclass(Watches):
        count: int = 0

    @define(eq=False)
    class ByIdentity(Watches):
        count: int = 0

    assert ByAttrs() == ByAttrs()
    words = "compares by value, so that two instances may count as one: "
    assert problems(ByAttrs) == [words + "write @define(eq=False)"]
    assert problems(ByDataclass) == [words + "write @dataclass(eq=False)"]
    assert problems(ByIdentity) == []


def test_scope_and_state() -> None:
    class Odd(Watches):
        scope = "epoch"

        def state_dict(self) -> dict[str, Any]:
            return {}

    assert problems(Odd) == [
        'expected scope = "run" or "fit", got \'epoch\'',
        "expected both state_dict and load_state_dict, or neither, as methods",
    ]


def test_a_constructor_that_raises() -> None:
    class Raises(Watches):
        def __init__(self) -> None:
            raise ValueError("no luck")

    assert problems(Raises) == ["it cannot be built from its default settings: ValueError: no luck"]


def test_settings_that_are_wrong() -> None:
    class Plain:
        every = 3

    @define
    class Thawed:
        every: int = setting(3, "how often")

    @define
    class ThawedWithValidator:
        every: int = attrs.field(default=3, validator=attrs.validators.instance_of(int))

    @define(frozen=True, kw_only=True)
    class Unknown:
        every: "NoSuchName" = 3  # type: ignore[name-defined]  # noqa: F821, UP037

    @define(frozen=True, kw_only=True)
    class BadDefaults:
        patience: int = setting(0, "how many", check=lambda value: value > 0, expected="an int above 0")
        name: str = setting(None, "what")
        ratio: float = setting(1, "an int will do")
        odd: float = setting(1.0, "what", check=lambda value: value.nothing)
        kept: dict[str, int] = setting(factory=dict)
        needed: int = setting(meaning="no default at all")

    @define(frozen=True, kw_only=True)
    class Cross:
        low: int = setting(5, "low")
        high: int = setting(3, "high")

        def problems(self) -> list[tuple[str, str]]:
            return [("high", "expected more than low")] if self.high <= self.low else []

    mend = "write @define(frozen=True, kw_only=True)"
    assert settings_problems(Plain, "Config") == [f"Config is no attrs class: {mend} above it"]
    assert settings_problems(Thawed, "Config") == [f"Config is not frozen: {mend}"]
    assert settings_problems(ThawedWithValidator, "Config") == [f"Config is not frozen: {mend}"]
    assert settings_problems(Unknown, "Config") == [
        "the types of Config cannot be looked up: name 'NoSuchName' is not defined"
    ]
    assert settings_problems(BadDefaults, "Config") == [
        "Config.patience: expected an int above 0, and its own default is 0",
        "Config.name: its default null is not of its type",
        "Config.odd: its check raised AttributeError on the default 1.0: 'float' object has no attribute 'nothing'",
    ]
    assert settings_problems(Cross, "Config") == [
        "its defaults do not fit together: Config.high: expected more than low"
    ]


def test_components_that_are_wrong() -> None:
    @define(frozen=True, kw_only=True)
    class Alone:
        rate: float = setting(-1.0, "rate", check=lambda value: value > 0, expected="a number above 0")

    class Offers:
        components: ClassVar[list[Any]] = [
            Component("optimizer", "mine", Alone, lambda settings: None),
            Component("optimizer", "fine", OptimizerSettings, build),
            Component("optimizer", "fine", OptimizerSettings, build),
            Component("metric", "flat", OptimizerSettings, "no function"),  # type: ignore[arg-type]
            "adamw",
        ]

    assert problems(Offers) == [
        "the optimizer 'mine': its settings must extend stepbus.OptimizerSettings",
        "Alone.rate: expected a number above 0, and its own default is -1.0",
        "the optimizer 'fine' is offered twice",
        "the metric 'flat': expected a function as build, got 'no function'",
        "expected stepbus.Component objects in components, got str",
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            HOOKS_VERSION + 2,
            f"needs hooks version {HOOKS_VERSION + 2}, this stepbus has {HOOKS_VERSION}: upgrade stepbus",
        ),
        (0, "expected requires_hooks to be an int of at least 1, got 0"),
        (True, "expected requires_hooks to be an int of at least 1, got True"),
        ("2", "expected requires_hooks to be an int of at least 1, got '2'"),
    ],
)
def test_a_hooks_version_that_does_not_fit_is_refused(wanted: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(f"class Later:\n    requires_hooks = {wanted!r}\n")
    with pytest.raises(PluginError, match=message):
        load_class("later", "./later.py:Later", tmp_path)


def test_a_hooks_version_that_fits_is_taken(tmp_path: Path) -> None:
    code = f"class Fits:\n    requires_hooks = {HOOKS_VERSION}\n    on_fit_start = hookimpl(lambda self: None)\n"
    (tmp_path / "fits.py").write_text(f"from stepbus import hookimpl\n{code}")
    assert load_class("fits", "./fits.py:Fits", tmp_path).name == "fits"


IMPORTS = {
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "ends": ("import os; os._exit(7)", "importing it ended the process with exit code 7"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended the process by signal 9"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
}


def test_whatever_an_import_does_stays_in_its_process(tmp_path: Path) -> None:
    for name, (code, _) in IMPORTS.items():
        (tmp_path / f"{name}.py").write_text(code + "\n")
    talks = "print('words')\nimport os, threading, time\nos.write(1, b'more')\n" + fakes.GOOD
    (tmp_path / "talks.py").write_text(talks + "threading.Thread(target=time.sleep, args=(600,)).start()\n")
    names = [*IMPORTS, "talks"]
    found = dict(zip(names, probe([arguments_for(name, f"./{name}.py:Good", tmp_path) for name in names]), strict=True))
    for name, (_, words) in IMPORTS.items():
        assert words in found[name].error, name
    assert (found["talks"].error, found["talks"].problems) == ("", [])
    assert found["talks"].description["purpose"] == "Do one good thing."
    assert found["talks"].seconds > 0


def test_an_import_that_hangs_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time; time.sleep(600)\n")
    (found,) = probe([arguments_for("hangs", "./hangs.py:Good", tmp_path)], timeout=2)
    words = "its import did not end within 2 s: it is at hangs.py:1; if it is only slow, say --timeout 12"
    assert (found.error, found.hung) == (words, True)


def test_a_package_that_hangs_is_waited_for_once_and_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "good.py").write_text(fakes.GOOD)
    names = ["hangs", "hangs", "hangs", "hangs", "hangs", "good"]
    wanted = [arguments_for(f"p{place}", f"./{name}.py:Good", tmp_path) for place, name in enumerate(names)]
    found = probe(wanted, timeout=1.5, owners=names)
    others = [each for each in found[:5] if not each.hung]
    assert found[0].hung and others, "no more of them were begun than there are workers"
    assert {each.error for each in others} <= {
        f"not looked at, because p{place} of the same package hangs; mend that first" for place in range(5)
    }
    assert (found[5].error, found[5].problems) == ("", [])


def test_ours_share_a_process_and_each_is_told_of_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def run(words: list[str], timeout: float, one: Any = probing._one) -> Finding:
        begun.append(words)
        return one(words, timeout)

    monkeypatch.setattr(probing, "_one", run)
    wanted = [arguments_for(name) for name in ("metrics", "no_such_plugin", "swa")]
    together = probe(wanted, owners=["stepbus"] * 3)
    assert begun == [["--several", "--", "metrics", "no_such_plugin", "swa"]]
    alone = probe(wanted[1:])
    assert [bool(each.error) for each in together] == [False, True, False]
    for one, other in zip(together[1:], alone, strict=True):
        assert attrs.evolve(one, seconds=0.0) == attrs.evolve(other, seconds=0.0)


def test_where_anything_fails_in_the_process_of_ours_each_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(words: list[str], timeout: float) -> Finding:
        return Finding(error="it crashed" if "--several" in words else f"{words[-1]} by itself")

    monkeypatch.setattr(probing, "_one", run)
    found = probe([arguments_for("swa"), arguments_for("ema")], owners=["stepbus"] * 2)
    assert [each.error for each in found] == ["swa by itself", "ema by itself"]


HANGS = """import time
from stepbus import hookimpl

class Good:
    def __init__(self):
        time.sleep(600)

    @hookimpl
    def on_step_end(self): ...
"""


def test_a_constructor_that_hangs_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    (found,) = probe([arguments_for("hangs", "./hangs.py:Good", tmp_path)], timeout=0.5)
    assert (
        found.error == "trying it out did not end within 3 s: it is at hangs.py:6; if it is only slow, say --timeout 3"
    )


def test_an_import_that_holds_the_interpreter_is_given_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "START_SECONDS", 5.0)
    # No other thread gets a turn while libc sleeps in a call that keeps the interpreter's lock.
    (tmp_path / "holds.py").write_text("import ctypes\nctypes.PyDLL(None).sleep(600)\n")
    (found,) = probe([arguments_for("holds", "./holds.py:Good", tmp_path)], timeout=0.5)
    assert found.hung and found.error.startswith("its import did not end within 0.5 s; ")


def test_components_of_two_plugins() -> None:
    def offers(name: str) -> Diagnosis:
        return Diagnosis(
            name, "third-party", f"{name}-pack", "1.0", "", 1.0, [], [("optimizer", "adamw"), ("metric", name)]
        )

    assert components_twice([offers("a"), offers("b")]) == [
        "two plugins offer the optimizer 'adamw': a, a-pack 1.0 and b, b-pack 1.0; only one of them can be switched on"
    ]


def test_what_readers_of_two_plugins_share() -> None:
    def offers(name: str, **facts: Any) -> Diagnosis:
        cls = type(name, (), {"components": [Component("reader", name, OptimizerSettings, build, facts)]})
        found = Finding(description=describe(LoadedPlugin(name, cls, f"{name}-pack", "1.0")))
        return _installed(InstalledPlugin(name, f"{name}:Offers", f"{name}-pack", "1.0"), found, [])

    one = offers("one", suffixes=(".ini", ".cfg"), schemes=("ini",))
    two, other = offers("two", suffixes=(".cfg",), schemes=("ini",)), offers("other", suffixes=(".toml",))
    ending = "one, one-pack 1.0 and two, two-pack 1.0; only one of them can be switched on"
    assert components_twice([one, two, other]) == [
        f"two plugins read files ending in .cfg: {ending}",
        f"two plugins read rows by ini:: {ending}",
    ]
    assert components_twice([one, other]) == []


def test_what_an_editable_install_has_not_seen(tmp_path: Path) -> None:
    source = tmp_path / "my source"
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[project]\nname = "edited-pack"\n[project.entry-points."stepbus.plugins"]\n'
        'known = "edited_pack:Known"\nfresh = "edited_pack:Fresh"\nmoved = "edited_pack:Elsewhere"\n'
    )
    folder = tmp_path / "site"
    points = {"known": "Known", "moved": "Here"}
    fakes.install(folder, "edited-pack", "", points, editable=source)
    fakes.install(folder, "plain-pack", "", {"plain": "Plain"})
    edited = Distribution.at(folder / "edited_pack-1.0.dist-info")
    assert editable_folder(edited) == source
    assert editable_folder(Distribution.at(folder / "plain_pack-1.0.dist-info")) is None
    assert unseen_entry_points([edited]) == [
        f"edited-pack is installed from {source}, whose pyproject.toml now says otherwise about stepbus.plugins: "
        f"fresh, moved; pip install -e {source}"
    ]
    (source / "pyproject.toml").write_text("[project\n")
    assert "cannot be read" in unseen_entry_points([edited])[0]


def test_the_report_has_a_line_for_each_and_a_summary() -> None:
    fine = Diagnosis("fine", "third-party", "fine-pack", "1.0", "fine:Fine", 12.34, [])
    bad = Diagnosis("bad", "local", "bad.py", "", "./bad.py:Bad", 1.0, ["one thing", "another"])
    assert render_report(Report([fine], [])).splitlines() == [
        "ok  fine  fine-pack 1.0     12.3 ms",
        "",
        "1 plugin, all is well",
    ]
    assert render_report(Report([fine, bad], ["beside"])).splitlines() == [
        "ok     fine  fine-pack 1.0     12.3 ms",
        "wrong  bad   bad.py             1.0 ms",
        "       one thing",
        "       another",
        "",
        "beside",
        "",
        "2 plugins, 1 of them wrong, 1 more problem beside them",
    ]
    assert Report([fine], []).ok
    assert not Report([fine], ["beside"]).ok


def diagnoses(output: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in json.loads(output)["plugins"]:
        found.setdefault(each["name"], []).extend(each["problems"])
    return found


def test_doctor_names_each(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    fakes.install(folder, "good-pack", fakes.GOOD, {"good": "Good"})
    fakes.install(folder, "first-pack", fakes.SIMPLE, {"same": "Same"})
    fakes.install(folder, "second-pack", fakes.SIMPLE, {"same": "Same"})
    fakes.install(folder, "broken-pack", fakes.BROKEN, {"broken": "Broken"})
    fakes.install(folder, "misspelt-pack", fakes.MISSPELT, {"misspelt": "Misspelt"})
    fakes.install(folder, "value-pack", fakes.BY_VALUE, {"by_value": "ByValue", "Bad-Name": "ByValue"})
    fakes.install(folder, "later-pack", "class Later:\n    requires_hooks = 99\n", {"later": "Later"})
    fakes.install(folder, "command-pack", "x = 3\n", {"nowhere": "missing", "three": "x"}, group="stepbus.commands")
    fakes.install(folder, "preset-pack", "", {"absent_preset": "preset_pack"}, group="stepbus.presets")
    (tmp_path / "mine.py").write_text(fakes.GOOD.replace("class Good", "class Mine"))
    (tmp_path / "run.yaml").write_text(
        "plugins: {mine: {use: ./mine.py:Mine, evry: 3}}\ntraining: {num_epochs: three}\n"
    )
    ended = fakes.stepbus("plugins", "doctor", "--config", "run.yaml", "--json", paths=(folder,), folder=tmp_path)
    assert ended.returncode == 2, ended.stderr
    found = diagnoses(ended.stdout)
    assert found["good"] == found["bert"] == found["mine"] == []
    assert found["same"] == [
        "its name is offered by second-pack 1.0 too; say which with use: first_pack:Same",
        "its name is offered by first-pack 1.0 too; say which with use: second_pack:Same",  # by the packages' names
    ]
    assert found["broken"] == ["cannot be imported: ModuleNotFoundError: No module named 'a_package_that_is_nowhere'"]
    assert found["misspelt"] == [
        "on_epoch_end gives no argument 'stat' (did you mean 'state'?); it gives: trainer, state",
        "there is no hook 'on_stpe_end' (did you mean 'on_step_end'?)",
    ]
    assert found["by_value"] == ["compares by value, so that two instances may count as one: write @define(eq=False)"]
    assert found["later"] == [f"needs hooks version 99, this stepbus has {HOOKS_VERSION}: upgrade stepbus"]
    assert "small letters" in found["Bad-Name"][0]
    beside = json.loads(ended.stdout)["problems"]
    for words in (
        "the command 'nowhere' of command-pack 1.0 (command_pack:missing): AttributeError",
        "the command 'three' of command-pack 1.0 (command_pack:x): expected a function, got int",
        "the preset 'absent_preset' of preset-pack",
        "run.yaml:1: plugins.mine.evry: expected a known setting, got 'evry'",
        "run.yaml:2: training.num_epochs: expected int, got 'three'",
        "two plugins offer the optimizer 'slow': good, good-pack 1.0 and mine, mine.py:Mine",
    ):
        assert any(words in problem for problem in beside), words


def test_doctor_is_content_where_all_is_well(tmp_path: Path) -> None:
    fakes.install(tmp_path / "packages", "good-pack", fakes.GOOD, {"good": "Good"})
    ended = fakes.stepbus("plugins", "doctor", paths=(tmp_path / "packages",), folder=tmp_path)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 0, ended.stdout
    assert any(line.startswith("ok  good ") and line.endswith(" ms") for line in lines)
    assert lines[-1].endswith("plugins, all is well")


def test_a_finding_that_is_no_finding_is_an_error() -> None:
    (found,) = probe([["--no-such-option"]], timeout=30)
    assert found == Finding(error="importing it ended the process with exit code 2")
