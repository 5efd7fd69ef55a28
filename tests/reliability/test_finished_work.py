"""What is finished is verified before it is used again: every file of a run and of an exported model, damaged.

Each damage is found by name, or changes no result; which files are hints that nothing reads again is listed here.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, CheckpointError, DataError, ModelError, create_trainer, hookimpl, open_trainer
from stepbus.cli.main import main
from stepbus.storage import exports
from stepbus.storage.digests import sealed
from stepbus.storage.durable import from_json, to_json
from stepbus.storage.exports import SETTLED

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "plot"]
TEXTS = ["good film", "bad plot", "good good plot"]
ID_DATES = [f"2024-02-{day + 1:02d}" for day in range(24)]

MODEL = (
    "config.json",
    "lineage.npz",
    "model.safetensors",
    "stepbus.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
OF_A_FIT = ("result.json", "predictions.npz", "fit.json", "rows.npz", *(f"model/{name}" for name in MODEL))
SINGLE = ("run.json", "delivered.json", *(f"fits/fit/{name}" for name in OF_A_FIT))
# Nothing reads these again when a fit is done: for people, or for a resume within the fit.
CHECKPOINT_HINTS = ("LATEST", "BEST", "step-*/*")
TABLES = ("fits/*/confusion_matrix.csv", "fits/*/per_class.csv")
# How a run predicts together is written anew at its end.
SINGLE_HINTS = (
    "config.yaml",
    "predict.json",
    "fits/*/history.*",
    *TABLES,
    ".lock",
    *(f"fits/fit/checkpoints/{n}" for n in CHECKPOINT_HINTS),
)
FOLDS = ("fold-1", "fold-2")  # the third is still to do
CROSS = ("run.json", "delivered.json", *(f"fits/{fold}/{name}" for fold in FOLDS for name in OF_A_FIT))
# The table is written anew by the combination.
CROSS_HINTS = (
    "config.yaml",
    "predict.json",
    "fits/*/history.*",
    *TABLES,
    "confusion_matrix.csv",
    "per_class.csv",
    "out_of_fold.csv",
    ".lock",
)


def settings(folder: Path, **sections: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "model": {
            "tokenizer": str(folder / "tokenizer"),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": len(WORDS),
            "max_position_embeddings": 32,
        },
        "data": {"train": str(folder / "train.csv"), "text": "text", "label": "label", "id": "day", "batch_size": 8},
        "training": {"num_epochs": 1},
        "environment": {"output_dir": str(folder / "run")},
        "plugins": {"progress": False},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section}
    return tree


def write_inputs(folder: Path) -> None:
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    draw = random.Random(5)
    rows = [
        f"{day},{word} {draw.choice(WORDS[5:])},{word}"
        for day, word in zip(ID_DATES, ["good", "bad"] * 12, strict=True)
    ]
    (folder / "train.csv").write_text("\n".join(["day,text,label", *rows]) + "\n")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of one fit."""
    folder = tmp_path_factory.mktemp("single")
    write_inputs(folder)
    create_trainer(config=settings(folder, data={"validation": 0.25})).train()
    return folder


def cross_settings(folder: Path) -> dict[str, Any]:
    return settings(folder, plugins={"cross_validation": {"folds": 3}, "checkpoint": {"save_strategy": "no"}})


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cross-validation of which the last fold is still to do, and `whole`, the same one finished."""
    folder = tmp_path_factory.mktemp("cross")
    write_inputs(folder)
    create_trainer(config=cross_settings(folder)).train()
    shutil.copytree(folder / "run", folder / "whole", symlinks=True)
    shutil.rmtree(folder / "run" / "fits" / "fold-3")
    return folder


def flip(place: float) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        content = bytearray(file.read_bytes())
        if content:
            content[min(int(len(content) * place), len(content) - 1)] ^= 1
        else:
            content = bytearray(b"\1")
        file.write_bytes(content)

    return change


def replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        file.unlink()
        make(file)

    return change


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first bit flipped": flip(0),
    "a bit flipped": flip(0.37),
    "last bit flipped": flip(1),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "emptied": lambda file: os.truncate(file, 0),
    "a byte more": lambda file: (file.write_bytes(file.read_bytes() + b"\n"), None)[1],
    "removed": Path.unlink,
    "a folder": replaced(Path.mkdir),
    "a link to nothing": replaced(lambda file: file.symlink_to("nowhere")),
    "a link to itself": replaced(lambda file: file.symlink_to(file.name)),
    "a link to a device": replaced(lambda file: file.symlink_to("/dev/zero")),
    "a pipe": replaced(os.mkfifo),
}


def outcome(folder: Path) -> dict[str, Any]:
    """Return what the run in a folder came to, as far as it does not depend on the clock."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "result.json":
            entry = from_json(path.read_bytes())
            found[name] = {key: entry[key] for key in ("metrics", "best", "history", "steps", "predictions")}
        elif path.name == "stepbus.json" and path.parent.name == "model":
            described = from_json(path.read_bytes())
            del described["digest"]  # of versions too
            found[name] = described
        elif path.name in ("out_of_fold.csv", "predictions.npz") or path.parent.name == "model":
            found[name] = path.read_bytes()
    return found


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def matching(folder: Path, patterns: tuple[str, ...]) -> set[str]:
    return {str(path.relative_to(folder)) for pattern in patterns for path in folder.glob(pattern) if path.is_file()}


