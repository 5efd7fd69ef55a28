"""Configurations by name: those in configs/, and those that packages offer under `stepbus.presets`."""

from __future__ import annotations

from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from stepbus.base import ConfigError, Problem, did_you_mean
from stepbus.base.trees import Node, read_tree
from stepbus.config.discovery import plugins

GROUP = "stepbus.presets"
# They lie in configs/ too, but are laid under every configuration instead of being picked.
_NO_PRESETS = {"defaults", "aliases", "suggestions", "original"}


@cache
def configs_folder() -> Path:
    """Return configs/ of the checkout, or its copy inside an installed wheel."""
    here = Path(__file__).resolve().parents[2]
    inside, checkout = here / "configs", here.parents[1] / "configs"
    return inside if inside.is_dir() else checkout


def _folder(module: str) -> Path | None:
    """Return the folder that a module lies in, importing neither it nor its parents."""
    path: list[str] | None = None
    spec = None
    parts = module.partition(":")[0].split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    if spec is not None and spec.origin:
        return Path(spec.origin).parent
    return Path(path[0]) if path else None


def _presets() -> dict[str, list[tuple[Path | None, str]]]:
    """Return each name with the files that claim it, and whose they are."""
    own = [path for path in sorted(configs_folder().glob("*.yaml")) if path.stem not in _NO_PRESETS]
    found: dict[str, list[tuple[Path | None, str]]] = {path.stem: [(path, plugins.OURS)] for path in own}
    for entry in plugins.entries(GROUP):
        if entry.name in {path.stem for path in own}:
            continue  # ours goes first; `plugins doctor` says so
        folder = _folder(entry.value)
        file = None if folder is None else folder / f"{entry.name}.yaml"
        found.setdefault(entry.name, []).append((file, f"{entry.distribution} ({entry.value})"))
    return found


def hidden_presets() -> list[str]:
    """Return a sentence for each preset of a package whose name stepbus has itself."""
    own = {path.stem for path in configs_folder().glob("*.yaml")} - _NO_PRESETS
    return [
        f"the preset {entry.name} of {entry.distribution} {entry.version} is hidden by the built-in one; it needs "
        "another name"
        for entry in plugins.entries(GROUP)
        if entry.name in own
    ]


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(_presets())


def preset_path(name: str) -> Path:
    """Return the file of a preset.

    Raises:
        ConfigError: No preset has that name, two packages claim it, or its file is not there.
    """
    known = _presets()
    if name not in known:
        near = did_you_mean(name, known)
        message = f"expected a preset or a file, got {name!r}{near}; presets: {', '.join(sorted(known))}"
        raise ConfigError([Problem("", message)])
    (file, owner), *others = known[name]
    if others:
        owners = ", ".join(who for _, who in known[name])
        raise ConfigError([Problem("", f"two packages offer the preset {name!r}: {owners}; name the file instead")])
    if file is None or not file.is_file():
        raise ConfigError([Problem("", f"the preset {name!r} of {owner} has no file {name}.yaml beside its module")])
    return file


def preset_summary(name: str) -> str:
    """Return what a preset is for: the comment that its file starts with."""
    first = preset_path(name).read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def read_preset(name: str) -> Node:
    """Return a preset as a marked tree; what it extends is not followed.

    Raises:
        ConfigError: There is no such preset, or its file is refused.
    """
    return read_tree(preset_path(name))
