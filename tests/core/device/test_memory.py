"""What is free: by the system, by the limits of control groups, and by MLX on a device of its own."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from stepbus.device import memory

GB = 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /proc and /sys/fs/cgroup, with 8 GiB free and no groups."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable:   {8 * 2**20} kB\nCached: 5 kB\n")
    for name, place in (("MEMINFO", "meminfo"), ("CGROUP", "cgroup"), ("CGROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / place)
    monkeypatch.setattr(mx, "get_memory_limit", lambda: 64 * GB)
    monkeypatch.setattr(mx, "get_active_memory", lambda: 60 * GB)
    return tmp_path


def group(folder: Path, limit: str, taken: int, cached: int) -> None:
    """Write the files of a control group."""
    first = "memory" in folder.parts[-2:]
    most, now, line = ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if first else (
        "max", "current", "inactive_file",
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / f"memory.{most}").write_text(f"{limit}\n")
    (folder / f"memory.{now}").write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{line} {cached}\nfile 9\n")


def test_mlx_says_what_is_left_of_its_limit(system: Path) -> None:
    assert memory.free_memory() == 4 * GB
    (system / "meminfo").unlink()  # macOS has none
    assert memory.free_memory() == 4 * GB


def test_the_system_says_what_is_available(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "get_active_memory", lambda: 1 * GB)
    assert memory.free_memory() == 8 * GB


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("0::/box/inner", "groups/box/inner"),
        ("0::/elsewhere", "groups"),  # a container sees its own group as the root
        ("4:cpu,memory:/box", "groups/memory/box"),
        ("4:memory:/elsewhere", "groups/memory"),
    ],
)
def test_a_container_may_take_less(line: str, place: str, system: Path) -> None:
    (system / "cgroup").write_text(f"9:name=systemd:/\n{line}\n")
    group(system / place, str(3 * GB), taken=2 * GB, cached=GB // 2)
    assert memory.free_memory() == 3 * GB - 2 * GB + GB // 2


def test_a_group_without_a_limit_says_nothing(system: Path) -> None:
    (system / "cgroup").write_text("0::/\n")
    group(system / "groups", "max", taken=2 * GB, cached=0)
    assert memory.free_memory() == 4 * GB


def test_here_it_is_a_number() -> None:
    assert memory.free_memory() > 0