def test_no_file_is_forgotten(single: Path, cross: Path) -> None:
    assert files_in(single / "run") == {*SINGLE, *matching(single / "run", SINGLE_HINTS)}
    assert files_in(cross / "run") == {*CROSS, *matching(cross / "run", CROSS_HINTS)}


# --- a resume -------------------------------------------------------------------------------------------------------


def resume(tree: dict[str, Any], run: Path) -> Any:
    tree["environment"] = {"output_dir": str(run)}
    return create_trainer(config=tree).train(resume=True)


def test_an_undamaged_run_is_done_and_ends_as_it_did(single: Path, cross: Path, tmp_path: Path) -> None:
    for name, tree, wanted in (
        ("single", settings(single, data={"validation": 0.25}), outcome(single / "run")),
        ("cross", cross_settings(cross), outcome(cross / "whole")),
    ):
        run = tmp_path / name
        shutil.copytree((single if name == "single" else cross) / "run", run, symlinks=True)
        resume(tree, run)
        assert outcome(run) == wanted


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["single", "cross"])
def test_every_damaged_file_is_found_at_a_resume(
    kind: str, damage: str, single: Path, cross: Path, tmp_path: Path
) -> None:
    tree = settings(single, data={"validation": 0.25}) if kind == "single" else cross_settings(cross)
    pristine = (single if kind == "single" else cross) / "run"
    run = tmp_path / "run"
    for name in SINGLE if kind == "single" else CROSS:
        if damage == "removed" and Path(name).name in ("result.json", "delivered.json"):
            continue  # a fit without it is one that is not finished, and plugins are told again: see below
        shutil.copytree(pristine, run, symlinks=True)
        DAMAGES[damage](run / name)
        before = files_in(run)
        with pytest.raises(CheckpointError) as caught:
            resume(tree, run)
        assert str(run) in str(caught.value)
        gone = name == "run.json" and damage == "removed"
        assert ("there is no run to resume" if gone else str(run / name)) in str(caught.value), (name, caught.value)
        assert files_in(run) | {".lock"} == before | {".lock"}
        shutil.rmtree(run)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["single", "cross"])
def test_damaged_hints_change_no_result(kind: str, damage: str, single: Path, cross: Path, tmp_path: Path) -> None:
    """All at once; whether the lock is a file is for the lock to say."""
    tree = settings(single, data={"validation": 0.25}) if kind == "single" else cross_settings(cross)
    folder, run = single if kind == "single" else cross, tmp_path / "run"
    shutil.copytree(folder / "run", run, symlinks=True)
    hints = matching(run, SINGLE_HINTS if kind == "single" else CROSS_HINTS)
    if damage.startswith(("a folder", "a link", "a pipe")):
        hints -= {".lock", "out_of_fold.csv", "predict.json"}
    if damage.startswith(("a folder", "a link")):  # refused by name; a pipe is replaced, nobody reads it
        hints -= {"confusion_matrix.csv", "per_class.csv"}
    assert len(hints) > 3
    for name in hints:
        DAMAGES[damage](run / name)
    resume(tree, run)
    assert outcome(run) == outcome(folder / ("run" if kind == "single" else "whole"))


@pytest.mark.parametrize("name", ["result.json", "predictions.npz", "model/model.safetensors", "model/stepbus.json"])
@pytest.mark.parametrize("damage", ["a bit flipped", "removed", "a folder", "a link to nothing"])
def test_the_mend_that_is_named_gives_the_same_bits(damage: str, name: str, cross: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(cross / "run", tmp_path / "run", symlinks=True))
    DAMAGES[damage](run / "fits" / "fold-1" / name)
    if (damage, name) != ("removed", "result.json"):
        with pytest.raises(CheckpointError) as caught:
            resume(cross_settings(cross), run)
        mend = str(caught.value).rpartition("; remove ")[2].removesuffix(" to do this fit again")
        named = {"it": [run / "fits/fold-1/result.json"]}.get(mend, [Path(word) for word in mend.split(" and ")])
        assert all(path.is_relative_to(run / "fits" / "fold-1") for path in named)
        for path in named:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    resume(cross_settings(cross), run)
    assert outcome(run) == outcome(cross / "whole")


