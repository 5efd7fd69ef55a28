"""The thread that writes: one checkpoint at a time, in order, to the end, and its errors where one asks for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepbus.storage.checkpoints import Writer


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What lets the writers of a test go on; opened at its end."""
    opened = threading.Event()
    yield opened
    opened.set()


def gated(gate: threading.Event, name: str) -> Path:
    assert gate.wait(60)
    return Path(name)


def test_written_beside_and_told_once(gate: threading.Event) -> None:
    writer = Writer()
    writer.start(lambda: gated(gate, "one"))
    assert writer.written() == []  # nobody waits
    gate.set()
    writer.wait()
    assert writer.written() == [Path("one")]
    assert writer.written() == []


def test_a_second_one_waits_for_the_first(gate: threading.Event) -> None:
    writer, done = Writer(), []
    writer.start(lambda: gated(gate, "one"))
    threading.Timer(0.05, gate.set).start()
    writer.start(lambda: done.append(writer.written()) or Path("two"))
    writer.wait(everything=True)
    assert writer.written() == [Path("one"), Path("two")]
    assert done == [[]]  # what is written is told to nobody while another one is


def test_other_work_is_done_in_order_and_waited_for_at_last(gate: threading.Event) -> None:
    writer, done = Writer(), list[str]()
    writer.also(lambda: done.append(gated(gate, "removed").name))
    writer.start(lambda: Path("two" if done == ["removed"] else "too early"))
    assert done == []
    gate.set()
    writer.wait()
    assert writer.written() == [Path("two")]
    writer.also(lambda: done.append("again"))
    writer.wait(everything=True)
    assert done == ["removed", "again"]
    assert writer.written() == []


def test_a_checkpoint_is_told_while_other_work_goes_on(gate: threading.Event) -> None:
    writer = Writer()
    writer.start(lambda: Path("one"))
    writer.wait()
    writer.also(lambda: gated(gate, "removed"))
    assert writer.written() == [Path("one")]
    writer.wait()  # for a checkpoint, of which none is being written


@pytest.mark.parametrize("kind", [OSError, ValueError, MemoryError, KeyboardInterrupt, SystemExit])
def test_an_error_is_raised_once_where_it_is_asked_for(kind: type[BaseException]) -> None:
    def fails() -> Path:
        raise kind("the cause")

    writer = Writer()
    writer.start(lambda: Path("one"))
    writer.start(fails)
    writer.wait(everything=True)
    assert writer.failed
    assert writer.written() == [Path("one")]  # durable before it
    with pytest.raises(kind, match="the cause"):
        writer.written()
    assert not writer.failed
    assert writer.written() == []


def test_the_first_error_is_the_one_that_is_raised() -> None:
    def fails(words: str) -> Path:
        raise OSError(words)

    writer = Writer()
    writer.start(lambda: fails("first"))
    writer.also(lambda: fails("second"))
    writer.wait(everything=True)
    with pytest.raises(OSError, match="first"):
        writer.written()


def test_without_a_thread_it_is_done_when_the_call_returns() -> None:
    writer, where = Writer(), list[threading.Thread]()

    def write() -> Path:
        where.append(threading.current_thread())
        return Path("one")

    writer.start(write, beside=False)
    assert where == [threading.main_thread()]
    assert writer.written() == [Path("one")]

    def fails() -> Path:
        raise OSError("now")

    with pytest.raises(OSError, match="now"):
        writer.start(fails, beside=False)
    assert not writer.failed


def test_an_interrupt_as_a_checkpoint_begins_leaves_nothing_to_wait_for(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer()
    writer.also(lambda: gated(gate, "removed"))
    clear = writer._ended.clear

    def interrupted() -> None:
        clear()
        raise KeyboardInterrupt

    monkeypatch.setattr(writer._ended, "clear", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.start(lambda: Path("one"))
    waiting = threading.Thread(target=writer.wait, daemon=True)
    waiting.start()
    waiting.join(10)
    assert not waiting.is_alive()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let a Ctrl-C be heard; a shell starts what runs in the background without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_user_who_interrupts_the_waiting_is_heard_once_the_folder_is_free(gate: threading.Event) -> None:
    writer = Writer()
    writer.start(lambda: gated(gate, "one"))
    threading.Timer(0.05, lambda: signal.raise_signal(signal.SIGINT)).start()
    threading.Timer(0.2, gate.set).start()
    with pytest.raises(KeyboardInterrupt):
        writer.wait()
    assert gate.is_set()
    assert writer.written() == [Path("one")]


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a niceness of its own on Linux alone")
def test_the_thread_stands_behind_those_that_compute() -> None:
    writer, found = Writer(), list[int]()
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def write() -> Path:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return Path("one")

    writer.start(write)
    writer.wait()
    assert found == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


SCRIPT = """
import os, sys, threading, time
from pathlib import Path
from stepbus.storage.checkpoints import Writer
writer, way, place = Writer(), sys.argv[1], Path(sys.argv[2])
begun, go = threading.Event(), threading.Event()
def write():
    begun.set()
    go.wait(60)
    time.sleep(0.1)
    place.write_text("whole")
    return place
writer.start(write)
begun.wait(60)
if way == "fork":
    child = os.fork()
    if child == 0:
        # Nothing that the parent began is waited for, told of or written here.
        writer.wait(everything=True)
        assert writer.written() == [] and not place.exists()
        writer.start(lambda: Path("of the child"))
        writer.wait()
        assert writer.written() == [Path("of the child")]
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.written() == []
    go.set()
    writer.wait()
    assert writer.written() == [place]
elif way == "returns":
    go.set()
elif way == "exits":
    go.set()
    sys.exit(3)
elif way == "raises":
    go.set()
    raise ZeroDivisionError
"""


@pytest.mark.parametrize(("way", "code"), [("fork", 0), ("returns", 0), ("exits", 3), ("raises", 1)])
def test_a_fork_or_the_interpreters_end_tears_nothing(way: str, code: int, tmp_path: Path) -> None:
    place = tmp_path / "file"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, way, str(place)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stderr
    assert place.read_text() == "whole"
