"""Training that starts from weights which have seen the rows that are scored says so, wherever they are from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import yaml
from attrs import evolve

from stepbus import (
    Axis,
    Component,
    FitResult,
    Scheduler,
    SchedulerSettings,
    create_model,
    create_trainer,
    hookimpl,
    open_trainer,
)
from stepbus.base import ModelError
from stepbus.cli.main import main
from stepbus.fit.seen import lineage_in, lineage_of
from stepbus.kernel import Lineage
from stepbus.storage import DESCRIPTION, LINEAGE, from_json

Make = Callable[..., dict[str, Any]]
SHORT: dict[str, Any] = {"max_steps": 2, "num_epochs": 1}
FOLDS: dict[str, Any] = {"progress": False, "cross_validation": {"folds": 2}}


class Hears:
    """Keeps what users are told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.titles: list[str] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        self.said.append((text, level))

    @hookimpl
    def on_report(self, title: str) -> None:
        self.titles.append(title)

    @property
    def warnings(self) -> list[str]:
        return [text for text, level in self.said if level == "warning" and "seen" in text]


def trained(tree: dict[str, Any], *plugins: Any, model: Any = None) -> tuple[Any, Any]:
    trainer = create_trainer(model, config=tree, plugins=plugins)
    return trainer, trainer.train()


def folds_of(tiny_config: Make, tmp_path: Path, **sections: Any) -> dict[str, Any]:
    where = {"output_dir": str(tmp_path / "folds")}
    return tiny_config(training=SHORT, plugins=FOLDS, environment=where, data={"validation": None}, **sections)


def test_what_a_fit_has_seen_lies_with_its_model(tiny_config: Make, review_files: dict[str, Path]) -> None:
    trainer, result = trained(tiny_config(training=SHORT))
    (key,) = result.lineage.rows
    assert result.lineage.rows[key].tolist() == list(range(44))
    assert lineage_in(result.model_path) == lineage_of(trainer.model) == result.lineage
    said = from_json((result.model_path / DESCRIPTION).read_bytes())
    assert LINEAGE in said["files"]
    content = (result.model_path / LINEAGE).read_bytes()
    assert str(review_files["train"]).encode() not in content
    (result.model_path / LINEAGE).write_bytes(content[:-1])
    with pytest.raises(ModelError, match=r"lineage\.npz: "):
        open_trainer(result.model_path)


def test_rows_that_decided_are_in_it(tiny_config: Make) -> None:
    plugins = {"progress": False, "early_stopping": {"patience": 1}}
    _, result = trained(tiny_config(plugins=plugins))
    assert sorted(map(len, result.lineage.rows.values())) == [20, 44]
    assert result.selected == {"validation": "early_stopping at step 11"}
    assert lineage_in(result.model_path) == result.lineage


@pytest.mark.parametrize("way", ["folder", "checkpoint", "model", "create_model"])
def test_folds_over_rows_that_the_weights_have_seen(way: str, tiny_config: Make, tmp_path: Path) -> None:
    plugins = {"progress": False, "checkpoint": {}}
    trainer, first = trained(tiny_config(training=SHORT, plugins=plugins))
    tree, hears, model = folds_of(tiny_config, tmp_path), Hears(), None
    if way == "folder":
        tree["model"] = {"type": "bert", "pretrained": str(first.model_path)}
    elif way == "checkpoint":
        tree["model"] = {"type": "bert", "pretrained": str(trainer.save_checkpoint(tmp_path / "by-hand"))}
    elif way == "model":
        model = trainer.model
    else:
        model = create_model("bert", pretrained=str(first.model_path))
    _, whole = trained(tree, hears, model=model)
    start, *folds = hears.warnings
    assert start.startswith("the weights to start from have seen 44 of 44 validation rows (100%), such as '")
    assert [text.partition(":")[0] for text in folds] == ["fold-1", "fold-2"]
    assert any(title.endswith("of rows that the weights had seen before") for title in hears.titles)
    assert [part.seen["validation"][:20] for part in whole.parts] == ["22 of 22 rows (100%)"] * 2
    assert len(whole.notices) == 2


