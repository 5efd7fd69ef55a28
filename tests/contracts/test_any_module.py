"""The example of CONTRIBUTING.md, any module on any batches, runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CONTRIBUTING = Path(__file__).resolve().parents[2] / "CONTRIBUTING.md"


def test_the_example_learns_the_digits(tmp_path: Path) -> None:
    block = re.search(r"```python\n# digits\.py\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    assert block is not None
    (tmp_path / "digits.py").write_text(block[1])
    done = subprocess.run([sys.executable, "digits.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    accuracy, shape, folder = re.fullmatch(r"([\d.]+) (\(.*\)) (.*)", done.stdout.splitlines()[-1]).groups()  # type: ignore[union-attr]
    assert float(accuracy) > 0.85
    assert shape == "(297, 10)"
    assert (tmp_path / folder / "model.safetensors").is_file()
