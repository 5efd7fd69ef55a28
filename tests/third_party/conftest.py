"""What tests of several packages share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for what mypy knows of stepbus and numpy, which it looks at once for all of them."""
    folder: Path = tmp_path_factory.mktemp("mypy")
    return str(folder)
