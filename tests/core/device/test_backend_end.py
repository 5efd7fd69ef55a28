"""Products under way while a process ends or forks: OpenBLAS ends its threads then, and must not wait for ever."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stepbus.device import backend, machine

pytestmark = pytest.mark.skipif(
    not machine.on_linux_cpu() or backend.blas.set_threads is None or machine.cores() < 2,
    reason="where OpenBLAS computes, on several threads",
)
# Products enough that both streams are at them for as long as the end takes.
BUSY = """
from stepbus.device import backend
from stepbus import mx
one = mx.ones((500, 500)) / 500
mx.eval(one)
found = []
for stream in backend.cpu_streams():
    with mx.stream(stream):
        last = one
        for _ in range(20):
            last = last @ one
        found.append(last)
mx.async_eval(found)
"""
FORK = """
import os
number = os.fork()
if number == 0:
    os._exit(3)
print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), (one @ one)[0, 0].item() > 0)
"""
CHILD_ENDS = """
import os, sys
if os.fork() == 0:
    sys.exit(4)  # with the handlers of the end, in which nobody is left that computes
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
ELSEWHERE = """
import threading
def compute():
    with mx.stream(backend.cpu_streams()[1]):
        last = one
        for _ in range(20):
            last = last @ one
        mx.async_eval(last)
thread = threading.Thread(target=compute)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [("", ""), ("raise SystemExit(0)", ""), (FORK, "3 True\n"), (CHILD_ENDS, "4\n"), (ELSEWHERE, "")],
    ids=["end", "exit", "fork", "child", "thread"],
)
def test_a_process_whose_products_are_under_way_ends(more: str, said: str) -> None:
    # What hangs is killed; a run takes a second.
    ended = subprocess.run([sys.executable, "-c", BUSY + more], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, said), ended.stderr


FIRST_IN_A_FORK = """
import os
from stepbus.device import backend
from stepbus import mx
number = os.fork()
if number == 0:
    print((mx.ones((300, 300)) @ mx.ones((300, 300))).sum().item(), flush=True)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
"""


def test_a_fork_of_a_process_that_computed_nothing_computes() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FIRST_IN_A_FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "27000000.0\n0\n"), ended.stderr
