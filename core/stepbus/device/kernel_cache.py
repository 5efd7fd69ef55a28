"""MLX's compiled CPU kernels: in a folder of this process's own, filled from a store of the user's that is checked.

On Linux, MLX compiles fused operations with g++ into TMPDIR/mlx/VERSION/cpu and loads whatever lies there under the
right name. That folder is shared by all users, a file in it is never checked, and g++ writes it in place while another
process may load it. MLX has no setting for the place, and TMPDIR would move everybody's temporary files. So a small
library, loaded before MLX, answers its one question for the temporary folder (`std::filesystem::temp_directory_path`),
and nobody else's.

Each process has a folder of its own. At its start it gets every kernel in the store that is whole, as a link; `keep`
puts new ones there, each with its digest, as soon as this process has loaded them, which is after g++ ended well.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from stepbus.device import cache_folder, native_libraries
from stepbus.device.machine import MLX_SECOND, BackendWarning, note

LOCK = "lock"
PROCESS = ".process-"
SYMBOL = "_ZNSt10filesystem19temp_directory_pathB5cxx11Ev"
REDIRECT = r"""
#include <dlfcn.h>
#include <cstring>
#include <filesystem>
#include <system_error>
namespace fs = std::filesystem;
#define SHOWN __attribute__((visibility("default")))
extern "C" {
SHOWN const char *stepbus_kernel_folder = nullptr;
SHOWN fs::path stepbus_temporary_folder() __asm__("SYMBOL");
}
fs::path stepbus_temporary_folder() {
  Dl_info caller;
  if (stepbus_kernel_folder && dladdr(__builtin_return_address(0), &caller) && caller.dli_fname) {
    const char *name = std::strrchr(caller.dli_fname, '/');
    if (name && std::strncmp(name, "/libmlx", 7) == 0) return fs::path(stepbus_kernel_folder);
  }
  std::error_code error;
  fs::path folder = fs::temp_directory_path(error);
  if (error) throw fs::filesystem_error("temp_directory_path", folder, error);
  return folder;
}
""".replace("SYMBOL", SYMBOL)

log = logging.getLogger(__name__)


class Redirect:
    """What tells MLX where kernels lie.

    Args:
        library: The library that answers in place of the C++ library.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._pointer = ctypes.c_char_p.in_dll(library, "stepbus_kernel_folder")
        self._folder = b""
        # MLX, imported later, finds the first that is visible to all: one that was preloaded stands before ours.
        ours, first = (ctypes.cast(each[SYMBOL], ctypes.c_void_p).value for each in (library, ctypes.CDLL(None)))
        self.heard = ours == first and "mlx.core" not in sys.modules

    def point_at(self, folder: Path) -> None:
        """Make MLX look for kernels below a folder."""
        self._folder = os.fsencode(folder)  # held here, for the library has no copy
        self._pointer.value = self._folder


def redirect() -> Redirect:
    """Load what tells MLX where kernels lie; before MLX is imported.

    Raises:
        OSError: It cannot be compiled or loaded, so g++ would compile no kernel either.
    """
    options = ("-x", "c++", "-std=c++17", "-O1", "-fvisibility=hidden")
    return Redirect(native_libraries.load("redirect", REDIRECT, ("g++",), options))


class KernelCache:
    """The kernels of this process.

    Args:
        store: Where whole kernels are kept; None keeps none.
        folder: This process's own folder, below which MLX looks.
        version: MLX's version, which names the folder that MLX makes.
        lock: The open file whose lock says that this process is alive.
    """

    for_all = False  # whether the folder is this process's temporary folder too

    def __init__(self, store: Path | None, folder: Path, version: str, lock: int | None = None) -> None:
        self.store, self.folder, self.lock = store, folder, lock
        self.kernels = folder / "mlx" / version / "cpu"
        self.known: set[str] = set()
        self.process = os.getpid()

    def fill(self) -> None:
        """Take every whole kernel from the store; what is no whole kernel of ours is removed, so that MLX builds it."""
        for path in (self.folder / "mlx", self.kernels.parent, self.kernels):
            path.mkdir(mode=0o700)
        bad = 0
        for entry in sorted(self.store.iterdir()) if self.store else ():
            content = cache_folder.read_sealed(entry) if entry.name.endswith(".so") else None
            if content is None:
                bad += 1
                cache_folder.remove(entry)
                continue
            _link(entry, self.kernels / entry.name, content)
            self.known.add(entry.name)
        if bad:
            what = "1 file was" if bad == 1 else f"{bad} files were"
            log.warning("%s: %s no whole kernel of ours and removed; MLX compiles it anew", self.store, what)

    def keep(self) -> None:
        """Put kernels that this process compiled and loaded in the store; next to nothing where none is new."""
        if self.store is None or os.getpid() != self.process:
            return  # in a fork, the folder is its parent's
        try:
            built = {path.name for path in self.kernels.glob("*.so")} - self.known
            if not built:
                return
            loaded = _loaded(self.kernels)
            for name in sorted(built):
                path = self.kernels / name
                # What was loaded was finished: one that g++ is still at is not among them.
                if loaded.get(name) == path.stat().st_ino:
                    cache_folder.write_sealed(self.store / name, path.read_bytes(), work=self.folder)
                    self.known.add(name)
        except OSError as error:
            log.warning("%s: the compiled kernels cannot be kept (%s); the next run compiles them", self.store, error)

    def close(self) -> None:
        """Keep what is new, and remove this process's folder."""
        if os.getpid() == self.process:
            self.keep()
            if not self.for_all:
                cache_folder.remove(self.folder)
                return
            for path in (self.folder / "mlx", self.folder / LOCK):
                cache_folder.remove(path)
            with suppress(OSError):
                self.folder.rmdir()  # what others put there stays