def test_folds_of_new_weights_say_nothing(tiny_config: Make, tmp_path: Path) -> None:
    hears = Hears()
    _, whole = trained(folds_of(tiny_config, tmp_path), hears)
    assert hears.warnings == whole.notices == []
    assert len(whole.lineage) == 44
    assert [len(part.lineage) for part in whole.parts] == [22, 22]
    assert all(part.lineage.among(part.fit.sets["validation"]).sum() == 0 for part in whole.parts)


def test_a_stage_that_scores_rows_of_the_one_before(tiny_config: Make, review_files: dict[str, Path]) -> None:
    hears = Hears()
    trainer = create_trainer(config=tiny_config(training=SHORT), plugins=[hears])
    trainer.train()
    trainer.train()  # the same rows train, others are scored
    assert hears.warnings == []
    frame = pd.read_csv(review_files["train"])  # the file's rows by another name
    result = trainer.train(review_files["dev"], frame)
    assert hears.warnings[0].startswith("the weights to start from have seen 44 of 44 validation rows (100%)")
    assert result.seen == {"validation": "44 of 44 rows (100%), such as '0' and '1'"}
    assert len(result.lineage) == 64


def test_a_run_that_failed_has_trained_the_weights_all_the_same(tiny_config: Make, tmp_path: Path) -> None:
    class Fails:
        """Fails."""

        @hookimpl
        def on_step_end(self) -> None:
            raise RuntimeError("broken")

    trainer = create_trainer(config=tiny_config(training=SHORT), plugins=[Fails])
    with pytest.raises(Exception, match="broken"):
        trainer.train()
    hears = Hears()
    trained(folds_of(tiny_config, tmp_path), hears, model=trainer.model)
    assert hears.warnings[0].startswith("the weights to start from have seen 44 of 44 validation rows")


def test_a_resume_knows_what_the_weights_had_seen(tiny_config: Make, tmp_path: Path) -> None:
    class Stops:
        """Ends the process's work after the first fold."""

        armed = True

        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            if self.armed and trainer.fit_name == "fold-2":
                raise RuntimeError("cut")

    trainer, _ = trained(tiny_config(training=SHORT))
    tree, stops = folds_of(tiny_config, tmp_path), Stops()
    with pytest.raises(Exception, match="cut"):
        trained(tree, stops, model=trainer.model)
    Stops.armed = False
    whole = create_trainer(trainer.model, config=tree, plugins=[stops]).train(resume=True)
    assert [bool(part.seen) for part in whole.parts] == [True, True]
    assert len(whole.lineage) == 44


def test_a_checkpoint_keeps_what_the_weights_had_seen(tiny_config: Make, review_files: dict[str, Path]) -> None:
    class Cuts:
        """Fails in the second stage."""

        stage = 1

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if self.stage == 2 and state.step == 4:
                raise RuntimeError("cut")

    tree = tiny_config(training={"num_epochs": 1}, plugins={"progress": False, "checkpoint": {"save_steps": 2}})
    cuts, other = Cuts(), (review_files["dev"], review_files["train"])
    trainer = create_trainer(create_model("bert", **_settings(tiny_config)), config=tree, plugins=[cuts])
    trainer.train()
    cuts.stage = 2
    with pytest.raises(Exception, match="cut"):
        trainer.train(*other)
    cuts.stage = 3
    fresh = create_trainer(create_model("bert", **_settings(tiny_config)), config=tree, plugins=[cuts])
    result = fresh.train(*other, resume=True)
    assert result.directory.parts[-3:] == ("run-2", "fits", "fit") or result.directory.name == "run-2"
    assert result.seen == {"validation": "44 of 44 rows (100%), such as '0' and '1'"}
    assert len(result.lineage) == 64


def test_a_checkpoint_of_a_fit_is_no_start_of_its_own(tiny_config: Make) -> None:
    plugins = {"progress": False, "early_stopping": {}, "checkpoint": {"save_steps": 11}}
    tree = tiny_config(plugins=plugins, training={"num_epochs": 1})
    trained(tree)
    result = create_trainer(config=tree).train(num_epochs=2, resume=True, allow_changed=True)
    assert (result.steps, result.seen) == (22, {})
    assert result.selected == {"validation": "early_stopping at step 11"}


