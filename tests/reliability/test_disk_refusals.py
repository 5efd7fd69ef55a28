"""Whole runs on a disk that is full, broken or read-only from a moment on: one sentence, and then the same bits."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from comparing import differences, left

from stepbus import StepbusError, create_trainer, hookimpl
from stepbus.base.refusals import REMEDIES
from stepbus.base.terminal.streams import end_of
from stepbus.run import folders
from stepbus.storage import checkpoints

SAVES = {"save_strategy": "steps", "save_steps": 4, "keep_last": 3}
# Moment -> the checkpoint that is surely durable by then: the latest but one, for a thread may be at the latest.
MOMENTS = {
    "the start": None, "step 4": None, "step 11": 4, "step 14": 11, "step 22": 16, "the last evaluation": 22,
    "the end of the fit": 22,
}  # fmt: skip
REFUSALS = {
    "full": ("write", errno.ENOSPC),
    "over quota": ("write", errno.EDQUOT),
    "broken": ("fsync", errno.EIO),
    "read-only": ("open", errno.EROFS),
    "no folders": ("mkdir", errno.EROFS),
    "no names": ("rename", errno.EIO),
    "no other names": ("replace", errno.ENOSPC),
    "files too large": ("", errno.EFBIG),
}


def refuse(stack: ExitStack, name: str, code: int) -> None:
    """Let one operation of the system fail from now on; without a name, let no file grow."""
    if not name:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
        return
    original = getattr(os, name)

    def operation(*args: Any, **kwargs: Any) -> Any:
        if name == "open" and not args[1] & os.O_CREAT:
            return original(*args, **kwargs)
        raise OSError(code, os.strerror(code), str(args[0]))

    stack.callback(setattr, os, name, original)
    setattr(os, name, operation)


class Disk:
    """Break the disk at a moment."""

    affects_result = False
    scope = "run"

    def __init__(self, moment: str, breaks: Callable[[], None]) -> None:
        self.moment, self.breaks = moment, breaks

    @hookimpl(tryfirst=True)
    def on_fit_start(self) -> None:
        self.reached("the start")

    @hookimpl(tryfirst=True)
    def on_step_end(self, state: Any) -> None:
        self.reached(f"step {state.step}")

    @hookimpl(tryfirst=True)
    def on_predictions(self, final: bool) -> None:
        if final:
            self.reached("the last evaluation")

    @hookimpl(tryfirst=True)
    def on_fit_end(self) -> None:
        self.reached("the end of the fit")

    def reached(self, moment: str) -> None:
        if moment == self.moment:
            self.moment = ""
            self.breaks()


@pytest.fixture
def configuration(tiny_config: Callable[..., dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    return lambda output: tiny_config(
        plugins={"progress": False, "checkpoint": SAVES}, environment={"output_dir": str(output)}
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run that nobody disturbs lies, once it was made."""
    return tmp_path_factory.mktemp("whole") / "run"


def cases() -> Iterator[tuple[str, str]]:
    for refusal in REFUSALS:
        for moment in MOMENTS:
            yield refusal, moment


@pytest.mark.generated("case", cases(), sample=4)
def test_a_disk_that_refuses_from_a_moment_on(
    case: tuple[str, str], configuration: Any, undisturbed: Path, tmp_path: Path, tally: Any
) -> None:
    refusal, moment = case
    if not undisturbed.exists():
        create_trainer(config=configuration(undisturbed), plugins=[Disk("never", lambda: None)]).train()
    directory = tmp_path / "broken"
    name, code = REFUSALS[refusal]
    with tally("6 disk full or read-only", case) as seen:
        with ExitStack() as disk:
            trainer = create_trainer(
                config=configuration(directory), plugins=[Disk(moment, lambda: refuse(disk, name, code))]
            )
            try:
                trainer.train()
            except StepbusError as error:
                assert error.exit_code in (1, 2)
                assert os.strerror(code) in str(error), error
                assert REMEDIES[code] in str(error), error
                assert code == errno.ENOSPC or "room" not in str(error), error
                seen.refused(str(error))
            except BaseException as error:
                error.add_note("expected a sentence, got an error of the system")
                raise
        # What was durable is, and goes on to the same bits.
        folder = directory / "fits" / "fit" / "checkpoints"
        before = checkpoints.latest_valid(folder, pytest.fail) if folder.exists() else None
        if (durable := MOMENTS[moment]) is not None:
            assert before is not None
            assert before.step >= durable
        # A run that was refused before its first update leaves no folder behind, and is started again.
        begun = (directory / "run.json").exists()
        assert begun or durable is None
        create_trainer(config=configuration(directory), plugins=[Disk("never", lambda: None)]).train(resume=begun)
        assert not differences(left(undisturbed), left(directory))
        seen.went_on()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_each_place_of_a_run_says_what_helps(code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = OSError(code, os.strerror(code), str(tmp_path / "run.json"))
    with pytest.raises(StepbusError) as caught, folders.writing(tmp_path / "run.json"):
        raise refused
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'run.json'}: cannot be written ({os.strerror(code)}); {REMEDIES[code]}")
    assert said.endswith("a folder that can be written") == (code != errno.EFBIG)
    # What no sentence of ours was made of, on the command line.
    end_of(OSError(code, os.strerror(code)))
    told = capsys.readouterr().err
    assert (REMEDIES[code] in told) == (code != errno.EROFS)


def test_a_limit_on_the_size_of_files_before_a_run_has_begun(configuration: Any, tmp_path: Path) -> None:
    """The first file that is too large is run.json: no room is missing."""
    with ExitStack() as disk:
        refuse(disk, "", errno.EFBIG)
        with pytest.raises(StepbusError) as caught:
            create_trainer(config=configuration(tmp_path / "run")).train()
    assert str(caught.value) == (
        f"{tmp_path / 'run' / 'run.json'}: cannot be written (File too large); a limit on the size of a file is in the "
        "way: raise it (ulimit -f)"
    )
    assert not (tmp_path / "run").exists()
