"""`stepbus plan` as data: what it says of a run is what the run then does."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from stepbus import BadInput, Trainer, load_config
from stepbus.base.errors import PluginError
from stepbus.fit.texts.fits import TextFits, text_of
from stepbus.plan.memory import as_shapes, estimate
from stepbus.plan.planning import describe_plan
from stepbus.plan.words import render
from stepbus.run.folder_store import FolderStore
from stepbus.run.outer_loop import Run

PLUGINS = """
from stepbus import hookimpl

class Ema:
    excludes = ("swa",)
    @hookimpl
    def on_step_end(self): ...

class Swa:
    @hookimpl
    def on_step_end(self): ...

class Fails:
    @hookimpl
    def validate_plan(self, plan): 1 / 0

class Around:
    @hookimpl(wrapper=True)
    def on_step_end(self):
        return (yield)
"""

Make = Callable[..., dict[str, Any]]
FOLDS = {"cross_validation": {"folds": 3}}


@pytest.fixture
def make(tiny_config: Make, tmp_path: Path) -> Make:
    """Return a function that makes a configuration; the file plugins.py lies in the working folder."""
    (tmp_path / "plugins.py").write_text(PLUGINS)
    return tiny_config


def use(name: str, tmp_path: Path) -> dict[str, str]:
    return {"use": f"{tmp_path / 'plugins.py'}:{name}"}


def said(plan: dict[str, Any]) -> list[tuple[str, str]]:
    return [(problem["path"], problem["message"]) for problem in plan["problems"]]


CASES: dict[str, dict[str, Any]] = {
    "one fit": {},
    "accumulation": {"training": {"gradient_accumulation_steps": 3}, "scheduler": {"warmup_ratio": 0.2}},
    "a limit": {"training": {"max_steps": 5}},
    "folds": {"data": {"validation": None}, "plugins": FOLDS},
    "stopping": {"plugins": {"early_stopping": {"patience": 9}}, "scheduler": {"type": "reduce_on_plateau"}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_does_what_its_plan_says(case: str, make: Make, tmp_path: Path) -> None:
    values = make(**CASES[case])
    values["plugins"]["around"] = use("Around", tmp_path)
    plan = describe_plan(values)
    assert plan["ok"], plan["problems"]
    assert not (tmp_path / "run").exists()
    config, trace = load_config(values), io.StringIO()
    with redirect_stderr(trace):
        run = Run(config, TextFits(config), FolderStore(config), trace_hooks=True)
        run.execute()
    planned = {each["event"]: [call["plugin"] for call in each["calls"]] for each in plan["events"]}
    heard = called(trace.getvalue())
    assert {event: names for event, names in planned.items() if event in heard} == heard
    # What was planned and not heard is what this run had no occasion for.
    idle = {"on_epoch_end", "on_metrics"} if case == "a limit" else set()
    idle |= set() if case == "folds" else {"on_result"}
    idle |= {"on_exception", "on_message", "checkpoint_retention", "on_checkpoint", "combine_predictions"}
    assert set(planned) - set(heard) <= idle
    assert [fit["name"] for fit in plan["fits"]] == [fit.name for fit in run.fits]
    for fit, result in zip(plan["fits"], run.results, strict=True):
        assert fit["steps"] == result.steps
        assert {name: each["rows"] for name, each in fit["sets"].items()} == {
            name: len(rows) for name, rows in result.fit.sets.items()
        }
        assert fit["warmup_steps"] == math.ceil(0.2 * fit["steps"]) * (case == "accumulation")
    assert plan["monitor"] == run.first.monitor
    assert plan["metrics"] == run.first.directions
    assert plan["folder"] == str(run.directory)


def called(trace: str) -> dict[str, list[str]]:
    """Return hook -> plugins in the order in which they were first called, wrappers where they begin."""
    heard: dict[str, list[str]] = {}
    for line in trace.splitlines():
        *_, hook, name = line.split()
        heard.setdefault(hook, [])
        if name not in heard[hook]:
            heard[hook].append(name)
    return heard


def test_shapes_labels_and_memory(make: Make) -> None:
    plan = describe_plan(make())
    (fit,) = plan["fits"]
    assert fit["exact"] is True
    assert fit["sets"]["train"]["rows"] == 44 == sum(fit["sets"]["train"]["labels"].values())
    assert fit["batches"] == 11 == sum(each["batches"] for each in fit["shapes"])
    config = load_config(make())
    run = Run(config, TextFits(config), FolderStore(config))
    run.execute()
    session = run.first
    assert fit["traces"] == len({(each["rows"], each["tokens"]) for each in fit["shapes"]})
    tokens = sum(each["rows"] * each["tokens"] * each["batches"] for each in fit["shapes"])
    real = int(text_of(session).tokens["train"].lengths.sum())
    assert fit["padding"] == pytest.approx(1 - real / tokens, abs=1e-4)
    memory = plan["memory"]
    assert memory["parameters"] == sum(array.size for array in session.model.tensors().values())
    assert memory["weights"] == memory["gradients"] == 4 * memory["parameters"]
    assert memory["optimizer"] == sum(array.nbytes for array in flat(session.optimizer.state["parameters"]))


def flat(tree: Any) -> list[Any]:
    from mlx.utils import tree_flatten

    return [array for _, array in tree_flatten(tree)]


def test_rows_of_other_folds_are_counted_from_the_first(make: Make) -> None:
    plan = describe_plan(make(data={"validation": None}, plugins=FOLDS))
    assert [fit["exact"] for fit in plan["fits"]] == [True, False, False]
    for fit in plan["fits"]:
        train, scored = (fit["sets"][name]["labels"] for name in ("train", "validation"))
        assert sum(train.values()) + sum(scored.values()) == 44
        assert [train[name] + scored[name] for name in train] == [20, 24]


def test_every_problem_is_told_and_the_rest_shown(make: Make, tmp_path: Path) -> None:
    values = make(training={"monitor": "eval_acuracy"}, plugins={"early_stopping": {}, "swa": use("Swa", tmp_path)})
    values["plugins"]["ema"] = use("Ema", tmp_path)
    plan = describe_plan(values)
    assert plan["ok"] is False
    (both, words), (monitor, unknown) = said(plan)
    assert (both, monitor) == ("plugins.ema", "training.monitor")
    assert words.startswith("expected ema or swa, got both; ema, ")
    assert "did you mean 'eval_accuracy'?" in unknown
    assert plan["fits"]
    assert plan["memory"]["peak"] > 0


@pytest.mark.parametrize(
    ("changes", "path", "message", "has_fits"),
    [
        ({"data": {"label": "lable"}}, "", "expected a column 'lable' (did you mean 'label'?)", True),
        ({"data": {"train": None}}, "data.train", "expected a file of training rows", False),
        ({"model": {"tokenizer": "/nowhere"}}, "model.tokenizer", "/nowhere: no such folder", True),
        (
            {"model": {"num_attention_heads": 3}},
            "model.num_attention_heads",
            "expected a divisor of hidden_size 16",
            True,
        ),
        ({"model": {"vocab_size": 22}}, "", "expected token ids below 22, the rows of the model's table", True),
        ({"model": {"max_position_embeddings": 2}}, "data.max_length", "expected room for text beside 2", True),
        ({"plugins": {"cross_validation": {}}}, "plugins.cross_validation", "", True),
        ({"training": {"metrics": ["rmse"]}}, "training.metrics[0]", "rmse is for regression", True),
    ],
)
def test_one_problem_names_its_setting(
    changes: dict[str, Any], path: str, message: str, has_fits: bool, make: Make
) -> None:
    plan = describe_plan(make(**changes))
    ((found, words),) = said(plan)
    assert found == path
    assert message in words
    assert bool(plan["fits"]) == has_fits
    assert render(plan).rstrip().endswith(words)


def test_what_a_plugin_raises_is_a_problem_too(make: Make, tmp_path: Path) -> None:
    plan = describe_plan(make(plugins={"fails": use("Fails", tmp_path)}))
    ((_, words),) = said(plan)
    assert "validate_plan raised ZeroDivisionError" in words
    assert plan["fits"][0]["steps"] == 22


def test_two_plugins_that_exclude_each_other_stop_a_run_before_data_is_read(make: Make, tmp_path: Path) -> None:
    values = make(data={"train": "missing.csv"})
    values["plugins"] |= {"ema": use("Ema", tmp_path), "swa": use("Swa", tmp_path)}
    from stepbus import ConfigError

    with pytest.raises(ConfigError, match="expected ema or swa, got both"):
        Trainer(load_config(values)).train()
    assert not (tmp_path / "run").exists()


def test_excludes_must_be_names(make: Make, tmp_path: Path) -> None:
    (tmp_path / "plugins.py").write_text(PLUGINS.replace('("swa",)', '"swa"'))
    plan = describe_plan(make(plugins={"ema": use("Ema", tmp_path)}))
    ((_, words),) = said(plan)
    assert words.endswith("""expected excludes = ("name", …), got 'swa'""")


def test_a_plan_is_plain_data_with_the_documented_keys(make: Make) -> None:
    from stepbus.plan import planning

    plan = describe_plan(make())
    assert json.loads(json.dumps(plan)) == plan
    documented = [
        line.split()[0] for line in (planning.__doc__ or "").splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert documented == list(plan)


def test_the_text_names_everything(make: Make) -> None:
    plan = describe_plan(make(data={"validation": None}, plugins={"cross_validation": {"folds": 12}}))
    for width in (40, 80, 200):
        text = render(plan, width)
        for each in plan["plugins"]:
            assert each["name"] in text
        assert "eval_loss (lower is better)" in text
        assert "--json has all 12" in text
        assert text.endswith("No problem was found.")
        # A path is never broken: its line is as long as the temporary folder's name makes it.
        lines = [line for line in text.splitlines() if str(plan["folder"]) not in line]
        assert max(map(len, lines)) <= max(width, 60) + 40


def test_weights_are_not_read_and_nothing_is_written(make: Make, tmp_path: Path) -> None:
    trainer = Trainer(load_config(make(data={"validation": None})))
    trainer.train()
    model = tmp_path / "run" / "fits" / "fit" / "model"
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    head = 8 + int.from_bytes(content[:8], "little")
    # The head tells names and shapes; the numbers behind it are spoilt, and nobody may notice.
    weights.write_bytes(content[:head] + b"\xff" * (len(content) - head))
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)
    values = make(environment={"output_dir": str(tmp_path / "next")})
    values["model"] = {"pretrained": str(model)}
    # What stepbus vouches for is verified, and the plan says that a run would refuse it.
    (problem,) = {found["message"] for found in describe_plan(values)["problems"]}
    assert f"{weights}: the content is not what was written" in problem
    (model / "stepbus.json").unlink()
    before.remove(model / "stepbus.json")
    plan = describe_plan(values)
    assert plan["ok"], plan["problems"]
    assert plan["memory"]["parameters"] == sum(array.size for array in trainer.model.tensors().values())
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before


def test_the_estimate_of_memory_is_near_the_peak(make: Make, tmp_path: Path) -> None:
    # The peak is MLX's own count in a process of its own, after two updates of one shape.
    sizes = {"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4, "max_position_embeddings": 128}
    rows = [" ".join(["film"] * 126) + f",{number % 2}" for number in range(32)]
    data = tmp_path / "long.csv"
    data.write_text("\n".join(["text,label", *rows]) + "\n")
    values = make(
        model=sizes,
        data={"train": str(data), "validation": None, "batch_size": 16, "max_length": 128},
        training={"num_epochs": 1},
    )
    plan = describe_plan(values)
    assert plan["memory"]["largest_batch"] == {"rows": 16, "tokens": 128}
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    code = (
        "import stepbus, sys, mlx.core as mx; stepbus.Trainer(stepbus.load_config(sys.argv[1])).train();"
        "print(mx.get_peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    measured = int(done.stdout.split()[-1])
    assert plan["memory"]["peak"] == pytest.approx(measured, rel=0.25)


def test_what_was_told_and_warned_of_stands_in_the_plan(make: Make, tmp_path: Path) -> None:
    train = tmp_path / "odd.csv"
    train.write_text("text;label\n" + "the film;Pos\na plot;pos\nvery dull;neg\n" * 4)
    plan = describe_plan(make(data={"train": str(train), "validation": None}))
    assert plan["told"] == {"task": "multiclass, told by words with 3 different values (data.task sets another)"}
    assert "task       multiclass, told by words with 3" in render(plan)
    assert "precision  float32" in render(plan)
    separator, twins = plan["notes"][:2]
    assert "odd.csv: read with semicolons between the fields, where commas were expected" in separator
    assert "classes that look alike are learnt as different ones: 'Pos' and 'pos'" in twins
    assert describe_plan(make(data={"task": "binary"}))["told"] == {}


def test_labels_of_all_fits_are_looked_at_and_said_once(make: Make, tmp_path: Path) -> None:
    train = tmp_path / "rare.csv"
    train.write_text("text,label\n" + "the film,a\na plot,b\n" * 6 + "very dull,rare\n")
    folds = {"cross_validation": {"folds": 3, "strategy": "kfold"}}
    plan = describe_plan(make(data={"train": str(train), "validation": None}, plugins=folds))
    [problem] = plan["problems"]
    assert (
        "rare.csv:14: column 'label': expected a label that training has seen (a, b), got 'rare'; the split of fold-"
        in (problem["message"])
    )


@pytest.mark.parametrize("said", [None, [], {"a": [2, 3]}, {"a": (2.0, 3)}, {1: (2,)}, {"a": (True,)}, {"a": (-1,)}])
def test_what_a_model_says_of_its_shapes_is_looked_at(said: Any) -> None:
    with pytest.raises(PluginError, match=r"model mine: shapes: expected a mapping of parameter names to tuples"):
        as_shapes(said, "mine")


def test_shapes_that_a_model_says_are_what_memory_is_estimated_from() -> None:
    said = as_shapes({"a.weight": (2, 3), "a.bias": (2,), "scale": ()}, "mine")
    assert estimate(said, optimizer=0, kept=0).parameters == 9
    assert estimate(said, optimizer=72, kept=0, averages=True).optimizer == 72 + 9 * 4


def test_a_device_that_is_not_there_is_said_once_with_its_line_and_the_rest_is_planned(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: str) -> None:
        raise BadInput(f"environment.device: expected a GPU, and MLX finds none here, got {wanted}")

    monkeypatch.setattr("stepbus.device.choice.choose", refuse)
    plan = describe_plan(make())
    assert [(problem["path"], problem["message"]) for problem in plan["problems"]] == [
        ("environment.device", "expected a GPU, and MLX finds none here, got auto")
    ]
    assert plan["fits"][0]["steps"] == 22


def test_rounds_say_what_comes_after_what(make: Make, tmp_path: Path) -> None:
    rounds = Path(__file__).parents[2] / "fixtures" / "rounds.py"
    (tmp_path / "test.csv").write_text((tmp_path / "dev.csv").read_text())
    plan = describe_plan(
        make(data={"test": str(tmp_path / "test.csv")}, plugins={"rounds": {"use": f"{rounds}:Rounds"}})
    )
    first, second = plan["fits"]
    assert (first["after"], first["starts_from"], first["overrides"], first["filled_by"]) == ([], "", {}, [])
    assert (second["after"], second["starts_from"], second["filled_by"]) == (["round-1"], "round-1", ["rounds"])
    assert second["overrides"] == {"optimizer.learning_rate": 0.001, "training.num_epochs": 1}
    assert (second["steps"], second["exact"], second["auxiliary"]) == (16, False, False)  # 44 rows, and at most 20
    text = render(plan, 80)
    for words in (
        "after round-1, from its weights",
        "optimizer.learning_rate: 0.001",
        "filled later by rounds",
        "at most 16 = 1 x 16",
    ):
        assert words in text
    assert "fill_fit" in text
