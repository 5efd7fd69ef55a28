"""Damaged and hostile checkpoints: every one is refused by name, and the one before is taken."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError
from stepbus.storage.checkpoints import MANIFEST, Snapshot, latest_valid, read_document, scan, verify, write_checkpoint
from stepbus.storage.checkpoints.verification import manifest_digest
from stepbus.storage.durable import to_json
from stepbus.storage.tensor_files import MAX_HEADER, check_tensors, write_tensors

DAMAGED = "4 damaged checkpoint files"
FILES = ("model.safetensors", "optimizer.safetensors", "config.json", "state.json", "tokenizer.json", MANIFEST)


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of steps 100 and 200."""
    folder = tmp_path_factory.mktemp("damage") / "checkpoints"
    source = folder.parent / "tokenizer.json"
    source.write_text('{"version": "1.0"}')
    for step in (100, 200):
        numbers = np.random.default_rng(step).standard_normal((6, 4)).astype(np.float32)
        snapshot = Snapshot(
            step=step,
            arrays={"model": {"weight": numbers, "bias": numbers[0]}, "optimizer": {"m": numbers - 1}},
            documents={"state.json": {"step": step, "loss": 0.25}, "config.json": {"hidden_size": step}},
            copies={"tokenizer.json": source},
            facts={"config": {"seed": 42}},
        )
        write_checkpoint(folder, snapshot)
    return folder


def fresh(two: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two, tmp_path / "checkpoints"))


def edit(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: (file.write_bytes(change(file.read_bytes())), None)[1]


def flip(place: float) -> Callable[[Path], None]:
    def change(content: bytes) -> bytes:
        index = min(int(len(content) * place), len(content) - 1)
        return content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :]

    return edit(change)


def replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        kept = file.with_name("kept")
        file.rename(file.parent.parent / f"kept-{file.name}")
        assert not kept.exists()
        make(file)

    return change


def of_the_other_step(file: Path) -> None:
    other = file.parent.parent / "step-00000100" / file.name
    if file.name == "tokenizer.json":  # the same in both
        other = other.with_name("config.json")
    file.write_bytes(other.read_bytes())


