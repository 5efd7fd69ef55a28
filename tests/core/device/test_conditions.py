"""What the last bits depend on: recorded, compared, said, and refused where exactness was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import create_trainer, hookimpl
from stepbus.base.errors import CheckpointError, ConfigError
from stepbus.cli.main import main
from stepbus.device import backend, conditions
from stepbus.device import choice as device
from stepbus.plan.planning import describe_plan
from stepbus.run import resume
from stepbus.storage.digests import sealed
from stepbus.storage.durable import from_json, to_json

NOW: dict[str, Any] = {
    "device": "cpu", "chip": "AMD EPYC", "architecture": "x86_64", "cores": 2, "streams": 2, "blas": "OpenBLAS 1",
    "blas_threads": 2, "compile": "on", "compiler": "12.2.0", "libc": "glibc 2.36", "mlx": "0.32.4", "numpy": "2.0",
    "tokenizers": "0.20", "stepbus": "0.1.0",
}  # fmt: skip


class Heard:
    """Keeps what is said."""

    affects_result = False

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if level == "warning":
            self.said.append(text)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Conditions that a test may change."""
    found = dict(NOW)
    monkeypatch.setattr(conditions, "current", lambda: dict(found))
    return found


def test_the_conditions_of_this_process_are_known_and_go_through_json() -> None:
    found = conditions.current()
    assert set(found) == set(NOW)
    assert from_json(to_json(found)) == found
    assert (found["device"], found["cores"]) == (device.kind(), backend.cores())
    assert conditions.compare(found, conditions.current()) == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"cores": 1}, "resumed with 1 core, began with 2 cores: results may differ in their last bits"),
        ({"cores": 4}, "resumed with 4 cores, began with 2 cores: results may differ in their last bits"),
        ({"blas": "MLX's own"}, "resumed with BLAS MLX's own, began with BLAS OpenBLAS 1: results may differ"),
        ({"blas_threads": None}, "resumed with unknown BLAS threads, began with 2 BLAS threads: results may differ"),
        ({"streams": 0}, "resumed with 0 CPU streams, began with 2 CPU streams: results may differ"),
        ({"compile": "off"}, "resumed with mx.compile off, began with mx.compile on: results may differ"),
        ({"compiler": "13.1.0"}, "resumed with g++ 13.1.0, began with g++ 12.2.0: results may differ"),
        ({"libc": "glibc 2.41"}, "resumed with glibc 2.41, began with glibc 2.36: results may differ"),
        ({"mlx": "0.33"}, "resumed with MLX 0.33, began with MLX 0.32.4: results may differ"),
        ({"numpy": "2.1"}, "resumed with NumPy 2.1, began with NumPy 2.0: results may differ"),
        ({"chip": None}, "resumed with unknown chip, began with AMD EPYC: results may differ"),
        ({"architecture": "arm64"}, "resumed with arm64, began with x86_64: results may differ"),
        ({"tokenizers": "1"}, "resumed with tokenizers 1, began with tokenizers 0.20: new texts may be cut into other"),
    ],
)  # fmt: skip
def test_each_difference_is_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    run, past = SimpleNamespace(directory=Path("run")), resume.Past()
    (said,) = resume._other_conditions(run, past, "run", NOW, NOW | changed)
    assert said.startswith(sentence)
    assert resume._other_conditions(run, past, "run/checkpoints/step-00000004", NOW, NOW | changed) == []  # said before
    # A checkpoint that was made with something else again.
    (name,) = changed
    other = NOW | {name: "else"}
    (said,) = resume._other_conditions(run, past, "run/checkpoints/step-00000004", other, NOW | changed)
    assert ", its checkpoint was made with " in said


def test_every_condition_is_compared_or_decides() -> None:
    for name in NOW:
        found = conditions.compare(NOW, NOW | {name: "else"})
        assert [each.name for each in found] == ([] if name in conditions.DECIDING else [name])