def _link(entry: Path, place: Path, content: bytes) -> None:
    """Put a kernel in a folder: a link costs a tenth of a copy, and not every file system has them."""
    try:
        place.hardlink_to(entry)
    except OSError:
        try:
            place.write_bytes(content)
        except BaseException:
            cache_folder.remove(place)  # a part of a kernel would be loaded
            raise


def _loaded(folder: Path) -> dict[str, int]:
    """Return the names and inodes of the libraries of a folder that are mapped into this process."""
    found = {}
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and os.path.dirname(fields[5]) == str(folder):  # noqa: PTH120  # hundreds of lines
            found[os.path.basename(fields[5])] = int(fields[4])  # noqa: PTH119
    return found


def open_cache(version: str, given: Redirect) -> KernelCache:
    """Return the cache of this process, filled, with MLX pointed at it.

    Args:
        version: MLX's version, as MLX itself says it.
        given: What was loaded before MLX.

    Raises:
        OSError: No folder can be made anywhere.
    """
    try:
        cache = _from_store(version)
    except OSError as error:
        warnings.warn(
            f"compiled kernels are kept for this process only, so that each start compiles them anew: {error}",
            BackendWarning,
            stacklevel=2,
        )
        cache = KernelCache(None, Path(tempfile.mkdtemp(prefix="stepbus-")), version)
    atexit.register(cache.close)
    given.point_at(cache.folder)
    if not given.heard:
        cache.for_all = True
        os.environ["TMPDIR"] = str(cache.folder)
        note(
            f"temporary files of this process go beside its compiled kernels ({cache.folder}), because MLX or another "
            f"C++ library was loaded before stepbus; {MLX_SECOND}, before other imports"
        )
    return cache


def _from_store(version: str) -> KernelCache:
    above = cache_folder.own_folder(native_libraries.folder(), "kernels")
    if re.search(r'["$`\\\n]', str(above)):
        # MLX hands the path to a shell, in double quotes.
        raise OSError(f"{above}: expected a path without quotes, $, ` and \\; set XDG_CACHE_HOME to another")
    store = cache_folder.own_folder(above, _toolchain(version))
    _sweep(above)
    folder, lock = _process_folder(above)
    cache = KernelCache(store, folder, version, lock)
    try:
        cache.fill()
    except OSError as error:
        cache_folder.remove(folder)
        raise OSError(f"{folder}: cannot be written ({error.strerror})") from error
    return cache


def _toolchain(version: str) -> str:
    """Return a name for what kernels depend on besides their source: MLX, machine, libc and compiler."""
    compiler = Path(shutil.which("g++") or "").resolve()
    found = compiler.stat()
    decides = (platform.machine(), platform.libc_ver(), str(compiler), found.st_size, found.st_mtime_ns)
    return f"{version}-{platform.machine()}-{hashlib.sha256(repr(decides).encode()).hexdigest()[:12]}"


def _process_folder(above: Path) -> tuple[Path, int]:
    """Make a folder whose lock says that this process lives.

    Returns:
        The folder, and the open lock.
    """
    for _ in range(20):
        folder = Path(tempfile.mkdtemp(prefix=PROCESS, dir=above))
        # Until it is locked, another process that sweeps may take it for a dead one's: then there is another.
        with suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (folder / LOCK).stat().st_ino == os.fstat(lock).st_ino:
                    return folder, lock
            os.close(lock)
    raise OSError(f"{above}: no folder can be made that stays")


def _sweep(above: Path) -> None:
    """Remove the folders of processes that died."""
    for folder in above.glob(f"{PROCESS}*"):
        with suppress(OSError):
            folder.rmdir()  # just made, or just emptied: its maker makes another
            continue
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            cache_folder.remove(folder)  # the lock comes first and goes last with those alive
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            cache_folder.remove(folder)
        except OSError:
            pass  # alive
        finally:
            os.close(lock)


@functools.cache
def compiler_version() -> str | None:
    """Return the version of g++, which decides what its kernels compute to the last bit."""
    import subprocess

    try:
        said = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
