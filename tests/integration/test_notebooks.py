"""A notebook: progress that changes in its place, Ctrl-C, going on in the same kernel, and errors in a few lines."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
import os, signal, sys, time, warnings
warnings.simplefilter("error")  # none is printed beside the cells
import pandas as pd
from stepbus import create_trainer, hookimpl

class Wait:
    '''Wait at update 5 until somebody interrupts, once.'''
    affects_result = False

    @hookimpl
    def on_step_end(self, trainer, state):
        if state.step == 5 and not os.path.exists("waiting"):
            with open("waiting.part", "w") as file:
                file.write(str(os.getpid()))
            os.replace("waiting.part", "waiting")
            end = time.monotonic() + 60
            while trainer.run.signal is None and time.monotonic() < end:
                time.sleep(0.01)

handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
rows, dev = pd.read_csv("train.csv"), pd.read_csv("dev.csv")
trainer = create_trainer(config="tiny.json", plugins=[Wait()])
trainer
"""
CELLS = {
    "setup": SETUP,
    "interrupted": "trainer.train(rows, dev)",
    "alive": "print(trainer)",
    "resumed": "result = trainer.train(rows, dev, resume=True)\nresult",
    "again": "again = create_trainer(config='tiny.json').train(rows, dev)\nprint(again)",
    "same": "pd.testing.assert_frame_equal(again.frame(), result.frame(), check_exact=True)\nlen(result.frame())",
    "drawn": "result.plot();",
    "refused": "def mine():\n    return trainer.train(rows.drop(columns='label'))\n\nmine()",
    "refused config": "create_trainer(learning_rat=1, num_epoch=2)",
    "inside a coroutine": (
        "import asyncio\nawait asyncio.sleep(0)\n"
        "(await asyncio.to_thread(lambda: 1), trainer.train(rows, dev, num_epochs=1).steps)"
    ),
    "shown": "trainer.config",
    "handlers": "[signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers",
}


def interrupt(marker: Path) -> None:
    """Send what the stop button of a notebook sends, once the kernel waits for it."""
    end = time.monotonic() + 120
    while not marker.exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(int(marker.read_text()), signal.SIGINT)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Any]]]:
    """What the cells give, by name."""
    folder = tmp_path_factory.mktemp("notebook")
    make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        patch.setenv("STEPBUS_CACHE", str(folder / "cache"))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS.values()])
        resources = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, kernel_name="python3", timeout=300, allow_errors=True, resources=resources)
        thread = threading.Thread(target=interrupt, args=[folder / "waiting"], daemon=True)
        thread.start()
        client.execute()
        thread.join(10)
    yield {name: cell.outputs for name, cell in zip(CELLS, notebook.cells, strict=True)}


def make(folder: Path) -> None:
    """Write rows, a tokenizer and the configuration of two epochs of 11 updates."""
    words = ["good", "bad", "film", "plot", "the", "was"]
    for name, number, first in (("train", 44, "the"), ("dev", 12, "the the")):
        lines = [f"{first} {words[2 + row % 2]} was {words[row % 3 % 2]},{row % 3 % 2}" for row in range(number)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    (folder / "tokenizer").mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "tokenizer" / "vocab.txt").write_text("\n".join([*special, *words]) + "\n")
    model = {"tokenizer": "tokenizer", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1}
    tree = {
        "model": {**model, "num_attention_heads": 1, "max_position_embeddings": 16},
        "data": {"label": "label", "batch_size": 4, "max_length": 16},
        "training": {"num_epochs": 2, "log_steps": 1},
        "plugins": {"costs": False},
    }
    (folder / "tiny.json").write_text(json.dumps(tree))


def printed(found: list[Any]) -> str:
    return "".join(each.text for each in found if each.output_type == "stream" and each.name == "stdout")


def error(found: list[Any]) -> Any:
    (raised,) = [each for each in found if each.output_type == "error"]
    return raised


def value(found: list[Any]) -> dict[str, str]:
    (given,) = [each for each in found if each.output_type == "execute_result"]
    return dict(given.data)


def test_ctrl_c_ends_a_training_with_a_checkpoint_and_a_sentence(outputs: dict[str, list[Any]]) -> None:
    raised = error(outputs["interrupted"])
    assert raised.ename == "Interrupted"
    assert raised.evalue == (
        "interrupted by SIGINT; a checkpoint was written: go on with `stepbus train … --resume runs`, or in Python "
        "with trainer.train(…, resume=True)"
    )
    assert "interrupted" in printed(outputs["alive"])
    assert "5 of 22 steps done" in printed(outputs["alive"])


def test_the_same_kernel_goes_on_to_the_same_bits(outputs: dict[str, list[Any]]) -> None:
    assert "22, 17 of them in 0:" in value(outputs["resumed"])["text/html"], "5 were done before the interrupt"
    assert value(outputs["same"])["text/plain"] == "22"
    assert len(printed(outputs["again"]).split("finished after")[1].splitlines()) == 1 + 6
    assert value(outputs["inside a coroutine"])["text/plain"] == "(1, 11)"


def test_progress_changes_in_its_place(outputs: dict[str, list[Any]]) -> None:
    """A line for each of 22 updates would have stood there: log_steps is 1."""
    for name in ("resumed", "again"):
        bars = [each for each in outputs[name] if each.output_type == "display_data"]
        assert [each.data["text/plain"].strip() for each in bars] == [f"training [{'#' * 30}] 100%  0:00 left"]
        assert "<progress value='22' max='22'>" in bars[0].data["text/html"]
        text = printed(outputs[name])
        assert "gradient_norm" not in text
        assert "\x1b" not in text
        assert [line.split()[:2] for line in text.splitlines() if " train_loss" in line][:1] == [["epoch", "step"]]
    (cut,) = [each for each in outputs["interrupted"] if each.output_type == "display_data"]
    assert "<progress value='5' max='22'>" in cut.data["text/html"]


def test_a_refusal_is_the_users_lines_and_a_sentence(outputs: dict[str, list[Any]]) -> None:
    told = "\n".join(error(outputs["refused"]).traceback)
    assert "mine()" in told
    assert "return trainer.train(rows.drop(columns='label'))" in told
    assert told.endswith("DataError: train frame: data.label: expected a column 'label', got text")
    assert "stepbus/" not in told
    assert len(told.splitlines()) == 5
    both = "\n".join(error(outputs["refused config"]).traceback)
    assert both.count("did you mean") == 2


def test_what_is_shown_and_drawn(outputs: dict[str, list[Any]]) -> None:
    assert "<table>" in value(outputs["setup"])["text/html"]
    assert "num_epochs: 2" in value(outputs["shown"])["text/html"]
    assert [set(each.data) for each in outputs["drawn"]] == [{"text/plain", "image/png"}]


def test_nothing_stays_behind(outputs: dict[str, list[Any]]) -> None:
    assert value(outputs["handlers"])["text/plain"] == "True"
    allowed = {"interrupted", "refused", "refused config"}
    assert {name for name, found in outputs.items() if any(each.output_type == "error" for each in found)} == allowed
    # No warning of ours, for each set is new to the weights, and none of a library.
    assert {each.text for found in outputs.values() for each in found if each.get("name") == "stderr"} == set()
