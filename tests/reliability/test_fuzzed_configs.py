"""Good configurations, damaged by the hundred: each is still one, or is refused in a sentence for each problem."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus.cli.main import main
from stepbus.config.discovery.plugins import import_module
from stepbus.config.load import load_config

SEED = 20240607
BATCH, BATCHES = 20, 30
effort: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "effort.py"))
ROW = "5 fuzzed configurations"
CONFIGS = Path(__file__).parents[2] / "configs"
OWN = """\
# A run of everything
extends: production
model:
  type: bert
  hidden_size: 16
  num_attention_heads: 2
  pooling: {type: mean}
  head: auto
data:
  type: text
  train: train.csv
  validation: 0.25
  text: [title, "the body"]
  label: label
  batch_size: 4
  max_length: 16
optimizer: {type: adamw, learning_rate: 3e-3, weight_decay: 0.01}
scheduler:
  type: cosine
  warmup_ratio: 0.1
training:
  num_epochs: 2
  metrics:
    - accuracy
    - {type: f1, average: macro}
  monitor: eval_loss
  seed: 7
  eval_strategy: steps
  eval_steps: 5
environment:
  output_dir: 'a run'
plugins:
  progress: false
  early_stopping: {patience: 3}
  gradient_clipping:
    max_norm: 1.0
  nan_guard: {policy: stop, on_error: raise}
"""
WORDS = (
    "null", "~", "true", "off", "-1", "0", "1e999", ".nan", "-.inf", "1_0", "0x10", "010", "3.0", "'3'", "''", "[]",
    "{}", "[1, [2]]", "{a: {b: c}}", "2024-01-01", "12:30", "é", "\u202e", "\ud7ff", "<<", "*a", "&a 1",
    "!!python/name:os.system", "|", ">", "? x", "- x",
    "@x", "`x`", "%x", "9" * 400, "x" * 5000, "adamw", "../../etc/passwd", "http://a/b", "#",
    '"\\x00"', '"\\', "- - - x", "[" * 40,
)  # fmt: skip
Draw = random.Random


def lines_of(text: str) -> list[str]:
    return text.split("\n")


def value_replaced(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    chosen = draw.choice([place for place, line in enumerate(lines) if ":" in line])
    lines[chosen] = f"{lines[chosen].partition(':')[0]}: {draw.choice(WORDS)}"
    return "\n".join(lines)


def line_lost(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    del lines[draw.randrange(len(lines))]
    return "\n".join(lines)


def line_twice(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    lines.insert(draw.randint(0, len(lines)), draw.choice(lines))
    return "\n".join(lines)


def lines_swapped(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    one, other = draw.randrange(len(lines)), draw.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "\n".join(lines)


def moved_in(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    place = draw.randrange(len(lines))
    lines[place] = draw.choice((" ", "  ", "    ", "\t")) + lines[place]
    return "\n".join(lines)


def moved_out(text: str, draw: Draw) -> str:
    lines = lines_of(text)
    place = draw.randrange(len(lines))
    lines[place] = lines[place].lstrip() if draw.random() < 0.5 else lines[place][1:]
    return "\n".join(lines)


def misspelt(text: str, draw: Draw) -> str:
    keys = [match for match in re.finditer(r"\w+(?=:)", text) if len(match[0]) > 2]
    match = draw.choice(keys)
    place = draw.randrange(match.start(), match.end())
    return text[:place] + draw.choice(("", "x", "_", "É", text[place].upper())) + text[place + 1 :]


def letters(text: str, draw: Draw) -> str:
    for _ in range(draw.randint(1, 5)):
        place = draw.randrange(len(text))
        text = (
            text[:place]
            + draw.choice(":-{}[]'\"#&*!|>%@`,?\t\n \\\u00a0\u2028\u0085é\x07")
            + text[place + draw.randint(0, 1) :]
        )
    return text


def cut(text: str, draw: Draw) -> str:
    return text[: draw.randrange(len(text))]


def other_ends(text: str, draw: Draw) -> str:
    return draw.choice(("\ufeff", "")) + text.replace("\n", draw.choice(("\r\n", "\r", "\n\n")))


def in_a_section(text: str, draw: Draw) -> str:
    section = draw.choice(("model", "data", "training", "plugins", "zzz"))
    return f"{section}:\n" + "\n".join(f"  {line}" for line in lines_of(text))


def tree_changed(text: str, draw: Draw) -> str:
    """Change a value in the tree, and write it as JSON, which is YAML too."""
    tree = yaml.safe_load(text)
    holder: Any = tree
    while True:
        key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if not isinstance(holder[key], dict | list) or not holder[key] or draw.random() < 0.3:
            break
        holder = holder[key]
    holder[key] = draw.choice(
        (None, True, [], {}, -1, 0, 2**70, 1.5, "", "x", [holder[key]], {"type": holder[key]}, [[[]]], {"": 1})
    )
    return json.dumps(tree, indent=draw.choice((None, 2)))


WAYS: list[Callable[[str, Draw], str]] = [
    value_replaced, value_replaced, value_replaced, line_lost, line_twice, lines_swapped, moved_in, moved_out, misspelt,
    misspelt, letters, letters, cut, other_ends, in_a_section, tree_changed, tree_changed, tree_changed,
]  # fmt: skip


def fuzzed(number: int) -> str:
    """Return a damaged configuration, the same for a number everywhere."""
    draw = Draw(f"{SEED} {number}")
    good = [
        OWN,
        *(path.read_text(encoding="utf-8") for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != "aliases"),
    ]
    text = draw.choice([OWN, *good])
    for way in draw.sample(WAYS, draw.choice((1, 1, 1, 2, 3))):
        try:
            text = way(text, draw)
        except (IndexError, KeyError, TypeError, ValueError, yaml.YAMLError):
            continue  # what the one before left cannot be damaged in this way
    return text


@pytest.mark.generated("batch", range(BATCHES), sample=3)
def test_a_batch_of_fuzzed_configurations(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tally: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = []
    for number in range(batch * BATCH, (batch + 1) * BATCH):
        text = fuzzed(number)
        Path("run.yaml").write_bytes(text.encode())
        with tally(ROW, number) as seen:
            with effort.ends():
                code = main(["config", "show", "run.yaml"])
            out, err = capsys.readouterr()
            codes.append(code)
            if code == 0:
                assert not err
                # What is accepted loads again as the same configuration.
                Path("again.yaml").write_text(out, encoding="utf-8")
                assert load_config("again.yaml").digest() == load_config("run.yaml").digest(), text
                Path("again.yaml").unlink()
                seen.went_on()
            else:
                assert code == 2, (code, text)
                assert not out
                assert err.startswith("stepbus: ")
                problems = err.removeprefix("stepbus: ").removesuffix("\n").split("\n")
                for problem in problems:
                    assert re.match(r"run\.yaml(:[0-9]+)?: .{10,}", problem), (problem, text)
                assert len(problems) == len(set(problems))
                seen.refused(err)
        assert [entry.name for entry in tmp_path.iterdir()] == ["run.yaml"]
    assert 2 in codes
