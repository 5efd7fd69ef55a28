"""Every setting of every built-in section, component and plugin changes something that is seen.

The list is read from the classes, so a new setting without an entry here fails. What counts is what is computed, made
or said; that a setting is stored, digested or echoed does not. A name with * stands for every component of its kind.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import math
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from attrs import evolve, field, frozen
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from stepbus import (
    BadInput,
    FitResult,
    LossFacts,
    ParameterUpdater,
    StepbusError,
    TrainingState,
    create_model,
    create_trainer,
    hookimpl,
    load_config,
)
from stepbus.config.discovery import plugins
from stepbus.config.sections import BASES
from stepbus.config.suggestions import setting_names
from stepbus.device import choice as device
from stepbus.fit import FitSession, TextFits, evaluation, text_of
from stepbus.kernel.fits import Fit, Predictions
from stepbus.plan.planning import describe_plan
from stepbus.run import FolderStore, resume
from stepbus.run.outer_loop import Run
from stepbus.run.plans.planning import plan_fits, prepare_first
from stepbus.testing import Recorder, play
from stepbus.text.batches import prefetch as batches
from stepbus.text.rows import read_rows
from stepbus_plugins import optimizers as optimizer_plugin
from stepbus_plugins.adversarial_training import AdversarialTraining
from stepbus_plugins.checkpoint import CheckpointPolicy
from stepbus_plugins.early_stopping import EarlyStopping
from stepbus_plugins.ema import Ema
from stepbus_plugins.gradient_clipping import GradientClipping
from stepbus_plugins.layerwise_decay import LayerwiseDecay
from stepbus_plugins.lora import Lora
from stepbus_plugins.metrics import Metrics
from stepbus_plugins.multi_sample_dropout import MultiSampleDropout
from stepbus_plugins.nan_guard import NanGuard
from stepbus_plugins.progress import Progress
from stepbus_plugins.progress.screen import Screen
from stepbus_plugins.rdrop import RDrop
from stepbus_plugins.reinitialize import Reinitialize
from stepbus_plugins.swa import Swa

FIXTURES = Path(__file__).parents[1] / "fixtures"
BUILT_IN = {
    name: plugins.load_class(name) for name, each in plugins.installed().items() if each.distribution == "stepbus"
}
PARTS = {(part.kind, part.name): part for loaded in BUILT_IN.values() for part in loaded.components}


def every_setting() -> list[str]:
    """Return section.setting, kind.component.setting and plugins.plugin.setting of all that is built in."""
    plain = [f"{name}.{each}" for name in ("training", "environment") for each in setting_names(BASES[name])]
    parts = [f"{kind}.{name}.{each}" for (kind, name), part in PARTS.items() for each in setting_names(part.config)]
    classes = {name: loaded.config_class for name, loaded in BUILT_IN.items() if loaded.config_class is not None}
    return plain + parts + [f"plugins.{name}.{each}" for name, cls in classes.items() for each in setting_names(cls)]


@frozen
class Sight:
    """What makes a setting seen.

    Args:
        see: Called with the tools of the test, the component or plugin, and its settings; returns what is seen.
        values: Two values of the setting.
        beside: Settings that both go with.
    """

    see: Callable[..., Any]
    values: tuple[Any, Any]
    beside: dict[str, Any] = field(factory=dict)


class Tools:
    """The tiny configuration, a folder, and pytest's patches."""

    def __init__(self, make: Callable[..., dict[str, Any]], folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.make, self.folder, self.patch = make, folder, patch


@pytest.fixture
def tools(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    rows = [
        f"{'good' if n % 3 else 'bad'} a{' the' * (n % 7)},{n % 3 > 0:d},{n}.5,{n // 2},{n % 5 if n - 4 else ''},x{n},"
        f"0.{n}"
        for n in range(24)
    ]
    (tmp_path / "wide.csv").write_text("\n".join(["text,label,price,family,size,code,chance", *rows]) + "\n")
    (tmp_path / "other.csv").write_text("text,label\n" + "a film,1\nthe plot,0\n" * 5)
    (tmp_path / "accents.csv").write_bytes("text,label\ngood \xe9t\xe9,1\nbad plot,0\n".encode("latin-1") * 6)
    (tmp_path / "semicolons.csv").write_text("text;label;a,b\n" + "good film;1;2,3\nbad plot;0;4,5\n" * 6)
    (tmp_path / "holes.csv").write_text("text,label\ngood,1\n,0\n" * 6)
    return Tools(tiny_config, tmp_path, monkeypatch)


# What is seen ---------------------------------------------------------------------------------------------------------


def prepared(tools: Tools, tree: dict[str, Any]) -> FitSession:
    config = load_config(tree)
    run = Run(config, TextFits(config), FolderStore(config))
    plan_fits(run)
    prepare_first(run)
    return run.first


def in_section(tools: Tools, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the tiny configuration with rows as text or as a table."""
    tree = tools.make(data={"type": name, **settings})
    if name == "table":
        del tree["data"]["text"]
    return tree


def rows_seen(tools: Tools, tree: dict[str, Any]) -> Any:
    """Return the fits' rows, and the tokens, labels, ids and batches of the first fit; or why there are none."""
    try:
        trainer = prepared(tools, tree)
    except StepbusError as error:
        return str(error)
    fits = [{name: rows.numbers.tolist() for name, rows in fit.sets.items()} for fit in trainer.run.fits]
    tokens, source = text_of(trainer).tokens["train"], trainer.config.data.build()
    source.fit(trainer.fit.sets["train"])
    arrays = [tokens.ids, tokens.offsets, tokens.labels, text_of(trainer).targets["train"], tokens.weights]
    order = batches.epoch_order(text_of(trainer).shapes, tokens.lengths, seed=1, epoch=0)
    shapes = [(len(each.rows), each.size, each.length) for each in order]
    texts = source.texts(trainer.fit.sets["train"])
    return (
        fits,
        texts,
        [np.asarray(each).tolist() for each in arrays],
        list(tokens.row_ids),
        shapes,
        trainer.state.total_steps,
    )


def data(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    wide = {"train": str(tools.folder / "wide.csv"), "validation": 0.25, "label": "label", "batch_size": 4}
    text = {"text": "text"} if name == "text" else {"columns": ["text"]}
    if "template" in settings:
        text = {}
    paths = {key: str(tools.folder / value) for key, value in settings.items() if str(value).endswith(".csv")}
    tree = tools.make()
    return rows_seen(tools, {**tree, "data": {"type": name, **wide, **text, "max_length": 16, **settings, **paths}})


def planned(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what `stepbus plan` says beside what it echoes."""
    tree = in_section(tools, name, settings) if name in ("text", "table") else tools.make(**{name: settings})
    plan = describe_plan(tree)
    fits = [{key: value for key, value in fit.items() if key != "epochs"} for fit in plan["fits"]]
    return plan["folder"], fits, plan["metrics"], plan["notes"], plan["problems"], plan["memory"]


def evaluated(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the batches of an evaluation, the threads that made them, and how many were made before the first use."""
    trainer, made = prepared(tools, in_section(tools, name, settings)), threading.Semaphore(0)
    seen: list[tuple[int, int]] = []
    threads: set[bool] = set()
    ahead = [0]

    def collate(tokens: Any, index: Any) -> Any:
        threads.add(threading.current_thread() is threading.main_thread())
        made.release()
        return kept(tokens, index)

    def evaluate(batch: Any) -> Any:
        while not seen and made.acquire(timeout=0.3):
            ahead[0] += 1
        seen.append(batch.input_ids.shape)
        shape = (len(batch.rows), 2)
        return 0.0, np.zeros(shape, np.float32), np.zeros(shape, np.float32)

    kept = batches.collate
    tools.patch.setattr(batches, "collate", collate)
    steps: Any = SimpleNamespace(evaluate=evaluate)
    evaluation.predict(steps, trainer.data.sets["validation"])
    return seen, threads, ahead


def cached(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the files that reading the rows leaves behind."""
    before = set(tools.folder.rglob("*"))
    tree = in_section(tools, name, {"cache": str(tools.folder / "tokens") if settings["cache"] else False})
    prepared(tools, tree)
    return sorted(str(each.relative_to(tools.folder)) for each in set(tools.folder.rglob("*")) - before)


def model(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return a model's arrays, and what it says of a batch in training."""
    sizes = {key: value for key, value in tools.make()["model"].items() if key not in ("type", "tokenizer")}
    if settings.get("pretrained"):
        sizes = {}
    if "resize_embeddings" in settings:
        sizes["tokenizer"] = str(tools.folder / "tokenizer")
    if "size" in settings:
        sizes = {"vocab_size": 30, "max_position_embeddings": 32}
    made = create_model(name, "binary_classification", **{**sizes, **settings})
    made.train()
    mx.random.seed(3)
    batch = {
        "input_ids": mx.array([[1, 2, 3, 4], [4, 5, 6, 0]]),
        "attention_mask": mx.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]),
    }
    shapes = {name: array.shape for name, array in made.tensors().items()}
    return shapes, np.array(made(batch)).tolist()


def row_losses(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the losses of rows of three classes, of two, of several labels or of values."""
    part = PARTS["loss", name]
    task = "multiclass" if "multiclass" in part.metadata["tasks"] else part.metadata["tasks"][0]
    outputs = {"multiclass": 2 if "alpha" in settings else 3, "multilabel": 3, "regression": 1}[task]
    draw = np.random.default_rng(1)
    logits, rows = mx.array(draw.normal(size=(4, outputs)).astype(np.float32)), np.arange(4)
    facts = LossFacts(task, tuple("abc"[:outputs]), outputs, (2.0, 1.0, 1.0)[:outputs], 4.0, ("a", "b", "c"))
    if "order" in settings:
        facts = evolve(facts, order=None)
    labels = {"multiclass": rows % outputs, "multilabel": np.eye(4)[:, :3], "regression": draw.normal(size=4)}[task]
    return part.build(part.config(**settings), facts)(logits, mx.array(labels)).tolist()


def ordered(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    head = PARTS["head", name].build(PARTS["head", name].config(**settings), 4, 3)
    head.take_classes(("1", "2", "3"))
    return head.ranks


def decided(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the words that probabilities come to."""
    codec = prepared(tools, in_section(tools, name, settings)).data.codec
    return codec.decoded_columns(np.array([[0.3, 0.7], [0.05, 0.95]]))[0].values.tolist()


def heads(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    return rows_seen(tools, tools.make(model=settings))[2]


def words(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the tokens under one vocabulary or the other."""
    other = tools.folder / "other"
    other.mkdir(exist_ok=True)
    (other / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\ngood\n")
    tree = tools.make()
    tree["model"]["tokenizer"] = str(tools.folder / settings["tokenizer"])
    return rows_seen(tools, tree)


def updates(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the parameters after ten updates."""
    part = PARTS["optimizer", name]
    made = part.config(**settings)
    updater = ParameterUpdater(part.build(made), made.learning_rate, made.weight_decay)
    random = np.random.default_rng(7)
    shapes = {"encoder.weight": (6, 8), "encoder.bias": (8,), "head.weight": (3, 4)}
    tree = {name: mx.array(random.normal(size=shape).astype(np.float32)) for name, shape in shapes.items()}
    updater.init(tree)
    updater.set_learning_rate(made.learning_rate)
    for _ in range(10):
        tree = updater.apply({n: mx.array(random.normal(size=s).astype(np.float32)) for n, s in shapes.items()}, tree)
    return [np.array(tree[name]).tolist() for name in shapes]


def decayed(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    made = optimizer_plugin.Optimizers(optimizer_plugin.Optimizers.Config(**settings))
    built = create_model("bert", pretrained=str(FIXTURES / "bert" / "binary"))
    return made.parameter_groups(model=built)


def rates(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the rates of twelve updates; those of a plateau after twelve evaluations."""
    part = PARTS["scheduler", name]
    schedule, optimizer = part.build(part.config(**settings)), SimpleNamespace(learning_rate=0.1)
    trainer: Any = SimpleNamespace(
        monitor="eval_loss",
        directions={"eval_loss": False, "eval_f1": True},
        optimizer=optimizer,
        message=lambda *words: None,
    )
    if hasattr(schedule, "on_fit_start"):
        given = {"trainer": trainer, "state": TrainingState(steps_per_epoch=4)}
        schedule.on_fit_start(**{name: given[name] for name in inspect.signature(schedule.on_fit_start).parameters})
    found = []
    for step in range(12):
        found.append(schedule.rate(step, 12, optimizer.learning_rate))
        if name == "reduce_on_plateau":
            loss = 4.0 - 0.1 * min(step, 2) - 1e-3 * step
            schedule.on_metrics(trainer, TrainingState(step=step), {"eval_loss": loss, "eval_f1": step / 12})
    return found


def score(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return a metric of two classes, of three, of labels and of values, as far as it is for them, or what it says."""
    part, random = PARTS["metric", name], np.random.default_rng(1)
    codec = SimpleNamespace(names=["1", "2", "3"], thresholds=None)
    first = random.random(40)
    three = random.dirichlet([1, 1, 1], 40)
    sets = {
        "binary": (random.integers(0, 2, 40), np.stack([1 - first, first], axis=1)),
        "multiclass": (random.integers(0, 3, 40), three),
        "multilabel": (random.integers(0, 2, (40, 3)), random.random((40, 3))),
        "regression": (first, random.random(40)),
    }
    metric = part.build(part.config(**settings), *([codec] if "order" in settings else []))
    found: list[Any] = []
    for task in part.metadata["tasks"]:
        try:
            found.append(metric(*sets[task]))
        except BadInput as error:
            found.append(str(error))
    return found


def clipped(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    trainer = SimpleNamespace(optimizer=SimpleNamespace(map=tree_map))
    clip = GradientClipping(GradientClipping.Config(**settings)).transform_gradients(trainer)
    changed, _ = clip({"a": mx.array([3.0, -4.0, 0.5])})
    return np.array(changed["a"]).tolist()


def averaged(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what an average of weights comes to that take the values of the updates, 1 to 12 in 3 epochs."""
    plugin = {"ema": Ema, "swa": Swa}[name]
    now = {"w": mx.array([0.0])}
    optimizer = SimpleNamespace(trained=lambda model: now, on_stream=lambda name: contextlib.nullcontext())
    state = SimpleNamespace(step=0, steps_per_epoch=4, total_steps=12)
    trainer = SimpleNamespace(optimizer=optimizer, state=state, model=None)
    arrays, follow, weights = plugin(plugin.Config(**settings)).after_update(trainer)
    for number in range(1, 13):
        arrays = follow({"w": mx.array([float(number)])}, arrays)
    return np.array(weights(now, arrays)["w"]).tolist()


def moved(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the gradients of a sum of cubes with their adversarial part, at the beginning of each of three epochs."""
    plugin, found = AdversarialTraining(AdversarialTraining.Config(**settings)), []
    parameters = {"word_embeddings.weight": mx.array([[1.0, 2.0]]), "head.weight": mx.array([[3.0, 1.0]])}

    def cubes(at: Any, batch: Any) -> Any:
        total = sum((array**3).sum() for array in at.values())
        return total, mx.array(1.0), {}, {name: 3 * array**2 for name, array in at.items()}

    for step in (0, 4, 8):
        state = SimpleNamespace(step=step, steps_per_epoch=4, total_steps=12)
        model = SimpleNamespace(parameters=lambda: tree_unflatten(list(parameters.items())))
        trainer = SimpleNamespace(state=state, config=SimpleNamespace(plugins=()), model=model)
        _, _, scalars, gradients = (plugin.wrap_gradient(trainer, cubes) or cubes)(parameters, {})
        found.append([each.tolist() for each in (*scalars.values(), *gradients.values())])
    return found


def several_passes(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the loss of rows under a wrapped loss, of a model whose answers differ from call to call."""
    plugin = {"rdrop": RDrop, "multi_sample_dropout": MultiSampleDropout}[name]
    model = SimpleNamespace(pooled=lambda batch: mx.ones((4, 8)), head=lambda pooled: pooled[:, :2])
    calls = iter(range(9))

    class Forward(SimpleNamespace):
        def __call__(self, batch: Any) -> mx.array:
            return mx.full((4, 2), next(calls)) * mx.array([0.0, 1.0])

    trainer = SimpleNamespace(data=SimpleNamespace(task="multiclass"))
    loss = plugin(plugin.Config(**settings)).wrap_loss(
        trainer, lambda forward, batch: (forward(batch).sum(axis=-1), {})
    )
    mx.random.seed(4)
    return loss(Forward(**vars(model)), {})[0].tolist()


def trained_when(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return which parameters a fit of four epochs trains from which update on."""
    seen: list[Any] = []

    class Phases:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            seen.append({step: list(names) for step, names in trainer.phases.items()})
            trainer.control.request_stop("seen")

        asks = ("stop",)

    plugins = {"progress": False, name: settings}
    create_trainer(config=tools.make(plugins=plugins, training={"num_epochs": 4}), plugins=[Phases()]).train()
    return seen


def scaled(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the rate of each parameter of a model."""
    model = create_model("bert", pretrained=str(FIXTURES / "bert" / "binary"))
    return LayerwiseDecay(LayerwiseDecay.Config(**settings)).parameter_groups(model)


def renewed(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the weights of a pretrained model with BERT's own pooling, some of them new."""
    model = create_model("bert", pretrained=str(FIXTURES / "bert" / "binary"), pooling="cls")
    trainer = SimpleNamespace(fit=SimpleNamespace(seed=1), starts_from="", message=lambda *_: None)
    Reinitialize(Reinitialize.Config(**settings)).transform_model(trainer, model)
    return {name: np.array(array).tolist() for name, array in tree_flatten(model.parameters())}


def pooled_of_layers(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what a pooling of several layers makes of them."""
    part = PARTS["pooling", name]
    hidden = [mx.random.normal((2, 3, 4), key=mx.random.key(layer)) for layer in range(5)]
    return np.array(part.build(part.config(**settings), hidden_size=4, layers=4)(hidden, mx.ones((2, 3)))).tolist()


def adapted(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what LoRA makes of a model: its arrays, what it says in training, what is trained, what is merged."""
    plugin, fit = Lora(Lora.Config(**settings)), SimpleNamespace(fit=SimpleNamespace(seed=1))
    made = plugin.transform_model(fit, create_model("bert", pretrained=str(FIXTURES / "bert" / "binary")))
    arrays = {name: np.array(array).tolist() for name, array in tree_flatten(made.parameters())}
    trained = plugin.trained_parameters(fit, made, list(arrays))
    full = {name: mx.ones_like(array) for name, array in made.tensors().items() if name.endswith("lora_B")}
    made.load_tensors({**made.tensors(), **full})
    made.train()
    mx.random.seed(3)
    batch = {"input_ids": mx.array([[5, 6, 7]]), "attention_mask": mx.ones((1, 3))}
    merged = plugin.transform_export(fit, made.tensors())
    return arrays, np.array(made(batch)).tolist(), trained, {n: np.array(array).tolist() for n, array in merged.items()}


def adapter_files(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the files of a fit with LoRA, on weights that a folder has."""
    first = create_trainer(config=tools.make(training={"max_steps": 1})).train()
    sizes = [key for key in tools.make()["model"] if key not in ("type", "tokenizer")]
    model = {"pretrained": str(first.model_path), "tokenizer": None, **dict.fromkeys(sizes)}
    plugins = {"progress": False, "lora": settings}
    result = create_trainer(config=tools.make(model=model, plugins=plugins, training={"max_steps": 1})).train()
    return sorted(path.name for path in result.model_path.parent.iterdir())


def written_card(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the model card of a run of one update."""
    plugins = {"progress": False, "model_card": settings}
    result = create_trainer(config=tools.make(plugins=plugins, training={"max_steps": 1})).train()
    return result.model_path.joinpath("README.md").read_text()


LOSSES = [0.9, 0.8, 0.85, 0.79, 0.95, 0.94, 0.93, 0.96]
EVALUATIONS = [{"eval_loss": loss, "eval_f1": 0.5 + 0.01 * number} for number, loss in enumerate(LOSSES)]


def played(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what a scripted run of a section's settings, or of a plugin, did and said."""
    classes = {"early_stopping": EarlyStopping, "nan_guard": NanGuard, "checkpoint": CheckpointPolicy}
    chosen = [(classes[name], settings)] if name in classes else []
    training = {} if name in classes else settings
    losses = [1.0, math.nan, math.nan, 1.0] if name == "nan_guard" else []
    try:
        run = play(*chosen, epochs=8, steps_per_epoch=3, losses=losses, metrics=EVALUATIONS, **training)
    except StepbusError as error:
        return str(error)
    return (
        [(event.name, event.arguments.get("reason")) for event in run.events],
        [(each["step"], each["loss"]) for each in run.records],
        [repr(ask) for ask in run.asked],
        run.messages,
        run.moves,
        run.status,
        run.state.best and run.state.best.step,
    )


def trained(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the losses, the weights and the files of a real run."""
    sections = {"training": {"num_epochs": 3, **settings}}
    if name == "checkpoint":
        policy = {"save_strategy": "steps", "save_steps": 1, **settings}
        sections = {
            "training": {"num_epochs": 1, "max_steps": 6, "eval_strategy": "steps", "eval_steps": 1},
            "plugins": {"progress": False, "checkpoint": policy},
            "optimizer": {"learning_rate": 0.05},
        }
    trainer = create_trainer(config=tools.make(**sections))
    result = trainer.train()
    kept = result.directory / "fits" / "fit" / "checkpoints"
    folders = sorted(str(each.relative_to(kept)) for each in kept.rglob("*"))
    weights = [np.array(array).tobytes() for _, array in tree_flatten(trainer.model.parameters())]
    return [record["eval_loss"] for record in result.history], weights, folders


def exactness(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what a finished fit of other conditions comes to at a resume."""
    said: list[str] = []
    run: Any = SimpleNamespace(
        config=load_config({"training": settings}), message=lambda text, level: said.append(text)
    )
    fit = Fit("fit", {}, 1)
    now = resume.conditions.current()
    try:
        resume.check_finished(run, resume.Past(), FitResult(fit, conditions={**now, "cores": 999}))
    except StepbusError as error:
        return str(error)
    return said


def devices(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    try:
        device.choose(settings["device"])
        return device.kind()
    except BadInput as error:
        return str(error)
    finally:
        device.choose("auto")


def tables(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    shown: list[str] = []
    trainer = SimpleNamespace(
        data=SimpleNamespace(codec=SimpleNamespace(names=["no", "yes"], thresholds=None)),
        directory=tools.folder,
        report=lambda title, columns, rows: shown.append(title),
        artifact=lambda kind, path: shown.append(kind),
    )
    given = Predictions(np.arange(2), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1]))
    Metrics(Metrics.Config(**settings)).on_predictions(trainer, "validation", given, final=True)
    return shown


def told(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the tables, the messages of a plugin about rows, and its file, of a run of one update."""
    recorder = Recorder()
    words = {"train": str(tools.folder / "wide.csv"), "validation": str(tools.folder / "wide.csv"), "type": "text"}
    sections = {"data": {**words, "text": "text", "label": "label"}, "plugins": {name: settings, "progress": False}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the same rows twice
        result = create_trainer(config=tools.make(**sections, training={"max_steps": 1}), plugins=[recorder]).train()
    table = result.directory / "fits" / "fit" / "errors.csv"
    written = table.read_text().count("\n") if table.exists() else 0
    said = [text for text in recorder.messages if text.startswith("validation: ")]
    return said, [len(rows) for title, _, rows in recorder.reports if "the worst" in title], written


def drawn(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return what a screen shows of a bar that moves on, a third of a second at a time."""
    clock: Iterator[float] = iter([index / 3 for index in range(1, 100)])
    screen = Screen(settings.get("bar", "always"), settings.get("refresh_per_second", 4.0), io.StringIO())
    tools.patch.setattr("stepbus_plugins.progress.screen.time", SimpleNamespace(monotonic=lambda: next(clock)))
    drawings = 0
    for done in range(9):
        if screen.due():
            drawings += 1
            screen.draw("training", done, 9, "", [])
    screen.clear()
    return drawings


def introduced(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return the lines of a scripted run's screen before its first step."""
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        play((Progress, settings), epochs=1, log_steps=1)
    return screen.getvalue().partition("step 1/5")[0]


def locked(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    """Return how many rows come of a database that another program lets go of a little later."""
    path = tools.folder / f"locked-{len(list(tools.folder.iterdir()))}.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.executescript("CREATE TABLE rows (a); INSERT INTO rows VALUES (1); BEGIN EXCLUSIVE")
    readers = settings.get("readers", {"sqlite": settings})
    later = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    later.start()
    try:
        config = load_config({"data": {"readers": readers}})
        return len(read_rows(f"sqlite:{path}", name="train", config=config.data.settings))
    except BadInput as error:
        return "locked" if "keeps locked" in str(error) else error
    finally:
        later.join()
        other.close()


def folds(tools: Tools, name: str, settings: dict[str, Any]) -> Any:
    wide = {"train": str(tools.folder / "wide.csv"), "validation": None}
    settings = {"folds": 3, **settings}
    return rows_seen(tools, tools.make(data=wide, plugins={"progress": False, "cross_validation": settings}))


DATA = {
    "train": Sight(data, ("wide.csv", "other.csv")),
    "validation": Sight(data, (0.25, "other.csv")),
    "test": Sight(planned, (None, "other.csv")),
    "label": Sight(data, ("label", "price"), {"task": "regression"}),
    "soft_labels": Sight(data, (None, {"1": "chance", "0": None})),
    "weight": Sight(data, (None, "family")),
    "task": Sight(data, ("binary", "regression")),
    "target": Sight(data, ("none", "log1p"), {"task": "regression", "label": "price"}),
    "id": Sight(data, (None, "code")),
    "group": Sight(data, (None, "family")),
    "stratify": Sight(data, (False, True)),
    "batch_size": Sight(data, (4, 6)),
    "eval_batch_size": Sight(evaluated, (2, 3)),
    "tokens_per_batch": Sight(data, (None, 64)),
    "max_length": Sight(data, (16, 4)),
    "num_workers": Sight(evaluated, (0, 2)),
    "prefetch_size": Sight(evaluated, (1, 4)),
    "drop_last": Sight(data, (False, True), {"batch_size": 5}),
    "cache": Sight(cached, (False, "tokens")),
    "threshold": Sight(decided, (None, 0.9)),
    "separator": Sight(data, (",", ";"), {"train": "semicolons.csv"}),
    "encoding": Sight(data, ("utf-8", "latin-1"), {"train": "accents.csv"}),
    "readers": Sight(locked, ({"sqlite": {"timeout": 0.0}}, {"sqlite": {"timeout": 60.0}})),
}
TABLE = {
    **{f"data.*.{name}": sight for name, sight in DATA.items()},
    "data.text.text": Sight(data, ("text", "code")),
    "data.text.missing": Sight(data, (None, "film"), {"train": "holes.csv"}),
    "data.table.columns": Sight(data, (["text"], ["size"])),
    "data.table.template": Sight(data, ("{text}", "{size}")),
    "data.table.numbers": Sight(data, ("value", "words"), {"columns": ["price"]}),
    "data.table.bins": Sight(data, (2, 10), {"columns": ["price"], "numbers": "words"}),
    "data.table.kinds": Sight(data, (None, {"price": "words"}), {"columns": ["price"]}),
    "data.table.missing": Sight(data, ("film", "the film"), {"columns": ["size"]}),
    "model.bert.pretrained": Sight(model, (str(FIXTURES / "bert" / "binary"), str(FIXTURES / "bert" / "bare"))),
    "model.bert.tokenizer": Sight(words, ("tokenizer", "other")),
    "model.bert.head": Sight(heads, ("auto", "regression")),
    "model.bert.pooling": Sight(model, ("mean", "cls")),
    "model.bert.dropout": Sight(model, (0.0, 0.5), {"hidden_dropout": 0.0, "attention_dropout": 0.0}),
    "model.bert.size": Sight(model, ("tiny", "mini")),
    "model.bert.hidden_size": Sight(model, (16, 32)),
    "model.bert.num_hidden_layers": Sight(model, (1, 2)),
    "model.bert.num_attention_heads": Sight(model, (1, 2), {"hidden_dropout": 0.0, "attention_dropout": 0.0}),
    "model.bert.intermediate_size": Sight(model, (16, 32)),
    "model.bert.vocab_size": Sight(model, (30, 40)),
    "model.bert.resize_embeddings": Sight(model, (False, True), {"vocab_size": 20}),
    "model.bert.max_position_embeddings": Sight(model, (32, 64)),
    "model.bert.hidden_dropout": Sight(model, (0.0, 0.5), {"dropout": 0.0, "attention_dropout": 0.0}),
    "model.bert.attention_dropout": Sight(model, (0.0, 0.5), {"dropout": 0.0, "hidden_dropout": 0.0}),
    "head.ordinal.order": Sight(ordered, (["1", "2", "3"], ["2", "1", "3"])),
    "loss.cross_entropy.label_smoothing": Sight(row_losses, (0.0, 0.1)),
    "loss.*.class_weights": Sight(row_losses, (None, "balanced")),
    "loss.focal.gamma": Sight(row_losses, (0.5, 2.0)),
    "loss.focal.alpha": Sight(row_losses, (None, 0.3)),
    "loss.bce.positive_weights": Sight(row_losses, (2.0, "balanced")),
    "loss.huber.delta": Sight(row_losses, (0.5, 1.0)),
    "loss.quantile.quantile": Sight(row_losses, (0.5, 0.9)),
    "loss.ordinal.order": Sight(row_losses, (["a", "b", "c"], ["b", "a", "c"])),
    "optimizer.*.learning_rate": Sight(updates, (1e-2, 2e-2)),
    "optimizer.*.weight_decay": Sight(updates, (0.0, 0.5), {"learning_rate": 1e-2}),
    "optimizer.*.beta1": Sight(updates, (0.9, 0.5), {"learning_rate": 1e-2}),
    "optimizer.*.beta2": Sight(updates, (0.9, 0.5), {"learning_rate": 1e-2}),
    "optimizer.*.epsilon": Sight(updates, (1e-8, 0.1), {"learning_rate": 1e-2}),
    "optimizer.*.momentum": Sight(updates, (0.9, 0.5), {"learning_rate": 1e-2}),
    "optimizer.*.nesterov": Sight(updates, (False, True), {"learning_rate": 1e-2}),
    "optimizer.adafactor.decay_rate": Sight(updates, (0.8, 0.2), {"learning_rate": 1e-2}),
    "optimizer.adafactor.clip_threshold": Sight(updates, (1.0, 0.1), {"learning_rate": 1e-2}),
    "optimizer.adafactor.scale_parameter": Sight(updates, (False, True), {"learning_rate": 1e-2}),
    "optimizer.adafactor.epsilon_scale": Sight(updates, (1e-3, 10.0), {"learning_rate": 1e-2, "scale_parameter": True}),
    "optimizer.muon.newton_schulz_steps": Sight(updates, (5, 2)),
    "optimizer.muon.adamw_learning_rate": Sight(updates, (1e-2, 2e-2)),
    "optimizer.muon.adamw_names": Sight(updates, (("head",), ("encoder",))),
    "plugins.optimizers.decay_norms_and_biases": Sight(decayed, (False, True)),
    "scheduler.*.warmup_steps": Sight(rates, (0, 3)),
    "scheduler.*.warmup_ratio": Sight(rates, (0.0, 0.25)),
    "scheduler.*.min_lr": Sight(rates, (0.0, 0.05)),
    "scheduler.exponential.min_lr": Sight(rates, (0.0, 0.05), {"gamma": 0.5}),
    "scheduler.exponential.gamma": Sight(rates, (0.95, 0.5)),
    "scheduler.exponential.decay_steps": Sight(rates, (None, 2), {"gamma": 0.5}),
    "scheduler.polynomial.power": Sight(rates, (1.0, 2.0)),
    "scheduler.reduce_on_plateau.min_lr": Sight(rates, (0.0, 0.09), {"patience": 1, "threshold": 0.01}),
    "scheduler.reduce_on_plateau.monitor": Sight(rates, (None, "eval_f1"), {"patience": 1, "threshold": 0.01}),
    "scheduler.reduce_on_plateau.factor": Sight(rates, (0.5, 0.1), {"patience": 1, "threshold": 0.01}),
    "scheduler.reduce_on_plateau.patience": Sight(rates, (1, 3), {"threshold": 0.01}),
    "scheduler.reduce_on_plateau.threshold": Sight(rates, (0.0, 0.01), {"patience": 1}),
    "scheduler.reduce_on_plateau.threshold_mode": Sight(rates, ("rel", "abs"), {"patience": 1, "threshold": 0.06}),
    "scheduler.reduce_on_plateau.cooldown": Sight(rates, (0, 3), {"patience": 1, "threshold": 0.01}),
    "reader.sqlite.timeout": Sight(locked, (0.0, 60.0)),
    "metric.*.threshold": Sight(score, (0.5, 0.3)),
    "metric.*.average": Sight(score, ("macro", "weighted")),
    "metric.*.order": Sight(score, (["1", "2", "3"], ["2", "1", "3"])),
    "metric.cohen_kappa.order": Sight(score, (["1", "2", "3"], ["2", "1", "3"]), {"weights": "linear"}),
    "metric.cohen_kappa.weights": Sight(score, ("none", "quadratic")),
    "metric.top_k.k": Sight(score, (1, 2)),
    "metric.calibration_error.bins": Sight(score, (5, 15)),
    "metric.quantile_loss.quantile": Sight(score, (0.5, 0.9)),
    "training.num_epochs": Sight(planned, (2, 3)),
    "training.max_steps": Sight(planned, (None, 15)),
    "training.gradient_accumulation_steps": Sight(planned, (1, 2)),
    "training.eval_strategy": Sight(played, ("epoch", "no")),
    "training.eval_steps": Sight(played, (2, 5), {"eval_strategy": "steps"}),
    "training.log_steps": Sight(played, (2, 5)),
    "training.monitor": Sight(played, ("eval_loss", "eval_f1")),
    "training.greater_is_better": Sight(played, (None, True)),
    "training.metrics": Sight(planned, (None, ["f1"])),
    "training.precision": Sight(trained, ("float32", "bfloat16")),
    "training.pipeline_depth": Sight(played, (0, 2)),
    "training.exact": Sight(exactness, (False, True)),
    "training.seed": Sight(trained, (1, 2)),
    "environment.output_dir": Sight(planned, ("runs/a", "runs/b")),
    "environment.debug": Sight(planned, (False, True)),
    "environment.device": Sight(devices, ("cpu", "gpu")),
    "plugins.checkpoint.save_strategy": Sight(played, ("epoch", "no")),
    "plugins.checkpoint.save_steps": Sight(played, (2, 5), {"save_strategy": "steps"}),
    "plugins.checkpoint.keep_last": Sight(trained, (2, 4)),
    "plugins.checkpoint.keep_best": Sight(trained, (1, 4)),
    "plugins.checkpoint.keep_whole": Sight(trained, (False, True)),
    "plugins.checkpoint.keep_finished": Sight(trained, (None, False)),
    "plugins.checkpoint.at_start": Sight(played, (True, False)),
    "plugins.early_stopping.patience": Sight(played, (1, 3)),
    "plugins.early_stopping.min_delta": Sight(played, (0.0, 0.09), {"patience": 2}),
    "plugins.early_stopping.monitor": Sight(played, (None, "eval_f1"), {"restore_best": False}),
    "plugins.early_stopping.restore_best": Sight(played, (True, False)),
    "plugins.nan_guard.policy": Sight(played, ("raise", "warn")),
    "plugins.nan_guard.patience": Sight(played, (1, 2)),
    "plugins.gradient_clipping.max_norm": Sight(clipped, (1.0, 0.5)),
    "plugins.gradient_clipping.max_value": Sight(clipped, (None, 0.1)),
    "plugins.ema.decay": Sight(averaged, (0.1, 0.2)),
    "plugins.ema.warmup": Sight(averaged, (True, False)),
    "plugins.ema.from_step": Sight(averaged, (0, 9)),
    "plugins.swa.from_epoch": Sight(averaged, (1, 2)),
    "plugins.swa.from_step": Sight(averaged, (0, 5)),
    "plugins.swa.every": Sight(averaged, (None, 3)),
    "plugins.rdrop.alpha": Sight(several_passes, (1.0, 2.0)),
    "plugins.multi_sample_dropout.samples": Sight(several_passes, (2, 3)),
    "plugins.multi_sample_dropout.dropout": Sight(several_passes, (0.1, 0.5)),
    "plugins.adversarial_training.mode": Sight(moved, ("fgm", "awp")),
    "plugins.adversarial_training.parameters": Sight(moved, (None, ["head*"])),
    "plugins.adversarial_training.epsilon": Sight(moved, (None, 2.0)),
    "plugins.adversarial_training.gamma": Sight(moved, (None, 0.0001), {"mode": "awp"}),
    "plugins.adversarial_training.ascent_rate": Sight(moved, (None, 0.001), {"mode": "awp"}),
    "plugins.adversarial_training.ascent_steps": Sight(moved, (None, 2), {"mode": "awp", "gamma": 1.0}),
    "plugins.adversarial_training.weight": Sight(moved, (1.0, 0.5)),
    "plugins.adversarial_training.clean_weight": Sight(moved, (1.0, 0.0)),
    "plugins.adversarial_training.from_epoch": Sight(moved, (None, 2)),
    "plugins.adversarial_training.from_step": Sight(moved, (None, 8)),
    "pooling.last_four.tokens": Sight(pooled_of_layers, ("mean", "cls")),
    "plugins.freeze.embeddings": Sight(trained_when, (True, False), {"layers": 1}),
    "plugins.freeze.layers": Sight(trained_when, (1, 2)),
    "plugins.freeze.patterns": Sight(trained_when, (["*query*"], ["*key*"])),
    "plugins.freeze.gradual": Sight(trained_when, (True, False), {"layers": 1}),
    "plugins.freeze.unfreeze_every": Sight(trained_when, (1, 2), {"gradual": True}),
    "plugins.freeze.unfreeze_by": Sight(trained_when, ("epochs", "updates"), {"gradual": True}),
    "plugins.layerwise_decay.decay": Sight(scaled, (0.9, 0.8)),
    "plugins.layerwise_decay.head_scale": Sight(scaled, (1.0, 2.0)),
    "plugins.reinitialize.layers": Sight(renewed, (0, 1)),
    "plugins.reinitialize.pooler": Sight(renewed, (True, False)),
    "plugins.lora.rank": Sight(adapted, (1, 2)),
    "plugins.lora.alpha": Sight(adapted, (1.0, 2.0)),
    "plugins.lora.targets": Sight(adapted, (["query"], ["value"])),
    "plugins.lora.dropout": Sight(adapted, (0.0, 0.5)),
    "plugins.lora.init": Sight(adapted, ("kaiming", "gaussian")),
    "plugins.lora.train_head": Sight(adapted, (True, False)),
    "plugins.lora.also_train": Sight(adapted, ([], ["LayerNorm"])),
    "plugins.lora.adapter": Sight(adapter_files, (False, True)),
    "plugins.model_card.name": Sight(written_card, (None, "Mine")),
    "plugins.model_card.license": Sight(written_card, (None, "mit")),
    "plugins.model_card.language": Sight(written_card, ([], ["en"])),
    "plugins.model_card.intended_use": Sight(written_card, (None, "tests")),
    "plugins.model_card.limitations": Sight(written_card, (None, "all")),
    "plugins.metrics.tables": Sight(tables, (True, False)),
    "plugins.metrics.files": Sight(tables, (True, False)),
    "plugins.progress.summary": Sight(introduced, (True, False)),
    "plugins.progress.bar": Sight(drawn, ("always", "never")),
    "plugins.progress.refresh_per_second": Sight(drawn, (4.0, 1.0)),
    "plugins.error_table.rows": Sight(told, (1, 3)),
    "plugins.error_table.shown": Sight(told, (1, 2)),
    "plugins.near_duplicates.threshold": Sight(told, (0.3, 1.0)),
    "plugins.near_duplicates.columns": Sight(told, (["text"], ["code"])),
    "plugins.near_duplicates.examples": Sight(told, (1, 2)),
    "plugins.cross_validation.folds": Sight(folds, (2, 3)),
    "plugins.cross_validation.strategy": Sight(folds, ("stratified", "kfold")),
    "plugins.cross_validation.shuffle": Sight(folds, (True, False)),
    "plugins.cross_validation.seed": Sight(folds, (1, 2)),
    "plugins.cross_validation.group": Sight(folds, ("family", "code"), {"strategy": "group"}),
    "plugins.cross_validation.inner_validation": Sight(folds, (None, 0.3)),
}


def entry(setting: str) -> str:
    """Return the key of a setting in the table."""
    kind, _, rest = setting.partition(".")
    wide = f"{kind}.*.{rest.rpartition('.')[2]}"
    return setting if setting in TABLE or kind == "plugins" else wide


def test_the_table_has_every_setting_and_no_other() -> None:
    settings = every_setting()
    assert [setting for setting in settings if entry(setting) not in TABLE] == []
    assert set(TABLE) - {entry(setting) for setting in settings} == set()


@pytest.mark.parametrize("setting", every_setting())
def test_a_setting_changes_what_is_seen(setting: str, tools: Tools) -> None:
    sight, (home, *middle, name) = TABLE[entry(setting)], setting.split(".")
    first, second = (
        sight.see(tools, middle[0] if middle else home, {**sight.beside, name: value}) for value in sight.values
    )
    assert str(first) != str(second)
