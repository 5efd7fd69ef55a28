"""Names that are no setting where they stand: what is suggested, in files, after --set and in Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepbus import ConfigError, load_config
from stepbus.config.discovery import plugins
from stepbus.config.sections import BASES
from stepbus.config.suggestions import aliases, as_keyword, other_names, setting_names


def refused(source: Any = None, *overrides: str, **keywords: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides, keywords)
    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("section", "name", "value", "meant"),
    [
        ("training", "batch_size", 3, "'data.batch_size'"),
        ("data", "learning_rate", 1e-4, "'optimizer.learning_rate'"),
        ("training", "warmup_ratio", 0.1, "'scheduler.warmup_ratio'"),
        ("scheduler", "warmup", 0.1, "'scheduler.warmup_ratio' or 'scheduler.warmup_steps'"),
        ("scheduler", "warmup", 100, "'scheduler.warmup_steps' or 'scheduler.warmup_ratio'"),
        ("optimizer", "lr", 1e-4, "'optimizer.learning_rate'"),
        ("training", "lr", 1e-4, "'optimizer.learning_rate'"),
        ("training", "epochs", 3, "'training.num_epochs'"),
        ("data", "bs", 3, "'data.batch_size'"),
        ("optimizer", "weight_deacy", 0.1, "'weight_decay'"),
        ("training", "weight_deacy", 0.1, "'optimizer.weight_decay'"),
        ("training", "per_device_train_batch_size", 3, "'data.batch_size'"),
        ("training", "num_train_epochs", 3, "'training.num_epochs'"),
        ("training", "lr_scheduler_type", "cosine", "'scheduler.type'"),
        ("training", "fp16", True, "'training.precision'"),
        ("training", "bf16", True, "'training.precision'"),
        ("training", "evaluation_strategy", "no", "'training.eval_strategy'"),
        ("training", "logging_steps", 3, "'training.log_steps'"),
        ("training", "max_grad_norm", 1.0, "'plugins.gradient_clipping.max_norm'"),
        ("training", "output_dir", "x", "'environment.output_dir'"),
        ("optimizer", "early_stopping_patience", 3, "'training.early_stopping_patience'"),
    ],
)
def test_a_setting_that_stands_elsewhere(section: str, name: str, value: Any, meant: str) -> None:
    assert f"{section}.{name}: expected a known setting, got {name!r} (did you mean {meant}?)" in refused(
        {section: {name: value}}
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("output_dir", "environment.output_dir"),
        ("seed", "training.seed"),
        ("lr", "optimizer.learning_rate"),
        ("learning_rte", "optimizer.learning_rate"),
        ("per_device_train_batch_size", "data.batch_size"),
        ("early_stoping", "early_stopping"),
    ],
)
def test_a_setting_at_the_top(name: str, meant: str) -> None:
    said = f"{name}: expected a section or an installed plugin, got {name!r} (did you mean {meant!r}?)"
    assert refused({name: 1}) == said
    assert refused(None, f"{name}=1") == f"--set: {said}"


def test_a_setting_of_another_type_is_said() -> None:
    said = refused({"optimizer": {"momentum": 0.9}})
    assert said.startswith(
        "optimizer.momentum: expected a known setting, got 'momentum'; it is a setting of type: sgd or"
    )
    assert "type: reduce_on_plateau (" in refused({"scheduler": {"type": "cosine", "patience": 3}})


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("lr", "learning_rate"),
        ("epochs", "num_epochs"),
        ("bs", "batch_size"),
        ("weight_deacy", "weight_decay"),
        ("lr_scheduler_type", "scheduler"),
        ("max_grad_norm", "gradient_clipping__max_norm"),
        ("early_stoping", "early_stopping"),
        ("crossvalidation", "cross_validation"),
    ],
)
def test_a_keyword_is_answered_by_a_keyword(keyword: str, meant: str) -> None:
    words = "expected the name of a setting, a section or a plugin"
    assert refused(None, **{keyword: 1}) == f"{keyword}: {words} (did you mean {meant!r}?)"


def test_every_path_that_is_suggested_is_there() -> None:
    """The table of other names would rot unseen."""
    known = {f"{section}.{name}" for section, cls in BASES.items() for name in setting_names(cls)}
    known |= {f"{section}.type" for section in BASES}
    for name in plugins.installed():
        loaded = plugins.load_class(name)
        own = setting_names(loaded.config_class) if loaded.config_class is not None else []
        known |= {f"plugins.{name}", *(f"plugins.{name}.{each}" for each in own)}
        known |= {f"{part.kind}.{each}" for part in loaded.components for each in setting_names(part.config)}
    known |= {".".join(map(str, alias)) for alias in aliases()}
    assert {".".join(map(str, path)) for paths in other_names().values() for path in paths} - known == set()


def test_keywords_of_paths() -> None:
    assert as_keyword(("data", "batch_size")) == "batch_size"
    assert as_keyword(("scheduler", "type")) == "scheduler"
    assert as_keyword(("plugins", "checkpoint", "keep_last")) == "checkpoint__keep_last"


OFFERS = """
from attrs import define
from stepbus import Component, SchedulerSettings, hookimpl, setting

