"""How much memory is free, as far as the system and MLX tell."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

MEMINFO, CGROUP, CGROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
# Of the hierarchies 2 and 1: the files that say what a group may take, what it has, and the line of its file cache.
_NAMES = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def free_memory() -> int:
    """Return the bytes that this process may still take where arrays lie."""
    import mlx.core as mx

    told = [mx.get_memory_limit() - mx.get_active_memory()]
    if mx.default_device().type == mx.DeviceType.cpu:
        told += [*_of_system(), *_of_groups()]
    return max(0, min(told))


def _of_system() -> list[int]:
    """Return what Linux says is free without swapping; nothing elsewhere."""
    with suppress(OSError):
        if found := re.search(r"^MemAvailable:\s+(\d+) kB", MEMINFO.read_text(), re.MULTILINE):
            return [1024 * int(found[1])]
    return []


def _of_groups() -> list[int]:
    """Return what is left of the limits of the control groups that this process is in: a container's."""
    left = []
    with suppress(OSError, ValueError):
        for line in CGROUP.read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            for kind, most, taken, cached in _NAMES:
                if kind not in kinds.split(","):
                    continue
                # In a container, its own group may be shown as the root.
                for folder in (CGROUPS / kind / path.lstrip("/"), CGROUPS / kind):
                    if (folder / most).is_file():
                        left += _left(folder, most, taken, cached)
                        break
    return left


def _left(folder: Path, most: str, taken: str, cached: str) -> list[int]:
    limit = (folder / most).read_text().strip()
    if limit == "max":
        return []
    files = re.search(rf"^{cached} (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    return [int(limit) - int((folder / taken).read_text()) + (int(files[1]) if files else 0)]
