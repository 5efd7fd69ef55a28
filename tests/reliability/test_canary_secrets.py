"""Secrets set out as canaries: none is found in what a command prints, logs, raises or writes, however it ends."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus.cli.main import main

ROW = "7 canary secrets"
VARIABLES = (
    "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "KAGGLE_KEY", "MLFLOW_TRACKING_PASSWORD",
    "WANDB_API_KEY", "GITHUB_TOKEN", "DATABASE_URL", "MY_PASSWORD",
)  # fmt: skip
PLUGIN = """
from attrs import define
from stepbus import hookimpl

class Tracker:
    '''Speak to a server that is not there.'''
    scope = "run"
    affects_result = False

    @define(frozen=True, kw_only=True)
    class Config:
        tracking_uri: str = "none"
        fails: str = ""

    def __init__(self, config):
        self.config = config

    def reached(self, hook):
        if self.config.fails == hook:
            raise ConnectionError("cannot reach " + self.config.tracking_uri)

    @hookimpl
    def on_run_start(self): self.reached("on_run_start")

    @hookimpl
    def on_step_end(self): self.reached("on_step_end")

    @hookimpl
    def on_log(self): self.reached("on_log")

    @hookimpl
    def on_close(self): self.reached("on_close")
"""
CONFIG = ["run.yaml"]
# Way -> the command, and the code it ends with.
WAYS: dict[str, tuple[list[str], int]] = {
    "a run": (["train", *CONFIG], 0),
    "a traced run": (["train", *CONFIG, "--trace-hooks"], 0),
    "a plan": (["plan", *CONFIG], 0),
    "a plan as JSON": (["plan", *CONFIG, "--json"], 0),
    "a printed configuration": (["config", "show", *CONFIG], 0),
    "versions": (["info"], 0),
    "the plugins": (["plugins", "list", "--config", *CONFIG], 0),
    "a plugin": (["plugins", "show", "./tracker.py:Tracker"], 0),
    "the doctor": (["plugins", "doctor", "--config", *CONFIG], 0),
    "the schema": (["config", "schema", *CONFIG], 0),
    "a setting that is none": (["train", *CONFIG, "--set", "training.num_epochs=many"], 2),
    "a file that is not there": (["train", *CONFIG, "--set", "data.train=absent.csv"], 2),
    "a column that is not there": (["train", *CONFIG, "--set", "data.label=absent"], 2),
    "a tracker that is down": (["train", *CONFIG, "--set", "plugins.tracker.fails=on_step_end"], 1),
    "a tracker that is down at once": (["train", *CONFIG, "--set", "plugins.tracker.fails=on_run_start"], 1),
    "a loss that is none": (["train", *CONFIG, "--set", "optimizer.learning_rate=1e30"], 1),
    "a folder that cannot be": (["train", *CONFIG, "--output", "run.yaml/x"], 2),
    "nothing to resume": (["train", *CONFIG, "--resume", "nowhere"], 2),
    "no model": (["predict", "nowhere", "dev.csv"], 2),
    "no such plugin": (["plugins", "show", "absent"], 2),
}


def everything(folder: Path) -> bytes:
    """Return every byte of every file below a folder, and every name."""
    content = []
    for path in sorted(folder.rglob("*")):
        content.append(str(path).encode())
        if path.is_symlink():
            content.append(str(path.readlink()).encode())
        elif path.is_file():
            content.append(path.read_bytes())
    return b"\n".join(content)


@pytest.fixture
def workplace(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Return a function that writes run.yaml with a tracker, in a folder that is the present one."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "tracker.py").write_text(PLUGIN)
    (folder / "dev.csv").write_bytes((tmp_path / "dev.csv").read_bytes())

    def write(**changes: Any) -> None:
        tree = tiny_config(
            training={"max_steps": 3, "num_epochs": 1, "log_steps": 1},
            environment={"output_dir": "run"},
            plugins={"progress": True, "checkpoint": {"save_strategy": "steps", "save_steps": 2}},
        )
        tree["plugins"]["tracker"] = {"use": "./tracker.py:Tracker"}
        for path, value in changes.items():
            *sections, key = path.split("__")
            place = tree
            for section in sections:
                place = place[section]
            place[key] = value
        Path("run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))

    return write


def ended(words: list[str]) -> tuple[int | str, str]:
    """Run a command in this process; return its code, or its traceback as Python would print it."""
    try:
        return main(words), ""
    except SystemExit as leaving:
        return leaving.code or 0, ""
    except BaseException:
        return 1, traceback.format_exc()


@pytest.mark.generated("way", WAYS, sample=6)
def test_no_secret_of_the_environment_leaves_it(
    way: str, workplace: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture, tally: Any,
) -> None:  # fmt: skip
    secrets = {name: f"canary-{name.lower()}-5up3r53cr37" for name in VARIABLES}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    workplace()
    words, wanted = WAYS[way]
    code, trace = ended(words)
    out, err = capfd.readouterr()
    assert code == wanted, (out, err, trace)
    found = b"\n".join([out.encode(), err.encode(), trace.encode(), caplog.text.encode(), everything(Path.cwd())])
    for name, secret in secrets.items():
        with tally(ROW, (way, name)) as seen:
            assert secret.encode() not in found
            if code:
                seen.refused(err)
            else:
                seen.went_on()
    if way == "a run":  # all of it was looked at
        assert b"config.yaml" in found
        assert b"model.safetensors" in found
        assert b"manifest.json" in found


# -- a password in an address that a setting holds ---------------------------------------------------------------------

SECRET = "5up3r-53cr37"
ADDRESSES = (
    f"https://anna:{SECRET}@host.example/path",
    f"http://{SECRET}@host.example",
    f"postgresql://anna:{SECRET}@host:5432/runs",
    f"s3://key:{SECRET}@bucket/rows.csv",
)
PLACES = (
    "plugins__tracker__tracking_uri", "data__train", "data__validation", "data__text", "data__label",
    "model__tokenizer", "model__type",
    "training__monitor", "training__num_epochs", "optimizer__learning_rate", "extends", "hooks",
    "plugins__tracker__use", "plugins__early_stopping", "environment__device",
)  # fmt: skip


def addresses() -> Iterator[tuple[str, str, str]]:
    for place in PLACES:
        for number, _ in enumerate(ADDRESSES):
            for command in ("train", "plan", "config show"):
                yield place, str(number), command


@pytest.mark.generated("case", addresses(), sample=12)
def test_no_password_of_an_address_is_printed_or_written(
    case: tuple[str, str, str], workplace: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    tally: Any,
) -> None:  # fmt: skip
    place, number, command = case
    workplace(**{place: ADDRESSES[int(number)]})
    Path("run.yaml").rename("given.yaml")
    code, trace = ended([*command.split(), "given.yaml"])
    out, err = capfd.readouterr()
    given = Path("given.yaml")
    assert SECRET in given.read_text()  # the user's own file stays as it was
    given.unlink()
    with tally(ROW, case) as seen:
        assert not trace
        for found in (out.encode(), err.encode(), caplog.text.encode(), everything(Path.cwd())):
            assert SECRET.encode() not in found
        assert code in (0, 2), err
        if code:
            seen.refused(out + err)  # a plan prints its problems with the rest
        else:
            seen.went_on()


@pytest.mark.parametrize("policy", ["raise", "disable"])
@pytest.mark.parametrize("hook", ["on_run_start", "on_step_end", "on_log", "on_close"])
def test_a_tracker_that_is_down_does_not_tell_its_password(
    hook: str, policy: str, workplace: Any, capfd: pytest.CaptureFixture[str], tally: Any
) -> None:
    workplace(
        plugins__tracker={
            "use": "./tracker.py:Tracker", "tracking_uri": ADDRESSES[0], "fails": hook, "on_error": policy,
        }
    )  # fmt: skip
    code, trace = ended(["train", "run.yaml"])
    out, err = capfd.readouterr()
    Path("run.yaml").unlink()
    with tally(ROW, ("a tracker's own words", hook, policy)) as seen:
        assert code == (1 if policy == "raise" and hook != "on_close" else 0), err
        assert SECRET not in out + err + trace
        assert SECRET.encode() not in everything(Path.cwd())
        assert f"{hook} raised ConnectionError" in out + err
        seen.refused(out + err)


def test_the_canaries_can_be_found(workplace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search sees a secret in a file's content, in its name and behind a link."""
    workplace()
    for number, write in enumerate((
        lambda: Path("x.json").write_text(json.dumps({"a": SECRET})),
        lambda: Path(SECRET).touch(),
        lambda: Path("link").symlink_to(SECRET),
    )):  # fmt: skip
        assert (SECRET.encode() in everything(Path.cwd())) is bool(number)
        write()
        assert SECRET.encode() in everything(Path.cwd())