def of_the_neighbour(file: Path) -> None:
    """Two files of a checkpoint trade places."""
    other = file.with_name(FILES[(FILES.index(file.name) + 1) % len(FILES)])
    mine, theirs = file.read_bytes(), other.read_bytes()
    file.write_bytes(theirs)
    other.write_bytes(mine)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "emptied": edit(lambda content: b""),
    "one byte left": edit(lambda content: content[:1]),
    "cut in half": edit(lambda content: content[: len(content) // 2]),
    "last byte lost": edit(lambda content: content[:-1]),
    "first byte lost": edit(lambda content: content[1:]),
    "a byte more": edit(lambda content: content + b"\0"),
    "twice": edit(lambda content: content * 2),
    "first bit flipped": flip(0),
    "a middle bit flipped": flip(0.5),
    "last bit flipped": edit(lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "zeros": edit(lambda content: bytes(len(content))),
    "a block of zeros": edit(lambda content: content[:8] + bytes(8) + content[16:]),
    "removed": Path.unlink,
    "a link to the same content": replaced(lambda file: file.symlink_to(Path("..") / f"kept-{file.name}")),
    "a link to nothing": replaced(lambda file: file.symlink_to("nowhere")),
    "a folder": replaced(Path.mkdir),
    "a pipe": replaced(os.mkfifo),
    "of the other step": of_the_other_step,
    "of its neighbour": of_the_neighbour,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_gives_way_to_the_one_before(
    damage: str, file: str, two: Path, tmp_path: Path, tally: Any
) -> None:
    with tally(DAMAGED, f"{damage}, {file}") as seen:
        seen.refused(check_that_the_one_before_is_taken(damage, file, two, tmp_path))
        seen.went_on()


def check_that_the_one_before_is_taken(damage: str, file: str, two: Path, tmp_path: Path) -> str:
    folder = fresh(two, tmp_path)
    newest = folder / "step-00000200"
    DAMAGES[damage](newest / file)
    with pytest.raises(CheckpointError) as caught:
        verify(newest)
    named = [name for name in FILES if str(newest / name) in str(caught.value)]
    if damage == "of its neighbour":
        assert named, caught.value
    elif (damage, file) == ("of the other step", MANIFEST):
        assert named, caught.value  # a whole manifest, so its files are the ones that differ
    else:
        assert named == [file], caught.value

    said: list[str] = []
    found = latest_valid(folder, said.append)
    assert found is not None
    assert found.step == 100
    assert read_document(found, "state.json") == {"step": 100, "loss": 0.25}
    assert len(said) == 1
    assert "step-00000200" in said[0]
    assert "step 100 is taken" in said[0]
    assert scan(folder) == [folder / "step-00000100"]
    quarantined = [path.name for path in folder.iterdir() if path.name.startswith(".quarantine-step-00000200-")]
    assert len(quarantined) == 1
    assert quarantined[0] in said[0]
    assert latest_valid(folder, pytest.fail) == found
    return said[0]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_all_damaged_is_an_error_and_never_zero(damage: str, file: str, two: Path, tmp_path: Path, tally: Any) -> None:
    folder = fresh(two, tmp_path)
    with tally(DAMAGED, f"all, {damage}, {file}") as seen:
        DAMAGES[damage](folder / "step-00000200" / file)
        shutil.rmtree(folder / "step-00000100")
        for _ in range(2):  # and it stays one
            with pytest.raises(CheckpointError, match=r"can(not)? be trusted") as caught:
                latest_valid(folder, pytest.fail)
            assert "step-00000200" in str(caught.value)
        assert scan(folder) == [folder / "step-00000200"]
        seen.refused(str(caught.value))


def test_flipped_bits(two: Path, tmp_path: Path) -> None:
    """500 single bits anywhere in the checkpoint; seed 11."""
    folder = fresh(two, tmp_path)
    newest, choice = folder / "step-00000200", random.Random(11)
    assert verify(newest).step == 200
    for _ in range(500):
        file = newest / choice.choice(FILES)
        content = file.read_bytes()
        index, bit = choice.randrange(len(content)), 1 << choice.randrange(8)
        file.write_bytes(content[:index] + bytes([content[index] ^ bit]) + content[index + 1 :])
        with pytest.raises(CheckpointError):
            verify(newest)
        file.write_bytes(content)
    assert verify(newest).step == 200


def put(name: str, make: Callable[[Path], Any] = Path.touch) -> Callable[[Path], None]:
    return lambda folder: (make(folder / "step-00000200" / name), None)[1]


def other_name(folder: Path) -> None:
    (folder / "step-00000200").rename(folder / "step-00000300")


def traded(folder: Path) -> None:
    (folder / "step-00000200").rename(folder / "x")
    (folder / "step-00000100").rename(folder / "step-00000200")
    (folder / "x").rename(folder / "step-00000100")


def link_to_it(folder: Path) -> None:
    (folder / "step-00000200").rename(folder.parent / "elsewhere")
    (folder / "step-00000200").symlink_to(folder.parent / "elsewhere")


def file_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder / "step-00000200")
    (folder / "step-00000200").write_text("not a folder")


def empty_in_its_place(folder: Path) -> None:
    shutil.rmtree(folder / "step-00000200")
    (folder / "step-00000200").mkdir()


FOLDERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file more": (put("notes.txt"), r"notes\.txt: the file does not belong"),
    "a hidden file more": (put(".hidden"), r"\.hidden: the file does not belong"),
    "tensors more": (put("best.safetensors"), r"best\.safetensors: the file does not belong"),
    "a folder more": (put("sub", Path.mkdir), "sub: expected a file, got a folder"),
    "a link more": (put("link", lambda path: path.symlink_to("state.json")), "link: expected a file, got a link"),
    "a pipe more": (put("pipe", os.mkfifo), "pipe: expected a file, got a special file"),
    "under another step's name": (other_name, "got the one of step 200"),
    "two trade names": (traded, "got the one of step"),
    "a link to it": (link_to_it, "expected a checkpoint's folder"),
    "a file in its place": (file_in_its_place, "expected a checkpoint's folder"),
    "an empty folder in its place": (empty_in_its_place, "expected a finished checkpoint, but this is missing"),
}


@pytest.mark.parametrize("change", FOLDERS)
def test_folder_that_is_not_what_it_was(change: str, two: Path, tmp_path: Path) -> None:
    folder = fresh(two, tmp_path)
    FOLDERS[change][0](folder)
    with pytest.raises(CheckpointError, match=FOLDERS[change][1]):
        verify(scan(folder)[-1])
    if change == "two trade names":
        with pytest.raises(CheckpointError, match="none of the 2 checkpoints can be trusted"):
            latest_valid(folder, pytest.fail)
    else:
        said: list[str] = []
        found = latest_valid(folder, said.append)
        assert found is not None
        assert found.step == 100
        assert len(said) == 1


@pytest.mark.parametrize("name", ["old-step-900", "step-900", "step-00000900.bak", "step-000000900", "Step-00000900"])
def test_names_that_only_resemble_a_checkpoint(name: str, two: Path, tmp_path: Path) -> None:
    folder = fresh(two, tmp_path)
    shutil.copytree(folder / "step-00000200", folder / name)
    found = latest_valid(folder, pytest.fail)
    assert found is not None
    assert found.step == 200
    assert (folder / name).exists()


def test_finder_leaves_its_traces(two: Path, tmp_path: Path) -> None:
    """macOS puts .DS_Store into folders that somebody looks at; the checkpoint is as good as before."""
    folder = fresh(two, tmp_path)
    (folder / "step-00000200" / ".DS_Store").write_bytes(b"\0")
    assert verify(folder / "step-00000200").step == 200


# --- hostile headers, in a checkpoint whose manifest vouches for them -----------------------------------------------


def tensors(header: bytes | dict[str, Any], data: bytes = bytes(16), length: int | None = None) -> bytes:
    words = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(words) if length is None else length).to_bytes(8, "little") + words + data