def test_damage_of_a_later_fold_is_found_before_an_earlier_one_is_done_again(cross: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(cross / "run", tmp_path / "run", symlinks=True))
    (run / "fits" / "fold-1" / "result.json").unlink()
    flip(0.5)(run / "fits" / "fold-2" / "predictions.npz")
    with pytest.raises(CheckpointError, match=r"fold-2/predictions\.npz: the content is not what was written"):
        resume(cross_settings(cross), run)
    assert not (run / "fits" / "fold-1" / "result.json").exists()


def test_folds_that_traded_places_are_found(cross: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(cross / "run", tmp_path / "run", symlinks=True))
    fits = run / "fits"
    (fits / "fold-1").rename(fits / "x")
    (fits / "fold-2").rename(fits / "fold-1")
    (fits / "x").rename(fits / "fold-2")
    with pytest.raises(CheckpointError, match=r"fold-1/result.json: expected the result of fold-1 .* that of fold-2"):
        resume(cross_settings(cross), run)


def test_models_that_traded_places_are_found(cross: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(cross / "run", tmp_path / "run", symlinks=True))
    shutil.rmtree(run / "fits" / "fold-2" / "model")
    shutil.copytree(run / "fits" / "fold-1" / "model", run / "fits" / "fold-2" / "model")
    with pytest.raises(CheckpointError, match=r"fold-2/model/stepbus.json: expected the model of this fit, got anoth"):
        resume(cross_settings(cross), run)


def test_a_changed_echo_of_the_configuration_is_said(single: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(single / "run", tmp_path / "run", symlinks=True))
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("num_epochs: 1", "num_epochs: 9"))
    assert (run / "config.yaml").read_text() != text
    said: list[str] = []

    class Listen:
        affects_result = False
        scope = "run"

        @hookimpl
        def on_message(self, text: str, level: str) -> None:
            said.append(f"{level}: {text}")

    tree = settings(single, data={"validation": 0.25})
    tree["environment"] = {"output_dir": str(run)}
    create_trainer(config=tree, plugins=[Listen()]).train(resume=True)
    assert [line for line in said if "config.yaml" in line] == [
        f"warning: {run / 'config.yaml'}: the content is not what was written (its SHA-256 differs); it only shows "
        "what the run began with, and nothing reads it"
    ]


IDS: dict[str, Callable[[list[str]], Any]] = {
    "dates": lambda texts: [datetime.date.fromisoformat(text) for text in texts],
    "nanoseconds": lambda texts: np.array(texts, "datetime64[ns]"),
    "moments of a place": lambda texts: pd.to_datetime(texts).tz_localize("Europe/Berlin"),
    "decimals": lambda texts: [Decimal(place) / 10 for place in range(len(texts))],
    "a mixture": lambda texts: [place if place % 2 else f"n{place}" for place in range(len(texts))],
}
# An id is kept in its one spelling, that of a text file.
SPELT: dict[str, Callable[[Any], str]] = {"nanoseconds": lambda day: str(day)[:10]}