def test_a_folder_of_an_older_stepbus_does_not_say(
    tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = trained(tiny_config(training=SHORT))
    monkeypatch.setattr("stepbus.fit.seen.lineages.verify_folder", lambda folder: frozenset({DESCRIPTION}))
    tree, hears = folds_of(tiny_config, tmp_path), Hears()
    tree["model"] = {"type": "bert", "pretrained": str(first.model_path)}
    _, whole = trained(tree, hears)
    said = [text for text, _ in hears.said if "is not known" in text]
    assert len(said) == 1
    assert whole.lineage.unknown


def test_a_loader_gives_rows_that_nobody_can_name(tiny_config: Make, tmp_path: Path) -> None:
    model = create_model("bert", **_settings(tiny_config))
    batch = {"input_ids": np.full((4, 6), 7), "attention_mask": np.ones((4, 6), dtype=np.int64), "labels": [0, 1, 0, 1]}
    hears = Hears()
    trainer = create_trainer(model, config={"environment": {"output_dir": str(tmp_path / "loader")}}, plugins=[hears])
    result = trainer.train([batch])
    assert result.lineage == Lineage(unknown=True)
    trainer.train([batch])
    assert [text for text, _ in hears.said if "is not known" in text] == []
    trained(folds_of(tiny_config, tmp_path), hears, model=trainer.model)
    assert len([text for text, _ in hears.said if "is not known" in text]) == 1


def _settings(tiny_config: Make) -> dict[str, Any]:
    return {name: value for name, value in tiny_config()["model"].items() if name != "type"}


def test_an_evaluation_of_seen_rows_says_so(
    tiny_config: Make, review_files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    trainer, result = trained(tiny_config(training=SHORT))
    opened = open_trainer(result.directory)
    with caplog.at_level(logging.WARNING):
        for each in (trainer, opened):
            each.evaluate(review_files["dev"])
            each.predict(review_files["train"])
    assert [record for record in caplog.records if "seen" in record.message] == []
    with caplog.at_level(logging.WARNING):
        for each in (trainer, opened):
            each.evaluate(review_files["train"])
    said = [record.message for record in caplog.records if "seen" in record.message]
    assert len(said) == 2
    assert said[0].startswith(f"the model has seen 44 of 44 rows of {review_files['train']} (100%), such as '0' and")


def test_a_part_of_the_rows_and_another_order_are_the_same_rows(
    tiny_config: Make, review_files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.read_csv(review_files["train"])
    trainer, result = trained(tiny_config(training=SHORT))
    part, turned = frame.iloc[30:], frame.sample(frac=1, random_state=0)
    assert (len(frame.drop_duplicates()), len(result.lineage)) == (44, 44)
    for opened in (trainer, open_trainer(result.directory)):
        for rows, number in ((part, 14), (turned, 44), (pd.concat([part, part]).to_dict("records"), 28)):
            caplog.clear()
            opened.evaluate(rows)
            said = [record.message for record in caplog.records if "seen" in record.message]
            assert [text.partition(" rows")[0] for text in said] == [f"the model has seen {number} of {number}"]
    hears = Hears()
    second = create_trainer(trainer.model, config=tiny_config(training=SHORT), plugins=[hears])
    assert second.train(frame.iloc[:30], part).seen["validation"].startswith("14 of 14 rows (100%)")
    assert hears.warnings[0].startswith("the weights to start from have seen 14 of 14 validation rows (100%)")
    part.to_csv(tmp_path / "part.csv", index=False)
    tree = folds_of(tiny_config, tmp_path)
    tree["model"], tree["data"]["train"] = {"pretrained": str(result.model_path)}, str(tmp_path / "part.csv")
    _, whole = trained(tree, hears)
    assert [part.seen["validation"][:18] for part in whole.parts] == ["7 of 7 rows (100%)"] * 2


def test_rows_of_weight_zero_were_not_seen(
    tiny_config: Make, review_files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    frame = pd.read_csv(review_files["train"]).assign(w=[0.0] * 20 + [1.0] * 24)
    trainer = create_trainer(config=tiny_config(training=SHORT, data={"weight": "w"}))
    result = trainer.train(frame)
    (places,) = result.lineage.rows.values()
    assert places.tolist() == list(range(20, 44))
    assert lineage_in(result.model_path) == result.lineage
    trainer.evaluate(frame)
    assert [record.message.partition(" rows")[0] for record in caplog.records if "seen" in record.message] == [
        "the model has seen 24 of 44"
    ]


def test_a_warning_that_no_plugin_shows_is_logged(
    tiny_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, first = trained(tiny_config(training=SHORT))
    tree = folds_of(tiny_config, tmp_path)
    tree["model"] = {"type": "bert", "pretrained": str(first.model_path)}
    trained(tree)
    said = [record.message for record in caplog.records if "seen" in record.message]
    assert [text.partition(" seen ")[0] for text in said] == [
        "the weights to start from have",
        "fold-1: its weights had",
        "fold-2: its weights had",
    ]
    caplog.clear()
    trained({**tree, "environment": {"output_dir": str(tmp_path / "heard")}}, Hears())
    assert caplog.records == []


def test_scored_rows_that_train_in_the_same_fit(tiny_config: Make, review_files: dict[str, Path]) -> None:
    hears = Hears()
    trainer = create_trainer(config=tiny_config(training=SHORT), plugins=[hears])
    both = pd.concat([pd.read_csv(review_files[name]) for name in ("train", "dev")], ignore_index=True)
    assert trainer.train(both, both).seen == {"validation": "64 of 64 rows (100%), such as '0' and '1'"}
    (said,) = hears.warnings
    assert said.startswith("fit: its weights had seen 64 of 64 validation rows (100%), such as '0' and '1' before")
    (said,) = (text for text, _ in hears.said if "training rows as well" in text)
    assert said.startswith("64 of 64 validation rows (100%), such as '0' and '1' are training rows as well")


def test_a_round_that_starts_from_another_and_scores_its_rows(tiny_config: Make, tmp_path: Path) -> None:
    class Rounds:
        """A second fit that starts from the first, and scores what that was trained on."""

        scope = "run"
        grows = (Axis("round"),)

        @hookimpl
        def expand_fits(self, fits: Any) -> Any:
            (fit,) = fits
            first = evolve(fit, name="one", scope={"round": 0})
            sets = {"train": fit.sets["validation"], "validation": fit.sets["train"]}
            second = evolve(fit, name="two", scope={"round": 1}, sets=sets, starts_from="one", after=("one",))
            return [first, second]

        @hookimpl
        def combine_results(self, axis: str, results: Any) -> Any:
            last = results[-1]
            return FitResult(evolve(last.fit, scope={}), metrics=last.metrics, predictions=last.predictions)

    hears = Hears()
    _, whole = trained(tiny_config(training=SHORT), Rounds(), hears)
    assert hears.warnings[0].startswith("the weights to start from have seen 44 of 64 validation rows (69%)")
    one, two = whole.parts
    assert (one.seen, two.seen) == ({}, {"validation": "44 of 44 rows (100%), such as '0' and '1'"})
    assert len(two.lineage) == len(whole.lineage) == 64
    assert lineage_in(two.model_path) == two.lineage


def test_the_plan_says_it_too(tiny_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = trained(tiny_config(training=SHORT))
    tree = folds_of(tiny_config, tmp_path)
    tree["model"] = {"type": "bert", "pretrained": str(first.model_path)}
    (tmp_path / "folds.yaml").write_text(yaml.safe_dump(tree))
    capsys.readouterr()
    assert main(["plan", str(tmp_path / "folds.yaml")]) == 0
    assert "the weights to start from have seen 44 of 44 validation rows" in " ".join(capsys.readouterr().out.split())


class Falls(Scheduler):
    """Halves its own factor after each evaluation, and leaves the base rate alone."""

    def __init__(self, settings: Any, halves: bool = True) -> None:
        super().__init__(settings)
        self.factor, self.halves = 1.0, halves

    @hookimpl
    def on_metrics(self) -> None:
        self.factor *= 0.5 if self.halves else 1.0

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        return base * self.factor / (1 + step)


class Listening:
    """Offers schedules that listen."""

    components: ClassVar[list[Component]] = [
        Component("scheduler", "falls", SchedulerSettings, Falls),
        Component("scheduler", "listens", SchedulerSettings, lambda settings: Falls(settings, halves=False)),
    ]


@pytest.mark.parametrize(("name", "selected"), [("falls", True), ("listens", False)])
def test_a_schedule_that_turns_by_scores_has_decided(name: str, selected: bool, tiny_config: Make) -> None:
    trainer = create_trainer(config=tiny_config(), plugins=[Listening], scheduler=name)
    result = trainer.train()
    assert result.selected == ({"validation": f"scheduler.{name} at step 11"} if selected else {})