def entry(start: Any = 0, end: Any = 16, shape: Any = (4,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [start, end]}


GOOD = json.dumps({"a": entry()}).encode()
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "only a length": (2).to_bytes(8, "little"),
    "length 0": tensors(GOOD, length=0),
    "length 1": tensors(GOOD, length=1),
    "length 2**63": tensors(GOOD, length=2**63),
    "length 2**64 - 1": tensors(GOOD, length=2**64 - 1),
    "length beyond the file": tensors(GOOD, length=len(GOOD) + 17),
    "length one short": tensors(GOOD, length=len(GOOD) - 1),
    "length one long": tensors(GOOD, length=len(GOOD) + 1),
    "header above 16 MB": tensors(GOOD + b" " * (MAX_HEADER + 1 - len(GOOD))),
    "no JSON": tensors(b"x" * 40),
    "no UTF-8": tensors(b'{"\xff": {}}'),
    "a pickle": tensors(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n"),
    "a list": tensors(b"[]"),
    "a string": tensors(b'"x"'),
    "a number": tensors(b"12"),
    "null": tensors(b"null"),
    "text behind the JSON": tensors(GOOD + b"x"),
    "NaN": tensors(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 16]}}'),
    "nested deeply": tensors(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "a name twice": tensors(GOOD[:-1] + b", " + GOOD[1:]),
    "a dtype twice": tensors(b'{"a": {"dtype": "F32", "dtype": "I32", "shape": [4], "data_offsets": [0, 16]}}'),
    "no tensors, but data": tensors({}),
    "entry is a string": tensors({"a": "F32"}),
    "entry is a list": tensors({"a": [0, 16]}),
    "entry is null": tensors({"a": None}),
    "no dtype": tensors({"a": {"shape": [4], "data_offsets": [0, 16]}}),
    "no shape": tensors({"a": {"dtype": "F32", "data_offsets": [0, 16]}}),
    "no offsets": tensors({"a": {"dtype": "F32", "shape": [4]}}),
    "unknown dtype": tensors({"a": entry(dtype="F31")}),
    "dtype of another format": tensors({"a": entry(dtype="float32")}),
    "dtype that MLX lacks": tensors({"a": entry(dtype="F64", shape=(2,))}),
    "dtype of half a byte": tensors({"a": entry(dtype="F4", shape=(32,))}),
    "dtype is a number": tensors({"a": entry(dtype=7)}),
    "dtype is a list": tensors({"a": entry(dtype=["F32"])}),
    "shape too small": tensors({"a": entry(shape=(3,))}),
    "shape too large": tensors({"a": entry(shape=(5,))}),
    "shape is a number": tensors({"a": entry(shape=4)}),
    "shape is text": tensors({"a": entry(shape="4")}),
    "shape with a fraction": tensors({"a": entry(shape=(4.0,))}),
    "shape with a negative": tensors({"a": entry(shape=(-4,))}),
    "two negatives": tensors({"a": entry(shape=(-2, -2))}),
    "shape beyond 64 bits": tensors({"a": entry(shape=(2**64,))}),
    "shape that overflows to 4": tensors({"a": entry(shape=(2**62 + 1, 4))}),
    "shape that overflows to 0": tensors({"a": entry(0, 0, shape=(2**32, 2**32))}, b""),
    "offset beyond the end": tensors({"a": entry(0, 20, shape=(5,))}),
    "offsets from beyond the end": tensors({"a": entry(16, 32)}),
    "offset below 0": tensors({"a": entry(-16, 0)}),
    "offsets the wrong way": tensors({"a": entry(16, 0)}),
    "offset beyond 64 bits": tensors({"a": entry(0, 2**64 + 16)}),
    "offset with a fraction": tensors({"a": entry(0.0, 16.0)}),
    "offset is text": tensors({"a": entry("0", "16")}),
    "three offsets": tensors({"a": entry() | {"data_offsets": [0, 8, 16]}}),
    "one offset": tensors({"a": entry() | {"data_offsets": [16]}}),
    "a hole before": tensors({"a": entry(4, 16, shape=(3,))}),
    "a hole between": tensors({"a": entry(0, 4, shape=(1,)), "b": entry(8, 16, shape=(2,))}),
    "bytes behind": tensors({"a": entry(0, 12, shape=(3,))}),
    "overlap": tensors({"a": entry(0, 12, shape=(3,)), "b": entry(8, 16, shape=(2,))}),
    "the same bytes twice": tensors({"a": entry(), "b": entry()}),
    "data cut": tensors({"a": entry()}, bytes(15)),
    "data longer": tensors({"a": entry()}, bytes(17)),
    "metadata is a number": tensors({"__metadata__": 3, "a": entry()}),
    "metadata holds a number": tensors({"__metadata__": {"format": 3}, "a": entry()}),
    "metadata holds a mapping": tensors({"__metadata__": {"format": {}}, "a": entry()}),
}
HARMLESS: dict[str, bytes] = {
    "one tensor": tensors({"a": entry()}),
    "no tensor": tensors({}, b""),
    "no tensor, with metadata": tensors({"__metadata__": {"format": "pt"}}, b""),
    "a number alone": tensors({"a": entry(0, 4, shape=())}, bytes(4)),
    "an empty tensor": tensors({"a": entry(0, 0, shape=(0, 3))}, b""),
    "two out of order": tensors({"b": entry(8, 16, shape=(2,)), "a": entry(0, 8, shape=(2,))}),
    "bfloat16": tensors({"a": entry(dtype="BF16", shape=(8,))}),
    "spaces behind": tensors(GOOD + b"   "),
}