@pytest.mark.parametrize("kind", IDS)
def test_row_ids_of_any_kind_are_the_same_after_a_resume(kind: str, cross: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(cross / "train.csv")
    frame["day"] = IDS[kind](frame["day"].tolist())
    spelt = [SPELT.get(kind, str)(day) for day in frame["day"]]
    tree = cross_settings(cross)
    tree["environment"] = {"output_dir": str(tmp_path / "run")}
    whole = create_trainer(config=tree).train(frame)
    table = (tmp_path / "run" / "out_of_fold.csv").read_bytes()
    (tmp_path / "run" / "out_of_fold.csv").unlink()
    (tmp_path / "run" / "fits" / "fold-3" / "result.json").unlink()
    again = create_trainer(config=tree).train(frame, resume=True)
    ids = [result.predictions["validation"].row_ids for result in (whole, again)]
    assert ids[0].dtype == ids[1].dtype
    assert ids[0].tolist() == ids[1].tolist() == spelt
    assert (tmp_path / "run" / "out_of_fold.csv").read_bytes() == table


def test_row_ids_that_cannot_be_kept_are_refused_before_anything_is_there(cross: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(cross / "train.csv")
    frame["day"] = [(place, "a") for place in range(len(frame))]
    tree = cross_settings(cross)
    tree["environment"] = {"output_dir": str(tmp_path / "run")}
    with pytest.raises(DataError, match=r"train frame, row 1: column 'day': expected one value, got a tuple"):
        create_trainer(config=tree).train(frame)
    assert not (tmp_path / "run").exists()


# --- an exported model ----------------------------------------------------------------------------------------------


@pytest.fixture
def model(single: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(single / "run" / "model", tmp_path / "model"))


def answers(folder: Path) -> bytes:
    frame = pd.DataFrame({"text": TEXTS, "day": ID_DATES[: len(TEXTS)]})
    return np.ascontiguousarray(open_trainer(folder).predict(frame)).tobytes()


@pytest.mark.parametrize("name", MODEL)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_export_is_not_opened(damage: str, name: str, model: Path, single: Path, tmp_path: Path) -> None:
    DAMAGES[damage](model / name)
    with pytest.raises(ModelError) as caught:
        open_trainer(model)
    gone = name == "stepbus.json" and damage == "removed"
    wanted = "expected a folder that stepbus wrote, found no stepbus.json" if gone else f"{model / name}: "
    assert wanted in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    if gone:
        return  # as a folder of weights it is anybody's, and whole
    for section in ({"pretrained": str(model), "tokenizer": None}, {"tokenizer": str(model)}):
        tree = settings(single)
        tree["model"] = {**({} if "pretrained" in section else tree["model"]), **section}
        tree["environment"] = {"output_dir": str(tmp_path / "never")}
        with pytest.raises(ModelError) as caught:
            create_trainer(config=tree).train()
        assert f"{model / name}: " in str(caught.value)
    assert not (tmp_path / "never").exists()


def test_the_command_line_says_it_in_one_sentence(
    single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(single / "run", tmp_path / "run", symlinks=True))
    data, output = str(single / "train.csv"), tmp_path / "predictions.csv"
    assert main(["predict", str(run), data, "--output", str(output)]) == 0
    flip(0.9)(run / "model" / "model.safetensors")
    output.unlink()
    capsys.readouterr()
    named = ["predict", str(run), data, "--output", str(output)]
    for place, words in (("fits/fit/model", named), ("model", ["evaluate", str(run / "model"), data])):
        assert main(words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(
            f"stepbus: {run}/{place}/model.safetensors: the content is not what was written (its SHA-256 differs); "
        )
        assert said.err.count("\n") == 1
    assert not output.exists()


def test_500_flipped_bits_of_an_export(model: Path) -> None:
    """Single bits anywhere in the folder; seed 11."""
    choice = random.Random(11)
    assert exports.verify_folder(model) == set(MODEL)
    for _ in range(500):
        file = model / choice.choice(MODEL)
        content = file.read_bytes()
        index, bit = choice.randrange(len(content)), 1 << choice.randrange(8)
        file.write_bytes(content[:index] + bytes([content[index] ^ bit]) + content[index + 1 :])
        with pytest.raises(ModelError, match=str(file)):
            exports.verify_folder(model)
        file.write_bytes(content)
    assert exports.verify_folder(model) == set(MODEL)


def as_hub(model: Path) -> Path:
    """Move the files into blobs, as huggingface_hub's cache keeps them, and return a snapshot of links."""
    cache = model.parent / "models--org--name"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        file.rename(cache / "blobs" / f"{number:040x}")
        (snapshot / file.name).symlink_to(Path("..", "..", "blobs", f"{number:040x}"))
    return snapshot


def linked(model: Path) -> Path:
    (model.parent / "link").symlink_to(model)
    return model.parent / "link"


def read_only(model: Path) -> Path:
    for path in (*model.iterdir(), model):
        path.chmod(0o555 if path.is_dir() else 0o444)
    return model


def with_more(model: Path) -> Path:
    (model / "README.md").write_text("# Mine")
    (model / ".gitattributes").write_text("*.safetensors filter=lfs")
    (model / "notes").mkdir()
    return model


def with_what_others_would_read(model: Path) -> Path:
    """Names that are read elsewhere; here the folder does not vouch for them, so that they change nothing."""
    other = model / "0_Transformer"
    other.mkdir()
    (other / "config.json").write_text("{}")
    (model / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}]'
    )
    (model / "added_tokens.json").write_text("{]")
    (model / "special_tokens_map.json").write_text("{]")
    (model / "model.safetensors.index.json").write_text("{]")
    (model / "manifest.json").write_text("{}")
    return model


@pytest.mark.parametrize(
    "place",
    [as_hub, linked, read_only, with_more, with_what_others_would_read, lambda model: model.rename(model.parent / "b")],
)
def test_a_folder_that_was_moved_or_added_to_opens(
    place: Callable[[Path], Path], model: Path, single: Path, tmp_path: Path
) -> None:
    wanted = answers(single / "run")
    folder = place(model)
    assert answers(folder) == wanted
    assert answers(folder) == wanted  # and again in one process
    if place is as_hub:
        flip(0.8)(Path(os.path.realpath(folder / "model.safetensors")))
        with pytest.raises(ModelError, match=r"snapshots/abc/model.safetensors: the content is not what was written"):
            open_trainer(folder)


def test_damage_after_it_was_opened_is_found_in_the_same_process(model: Path) -> None:
    for file in model.iterdir():
        os.utime(file, (1e9, 1e9))
    wanted = answers(model)
    assert answers(model) == wanted
    flip(0.9)(model / "model.safetensors")
    os.utime(model / "model.safetensors", (1e9, 1e9))
    with pytest.raises(ModelError, match=r"model\.safetensors: the content is not"):
        open_trainer(model)


@pytest.mark.parametrize(("age", "found"), [(0, True), (10 * SETTLED, False)])
def test_only_what_was_at_rest_when_it_was_verified_is_remembered(
    age: int, found: bool, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change within one tick of the file system's clock leaves all times as they were."""
    times = (time.time_ns() - age,) * 2
    monkeypatch.setattr(exports, "_state", lambda folder, names: tuple((1, 1, 1, times) for _ in names))
    assert exports.verify_folder(model) == set(MODEL)
    flip(0.9)(model / "model.safetensors")
    if found:
        with pytest.raises(ModelError, match=r"model\.safetensors: the content is not what was written"):
            exports.verify_folder(model)
    else:  # what a file system without clocks would do: the times are believed
        assert exports.verify_folder(model) == set(MODEL)


def test_weights_that_somebody_saved_over_it_are_not_taken_for_ours(model: Path) -> None:
    """transformers' save_pretrained into the same folder leaves stepbus.json of the old weights."""
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config, indent=1))
    with pytest.raises(ModelError, match=r"config.json: .* name a copy without stepbus.json as model.pretrained"):
        open_trainer(model)


