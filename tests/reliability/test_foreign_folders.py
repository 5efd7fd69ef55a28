"""A model folder that somebody sent is data: nothing in it runs, reads elsewhere or writes, and each try is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from stepbus import Component, ModelError, Rows, create_trainer, open_trainer
from stepbus.cli.main import main
from stepbus.config.discovery import plugins as installed_plugins
from stepbus.config.discovery.plugins import Entry
from stepbus.fit.opened.prediction_config import prediction_tree
from stepbus.storage.digests import sealed
from stepbus.storage.durable import to_json
from stepbus_plugins.text_data import TextColumns, TextDataConfig

Change = Callable[[dict[str, Any]], None]
# Whatever is imported or called leaves a file behind, whose place it is told.
EVIL = """
from pathlib import Path
from stepbus import Component, hookimpl
(Path(__file__).parent / "IMPORTED").touch()

def tell(row):
    (Path(__file__).parent / "CALLED").touch()
    return "a good film"

class Evil:
    \"\"\"Watch, it says.\"\"\"

    def __init__(self, *settings):
        (Path(__file__).parent / "MADE").touch()

    @hookimpl
    def on_fit_start(self):
        (Path(__file__).parent / "HOOKED").touch()

    @staticmethod
    def expand(settings):
        (Path(__file__).parent / "EXPANDED").touch()
        return {}
"""
SCHEDULES = EVIL.replace('"""Watch, it says."""', 'components = [Component("scheduler", "odd", object, print)]')
TRACES = ("IMPORTED", "CALLED", "MADE", "HOOKED", "EXPANDED", "WRITTEN")


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with evil.py in it, importable as a module and installed as two plugins."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil_module.py").write_text(EVIL)
    (folder / "evil_schedules.py").write_text(SCHEDULES)
    (folder / "evil.yaml").write_text("plugins: {evil: {use: ./evil_module.py:Evil}}\n")
    monkeypatch.syspath_prepend(folder)
    known = installed_plugins.entries("stepbus.plugins")
    more = (
        Entry("watcher", "evil_module:Evil", "evil-package", "1"),
        Entry("odd_schedules", "evil_schedules:Evil", "evil-package", "1"),
    )
    monkeypatch.setattr(installed_plugins, "entries", lambda group: (*known, *more))
    return folder


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one run of this file is kept, once it was trained."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def model(kept: Path, tmp_path: Path, tiny_config: Callable[..., dict[str, Any]]) -> Path:
    """A small exported model in its run's folder."""
    if not kept.exists():
        output = {"output_dir": str(kept)}
        create_trainer(config=tiny_config(training={"max_steps": 1}, environment=output)).train()
    return shutil.copytree(kept, tmp_path / "sent", symlinks=True) / "fits" / "fit" / "model"


def tamper(model: Path, change: Change) -> None:
    """Change what a folder says of itself."""
    rewrite(model, lambda saved: change(saved["config"]))


def rewrite(model: Path, change: Change) -> None:
    """Change stepbus.json, and make its digest fit as whoever sends it would."""
    file = model / "stepbus.json"
    saved = json.loads(file.read_text())
    change(saved)
    file.write_text(to_json(sealed({key: value for key, value in saved.items() if key != "digest"})))


def put(*path: str, value: Any) -> Change:
    """Return a change that sets one value; {evil} in it stands for the folder with the evil files."""

    def change(tree: dict[str, Any]) -> None:
        place = tree
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value

    return change


def table(**settings: Any) -> Change:
    """Return a change that tells rows by table_data."""
    return put("data", value={"type": "table", "label": "label", **settings})