def forge(checkpoint: Path, name: str, content: bytes) -> None:
    """Put a file into a checkpoint and let the manifest vouch for it, as an attacker would."""
    (checkpoint / name).write_bytes(content)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / MANIFEST).write_text(to_json({**manifest, "digest": manifest_digest(manifest)}))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_header(name: str, two: Path, tmp_path: Path) -> None:
    folder = fresh(two, tmp_path)
    newest = folder / "step-00000200"
    forge(newest, "model.safetensors", HOSTILE[name])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: ") as caught:
        check_tensors(newest / "model.safetensors")
    assert len(str(caught.value)) < 600
    with pytest.raises(CheckpointError, match=r"model\.safetensors: "):
        verify(newest)
    found = latest_valid(folder, lambda text: None)
    assert found is not None
    assert found.step == 100


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_header(name: str, two: Path, tmp_path: Path) -> None:
    newest = fresh(two, tmp_path) / "step-00000200"
    forge(newest, "model.safetensors", HARMLESS[name])
    assert verify(newest).step == 200


def test_flipped_header_bits_never_crash_the_reader(tmp_path: Path) -> None:
    """Without any digest: 500 flipped bits in a header are refused, or leave a file that covers itself; seed 12."""
    import mlx.core as mx

    path = tmp_path / "x.safetensors"
    write_tensors(path, {"weight": np.ones((4, 3), np.float32), "bias": np.zeros(3, np.float16)})
    content, choice = path.read_bytes(), random.Random(12)
    end = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for _ in range(500):
        index, bit = choice.randrange(end), 1 << choice.randrange(8)
        path.write_bytes(content[:index] + bytes([content[index] ^ bit]) + content[index + 1 :])
        try:
            check_tensors(path)
        except CheckpointError:
            refused += 1
        else:
            assert sum(array.nbytes for array in mx.load(str(path)).values()) == len(content) - end
    assert 250 < refused < 500


MANIFESTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another format": lambda manifest: manifest | {"format": 2},
    "no format": lambda manifest: {key: manifest[key] for key in manifest if key != "format"},
    "no files": lambda manifest: {key: manifest[key] for key in manifest if key != "files"},
    "no step": lambda manifest: {key: manifest[key] for key in manifest if key != "step"},
    "step is text": lambda manifest: manifest | {"step": "200"},
    "step is true": lambda manifest: manifest | {"step": True},
    "step below 0": lambda manifest: manifest | {"step": -1},
    "another step": lambda manifest: manifest | {"step": 300},
    "pinned is text": lambda manifest: manifest | {"pinned": "yes"},
    "facts is a list": lambda manifest: manifest | {"facts": []},
    "files is a list": lambda manifest: manifest | {"files": ["state.json"]},
    "a file without digest": lambda manifest: manifest | {"files": {"state.json": {"size": 3}}},
    "a file that is a number": lambda manifest: manifest | {"files": {"state.json": 3}},
    "a path upwards": lambda manifest: manifest | {"files": {"../LATEST": {"size": 3, "sha256": "0"}}},
    "an absolute path": lambda manifest: manifest | {"files": {"/etc/passwd": {"size": 3, "sha256": "0"}}},
    "itself": lambda manifest: manifest | {"files": manifest["files"] | {MANIFEST: {"size": 3, "sha256": "0"}}},
    "a size that is text": lambda manifest: manifest | {"files": {"state.json": {"size": "3", "sha256": "0"}}},
    "a file left out": lambda manifest: manifest | {"files": dict(list(manifest["files"].items())[1:])},
    "a list": lambda manifest: [],
    "null": lambda manifest: None,
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_hostile_manifest(name: str, two: Path, tmp_path: Path, tally: Any) -> None:
    folder = fresh(two, tmp_path)
    newest = folder / "step-00000200"
    manifest = MANIFESTS[name](json.loads((newest / MANIFEST).read_text()))
    with tally("4 hostile manifests", name) as seen:
        if isinstance(manifest, dict):
            manifest = {**manifest, "digest": manifest_digest(manifest)}
        (newest / MANIFEST).write_text(to_json(manifest))
        with pytest.raises(CheckpointError, match="step-00000200") as caught:
            verify(newest)
        found = latest_valid(folder, lambda text: None)
        assert found is not None
        assert found.step == 100
        seen.refused(str(caught.value))
        seen.went_on()


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe", b"{}", b'{"digest": 1, "digest": 2}', b" " * (16 * 2**20 + 1)],
    ids=["brackets", "braces", "no UTF-8", "empty", "a key twice", "17 MB"],
)
def test_manifest_that_is_something_else(content: bytes, two: Path, tmp_path: Path) -> None:
    newest = fresh(two, tmp_path) / "step-00000200"
    (newest / MANIFEST).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json: expected"):
        verify(newest)


