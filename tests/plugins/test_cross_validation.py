"""cross_validation: how rows are dealt out, what is refused, what is put together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import DataError, DataSettings, Fit, FitResult, LabelCodec, Predictions, Rows, create_trainer
from stepbus_plugins.cross_validation import MAY_BE, CrossValidation
from stepbus_plugins.cross_validation.folds import set_aside, split


def rows_of(frame: pd.DataFrame) -> Rows:
    numbers = np.arange(len(frame), dtype=np.int64)
    return Rows(frame=frame, ids=numbers + 100, source="train.csv", name="train", numbers=numbers + 1)


def words(number: int = 40, classes: int = 2, groups: int = 10) -> pd.DataFrame:
    """Rows whose class changes with every row and whose group changes with every run of rows."""
    return pd.DataFrame(
        {
            "text": [f"row {row}" for row in range(number)],
            "label": [f"class {row % classes}" for row in range(number)],
            "group": [f"g{row * groups // number}" for row in range(number)],
        }
    )


class Run:
    """What the plugin needs of a run."""

    def __init__(
        self,
        folder: Path = Path(),
        *,
        data: dict[str, Any] | None = None,
        others: tuple[str, ...] = (),
        head: str | None = None,
    ) -> None:
        self.directory = folder
        self.config = SimpleNamespace(
            data=SimpleNamespace(settings=DataSettings(**({"label": "label"} | (data or {})))),
            training=SimpleNamespace(seed=7),
            model=SimpleNamespace(
                settings=SimpleNamespace(head=SimpleNamespace(component=SimpleNamespace(metadata={"task": head})))
            ),
        )
        self.deciding = list(others)
        self.fits: list[Fit] = []
        self.said: list[tuple[str, str]] = []
        self.shown: list[tuple[str, list[str], list[list[str]]]] = []
        self.kept: list[tuple[str, Path]] = []
        self.codec = LabelCodec(self.config.data.settings.label)
        self.trainer = SimpleNamespace(data=SimpleNamespace(codec=self.codec))

    def expand(self, plugin: CrossValidation, frame: pd.DataFrame, **sets: Rows) -> list[Fit]:
        self.fits = plugin.expand_fits(self, [Fit("fit", {"train": rows_of(frame), **sets}, seed=7)])
        return self.fits

    def message(self, text: str, level: str = "info") -> None:
        self.said.append((text, level))

    def report(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        self.shown.append((title, columns, rows))

    def artifact(self, kind: str, path: Path) -> None:
        self.kept.append((kind, path))

    def score(self, labels: Any, values: Any, weights: Any = None) -> dict[str, float]:
        if values.ndim == 1:
            return {"mae": float(np.abs(labels - values).mean())}
        found = values.argmax(axis=1) if labels.ndim == 1 else values >= 0.5
        return {"accuracy": float((found == labels).mean())}


def plugin(**chosen: Any) -> CrossValidation:
    return CrossValidation(CrossValidation.Config(**chosen))


# How rows are dealt out -----------------------------------------------------------------------------------------------

many = settings(max_examples=50, deadline=None)


@settings(max_examples=25, deadline=None)
@given(
    strategy=st.sampled_from(["kfold", "stratified", "group", "stratified_group"]),
    folds=st.integers(2, 6),
    data=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), min_size=60, max_size=120),
    seed=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
)
def test_every_row_is_held_out_once_and_groups_stay_whole(
    strategy: Any, folds: int, data: list[tuple[int, int]], seed: int | None
) -> None:
    # Every class has a row for each fold, and there are as many groups.
    data = data + [(number % 3, number % 12) for number in range(36)]
    classes, groups = (np.array(column) for column in zip(*data, strict=True))
    pairs = split(strategy, folds, classes, groups, seed)
    assert len(pairs) == folds
    assert sorted(np.concatenate([held for _, held in pairs]).tolist()) == list(range(len(data)))
    for train, held in pairs:
        assert sorted([*train, *held]) == list(range(len(data)))
        assert len(held) > 0
        if "group" in strategy:
            assert not set(groups[train]) & set(groups[held])
        if strategy == "stratified":
            expected = np.bincount(classes, minlength=3) / folds
            assert np.all(np.abs(np.bincount(classes[held], minlength=3) - expected) < 1)
    again = split(strategy, folds, classes, groups, seed)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(pairs, again, strict=True))


@pytest.mark.parametrize("strategy", ["kfold", "stratified", "group", "stratified_group"])
def test_another_seed_makes_other_folds(strategy: Any) -> None:
    classes, groups = np.arange(60) % 2, np.arange(60) // 5
    held = [split(strategy, 3, classes, groups, seed)[0][1].tolist() for seed in range(5)]
    assert len({tuple(rows) for rows in held}) > 1


@many
@given(number=st.integers(12, 100), folds=st.integers(2, 8))
def test_time_series_never_learns_from_later_rows(number: int, folds: int) -> None:
    pairs = split("time_series", folds, np.zeros(number), None, None)
    held = np.concatenate([rows for _, rows in pairs])
    assert len(set(held.tolist())) == len(held) < number, "each row at most once, the earliest never"
    assert all(train.max() < rows.min() for train, rows in pairs)


@many
@given(
    strategy=st.sampled_from(["kfold", "stratified", "group", "stratified_group", "time_series"]),
    share=st.floats(0.02, 0.5),
    data=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=30, max_size=90),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_set_aside_come_from_training_rows_and_keep_groups_whole(
    strategy: Any, share: float, data: list[tuple[int, int]], seed: int
) -> None:
    data = data + [(number % 5, number) for number in range(10)]
    classes, groups = (np.array(column) for column in zip(*data, strict=True))
    train = np.arange(0, len(data), 2) if strategy != "time_series" else np.arange(len(data) // 2)
    grouped = groups if "group" in strategy else None
    kept, aside = set_aside(strategy, share, train, classes, grouped, seed)
    assert sorted([*kept, *aside]) == train.tolist()
    assert len(kept) > 0
    assert len(aside) > 0
    if grouped is not None:
        assert not set(groups[kept]) & set(groups[aside])
    if strategy == "time_series":
        assert kept.max() < aside.min()


def test_rare_classes_keep_a_row_in_training_when_rows_are_set_aside() -> None:
    classes = np.array([0] * 30 + [row // 2 for row in range(2, 42)])
    everything = np.arange(len(classes))
    for seed in range(20):
        kept, aside = set_aside("stratified", 0.1, everything, classes, None, seed)
        assert sorted([*kept, *aside]) == everything.tolist()
        assert set(classes[kept]) == set(classes)
        assert len(aside) in range(4, 8)


# Planning -------------------------------------------------------------------------------------------------------------


def test_a_fit_becomes_one_for_each_fold() -> None:
    fits = Run().expand(plugin(), words())
    assert [fit.name for fit in fits] == [f"fold-{number}" for number in range(1, 6)]
    assert [fit.scope for fit in fits] == [{"fold": number} for number in range(5)]
    assert {fit.seed for fit in fits} == {7}
    held = sorted(int(row) for fit in fits for row in fit.sets["validation"].ids)
    assert held == list(range(100, 140))
    for fit in fits:
        assert set(fit.sets) == {"train", "validation"}
        assert fit.sets["validation"].frame["label"].value_counts().tolist() == [4, 4]
        assert not set(fit.sets["train"].ids) & set(fit.sets["validation"].ids)


def test_fits_of_another_axis_are_multiplied_and_share_their_folds() -> None:
    rows = rows_of(words())
    members = [Fit(f"member-{number}", {"train": rows}, seed=number, scope={"member": number - 1}) for number in (1, 2)]
    fits = plugin(folds=2).expand_fits(Run(), members)
    assert [fit.name for fit in fits] == ["member-1-fold-1", "member-1-fold-2", "member-2-fold-1", "member-2-fold-2"]
    assert fits[3].scope == {"member": 1, "fold": 1}
    assert fits[0].sets["validation"].ids.tolist() == fits[2].sets["validation"].ids.tolist()


def test_what_comes_after_a_fit_comes_after_the_same_fold_of_it() -> None:
    rows = rows_of(words())
    rounds = [
        Fit("helps", {"train": rows}, 7, auxiliary=True),
        Fit("round-1", {"train": rows}, 7, {"round": 0}, after=("helps",)),
        Fit("round-2", {"train": rows}, 7, {"round": 1}, after=("round-1",), starts_from="round-1"),
    ]
    helps, *fits = plugin(folds=2).expand_fits(Run(), rounds)
    assert helps is not None
    assert (helps.name, set(helps.sets), helps.scope) == ("helps", {"train"}, {})
    assert {fit.name: (fit.after, fit.starts_from) for fit in fits} == {
        "round-1-fold-1": (("helps",), ""),
        "round-1-fold-2": (("helps",), ""),
        "round-2-fold-1": (("round-1-fold-1",), "round-1-fold-1"),
        "round-2-fold-2": (("round-1-fold-2",), "round-1-fold-2"),
    }


@pytest.mark.parametrize("strategy", ["stratified", "group", "time_series"])
def test_an_inner_split_decides_in_place_of_the_scored_rows(strategy: Any) -> None:
    data = {"group": "group"} if strategy == "group" else {}
    run = Run(data=data, others=("early_stopping",))
    chosen = plugin(strategy=strategy, folds=4, inner_validation=0.25)
    for fit in run.expand(chosen, words()):
        parts = [set(fit.sets[name].ids.tolist()) for name in ("train", "stop", "validation")]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))
        assert fit.monitored == "stop"
        assert fit.notice == ""
        if strategy == "group":
            groups = [set(fit.sets[name].frame["group"]) for name in ("train", "stop", "validation")]
            assert sum(map(len, groups)) == 10
    chosen.on_run_start(run)
    assert run.said == []


def test_early_stopping_on_the_scored_fold_is_called_by_its_name() -> None:
    chosen, run = plugin(), Run(others=("early_stopping",))
    assert {fit.notice for fit in run.expand(chosen, words())} == {MAY_BE}
    chosen.on_run_start(run)
    [(text, level)] = run.said
    assert level == "warning"
    assert "may be selected on validation, because early_stopping looks at" in text
    chosen, run = plugin(), Run()
    assert {fit.notice for fit in run.expand(chosen, words())} == {""}


@pytest.mark.parametrize(
    ("chosen", "data", "frame", "path", "sentence"),
    [
        (
            {},
            {"group": "group"},
            words(),
            "strategy",
            "expected group or stratified_group, because rows of one",
        ),
        ({"strategy": "kfold", "group": "group"}, {}, words(), "strategy", "must stay together, got kfold"),
        ({"strategy": "group"}, {}, words(), "group", "expected a column for strategy: group, got none"),
        (
            {"folds": 7},
            {},
            words(12, classes=3),
            "folds",
            "at least 7 rows of each class, one a fold, got 4 of",
        ),
        ({"strategy": "group", "folds": 5}, {"group": "group"}, words(groups=3), "folds", "got 3 groups"),
        (
            {"strategy": "kfold", "shuffle": False, "seed": 7},
            {},
            words(),
            "seed",
            "expected none, because shuffle: false draws nothing, got 7; leave it out",
        ),
        ({"strategy": "time_series", "seed": 0}, {}, words(), "seed", "strategy: time_series draws nothing, got 0;"),
        ({"strategy": "kfold", "folds": 9}, {}, words(8), "folds", "got 8 rows"),
    ],
)
def test_what_cannot_be_dealt_out_is_a_plan_problem(
    chosen: dict[str, Any], data: dict[str, Any], frame: pd.DataFrame, path: str, sentence: str
) -> None:
    made = plugin(**chosen)
    assert len(Run(data=data).expand(made, frame)) == 1
    [problem] = made.validate_plan()
    assert problem.path == f".{path}"
    assert sentence in problem.message


@pytest.mark.parametrize("said", ["data", "head"])
def test_folds_are_dealt_by_the_task_that_was_said(said: str) -> None:
    numbers = pd.DataFrame({"label": [row % 25 for row in range(100)]})
    run = Run(data={"task": "multiclass"}) if said == "data" else Run(head="multiclass")
    for fit in run.expand(plugin(folds=4), numbers):
        assert fit.sets["validation"].frame["label"].value_counts().tolist() == [1] * 25
    # Five classes, or a quantity of which each tenth has the same share in every fold.
    few = pd.DataFrame({"label": [row % 5 for row in range(100)]})
    run = Run(data={"task": "regression"}) if said == "data" else Run(head="regression")
    made = plugin(folds=21)
    assert len(run.expand(made, few)) == 21, "20 rows of each class are no limit for a regression"
    made = plugin(folds=21)
    Run().expand(made, few)
    assert "expected at least 21 rows of each class, one a fold, got 20 of '0'" in made.validate_plan()[0].message


def test_a_seed_beside_folds_in_order_draws_the_rows_that_decide() -> None:
    """Set aside are others by another seed, so it may be given."""

    def stop(seed: int) -> list[Any]:
        made = plugin(strategy="kfold", shuffle=False, seed=seed, inner_validation=0.25)
        fits = Run().expand(made, words(40))
        assert not made.validate_plan()
        return [fit.sets["stop"].frame["text"].tolist() for fit in fits]

    assert stop(1) != stop(2)


def test_validation_rows_beside_the_folds_are_refused() -> None:
    made = plugin()
    Run().expand(made, words(), validation=rows_of(words(5)))
    [problem] = made.validate_plan()
    assert str(problem) == ".: expected no validation rows, since each fold is one; leave " + ("data.validation out")


def test_a_row_without_a_group_is_named() -> None:
    frame = words()
    frame.loc[3, "group"] = None
    with pytest.raises(DataError, match=r"train.csv, row 4: column 'group': expected a group, got an empty field"):
        Run(data={"group": "group"}).expand(plugin(strategy="group"), frame)


# Combining ------------------------------------------------------------------------------------------------------------


def results_of(run: Run, fits: list[Fit], values: Any) -> list[FitResult]:
    """Results as the engine gives them; `values` says what is predicted of a row."""
    run.codec.fit(rows_of(pd.concat([fit.sets["validation"].frame for fit in fits])))
    results = []
    for fit in fits:
        rows = fit.sets["validation"]
        labels = run.codec.targets_in_units(rows)
        predicted = np.array([values(row) for row in rows.ids])
        scores = {f"eval_{name}": value for name, value in run.score(labels, predicted).items()} | {"eval_loss": 0.5}
        found = {"validation": Predictions(rows.ids, predicted, labels)}
        results.append(FitResult(fit, metrics=scores, predictions=found, steps=10))
    return results


def test_out_of_fold_predictions_are_saved_scored_and_shown(tmp_path: Path) -> None:
    made, run = plugin(folds=4), Run(tmp_path)
    fits = run.expand(made, words(12))
    # Row 100 + r is of class r % 2; the model is wrong on row 103 only.
    results = results_of(run, fits, lambda row: [0.9, 0.1] if row % 2 == 0 or row == 103 else [0.25, 0.75])
    whole = made.combine_results(run, "fold", results)
    assert whole is not None
    assert whole.metrics["oof_accuracy"] == pytest.approx(11 / 12)
    folds = [result.metrics["eval_accuracy"] for result in results]
    assert whole.metrics["cv_accuracy_mean"] == pytest.approx(np.mean(folds))
    assert whole.metrics["cv_accuracy_sd"] == pytest.approx(np.std(folds, ddof=1))
    assert whole.predictions["validation"].row_ids.tolist() == list(range(100, 112))
    assert (whole.fit.scope, whole.steps, whole.directory) == ({}, 40, tmp_path)

    table = pd.read_csv(tmp_path / "out_of_fold.csv")
    assert list(table) == ["row", "label", "prediction", "probability_class 0", "probability_class 1", "fold"]
    assert table["row"].tolist() == list(range(100, 112))
    assert (table["label"] != table["prediction"]).tolist() == [row == 103 for row in range(100, 112)]
    for fit in fits:
        own = table[table["row"].isin(fit.sets["validation"].ids)]
        assert set(own["fold"]) == {fit.scope["fold"] + 1}
    assert run.kept == [("out-of-fold", tmp_path / "out_of_fold.csv")]

    [(title, columns, rows)] = run.shown
    assert title == "Cross-validation: 4 folds, stratified"
    assert columns == ["fold", "rows", "accuracy", "loss"]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "mean", "± sd", "out-of-fold"]
    assert rows[-3:] == [
        ["mean", "", f"{np.mean(folds):.4f}", "0.5000"],
        ["± sd", "", f"{np.std(folds, ddof=1):.4f}", "0.0000"],
        ["out-of-fold", "12", "0.9167", ""],
    ]


def test_selection_is_said_with_the_score(tmp_path: Path) -> None:
    made, run = plugin(folds=2), Run(tmp_path, others=("early_stopping",))
    results = results_of(run, run.expand(made, words(12)), lambda row: [0.5, 0.5])
    whole = made.combine_results(run, "fold", results)
    assert whole is not None
    assert whole.fit.notice == ""  # it might have decided, and has not
    results[1].selected = {"validation": "early_stopping at step 3"}
    results[0].seen = {"validation": "6 of 6 rows (100%), such as '1' and '2'"}
    whole = made.combine_results(run, "fold", results)
    assert whole is not None
    assert whole.fit.notice == "selected on validation, of rows that the weights had seen before"
    assert run.shown[1][0].endswith(
        "2 folds, stratified, selected on validation, of rows that the weights had seen before"
    )


def test_with_an_inner_split_the_held_out_metrics_are_the_scored_ones(tmp_path: Path) -> None:
    made, run = plugin(folds=2, inner_validation=0.5), Run(tmp_path)
    results = results_of(run, run.expand(made, words(16)), lambda row: [0.5, 0.5])
    for result in results:
        result.metrics = {"eval_accuracy": 1.0, "validation_accuracy": 0.25}
    whole = made.combine_results(run, "fold", results)
    assert whole is not None
    assert whole.metrics["cv_accuracy_mean"] == 0.25


def test_rows_that_no_fold_held_out_are_absent(tmp_path: Path) -> None:
    made, run = plugin(folds=3, strategy="time_series"), Run(tmp_path)
    results = results_of(run, run.expand(made, words(12)), lambda row: [0.5, 0.5])
    made.combine_results(run, "fold", results)
    assert pd.read_csv(tmp_path / "out_of_fold.csv")["row"].tolist() == list(range(103, 112))
    assert run.said == [
        ("the earliest rows have no out-of-fold prediction: nothing came before them to learn from", "info")
    ]


def test_regression_keeps_the_unit_of_the_target(tmp_path: Path) -> None:
    made, run = plugin(folds=3), Run(tmp_path, data={"label": "price", "id": "house", "task": "regression"})
    frame = pd.DataFrame({"house": range(100, 130), "price": np.arange(30) * 1000.0})
    whole = made.combine_results(run, "fold", results_of(run, run.expand(made, frame), lambda row: row * 1000.0))
    assert whole is not None
    assert whole.metrics["oof_mae"] == 100_000
    table = pd.read_csv(tmp_path / "out_of_fold.csv")
    assert list(table) == ["house", "price", "prediction", "fold"]
    assert (table["prediction"] - table["price"]).unique().tolist() == [100_000]


def test_multilabel_has_a_prediction_for_each_column(tmp_path: Path) -> None:
    made, run = plugin(folds=2), Run(tmp_path, data={"label": ["joy", "fear"]})
    frame = pd.DataFrame({"joy": [0, 1] * 6, "fear": [0, 0, 1] * 4})
    made.combine_results(run, "fold", results_of(run, run.expand(made, frame), lambda row: [0.75, 0.25]))
    table = pd.read_csv(tmp_path / "out_of_fold.csv")
    assert list(table) == [
        "row", "joy", "fear", "prediction_joy", "prediction_fear", "probability_joy", "probability_fear", "fold"
    ]  # fmt: skip
    assert table["prediction_joy"].unique().tolist() == [1]
    assert table["joy"].tolist() == frame["joy"].tolist()


def test_predictions_of_other_rows_are_refused(tmp_path: Path) -> None:
    made, run = plugin(folds=2), Run(tmp_path)
    results = results_of(run, run.expand(made, words(12)), lambda row: [0.5, 0.5])
    held = results[0].predictions["validation"]
    results[0].predictions["validation"] = Predictions(held.row_ids[::-1], held.values, held.labels)
    with pytest.raises(DataError, match=r"fold-1: expected predictions of its held-out rows, got other row ids"):
        made.combine_results(run, "fold", results)


def test_other_axes_are_left_to_others(tmp_path: Path) -> None:
    assert plugin().combine_results(Run(tmp_path), "member", []) is None


def test_the_folds_of_all_seeds_share_their_tokens_on_disk(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five folds of two seeds made twenty files."""
    monkeypatch.setenv("STEPBUS_CACHE", str(tmp_path / "cache"))
    for seed in (1, 2):
        config = tiny_config(
            training={"seed": seed, "max_steps": 1},
            data={"validation": None},
            environment={"output_dir": str(tmp_path / f"run-{seed}")},
            plugins={"progress": False, "checkpoint": False, "cross_validation": {"folds": 5}},
        )
        create_trainer(config=config).train()
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 1