@define(frozen=True, kw_only=True)
class Settings:
    section: str = setting("", "a column")
    adjusted: bool = setting(False, "less chance")

@define(frozen=True, kw_only=True)
class Wsd(SchedulerSettings):
    decay: float = setting(0.5, "a part")

facts = {"tasks": ("binary",), "greater_is_better": None}

class Offers:
    components = [
        Component("reader", "ini", Settings, Settings, {"suffixes": SUFFIXES}),
        Component("metric", "balanced", Settings, Settings, facts),
        Component("head", "focal", Settings, Settings, {"task": None}),
        Component("scheduler", "wsd", Wsd, Wsd),
        Component("sampler", "even", Settings, Settings),
    ]

class Typed(Offers):
    @define(frozen=True, kw_only=True)
    class Config:
        rate: float = setting(0.5, "a part")
"""


def offered(folder: Path, kinds: str = "", suffixes: str = '(".ini",)') -> None:
    text = OFFERS.replace("SUFFIXES", suffixes)
    lines = [line for line in text.splitlines() if not line.startswith("        Component(") or f'"{kinds}' in line]
    (folder / "offers.py").write_text("\n".join(lines))


@pytest.mark.parametrize("cls", ["Offers", "Typed"])
@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("reader", "section", "data.readers.ini.section"),
        ("metric", "adjusted", "training.metrics: [{type: balanced, adjusted: …}]"),
        ("head", "adjusted", "model.head: {type: focal, adjusted: …}"),
        ("scheduler", "decay", "scheduler: {type: wsd, decay: …}"),
        ("scheduler", "warmup_steps", "scheduler: {type: wsd, warmup_steps: …}"),
        ("metric", "balanced", "training.metrics: [balanced]"),
        ("head", "focal", "model.head: focal"),
        ("scheduler", "wsd", "scheduler.type: wsd"),
        ("reader", "ini", "data.readers.ini"),
    ],
)
def test_a_setting_of_a_component_under_its_plugin_says_where_it_goes(
    tmp_path: Path, cls: str, kind: str, name: str, meant: str
) -> None:
    offered(tmp_path, kind)
    (tmp_path / "run.yaml").write_text(f"plugins:\n  mine:\n    use: ./offers.py:{cls}\n    {name}: 1\n")
    said = refused(tmp_path / "run.yaml")
    expected = "no settings" if cls == "Offers" else "a known setting"
    assert f"run.yaml:4: plugins.mine.{name}: expected {expected}, got {name!r} (did you mean {meant!r}?)" in said


def test_a_setting_that_only_a_reader_has_is_known_everywhere(tmp_path: Path) -> None:
    offered(tmp_path, "reader")
    (tmp_path / "run.yaml").write_text("data: {section: x}\nplugins: {mine: {use: ./offers.py:Offers}}\n")
    assert "got 'section' (did you mean 'data.readers.ini.section'?)" in refused(tmp_path / "run.yaml")


def test_what_is_wrong_with_a_component_stands_where_its_plugin_was_named(tmp_path: Path) -> None:
    offered(tmp_path, "reader", '"ini"')
    (tmp_path / "run.yaml").write_text(
        "training:\n  seed: 1\ndata:\n  batch_size: 3\nplugins:\n  mine:\n    use: ./offers.py:Offers\n"
    )
    said = refused(tmp_path / "run.yaml")
    assert "run.yaml:6: plugins: mine, offers.py: the reader 'ini': expected suffixes in its metadata " in said


@pytest.mark.parametrize("text", ["metrics: [accuracy]\n", "plugins: {metrics: [accuracy]}\n"])
def test_a_section_s_setting_with_the_name_of_a_plugin(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    said = refused(tmp_path / "run.yaml")
    assert said.endswith(
        f"run.yaml:1: {'plugins.' * ('plugins' in text)}metrics: expected settings of the plugin metrics, true, false "
        "or null, got a list (did you mean 'training.metrics'?)"
    )


def test_an_empty_text_after_set(tmp_path: Path) -> None:
    offered(tmp_path, "reader")
    mine = f"plugins.mine.use={tmp_path}/offers.py:Offers"
    said = refused(None, mine, "data.readers.ini.section=")
    assert said.startswith(
        "--set: data.readers.ini.section: expected text, got null; an empty text is written in quotes: "
        "--set 'data.readers.ini.section=\"\"'"
    )
    said = refused(None, mine, "data.readers.ini.section=null")
    assert "got null; as a text, it is written in quotes: --set 'data.readers.ini.section=\"null\"'" in said
    for written, text in (('""', ""), ("''", ""), ('"null"', "null"), ("a # b", "a # b"), ("1e3", "1e3"), ('"', '"')):
        config = load_config(None, [mine, f"data.readers.ini.section={written}"])
        assert config.data.settings.readers["ini"].settings.section == text
