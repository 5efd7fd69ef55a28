"""Plans with overrides, predecessors, starting weights and filled rows, on a real tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from attrs import evolve

from stepbus import (
    Axis,
    ConfigError,
    DataError,
    Fit,
    ModelError,
    create_trainer,
    find_folder,
    hookimpl,
    open_trainer,
    read_tensors,
)
from stepbus.cli.main import main
from stepbus.fit.weights import tensors_of

ROUNDS = Path(__file__).parents[1] / "fixtures" / "rounds.py"


class Watches:
    """Keep the weights that each fit starts with, its rate and its configuration."""

    scope = "run"
    affects_result = False

    def __init__(self) -> None:
        self.weights: dict[str, dict[str, Any]] = {}
        self.rates: dict[str, float] = {}
        self.said: list[str] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.weights[trainer.fit_name] = {name: np.array(value) for name, value in tensors_of(trainer.model).items()}
        self.rates[trainer.fit_name] = trainer.optimizer.learning_rate

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def rounds(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(**settings: Any) -> dict[str, Any]:
        (tmp_path / "test.csv").write_text((tmp_path / "dev.csv").read_text().replace("label", "unused"))
        plugins = {"progress": False, "rounds": {"use": f"{ROUNDS}:Rounds", **settings}}
        return tiny_config(plugins=plugins, data={"test": str(tmp_path / "test.csv")}, training={"num_epochs": 1})

    return make


def same(one: dict[str, Any], folder: Path) -> bool:
    other = read_tensors(find_folder(str(folder)))
    return one.keys() == other.keys() and all(
        np.array_equal(value, np.array(other[name])) for name, value in one.items()
    )


def test_the_second_round_goes_on_from_the_first(rounds: Callable[..., dict[str, Any]]) -> None:
    watches = Watches()
    result = create_trainer(config=rounds(learning_rate=1e-4), plugins=[watches]).train()
    first, second = result.parts
    assert first.model_path is not None
    assert same(watches.weights["round-2"], first.model_path)  # the head too, whose labels are the same
    assert not [text for text in watches.said if "newly initialised" in text or "starts anew" in text]
    assert watches.rates == {"round-1": 3e-3, "round-2": 1e-4}
    assert (first.steps, second.steps) == (11, 16)
    assert [len(each.fit.sets["train"]) for each in (first, second)] == [44, 64]
    # Its own rows, and those that were pseudo-labelled, by their source.
    seen = {key: len(places) for key, places in second.lineage.rows.items()}
    keys = {name: rows.source_key for name, rows in first.fit.sets.items()}
    assert seen[keys["train"]] == 44
    assert seen[keys["test"]] == 20


def test_the_model_of_a_fit_says_what_it_was_made_with(rounds: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    tree = rounds(learning_rate=1e-4)
    tree["plugins"]["checkpoint"] = {"keep_finished": True}
    create_trainer(config=tree).train()
    folders = sorted((tmp_path / "run" / "fits" / "round-2" / "checkpoints").glob("step-*"))
    facts = json.loads((folders[-1] / "manifest.json").read_text())["facts"]
    assert facts["config"]["optimizer"]["learning_rate"] == 1e-4
    assert facts["config"]["training"]["num_epochs"] == 1


def test_what_the_command_line_says_of_a_plan(
    rounds: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(rounds(learning_rate=-1.0), indent=1))
    for command in ("plan", "train"):
        assert main([command, str(config)]) == 2
        out = capsys.readouterr()
        said = out.out + out.err
        assert "optimizer.learning_rate: fit 'round-2' overrides it: expected a number above 0, got -1.0" in said
        assert said.count("expected a number above 0, got -1.0") == 1
        assert "(rounds, rounds.py)" in said
    assert not (tmp_path / "run").exists()


def plan_of(fits: Callable[[Fit], list[Fit]], fill: Callable[[Fit], Fit] | None = None) -> type:
    """Return a plugin that makes a plan of the one fit, combined by its last result."""

    class Plans:
        scope = "run"
        grows: ClassVar[tuple[Axis, ...]] = (Axis("round"),)

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            return expand(fits[0])

        @hookimpl
        def fill_fit(self, fit: Fit) -> Fit | None:
            return fill(fit) if fill else None

        @hookimpl
        def combine_results(self, results: list[Any]) -> Any:
            return results[-1]

    expand = fits
    return Plans


def test_a_fit_starts_from_a_folder(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    before = create_trainer(config=tiny_config(training={"max_steps": 3})).train()
    assert before.model_path is not None
    folder, watches = str(before.model_path), Watches()
    config = tiny_config(training={"max_steps": 1}, environment={"output_dir": str(tmp_path / "second")})
    plans = plan_of(lambda fit: [evolve(fit, starts_from=folder)])
    create_trainer(config=config, plugins=[plans, watches]).train()
    assert same(watches.weights["fit"], before.model_path)


def test_a_fit_with_another_encoder_than_the_one_it_starts_from(tiny_config: Callable[..., dict[str, Any]]) -> None:
    def fits(fit: Fit) -> list[Fit]:
        one = evolve(fit, name="one", scope={"round": 0})
        wide = {"model.hidden_size": 32}
        return [one, evolve(fit, name="two", scope={"round": 1}, after=("one",), starts_from="one", overrides=wide)]

    with pytest.raises(ConfigError, match=r"fit 'two' starts from 'one', and overrides make other encoders of them"):
        create_trainer(config=tiny_config(), plugins=[plan_of(fits)]).train()


def test_weights_of_another_encoder_are_refused(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    before = create_trainer(config=tiny_config(training={"max_steps": 1})).train()
    config = tiny_config(model={"num_hidden_layers": 3}, environment={"output_dir": str(tmp_path / "second")})
    plans = plan_of(lambda fit: [evolve(fit, starts_from=str(before.model_path))])
    with pytest.raises(ModelError, match="the weights to start from do not fit the model of the section") as caught:
        create_trainer(config=config, plugins=[plans]).train()
    assert str(before.model_path) in str(caught.value)


def test_a_head_of_other_labels_starts_anew(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    watches = Watches()
    train = tmp_path / "train.csv"
    lines = train.read_text().splitlines()
    header, rows = lines[0], lines[1:]
    train.write_text("\n".join([f"{header},kind", *(f"{row},{'abc'[n % 3]}" for n, row in enumerate(rows))]) + "\n")

    def fits(fit: Fit) -> list[Fit]:
        helps = evolve(
            fit, name="helps", sets={"train": fit.sets["train"]}, auxiliary=True, overrides={"data.label": "kind"}
        )
        return [helps, evolve(fit, name="main", after=("helps",), starts_from="helps")]

    trainer = create_trainer(config=tiny_config(training={"max_steps": 2}), plugins=[plan_of(fits), watches])
    result = trainer.train()
    head = watches.weights["main"]["classifier.weight"]
    assert head.shape == (2, 16)
    assert np.abs(head).max() > 0
    assert [
        text for text in watches.said if "newly initialised: classifier.weight (the file's shape is (3, 16)" in text
    ]
    helps = tmp_path / "run" / "fits" / "helps" / "model"
    other = read_tensors(find_folder(str(helps)))
    assert all(
        np.array_equal(value, np.array(other[name]))
        for name, value in watches.weights["main"].items()
        if not name.startswith("classifier")
    )
    assert result.fit.name == "main"
    # What the run predicts, the main model predicts alone, also when it is opened.
    opened = open_trainer(tmp_path / "run")
    for each in (trainer, opened):
        assert each.codec.names == ["0", "1"]
        np.testing.assert_array_equal(each.predict(tmp_path / "dev.csv"), result.predictions["validation"].values)


def test_filled_rows_are_looked_at_before_the_fit_starts(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def fits(fit: Fit) -> list[Fit]:
        one = evolve(fit, name="one", scope={"round": 0})
        return [one, evolve(fit, name="two", scope={"round": 1}, after=("one",))]

    def broken(fit: Fit) -> Fit:
        rows = fit.sets["train"]
        frame = rows.frame.assign(label=["0", "1"] * 21 + ["maybe", "1"])
        return evolve(fit, sets={**fit.sets, "train": evolve(rows, frame=frame)})

    with pytest.raises(DataError, match=r"none of 'maybe' in one.*; so it is filled by Plans"):
        create_trainer(config=tiny_config(training={"max_steps": 1}), plugins=[plan_of(fits, broken)]).train()
    assert not (tmp_path / "run" / "fits" / "two").exists()


def test_rows_that_an_override_cannot_read(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    def fits(fit: Fit) -> list[Fit]:
        one, two = (evolve(fit, name=f"fit-{n}", scope={"round": n}) for n in (1, 2))
        return [one, evolve(two, overrides={"data.text": "txt"})]

    with pytest.raises(ConfigError, match=r"expected a column 'txt'.*; so fit 'fit-2' would have it, by its overrides"):
        create_trainer(config=tiny_config(), plugins=[plan_of(fits)]).train()
    assert not (tmp_path / "run").exists()


def test_an_override_that_another_section_contradicts_is_found_before_anything_is_loaded(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def fits(fit: Fit) -> list[Fit]:
        one, two = (evolve(fit, name=f"fit-{n}", scope={"round": n}) for n in (1, 2))
        return [one, evolve(two, overrides={"scheduler.warmup_steps": 30})]

    with pytest.raises(ConfigError, match=r"warm-up shorter than the run of 22 updates.*so fit 'fit-2' would have it"):
        create_trainer(config=tiny_config(), plugins=[plan_of(fits)]).train()
    assert not (tmp_path / "run").exists()
