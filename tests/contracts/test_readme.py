"""README.md says what is true: its table of plugins, its two lines, its blocks of code.

python tests/contracts/test_readme.py      writes the table anew
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from stepbus.config.discovery.plugin_sources import purpose
from stepbus.config.discovery.plugins import installed

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TABLE = re.compile(r"(<!-- plugins: [^\n]*-->\n).*?(<!-- end of plugins -->)", re.DOTALL)


def table() -> str:
    """Return the plugins of this distribution in the order of its entry points."""
    ours = [plugin for plugin in installed().values() if plugin.distribution == "stepbus"]
    rows = "".join(f"| `{plugin.name}` | {purpose(plugin.value)} |\n" for plugin in ours)
    return f"| plugin | what it does |\n|---|---|\n{rows}"


def test_the_table_of_plugins_is_true() -> None:
    assert TABLE.search(README.read_text()).group(0).count("\n") > 10  # type: ignore[union-attr]
    assert table() in README.read_text()


def test_there_are_exactly_two_lines_of_setup() -> None:
    lines = [line for line in README.read_text().splitlines() if "python3 -m venv" in line]
    install = "    python3 -m venv .venv && .venv/bin/pip install -e '.[{}]' && .venv/bin/{}"
    assert lines == [
        install.format("demo", "stepbus train configs/quickstart.yaml"),
        install.format("dev", "pytest -n 2"),
    ]
    runs = (README.parent / ".ci" / "run").read_text().splitlines()
    for line in lines:
        program, words = line.rpartition(".venv/bin/")[2].split(" ", 1)
        assert f'"$work/venv/bin/{program}" {words}' in runs  # as CI does


def test_every_plugin_says_what_it_does() -> None:
    for plugin in installed().values():
        assert purpose(plugin.value).endswith("."), plugin.name


if __name__ == "__main__":
    text = README.read_text()
    README.write_text(TABLE.sub(lambda match: match[1] + table() + match[2], text))
    sys.exit(0)
