"""What is said when a run begins on a disk that has less than it may take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import create_trainer, hookimpl
from stepbus.cli.main import main
from stepbus.plan.planning import describe_plan

Make = Callable[..., dict[str, Any]]
USAGE = "stepbus.run.room.estimating.shutil.disk_usage"
FOLDS: dict[str, Any] = {
    "plugins": {"progress": False, "cross_validation": {"folds": 2}},
    "data": {"validation": None},
    "training": {"num_epochs": 1},
}


def free(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(USAGE, lambda place: type("Usage", (), {"free": number}))


class Hears:
    """Keeps what is told, and at which update."""

    affects_result = False
    scope = "run"

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.begun: list[int] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if "on disk" in text:
            self.told.append((level, text))

    @hookimpl
    def on_fit_start(self) -> None:
        self.begun.append(len(self.told))


@pytest.mark.parametrize("sections", [{}, FOLDS])
def test_one_warning_before_anything_is_trained_and_the_run_goes_on(
    sections: dict[str, Any], tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 200_000)
    tree, hears = tiny_config(**sections), Hears()
    (note,) = [note for note in describe_plan(tree)["notes"] if "on disk" in note]
    result = create_trainer(config=tree, plugins=[hears]).train()
    assert result.status == "ok"
    ((level, text),) = hears.told
    assert level == "warning" and hears.begun[0] == 1
    assert text.startswith("the run may take up to 0.")
    assert text.endswith(
        f"MB on disk, and that of {tmp_path / 'run'} has 0.20 MB free; make room, or set environment.output_dir to a "
        "folder on another one"
    )
    # The plan says the same: its figure is of shapes, that of the run of the arrays themselves.
    planned, real = (float(each.split("up to ")[1].split(" MB")[0]) for each in (note, text))
    assert real == pytest.approx(planned, abs=0.02)


def test_nothing_is_said_where_there_is_room(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10**9)
    hears = Hears()
    create_trainer(config=tiny_config(training={"max_steps": 2}), plugins=[hears]).train()
    assert hears.told == []


def test_a_system_that_does_not_say_what_is_free(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(place: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(USAGE, refuses)
    hears = Hears()
    assert create_trainer(config=tiny_config(training={"max_steps": 2}), plugins=[hears]).train().status == "ok"
    assert hears.told == []


def test_what_a_resumed_run_has_already_counts(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    class Falls:
        affects_result = False

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 15:
                raise KeyboardInterrupt

    tree, first, second = tiny_config(), Hears(), Hears()
    most = describe_plan(tree)["disk"]["most"]
    free(monkeypatch, most - 20_000)  # less than a whole checkpoint is missing, and one of them is there
    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=tree, plugins=[first, Falls()]).train()
    assert len(first.told) == 1
    create_trainer(config=tree, plugins=[second]).train(resume=True)
    assert second.told == []


def test_on_the_command_line(
    tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, 50_000)
    tree = tiny_config(plugins={"progress": {}}, training={"max_steps": 2})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    out, err = capfd.readouterr()
    said = " ".join((out + err).split())
    assert said.count("has 0.05 MB free; make room") == 1
    assert main(["plan", str(tmp_path / "run.yaml")]) == 0
    assert "has 0.05 MB free; make room" in " ".join(capfd.readouterr().out.split())


def test_a_model_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Batches in place of rows, for which there is no plan."""
    import mlx.nn as nn
    import numpy as np

    free(monkeypatch, 1000)
    batches = [{"x": np.ones((4, 3), np.float32), "labels": np.zeros(4, np.int32)} for _ in range(3)]
    trainer = create_trainer(
        nn.Linear(3, 2),
        loss=nn.losses.cross_entropy,
        output_dir=str(tmp_path / "own"),
        num_epochs=1,
        progress=False,
    )
    with caplog.at_level(logging.WARNING):
        trainer.train(batches)
    (text,) = [record.getMessage() for record in caplog.records if "on disk" in record.getMessage()]
    assert f"that of {tmp_path / 'own'} has 0.00 MB free" in text