# name -> (what is changed, what the message names)
WAYS: dict[str, tuple[Change, str]] = {
    "a plugin in a file": (put("plugins", "evil", value={"use": "{evil}/evil_module.py:Evil"}), "plugins.evil.use"),
    "a plugin in a module": (put("plugins", "evil", value={"use": "evil_module:Evil"}), "plugins.evil.use"),
    "a file in place of one of ours": (
        put("plugins", "heads", value={"use": "{evil}/evil_module.py:Evil"}),
        "plugins.heads.use",
    ),
    "a function of the system": (put("plugins", "sh", value={"use": "os:system"}), "plugins.sh.use"),
    "the end of the process": (put("plugins", "bye", value={"use": "sys:exit"}), "plugins.bye.use"),
    "our own command line": (put("plugins", "cli", value={"use": "stepbus.cli.main:main"}), "plugins.cli.use"),
    "use that is no text": (put("plugins", "evil", value={"use": ["evil_module:Evil"]}), "plugins.evil.use"),
    "an installed plugin that only watches": (put("plugins", "watcher", value={}), "plugins.watcher"),
    "an installed plugin with other parts": (put("plugins", "odd_schedules", value={}), "plugins.odd_schedules"),
    "a section of an installed plugin": (put("watcher", value={"a": 1}), "watcher"),
    "a template function in a file": (table(template="{evil}/evil_module.py:tell"), "data.template"),
    "a template function in a module": (table(template="evil_module:tell"), "data.template"),
    "a template of the system": (table(template="os:system"), "data.template"),
    "a module of hooks": (put("hooks", value=["evil_module"]), "hooks"),
    "a file of hooks": (put("hooks", value="{evil}/evil_module.py"), "hooks"),
    "a base": (put("extends", value="{evil}/evil.yaml"), "extends"),
    "a list of bases": (put("extends", value=["quick_test", "{evil}/evil.yaml"]), "extends"),
    "a folder for tokens": (put("data", "cache", value="{evil}/WRITTEN"), "data.cache"),
    "a folder for results": (put("environment", value={"output_dir": "{evil}/WRITTEN"}), "environment.output_dir"),
    "another model": (put("model", "pretrained", value="{evil}"), "model.pretrained"),
    "a model of the hub": (put("model", "pretrained", value="evil/model"), "model.pretrained"),
    "another tokenizer": (put("model", "tokenizer", value="{evil}"), "model.tokenizer"),
    "rows elsewhere": (put("data", "train", value="{evil}/rows.csv"), "data.train"),
    "rows to predict elsewhere": (put("data", "test", value="https://example.com/rows.csv"), "data.test"),
    "an optimizer": (put("optimizer", value={"type": "odd"}), "optimizer"),
    "a schedule": (put("scheduler", value={"type": "odd"}), "scheduler"),
    "a plugin by an alias": (put("training", "early_stopping", value=True), "training.early_stopping"),
}


def filled(change: Change, evil: Path) -> Change:
    """Return the change with {evil} filled in."""

    def do(tree: dict[str, Any]) -> None:
        change(tree)
        text = json.dumps(tree).replace("{evil}", str(evil))
        tree.clear()
        tree.update(json.loads(text))

    return do


def traces(folder: Path) -> list[str]:
    return [name for name in TRACES if (folder / name).exists()]


