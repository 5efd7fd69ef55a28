"""Small libraries that are compiled on this machine on first use, and kept in the user's cache folder."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from stepbus.device import cache_folder
from stepbus.device.machine import BackendWarning

PATIENCE = 300  # seconds that a compiler may take; it needs one


@functools.cache
def folder() -> Path:
    """Return where compiled libraries are kept: in the user's cache, or in a private folder for this process alone."""
    try:
        return cache_folder.own_folder(cache_folder.root(), "compiled")
    except OSError as error:
        warnings.warn(
            f"compiled kernels are kept for this process only, so that each start compiles them anew: {error}",
            BackendWarning,
            stacklevel=2,
        )
        private = Path(tempfile.mkdtemp(prefix="stepbus-"))
        atexit.register(_remove, private, os.getpid())
        return private


def _remove(private: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(private, ignore_errors=True)


def load(name: str, source: str, compilers: Sequence[str], options: Sequence[str]) -> ctypes.CDLL:
    """Return a library whose names are visible to all that is loaded after it, compiled where it is not yet kept.

    Args:
        name: What it is called.
        source: Its source.
        compilers: Commands that can compile it; the first that is on PATH does.
        options: What is handed to the compiler.

    Raises:
        OSError: It cannot be compiled or loaded; the message is one sentence.
    """
    digest = hashlib.sha256("\0".join((source, *options)).encode()).hexdigest()[:12]
    path = folder() / f"{name}-{platform.machine()}-{digest}.so"
    if cache_folder.read_sealed(path) is not None:
        try:
            return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            pass  # a home shared with a machine of another libc: this one compiles its own
    content = _compile(source, compilers, options)
    try:
        cache_folder.write_sealed(path, content)
    except OSError as error:
        raise OSError(f"{path}: cannot be written ({error.strerror})") from error
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def _compile(source: str, compilers: Sequence[str], options: Sequence[str]) -> bytes:
    compiler = next(filter(None, map(shutil.which, compilers)), None)
    if compiler is None:
        *others, last = compilers
        names = f"{', '.join(others)} or {last}" if others else last
        raise OSError(f"no compiler ({names}) is on PATH; install one, such as Debian's gcc and g++")
    with tempfile.TemporaryDirectory(prefix="stepbus-") as work:
        built = Path(work, "library.so")
        command = [compiler, *options, "-shared", "-fPIC", "-", "-o", str(built)]
        try:
            result = subprocess.run(
                command, input=source, capture_output=True, text=True, errors="replace", check=False, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"{compiler} did not end within {PATIENCE} seconds") from None
        except OSError as error:
            raise OSError(f"{compiler} cannot be run ({error.strerror})") from error
        if result.returncode < 0:
            raise OSError(f"{compiler} was killed by {_signal(-result.returncode)}")
        if result.returncode != 0:
            said = " ".join((result.stderr or result.stdout).split())[-300:] or "nothing"
            raise OSError(f"{compiler} failed with exit code {result.returncode}, and said: {said}")
        content = built.read_bytes() if built.is_file() else b""
        if not content.startswith(b"\x7fELF"):
            raise OSError(f"{compiler} ended well, and wrote {'no library' if content else 'nothing'}")
        return content


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