def test_an_older_export_cannot_be_verified(model: Path) -> None:
    described = json.loads((model / "stepbus.json").read_text())
    del described["files"], described["digest"]
    (model / "stepbus.json").write_text(to_json(described))
    with pytest.raises(ModelError, match=r"stepbus.json: .*it has no digest of itself; an older stepbus wrote it"):
        open_trainer(model)


def entry(**change: Any) -> dict[str, Any]:
    return {"size": 1, "sha256": "0" * 64} | change


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"../x": entry()}, "more than a plain name, '../x'"),
        ({"/etc/passwd": entry()}, "more than a plain name, '/etc/passwd'"),
        ({"a/b": entry()}, "more than a plain name"),
        ({".": entry()}, "more than a plain name"),
        ({"": entry()}, "more than a plain name"),
        ({"stepbus.json": entry()}, "it lists itself"),
        ({"a": entry(size=-1)}, "expected a size in bytes"),
        ({"a": entry(size=True)}, "expected a size in bytes"),
        ({"a": entry(size=1.0)}, "expected a size in bytes"),
        ({"a": entry(sha256=7)}, "expected a size in bytes"),
        ({"a": entry(sha256="0" * 63 + "\n")}, "expected a size in bytes"),
        ({"a": 3}, "expected a size in bytes"),
        ({"config.json": None}, "it does not list config.json"),
        ({"model.safetensors": None}, "it does not list model.safetensors"),
        ({"vocab.txt": entry(size=2**80)}, r"vocab\.txt: expected 1208925819614629174706176 bytes, got"),
        ({"gone": entry()}, "gone: the file is missing"),
        ([], "it lists no files"),
        (None, "it lists no files"),
    ],
)
def test_a_hostile_list_of_files_is_refused(files: Any, words: str, model: Path) -> None:
    described = json.loads((model / "stepbus.json").read_text())
    if isinstance(files, dict):
        merged = described["files"] | files
        files = {name: value for name, value in merged.items() if value is not None}
    described["files"] = files
    (model / "stepbus.json").write_text(to_json(sealed({k: v for k, v in described.items() if k != "digest"})))
    with pytest.raises(BadInput, match=words):
        open_trainer(model)