@pytest.fixture
def begun(tiny_config: Callable[..., dict[str, Any]], now: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """The configuration of a run that has one checkpoint more than its first and was killed then."""
    saves = {"save_strategy": "steps", "save_steps": 1, "keep_last": 9}
    config = tiny_config(
        training={"max_steps": 2, "eval_strategy": "no"}, plugins={"progress": False, "checkpoint": saves}
    )
    create_trainer(config=config).train()
    (tmp_path / "run" / "fits" / "fit" / "result.json").unlink()
    return config


def go_on(config: dict[str, Any], *, exact: bool = False, **options: Any) -> list[str]:
    heard = Heard()
    tree = {**config, "training": {**config["training"], "exact": exact}}
    create_trainer(config=tree, plugins=[heard]).train(resume=True, **options)
    return heard.said


def test_run_and_checkpoints_say_their_conditions(begun: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["conditions"] == NOW
    for manifest in (tmp_path / "run" / "fits" / "fit" / "checkpoints").glob("step-*/manifest.json"):
        assert json.loads(manifest.read_text())["facts"]["conditions"] == NOW
    assert go_on(begun) == []
    assert json.loads((tmp_path / "run" / "fits" / "fit" / "result.json").read_text())["conditions"] == NOW


def test_other_conditions_are_said_once_each(begun: dict[str, Any], now: dict[str, Any]) -> None:
    now.update(cores=4, mlx="0.33")
    assert go_on(begun) == [
        "resumed with 4 cores, began with 2 cores: results may differ in their last bits",
        "resumed with MLX 0.33, began with MLX 0.32.4: results may differ in their last bits",
    ]


def test_other_conditions_are_refused_where_the_bits_were_asked_for(begun: dict[str, Any], now: dict[str, Any]) -> None:
    assert go_on(begun, exact=True, allow_changed=False) == []  # the setting itself may change
    now["cores"] = 4
    with pytest.raises(CheckpointError) as caught:
        go_on(begun, exact=True)
    assert caught.value.exit_code == 2
    assert "training.exact asks for the same bits" in str(caught.value)
    assert "resumed with 4 cores, began with 2 cores" in str(caught.value)
    assert str(caught.value).endswith(
        "resume where and as the run began, or say --allow-changed (in Python: allow_changed=True)"
    )


def test_refused_ones_may_be_allowed(begun: dict[str, Any], now: dict[str, Any]) -> None:
    now["cores"] = 4
    assert go_on(begun, exact=True, allow_changed=True)[0].startswith("resumed with 4 cores")


@pytest.mark.parametrize(
    ("changed", "said"), [({"device": "metal"}, "device was 'cpu', is 'metal'"), ({"stepbus": "9"}, "stepbus was")]
)
def test_what_decides_more_than_last_bits_is_refused(
    changed: dict[str, Any], said: str, begun: dict[str, Any], now: dict[str, Any]
) -> None:
    now.update(changed)
    with pytest.raises(CheckpointError, match=said):
        go_on(begun)
    assert any(said in text for text in go_on(begun, allow_changed=True))


def rewrite(path: Path, document: dict[str, Any]) -> None:
    """Write a run's file with a digest that fits."""
    path.write_text(to_json(sealed({key: value for key, value in document.items() if key != "digest"})))


def test_a_run_that_does_not_say_its_conditions(begun: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run" / "run.json"
    document = json.loads(path.read_text())
    del document["facts"]["conditions"]
    rewrite(path, document)
    with pytest.raises(CheckpointError, match=r"training\.exact asks for the same bits"):
        go_on(begun, exact=True)
    assert go_on(begun) == ["the run does not say with what it began: results may differ in their last bits"]


def folds(tiny_config: Callable[..., dict[str, Any]], **training: Any) -> dict[str, Any]:
    """Two folds; a third of a second."""
    plugins = {"progress": False, "cross_validation": {"folds": 2}, "checkpoint": {"save_strategy": "no"}}
    config = tiny_config(plugins=plugins, training={"max_steps": 1, "eval_strategy": "no", **training})
    config["data"]["validation"] = None
    return config


def test_a_fold_that_was_done_elsewhere_is_named(
    tiny_config: Callable[..., dict[str, Any]], now: dict[str, Any], tmp_path: Path
) -> None:
    create_trainer(config=folds(tiny_config)).train()
    fits = sorted(path.name for path in (tmp_path / "run" / "fits").iterdir())
    run_file = tmp_path / "run" / "run.json"
    now.update(cores=4, chip="Xeon")
    document = json.loads(run_file.read_text())
    document["facts"]["conditions"] = dict(now)  # begun here, and its folds were done on another machine
    rewrite(run_file, document)
    heard = Heard()
    create_trainer(config=folds(tiny_config), plugins=[heard]).train(resume=True)
    named = [
        f"{name} was done with AMD EPYC, 2 cores, and here are Xeon, 4 cores: results may differ in their last bits"
        for name in fits
    ]
    assert [text for text in heard.said if "was done with" in text] == named
    with pytest.raises(CheckpointError, match=f"{fits[0]} was done with AMD EPYC, 2 cores"):
        create_trainer(config=folds(tiny_config, exact=True)).train(resume=True)


def test_info_prints_the_conditions_and_where_kernels_lie(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    printed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {name: printed[name] for name in NOW} == {name: str(value) for name, value in conditions.current().items()}
    if backend.kernels is not None:
        assert printed["compiled_kernels"] == str(backend.kernels.store)


@pytest.mark.parametrize(("kind", "name"), [("metal", "Metal"), ("cuda", "CUDA")])
def test_a_gpu_cannot_promise_exactness(
    kind: str, name: str, tiny_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "kind", lambda: kind)
    config = tiny_config(training={"num_epochs": 1, "exact": True})
    with pytest.raises(ConfigError, match=f"training.exact: expected a CPU, got {name}, which adds up gradients in no"):
        create_trainer(config=config).train()
    assert not (tmp_path / "run").exists()
    (problem,) = describe_plan(config)["problems"]
    assert (problem["path"], "set environment.device: cpu" in problem["message"]) == ("training.exact", True)


def test_steps_that_run_ahead_are_not_exact(tiny_config: Callable[..., dict[str, Any]]) -> None:
    for depth, good in ((0, True), (None, True), (1, False)):
        config = tiny_config(training={"exact": True, "pipeline_depth": depth})
        if good:
            create_trainer(config=config)
        else:
            with pytest.raises(ConfigError, match="pipeline_depth: expected 0 with exact: true, got 1"):
                create_trainer(config=config)