def forget() -> None:
    """Let modules be imported anew."""
    for name in [name for name in sys.modules if "evil" in name]:
        del sys.modules[name]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_a_folder_asks_for_is_done(
    way: str, model: Path, evil: Path, review_files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget()
    change, named = WAYS[way]
    tamper(model, filled(change, evil))
    output = tmp_path / "out.csv"
    for command in (["predict", str(model), str(review_files["dev"]), "--output", str(output)],
                    ["evaluate", str(model), str(review_files["dev"])]):  # fmt: skip
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "stepbus.json: expected nothing but installed components" in said
        assert f"\n  {named}" in said
        assert "--trust" in said
        assert "Traceback" not in said
    with pytest.raises(ModelError, match="trust=True"):
        open_trainer(model)
    assert traces(evil) == []
    assert not output.exists()
    assert not [name for name in sys.modules if "evil" in name]


def test_every_wish_is_named_at_once(model: Path, evil: Path) -> None:
    def change(tree: dict[str, Any]) -> None:
        for way in ("a template function in a file", "a plugin in a file", "a base", "a module of hooks"):
            WAYS[way][0](tree)
        for way in ("a folder for results", "a folder for tokens"):
            WAYS[way][0](tree)

    tamper(model, filled(change, evil))
    with pytest.raises(ModelError) as caught:
        open_trainer(model)
    assert str(caught.value).splitlines()[1:-1] == [
        f"  extends: reads the configuration '{evil}/evil.yaml'",
        "  hooks: imports 'evil_module' for its hooks",
        f"  environment.output_dir: writes to '{evil}/WRITTEN'",
        f"  plugins.evil.use: imports {evil}/evil_module.py and makes its Evil",
        f"  data.cache: reads or writes '{evil}/WRITTEN'",
        f"  data.template: imports {evil}/evil_module.py and calls its tell",
    ]
    assert traces(evil) == []


def test_a_checkpoint_is_opened_as_any_folder(
    model: Path, evil: Path, capsys: pytest.CaptureFixture[str], review_files: dict[str, Path]
) -> None:
    forget()
    (checkpoint,) = (model.parent / "checkpoints").glob("step-00000001")
    assert main(["evaluate", str(checkpoint), str(review_files["dev"])]) == 0
    foreign = shutil.copytree(checkpoint, evil / "sent")
    (foreign / "manifest.json").unlink()
    tamper(foreign, filled(WAYS["a template function in a file"][0], evil))
    assert main(["evaluate", str(foreign), str(review_files["dev"])]) == 2
    assert "data.template" in capsys.readouterr().err
    assert traces(evil) == []


def test_files_that_others_would_execute_are_only_files(
    model: Path, evil: Path, review_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    forget()
    for name, text in {
        "modeling_evil.py": EVIL, "conftest.py": EVIL, "__init__.py": EVIL, "pytorch_model.bin": "cos\nsystem\n",
        "training_args.bin": "cos\nsystem\n", "run.json": '{"id": "x", "facts": {"hooks": ["evil_module"]}}',
        "config.yaml": "hooks: [evil_module]\n", "requirements.txt": "evil-package\n",
    }.items():  # fmt: skip
        (model / name).write_text(text)
    assert main(["evaluate", str(model), str(review_files["dev"])]) == 0
    assert traces(evil) == []
    assert not [name for name in sys.modules if "evil" in name]


@pytest.mark.parametrize(
    ("way", "left"),
    [
        ("a plugin in a file", ["IMPORTED", "EXPANDED"]),
        ("a template function in a module", ["IMPORTED", "CALLED"]),
        ("a folder for tokens", ["WRITTEN"]),
    ],
)
def test_with_trust_the_sentence_says_what_was_done(
    way: str, left: list[str], model: Path, evil: Path, review_files: dict[str, Path], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    forget()
    change, named = WAYS[way]
    tamper(model, filled(change, evil))
    words = ["predict", str(model), str(review_files["dev"]), "--output", str(tmp_path / "out.csv"), "--trust"]
    if "template" in way:
        with pytest.raises(ModelError, match=r"encoder\.source\.columns: expected a list"):
            open_trainer(model, trust=True)  # the folder's own state is that of text_data
        rewrite(model, put("encoder", "source", value={"columns": ["text"], "edges": {}, "function": None}))
    assert main(words) == 0
    (said,) = {record.getMessage() for record in caplog.records if "trusted" in record.getMessage()}
    assert f"\n  {named}" in said
    assert traces(evil) == left


def test_hooks_of_a_trusted_folder_are_left_out_too(model: Path, evil: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget()
    tamper(model, filled(WAYS["a file of hooks"][0], evil))
    open_trainer(model, trust=True)
    assert traces(evil) == []
    (said,) = [record.getMessage() for record in caplog.records if "trusted" in record.getMessage()]
    assert said.splitlines()[1:] == ["  hooks: left out, because prediction calls none"]


@pytest.mark.parametrize("way", ["use", "template"])
def test_a_relative_file_starts_at_the_folder_that_names_it(
    way: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (model, elsewhere):
        (folder / "evil_here.py").write_text(EVIL)
    monkeypatch.chdir(elsewhere)
    if way == "use":
        tamper(model, put("plugins", "evil", value={"use": "./evil_here.py:Evil"}))
    else:
        tamper(model, table(template="evil_here.py:tell"))
        rewrite(model, put("encoder", "source", value={"columns": ["text"], "edges": {}, "function": None}))
    with pytest.raises(ModelError) as caught:
        open_trainer(model)
    assert f"imports {model.resolve()}/evil_here.py and " in str(caught.value)
    assert traces(model) == []
    open_trainer(model, trust=True)
    assert "IMPORTED" in traces(model)
    assert traces(elsewhere) == []


ESC = "\x1b[2J\nstepbus: all is well\x9b1m\r"


@pytest.mark.parametrize(
    "change",
    [
        put("config", "plugins", ESC, value={"use": "os:system"}),
        put("config", "plugins", ESC, value={}),
        put("config", "plugins", "evil", value={"use": f"{ESC}:{ESC}"}),
        put("config", "plugins", "evil" * 50_000, value={"use": "os:system"}),
        put("config", "hooks", value=[ESC]),
        put("config", ESC, value=1),
        put("config", "environment", value={ESC: ESC, "output_dir": ESC}),
        put("config", "model", "type", value="b" * 100_000),
        put("config", "model", "type", value=ESC),
        put("config", "model", ESC, value=ESC),
        put("config", "data", ESC * 10_000, value=1),
        put("config", "data", "cache", value=ESC),
        lambda saved: saved.update(stepbus=ESC * 1000, format=ESC * 1000),
        put("encoder", "labels", "task", value=ESC * 1000),
        put("encoder", "labels", "names", value=[ESC, ESC]),
        put("encoder", "version", value=ESC),
    ],
)
def test_what_a_folder_is_called_reaches_no_terminal_as_it_is(
    change: Change, model: Path, review_files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(model, change)
    assert main(["predict", str(model), str(review_files["dev"]), "--output", "-"]) == 2
    said = capsys.readouterr().err
    assert not {char for char in said if ord(char) < 32 or 127 <= ord(char) < 160} - {"\n"}
    assert "\nstepbus: all is well" not in said
    assert len(said) < 6000


def test_a_long_name_of_a_plugin_imports_nothing(model: Path, evil: Path) -> None:
    forget()
    tamper(model, put("plugins", "e" * 300, value={"use": f"{evil}/evil_module.py:Evil"}))
    with pytest.raises(ModelError, match=r"plugins\.e{100}"):
        open_trainer(model)
    assert traces(evil) == []


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '{"config": 3}', '{"stepbus": "0", "format": 2, "config": [], "encoder": {}}',
     '{"stepbus": "0", "format": 2, "config": {"model": {}, "data": {}, "plugins": {"a": 5}}, "encoder": {}}',
     '{"stepbus": "0", "format": 2, "config": {"model": {}, "data": {}, "plugins": {}}, "encoder": []}',
     '{"stepbus": "0", "format": 2, "config": {"model": {}, "data": {}, "plugins": {}}, "encoder": {"version": 1}}',
     '{"stepbus": "0", "config": {"model": {}, "data": {}, "plugins": {}}, "encoder": {}}',
     '{"stepbus": "0", "format": 2, "config": {"model": {"type": "evil"}, "data": {}, "plugins": {}}, "encoder": {}}',
     '{"stepbus": "0", "format": 2, "config": {"model": {}, "data": {"type": 3}, "plugins": {}}, "encoder": {}}'],
)  # fmt: skip
def test_a_damaged_description_is_one_sentence(text: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "stepbus.json").write_text(text)
    assert main(["evaluate", str(model), "nowhere.csv"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"stepbus: {model / 'stepbus.json'}: ")
    assert "Traceback" not in said


NAN = float("nan")
# What a resealed folder says of its labels and its texts -> the key that the sentence names.
STATES: list[tuple[tuple[str, ...], Any, str]] = [
    (("labels",), None, "labels"),
    (("labels",), {}, "labels.task"),
    (("labels", "names"), [1, 2], "labels.names"),
    (("labels", "names"), ["a", "a"], "labels.names"),
    (("labels", "names"), ["a", "b", "c"], "labels.names"),
    (("labels", "names"), [], "labels.names"),
    (("labels", "names"), "ab", "labels.names"),
    (("labels", "names"), {"a": 1, "b": 2}, "labels.names"),
    (("labels", "task"), "xx", "labels.task"),
    (("labels", "task"), ["binary"], "labels.task"),
    (("labels", "task"), "regression", "labels.names"),
    (("labels", "columns"), [], "labels.columns"),
    (("labels", "columns"), ["a", "b"], "labels.columns"),
    (("labels", "columns"), [None], "labels.columns"),
    (("labels", "target"), "log1p", "labels.target"),
    (("labels", "target"), "sqrt", "labels.target"),
    (("labels", "kind"), "codes", "labels.kind"),
    (("labels", "mean"), NAN, "labels.mean"),
    (("labels", "mean"), "0", "labels.mean"),
    (("labels", "mean"), True, "labels.mean"),
    (("labels", "mean"), float("inf"), "labels.mean"),
    (("labels", "sd"), 0, "labels.sd"),
    (("labels", "sd"), -1.0, "labels.sd"),
    (("labels", "sd"), None, "labels.sd"),
    (("counts",), None, "counts"),
    (("counts", "by_class"), [1.0], "counts.by_class"),
    (("counts", "by_class"), [1.0, -1.0], "counts.by_class"),
    (("counts", "by_class"), [1.0, NAN], "counts.by_class"),
    (("counts", "by_class"), "ab", "counts.by_class"),
    (("counts", "total"), True, "counts.total"),
    (("counts", "total"), float("inf"), "counts.total"),
    (("source",), None, "source"),
    (("source",), {"columns": ["text"]}, "source"),
]


@pytest.mark.parametrize(("path", "value", "key"), STATES)
def test_a_state_that_cannot_be_is_one_sentence_that_names_its_key(
    path: tuple[str, ...], value: Any, key: str, model: Path, review_files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    rewrite(model, put("encoder", *path, value=value))
    assert main(["predict", str(model), str(review_files["dev"]), "--output", "-"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"stepbus: {model / 'stepbus.json'}: encoder.{key}: expected ")
    assert said.err.count("\n") == 1


def test_a_loss_that_cannot_serve_the_labels_is_refused_where_it_stands(model: Path) -> None:
    def change(saved: dict[str, Any]) -> None:
        saved["config"]["loss"] = {"type": "cross_entropy", "class_weights": "balanced"}
        del saved["encoder"]["counts"]

    rewrite(model, change)
    with pytest.raises(ModelError, match=r"stepbus\.json: config\.loss\.class_weights: expected numbers, because noth"):
        open_trainer(model)
    rewrite(model, put("config", "loss", value={"type": "quantile"}))
    with pytest.raises(ModelError, match=r"stepbus\.json: config\.loss\.type: expected a loss for binary labels"):
        open_trainer(model)


def test_labels_are_as_many_as_the_models_outputs(model: Path) -> None:
    def change(saved: dict[str, Any]) -> None:
        saved["encoder"]["labels"].update(task="multiclass", names=["a", "b", "c"])
        saved["encoder"]["counts"]["by_class"].append(1.0)

    rewrite(model, change)
    with pytest.raises(ModelError, match=r"stepbus\.json: encoder\.labels\.names: expected 2, .*, got 3"):
        open_trainer(model)


class Brittle(TextColumns):
    """A component of somebody else, which believes what it is given."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.rest = saved["rest"]

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        return [self.rest["text"] for _ in range(len(rows))], None


class BrittleData:
    """Offer it."""

    components: ClassVar[list[Component]] = [Component("data", "brittle", TextDataConfig, Brittle)]


@pytest.mark.parametrize("source", [{}, {"rest": {}}])
def test_a_component_that_fails_over_its_state_is_one_sentence(
    source: dict[str, Any], model: Path, review_files: dict[str, Path]
) -> None:
    rewrite(model, put("encoder", "source", value=source))
    tamper(model, put("data", "type", value="brittle"))
    with pytest.raises(ModelError, match=r"stepbus\.json: encoder\.source: expected what .* \(KeyError: "):
        open_trainer(model, plugins=[BrittleData]).predict(review_files["dev"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"state": None}, "state: "), ({"state": -1}, "state: "), ({"state": {}}, "state.epoch: "),
        ({"control": None}, "control: "), ({"control": -1}, "control: "), ({"optimizer": None}, "optimizer: "),
        ({"optimizer": {"learning_rate": "x"}}, "optimizer.learning_rate: "), ({"plugins": None}, "plugins: "),
        ({"plugins": {"history": []}}, "plugins.history: "), ({"plugins": {"nan_guard": {}}}, "plugins.nan_guard: "),
        (None, "the file: "),
    ],
)  # fmt: skip
def test_a_checkpoints_state_that_cannot_be_is_one_sentence(
    change: dict[str, Any] | None, key: str, model: Path, tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = model.parents[2]
    (checkpoint,) = (run / "fits" / "fit" / "checkpoints").glob("step-00000001")
    content = to_json(None if change is None else json.loads((checkpoint / "state.json").read_text()) | change).encode()
    (checkpoint / "state.json").write_bytes(content)
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    manifest["files"]["state.json"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    del manifest["digest"]
    (checkpoint / "manifest.json").write_text(to_json(sealed(manifest)))
    (run / "fits" / "fit" / "result.json").unlink()
    tree = tiny_config(training={"max_steps": 1}, environment={"output_dir": str(run)})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert main(["train", str(tmp_path / "run.yaml"), "--resume"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith(f"stepbus: {checkpoint / 'state.json'}: {key}expected ")
    assert not any("Traceback" in line for line in said)


def test_a_plugin_that_is_not_installed_is_named(model: Path) -> None:
    tamper(model, put("plugins", "fine_heads", value={}))
    with pytest.raises(ModelError, match=r"plugins\.fine_heads: expected an installed plugin"):
        open_trainer(model)


def test_what_only_watched_is_not_in_the_folder(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EVIL)
    plugins = {"mine": {"use": f"{tmp_path}/mine.py:Evil"}, "early_stopping": {}, "history": False}
    tree = tiny_config(training={"num_epochs": 1}, plugins=plugins, hooks=[])
    folder = create_trainer(config=tree).train().model_path
    assert folder is not None
    saved = json.loads((folder / "stepbus.json").read_text())
    needed: dict[str, Any] = {name: {} for name in ("bert", "heads", "text_data", "losses", "metrics")}
    assert saved["config"]["plugins"] == {"history": False, "progress": False, **needed}
    assert not {"train", "validation", "cache"} & saved["config"]["data"].keys()
    assert str(tmp_path) not in json.dumps(saved["config"])
    (tmp_path / "mine.py").unlink()
    opened = open_trainer(folder)
    assert prediction_tree(opened.config) == saved["config"]


@pytest.mark.parametrize("way", ["a plugin in a file", "a template function in a file", "a folder for tokens"])
def test_a_wish_is_named_where_the_digest_does_not_fit_either(way: str, model: Path, evil: Path) -> None:
    forget()
    saved = json.loads((model / "stepbus.json").read_text())
    filled(WAYS[way][0], evil)(saved["config"])
    (model / "stepbus.json").write_text(json.dumps(saved))
    with pytest.raises(ModelError, match=WAYS[way][1]):
        open_trainer(model)
    with pytest.raises(ModelError, match="its digest does not match"):
        open_trainer(model, trust=True)
    assert not (evil / "WRITTEN").exists()
