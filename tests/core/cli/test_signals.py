"""How a command ends: exit codes, sentences, and signals that libraries swallow, turn into others, or lose."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepbus.base.errors import BadInput, StepbusError
from stepbus.cli.signals import ended

NUMBERS = (signal.SIGINT, signal.SIGTERM)
waited: list[str] = []  # where a signal that was held back never came


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in NUMBERS], sys.unraisablehook
    yield
    assert ([signal.getsignal(number) for number in NUMBERS], sys.unraisablehook) == before


def swallows(number: int) -> int:
    try:
        signal.raise_signal(number)
    except BaseException:
        return 0
    return 0


def converts(number: int) -> int:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt as error:
        raise ImportError("numpy could not be imported") from error
    return 0


def blames(number: int) -> int:
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt as error:
        raise BadInput("the plugin cannot be imported") from error
    return 0


def loses(number: int) -> int:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(number)

    Finalized()
    time.sleep(60)  # sent once more, it ends this
    waited.append("after a finalizer")
    return 0


def in_a_compiled_module(number: int) -> int:
    """A signal while a compiled module is imported waits for the end of that: C++ may abort at a Python error."""

    class ExtensionFileLoader:
        done = False

        def exec_module(self) -> None:
            signal.raise_signal(number)
            self.done = True

    loader = ExtensionFileLoader()
    loader.exec_module()
    assert loader.done
    time.sleep(60)
    waited.append("after an import")
    return 0


def plainly(number: int) -> int:
    signal.raise_signal(number)
    return 0


@pytest.mark.parametrize("command", [plainly, swallows, converts, blames, loses, in_a_compiled_module])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_decides_whatever_became_of_it(
    command: Callable[[int], int], number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(lambda: command(number), last=False) == 128 + number
    assert waited == []
    assert capsys.readouterr().err == "stepbus: interrupted\n"


def test_what_went_wrong_afterwards_is_said_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: BaseException) -> int:
        error.add_note("the history cannot be written")
        raise error

    assert ended(lambda: fails(BadInput("no such file")), last=False) == 2
    assert ended(lambda: fails(StepbusError("it broke")), last=False) == 1
    assert ended(lambda: fails(KeyboardInterrupt()), last=False) == 130
    note = "stepbus: the history cannot be written\n"
    assert capsys.readouterr().err == note.join(
        ["stepbus: no such file\n", "stepbus: it broke\n", "stepbus: interrupted\n", ""]
    )


def test_the_end_of_the_process_goes_on_its_way() -> None:
    error = SystemExit(2)

    def fails() -> int:
        raise error

    with pytest.raises(SystemExit) as caught:
        ended(fails, last=False)
    assert caught.value is error


def test_a_fault_of_ours_is_told_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> int:
        raise ZeroDivisionError("a fault of ours, at https://me:secret@host")

    assert ended(fails, last=False) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and "ZeroDivisionError: a fault of ours, at https://***@host" in said


def test_another_thread_has_no_handlers_and_works(capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(ended(lambda: 7, last=False)))
    thread.start()
    thread.join()
    assert codes == [7]
    assert capsys.readouterr().err == ""


def test_a_process_that_is_to_end_is_not_cut_at_its_very_end() -> None:
    code = (
        "import signal, sys\nfrom stepbus.cli.signals import ended\ncode = ended(lambda: 0, last=True)\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n    signal.raise_signal(number)\nsys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ["stepbus", "other"])
def test_the_program_answers_from_the_first_line_of_its_package_on(number: int, name: str, tmp_path: Path) -> None:
    program = tmp_path / name
    program.write_text(
        f"import signal\nbefore = signal.getsignal({int(number)})\nimport stepbus\n"
        f"assert signal.getsignal({int(number)}) is not before\nsignal.raise_signal({int(number)})\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    if name == "stepbus":
        assert (done.returncode, done.stderr) == (128 + number, "stepbus: interrupted\n")
    else:  # a library sets no handlers
        assert done.returncode == 1
        assert "AssertionError" in done.stderr


def test_the_command_line_imports_nothing_that_takes_long_before_it_answers() -> None:
    code = "import re, sys\nbefore = set(sys.modules)\nimport stepbus.cli.main, stepbus.cli.signals\n"
    code += "print(*sorted(set(sys.modules) - before))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    allowed = {"stepbus", "stepbus.cli", "stepbus.cli.main", "stepbus.cli.signals", "__future__", "signal"}
    assert {"stepbus", "stepbus.cli.main", "stepbus.cli.signals"} <= set(done.stdout.split()) <= allowed
