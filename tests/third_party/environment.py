"""An environment of its own for packages under test, made in a second and without a network."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from attrs import frozen

# pip with what stands in for a network: the packages of the environment that runs the tests.
OFFLINE = "--no-index --no-deps --no-build-isolation --disable-pip-version-check"
# A plugin of pytest by which g++ takes less time.
HEADER = Path(__file__).parents[1] / "fixtures" / "compiled_header.py"


@frozen
class Environment:
    """A virtual environment that sees stepbus, pytest and hatchling of the one that runs the tests.

    Args:
        folder: Where it lies.
    """

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(self, *words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a command as in a shell where the environment is active.

        Args:
            *words: python, pip, pytest, stepbus or a program of the system, and its arguments.
            folder: Where it is typed.
        """
        variables = {
            **os.environ,
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]]),
            "VIRTUAL_ENV": str(self.folder),
            "STEPBUS_CACHE": str(self.folder / "cache"),
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": "-p no:cacheprovider -p compiled_header",
            "COLUMNS": "120",
        }
        for name in ("PYTHONPATH", "PYTEST_CURRENT_TEST"):
            variables.pop(name, None)
        return subprocess.run(
            [*map(str, words)], cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
        )

    def check(self, *words: str | Path, folder: Path) -> str:
        """Run a command that has to succeed, and return what it printed."""
        done = self.run(*words, folder=folder)
        assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def make(folder: Path) -> Environment:
    """Make an environment.

    Its `pip` is the real one, told to take nothing from a network: it builds with the hatchling that is there and
    leaves dependencies, which are there too, alone.

    Args:
        folder: Where it shall lie.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    own = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    shared = sysconfig.get_path("purelib")
    # addsitedir reads the .pth files there as well, which is where an editable stepbus is.
    Path(own, "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
    shutil.copy(HEADER, own)
    made = Environment(folder)
    python = shlex.quote(str(made.python))
    scripts = {
        "pip": f'{shlex.quote(sys.executable)} -m pip --python {python} "$@" {OFFLINE}',
        "pytest": f'{python} -P -m pytest "$@"',
        "stepbus": f'{python} -P -m stepbus.cli "$@"',
    }
    for name, command in scripts.items():
        script = folder / "bin" / name
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)
    return made