# --- manifests with one value changed anywhere in the tree, signed again by the attacker or not ----------------------

ODD = (
    None, True, False, -1, 0, 1, 0.5, 1e300, float("nan"), 2**63, 10**40, "", "200", "../x", "\0", [], [1], {},
    {"size": 1}, {"size": 1, "sha256": []}, {"size": [], "sha256": "0"}, "deep",
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a tree."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in below for place in places(inner, (*path, key)))][0 if path else 1 :]


def changed(manifest: dict[str, Any], number: int) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return a manifest with one value replaced, removed, renamed or turned into its likeness of another type."""
    choice = random.Random(f"manifest {number}")
    manifest = json.loads(json.dumps(manifest))
    path = choice.choice([place for place in places(manifest) if place != ("digest",)])
    holder: Any = manifest
    for key in path[:-1]:
        holder = holder[key]
    value, way = holder[path[-1]], number % 4
    if way == 0 and isinstance(holder, dict):
        del holder[path[-1]]
    elif way == 1 and isinstance(holder, dict):
        holder[choice.choice((f"{path[-1]}x", "../x", "", MANIFEST, "a/b", ".hidden", "\ud83d"))] = holder.pop(path[-1])
    elif way == 2 and isinstance(value, int | str):
        holder[path[-1]] = choice.choice(
            (float(value), str(value), [value]) if isinstance(value, int) else ([value], value + "0")
        )
    else:
        odd = choice.choice(ODD)
        holder[path[-1]] = {"a": [[[[{}]]]]} if odd == "deep" else odd
    return manifest, path


@pytest.mark.generated("number", range(120), sample=40)
def test_a_manifest_with_one_value_changed(number: int, two: Path, tmp_path: Path, tally: Any) -> None:
    folder = fresh(two, tmp_path)
    newest = folder / "step-00000200"
    before = json.loads((newest / MANIFEST).read_text())
    manifest, path = changed(before, number)
    signed = number % 8 < 6
    with tally("4 hostile manifests", f"one value, {number}") as seen:
        try:
            text = to_json({**manifest, "digest": manifest_digest(manifest)} if signed else manifest)
            content = text.encode()
        except ValueError:  # what cannot be signed: written as other tools would
            content = json.dumps(manifest).encode()
        (newest / MANIFEST).write_bytes(content)
        # Facts are the run's own words, and pinned is one of two.
        same = all(
            json.dumps(manifest.get(key), sort_keys=True) == json.dumps(before[key], sort_keys=True)
            for key in ("format", "step", "files")
        )
        harmless = signed and same and type(manifest.get("pinned")) is bool and type(manifest.get("facts")) is dict
        if json.dumps(manifest) == json.dumps(before) or (harmless and b"NaN" not in content):
            assert verify(newest).step == 200
            seen.went_on()
            return
        with pytest.raises(CheckpointError, match="step-00000200") as caught:
            verify(newest)
        found = latest_valid(folder, lambda text: None)
        assert found is not None
        assert found.step == 100, path
        seen.refused(str(caught.value))
        seen.went_on()
