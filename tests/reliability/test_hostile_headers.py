"""Hostile safetensors files by the hundred: each is refused in a sentence or read as it says, without a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("hostile_headers.py")
BATCH = 26  # one of each kind
BATCHES = 20
ROW = "4 hostile safetensors headers"
# Kinds that leave the file true to its bytes; of the others, some happen to.
READ = {"untouched", "padded"}
NEVER_READ = {"wrong length", "bytes behind", "shifted", "overlap", "twice", "lost key", "not text"}


@pytest.mark.generated("batch", range(BATCHES), sample=2)
def test_a_batch_of_hostile_headers(batch: int, tmp_path: Path, tally: Any) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    numbers = range(batch * BATCH, (batch + 1) * BATCH)
    command = [sys.executable, "-W", "error", str(SCRIPT), str(numbers.start), str(numbers.stop), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    results = {line["number"]: line for line in lines}  # the later line of a case replaces the one before it
    for number in numbers:
        with tally(ROW, number) as seen:
            result = results.get(number, {})
            assert result.get("done"), f"the process ended with {done.returncode} at {result}: {done.stderr[-2000:]}"
            kind, sentence = result["kind"], result.get("refused", "")
            if kind in READ:
                assert not sentence, result
            if kind in NEVER_READ:
                assert sentence, result
            if sentence:
                assert f"{number}.safetensors: " in sentence
                assert len(sentence) < 700, sentence
                seen.refused(sentence)
            else:
                seen.went_on()
    assert done.returncode == 0, done.stderr
    assert not done.stderr
