"""What an installed plugin offers, told by its source: nothing is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepbus import import_module
from stepbus.config.discovery.plugin_sources import components_in, may_implement, may_offer_components, sources_in

fakes = import_module(str(Path(__file__).parents[3] / "fixtures" / "distributions.py"))
WSD = """
import os
raise SystemExit("it was imported")

class Wsd:
    components: ClassVar[list[Component]] = [
        Component("scheduler", "wsd", WsdConfig, Wsd),
        stepbus.Component(kind="head", name="focal", config=FocalConfig, build=build),
        Brier.component("brier", greater_is_better=False),
        Component("pooling", NAME, NoSettings, build),
        made_elsewhere(),
    ]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    fakes.install(tmp_path, "wsd-pack", WSD, {"schedules_wsd": "Wsd"})
    return tmp_path


def test_components_are_read_and_not_imported(package: Path) -> None:
    value = f"{package / 'wsd_pack.py'}:Wsd"
    assert components_in(value) == [("scheduler", "wsd"), ("head", "focal"), ("metric", "brier")]
    assert may_offer_components(value, beside=("scheduler", "head", "metric", "pooling")), "of one, nobody knows"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("scheduler: {type: wsd}\n", "scheduler.type: expected a known scheduler, got 'wsd'"),
        ("model: {head: focal}\n", "model.head: expected a known head, got 'focal'"),
        ("training: {metrics: [brier]}\n", "training.metrics[0]: expected a known metric, got 'brier'"),
    ],
)
def test_a_component_of_a_plugin_that_is_off_says_how_to_switch_it_on(package: Path, text: str, path: str) -> None:
    (package / "run.yaml").write_text(text)
    ended = fakes.stepbus("config", "show", "run.yaml", paths=(package,), folder=package)
    switch = "; what offers it is installed: switch it on with plugins: {schedules_wsd: {}} (wsd-pack 1.0); known: "
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"stepbus: run.yaml:1: {path}{switch}")


def test_one_that_nobody_offers_has_a_suggestion(package: Path) -> None:
    (package / "run.yaml").write_text("scheduler: {type: lineer}\n")
    ended = fakes.stepbus("config", "show", "run.yaml", paths=(package,), folder=package)
    assert "expected a known scheduler, got 'lineer' (did you mean 'linear'?); known: " in ended.stderr


def test_hooks_are_read_and_not_imported(tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "raise SystemExit('it was imported')\n"
        "class Plain:\n    def on_log(self): ...\n"
        "class Takes:\n    @hookimpl(tryfirst=True)\n    def prepare_data(self, sets): ...\n"
        "class Inherits(Other):\n    pass\n"
    )
    found = {name: may_implement(f"{source}:{name}", {"prepare_data"}) for name in ("Plain", "Takes", "Inherits")}
    assert found == {"Plain": False, "Takes": True, "Inherits": True}
    assert may_implement(f"{source}:Missing", {"prepare_data"}), "of one that cannot be read, nobody knows"


INI = """
raise SystemExit("it was imported")

class Ini:
    components = [
        Component("reader", "ini", Settings, Reader, {"suffixes": (".ini",), "schemes": ("ini",), "file": True}),
        Component("reader", "cfg", Settings, Reader, metadata={"suffixes": (".cfg", ".conf")}),
        Component("reader", "wrong", Settings, Reader, {"suffixes": ".other"}),
        Component("reader", "computed", Settings, Reader, FACTS),
        Component("reader", "without", Settings, Reader),
    ]
"""


def test_what_a_reader_reads_is_told_by_its_source(tmp_path: Path) -> None:
    fakes.install(tmp_path, "ini-pack", INI, {"ini": "Ini"})
    assert sources_in(f"{tmp_path / 'ini_pack.py'}:Ini") == [".ini", "ini:", ".cfg", ".conf"]
    assert sources_in(f"{tmp_path / 'ini_pack.py'}:Nobody") == []


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("rows.ini", "rows.ini: expected a file ending in .csv"),
        ("rows.conf.gz", "rows.conf.gz: expected a file ending in .csv"),
        ("ini:rows.ini", "ini:rows.ini: expected a file, or one of the schemes"),
    ],
)
def test_rows_that_a_plugin_which_is_off_reads_say_how_to_switch_it_on(tmp_path: Path, train: str, said: str) -> None:
    fakes.install(tmp_path, "ini-pack", INI, {"ini": "Ini"})
    (tmp_path / train.rpartition(":")[2]).write_text("[a]\n")
    (tmp_path / "run.yaml").write_text(f"data:\n  train: {train}\n")
    ended = fakes.stepbus("plan", "run.yaml", paths=(tmp_path,), folder=tmp_path)
    assert said in ended.stdout + ended.stderr
    switch = "; what reads it is installed: switch it on with plugins: {ini: {}} (ini-pack 1.0)"
    assert switch in ended.stdout + ended.stderr


def test_settings_of_a_reader_of_a_plugin_that_is_off_say_how_to_switch_it_on(tmp_path: Path) -> None:
    fakes.install(tmp_path, "ini-pack", INI, {"ini": "Ini"})
    (tmp_path / "run.yaml").write_text("data:\n  readers: {ini: {section: x}}\n")
    ended = fakes.stepbus("config", "show", "run.yaml", paths=(tmp_path,), folder=tmp_path)
    assert ended.stderr.startswith(
        "stepbus: run.yaml:2: data.readers.ini: expected the name of a reader, got 'ini'; what offers it is installed: "
        "switch it on with plugins: {ini: {}} (ini-pack 1.0); known: csv, "
    )
