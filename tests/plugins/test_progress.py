"""progress: plain lines, the live bar in a real terminal, a reader that goes away."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from stepbus import Control, LabelCodec, StepResult, Trainer, TrainingState, describe_machine, load_config
from stepbus.kernel.state import Best
from stepbus.testing import Recorder
from stepbus.text.labels.numbers import labels_in_words
from stepbus_plugins.progress import Progress
from stepbus_plugins.progress.bar import bar_words
from stepbus_plugins.progress.notebook import NotebookArea, in_notebook
from stepbus_plugins.progress.pace import Pace
from stepbus_plugins.progress.screen import Screen
from stepbus_plugins.progress.stream import TolerantFile
from stepbus_plugins.progress.summary import fit_summary, steps_in_words
from stepbus_plugins.progress.words import duration, log_line, number, rate, whole_title

# After the fast BLAS, which stepbus put in front.
import mlx.nn as nn  # isort: skip

SUMMARY = {"model": "bert, 22.7 M parameters", "rows": "train 64 · validation 16"}


@pytest.mark.parametrize(
    ("scopes", "reports", "metrics", "title"),
    [
        ([{"member": 0}, {"member": 1}], [], {"eval_f1": 0.5}, "Metrics of 2 fits together"),
        ([{"member": 0}, {"member": 1}], ["Cross-validation of member-1: 5 folds"], {"eval_f1": 0.5}, "Metrics of 2"),
        ([{"fold": 0}, {"fold": 1}], ["Cross-validation: 2 folds"], {"oof_f1": 0.5}, ""),
        ([{"fold": 0}, {"fold": 1}], ["Confusion"], {"oof_f1": 0.5}, "Metrics of 2 fits together"),
        ([{"member": 0}, {"member": 1}], [], {}, ""),
        ([{}], [], {"eval_f1": 0.5}, ""),
        ([{}, None], [], {"eval_f1": 0.5}, "Metrics of the run"),
    ],
)
def test_what_fits_came_to_together_is_shown_once(scopes: Any, reports: Any, metrics: Any, title: str) -> None:
    fits = [SimpleNamespace(scope=scope or {}, auxiliary=scope is None) for scope in scopes]
    said = whole_title(SimpleNamespace(fits=fits), SimpleNamespace(metrics=metrics), reports)
    assert said.startswith(title) and bool(said) == bool(title)


def play(plugin: Progress, names: list[str], folder: Path, status: str = "ok", steps: int = 4) -> None:
    """Go through a run as the engine does: two epochs, one evaluation each."""
    fits = [SimpleNamespace(name=name, scope={"member": n}, auxiliary=False) for n, name in enumerate(names)]
    run = SimpleNamespace(fits=fits, next_command="stepbus predict runs/x", seconds=100.0, resumed=False)
    plugin.on_run_start()
    for name in names:
        trainer = SimpleNamespace(
            run=run,
            fit_name=name,
            control=Control(),
            directions={"eval_loss": False, "eval_accuracy": True},
        )
        state = TrainingState(total_steps=steps, steps_per_epoch=steps // 2)
        with mock.patch("stepbus_plugins.progress.fit_summary", return_value=SUMMARY):
            plugin.on_fit_start(trainer, state)
        for step in range(1, steps + 1):
            state.step, state.epoch = step, (step - 1) // state.steps_per_epoch
            result = StepResult(
                loss=1 / step, weight=32, sequences=32, tokens=3000, learning_rate=5e-5 / step, seconds=0.5
            )
            plugin.on_step_end(state, result)
            record = {"step": step, "epoch": step / 2, "loss": 1 / step, "learning_rate": 5e-5 / step}
            plugin.on_log(state, record | {"sequences_per_second": 64.0, "tokens_per_second": 48000.0})
            if step % state.steps_per_epoch == 0:
                metrics = {"eval_loss": step / 10, "eval_accuracy": 0.5 + step / 10}
                state.metrics = metrics
                state.best = state.best or Best("eval_loss", step / 10, step)
                state.history.append({"step": step, **metrics})
                plugin.on_evaluate_start(state, "validation", "epoch")
                plugin.on_evaluate(state, "validation", metrics)
                plugin.on_metrics(state, metrics)
        plugin.on_checkpoint(folder / "checkpoints" / "step-000004")
        plugin.on_fit_end(trainer, state, SimpleNamespace(status=status, metrics=state.metrics, seconds=65.0))
        plugin.on_artifact("model", folder / name / "model")
    plugin.on_report("Confusion", ["label", "no", "yes"], [["no", "7", "1"], ["yes", "0", "8"]])
    plugin.on_message("the file [bold]x[/bold] is odd :smile:", "warning")
    plugin.on_run_end(run, SimpleNamespace(metrics={"eval_accuracy": 0.8125}))
    plugin.on_close(run, status)


def test_plain_lines_for_a_log(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "checkpoints").mkdir(parents=True)
    play(Progress(Progress.Config()), ["fit"], tmp_path / "runs")
    assert capsys.readouterr().out == (
        "  model  bert, 22.7 M parameters\n"
        "  rows   train 64 · validation 16\n"
        "step 1/4  epoch 0.50  loss 1.0000  learning_rate 5.00e-05  64 sequences/s  48k tokens/s  0:02 left\n"
        "step 2/4  epoch 1.00  loss 0.5000  learning_rate 2.50e-05  64 sequences/s  48k tokens/s  0:01 left\n"
        "step 2/4  epoch 1.00  eval_loss 0.2000  eval_accuracy 0.7000  best\n"
        "step 3/4  epoch 1.50  loss 0.3333  learning_rate 1.67e-05  64 sequences/s  48k tokens/s  0:00 left\n"
        "step 4/4  epoch 2.00  loss 0.2500  learning_rate 1.25e-05  64 sequences/s  48k tokens/s\n"
        "step 4/4  epoch 2.00  eval_loss 0.4000  eval_accuracy 0.9000\n"
        "  trained 4 steps in 1:05, 64 sequences/s, 6,000 tokens/s\n"
        "\n"
        "  Metrics\n"
        "  metric          final    best  at step\n"
        "  eval_loss      0.4000  0.2000        2\n"
        "  eval_accuracy  0.9000  0.9000        4\n"
        "\n"
        "  Confusion\n"
        "  label  no  yes\n"
        "  no      7    1\n"
        "  yes     0    8\n"
        "  warning: the file [bold]x[/bold] is odd :smile:\n"
        "\n"
        "  checkpoints  runs/checkpoints\n"
        "  model        runs/fit/model\n"
        "  try next     stepbus predict runs/x\n"
        "  finished after 1:40\n"
    )


def test_several_fits_say_their_place_and_the_summary_comes_once(tmp_path: Path, capsys: Any) -> None:
    play(Progress(Progress.Config()), ["fold-1", "fold-2", "odd"], tmp_path)
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if " of 3" in line or "together" in line] == [
        "  fold 1 of 3",
        "  fold 2 of 3",
        "  odd, fit 3 of 3",
        "  Metrics of 3 fits together",
    ]
    assert re.search(r"eval_accuracy +0\.8125\n", out), out
    assert out.count("22.7 M") == 1
    assert f"{tmp_path}/fold-1/model … {tmp_path}/odd/model (3)" in out


def test_a_final_evaluation_is_shown(capsys: Any) -> None:
    plugin = Progress(Progress.Config())
    state = TrainingState(step=3, total_steps=9, steps_per_epoch=3)
    plugin.on_evaluate_start(state, "validation", "final")
    plugin.on_evaluate(state, "validation", {"eval_loss": 0.25})
    plugin.on_evaluate(state, "stop", {"stop_loss": 0.5})
    assert capsys.readouterr().out == (
        "step 3/9  epoch 1.00  eval_loss 0.2500  final\nstep 3/9  epoch 1.00  stop_loss 0.5000  final, stop\n"
    )


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_the_last_line_says_how_it_ended(status: str, tmp_path: Path, capsys: Any) -> None:
    play(Progress(Progress.Config()), ["fit"], tmp_path, status=status)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"  {status} after 1:40")


def test_the_bar_shows_speed_loss_rate_and_metrics(monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    screen = Screen("always", 1000.0, file)
    plugin = Progress(Progress.Config(bar="always", refresh_per_second=1000.0))
    plugin.screen = screen
    state = TrainingState(step=30, epoch=1, total_steps=60, steps_per_epoch=20, metrics={"eval_accuracy": 0.875})
    time.sleep(0.002)
    plugin.on_step_end(
        state, StepResult(loss=0.25, weight=32, sequences=32, tokens=3200, learning_rate=3e-5, seconds=0.5)
    )
    plugin.on_message("written between", "info")
    screen.clear()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", file.getvalue())
    assert "50%  0:15 left" in text
    assert "epoch 2 of 3 · step 30 of 60 · 64 sequences/s · 6,400 tokens/s" in text
    assert "loss 0.2500 · learning rate 3.00e-05 · eval accuracy 0.8750" in text
    assert "  written between" in text
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1, "the cursor comes back"


def test_the_bar_is_drawn_no_oftener_than_asked() -> None:
    plugin = Progress(Progress.Config(bar="always", refresh_per_second=0.001))
    file = io.StringIO()
    plugin.screen = Screen("always", 0.001, file)
    plugin._draw(TrainingState(total_steps=9, steps_per_epoch=3))
    drawn = len(file.getvalue())
    step = StepResult(loss=0.25, weight=32, sequences=32, tokens=3200, learning_rate=3e-5, seconds=0.5)
    for number_of_step in range(9):
        plugin.on_step_end(TrainingState(step=number_of_step, total_steps=9, steps_per_epoch=3), step)
    assert len(file.getvalue()) == drawn
    plugin.screen.clear()


def test_a_table_wider_than_the_terminal_comes_in_parts(monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")
    file = io.StringIO()
    names = [f"metric_{at}" for at in range(9)]
    values = [f"{at / 8:.4f}" for at in range(9)]
    Screen("always", 4.0, file).table("Folds", ["fold", *names], [["mean", *values]])
    text = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert all(len(line) <= 60 for line in text.splitlines())
    assert text.count("mean") == text.count("fold") > 1
    assert text.split().count("mean") + len(values) == len(re.findall(r"mean|\d\.\d{4}", text))
    assert re.findall(r"metric_\d", text) == names


@pytest.mark.parametrize("bar", ["auto", "never"])
def test_no_escape_codes_where_there_is_no_bar(bar: Any, tmp_path: Path, capsys: Any) -> None:
    play(Progress(Progress.Config(bar=bar)), ["fold-1", "fold-2"], tmp_path)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("bar", ["auto", "always"])
def test_a_stream_that_breaks_never_breaks_the_run(bar: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for file in (Closed(), io.StringIO()):
        if not isinstance(file, Closed):
            file.close()
        monkeypatch.setattr(sys, "stdout", file)
        plugin = Progress(Progress.Config(bar=bar))
        play(plugin, ["fit"], tmp_path)
        assert plugin.screen is None  # it came to its end


def test_a_narrow_encoding_gets_question_marks() -> None:
    raw = io.BytesIO()
    file = TolerantFile(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    file.write("a · b")
    assert raw.getvalue() == b"a ? b"


def test_a_full_disk_is_said_once_and_a_reader_that_left_is_not(caplog: pytest.LogCaptureFixture) -> None:
    class Refuses(io.StringIO):
        def __init__(self, code: int) -> None:
            super().__init__()
            self.code = code

        def flush(self) -> None:
            raise OSError(self.code, os.strerror(self.code))

    for code in (errno.ENOSPC, errno.EPIPE):
        file = TolerantFile(Refuses(code))
        for _ in range(2):
            file.write("a")
            file.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "progress cannot be shown any more: No space left on device; the run goes on"
    ]


SCRIPT = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_progress import play, Progress
play(Progress(Progress.Config()), ["fit"], Path("runs"), steps=2000)
print("done", file=sys.stderr)
"""


def run_script(**options: Any) -> subprocess.Popen[str]:
    path = [str(Path(__file__).parent), *sys.path]
    return subprocess.Popen([sys.executable, "-c", SCRIPT.format(path=path)], text=True, **options)


def test_a_pipe_whose_reader_leaves_does_not_end_the_run() -> None:
    process = run_script(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    errors = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), errors) == (0, "done\n")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_real_terminal_gets_a_bar_and_its_cursor_back() -> None:
    ours, theirs = os.openpty()
    process = run_script(stdout=theirs, stderr=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm-256color"})
    os.close(theirs)
    output = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side has closed
            break
        if not part:
            break
        output += part
    os.close(ours)
    text = output.decode()
    assert process.wait() == 0
    assert "━" in text
    assert text.rstrip().endswith("done")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.5, 5e-5, 0.0, float("nan"), 123456.0, 7, "word")] == [
        "0.5000", "5.00e-05", "0", "nan", "1.23e+05", "7", "word"
    ]  # fmt: skip
    assert [rate(value) for value in (3.25, 81.2, 1204.0, 48123.0)] == ["3.2", "81", "1,204", "48k"]
    assert [duration(value) for value in (0.2, 42, 725, 11220)] == ["0:00", "0:42", "12:05", "3:07:00"]


# The summary ----------------------------------------------------------------------------------------------------------


def test_the_summary_says_what_is_about_to_happen(tiny_config: Any, capsys: Any) -> None:
    config = tiny_config(
        plugins={"progress": {"bar": "never"}, "costs": False}, data={"max_length": 8}, training={"max_steps": 15}
    )
    heard = Recorder()
    Trainer(load_config(config), plugins=[heard]).train()
    (session,) = [given["trainer"] for given in heard.of("on_fit_end")]
    labels = np.bincount(session.data.targets["train"])
    cut = int((np.array([len(text.split()) for text in session.fit.sets["train"].cells("text")]) + 2 > 8).sum())
    machine = describe_machine()
    numbers = sum(array.size for array in session.model.tensors().values())
    assert capsys.readouterr().out.startswith(
        f"  model      bert (from scratch), {numbers:,} parameters\n"
        f"  device     {machine['device']}, BLAS {machine['blas']}\n"
        "  precision  float32\n"
        "  rows       44 train, 20 validation\n"
        f"  labels     binary: 0 {labels[0]}, 1 {labels[1]}\n"
        "  task       binary, told by whole numbers with 2 different values (data.task sets another)\n"
        f"  batches    {session.data.shapes.describe()}\n"
        "  steps      15 of the 22 that 2 epochs would give\n"
        "  optimizer  adamw at 0.003, linear schedule\n"
        f"  folder     {session.directory}\n"
        f"  cut        {cut} training rows are longer than 8 tokens\n"
        "step "
    )


def test_the_summary_can_be_switched_off(tmp_path: Path, capsys: Any) -> None:
    play(Progress(Progress.Config(summary=False)), ["fit"], tmp_path)
    out = capsys.readouterr().out
    assert out.startswith("step 1/4")
    assert "22.7 M" not in out


def test_steps_and_labels_in_words() -> None:
    assert steps_in_words(2, 11, 22) == "22 (2 epochs of 11)"
    assert steps_in_words(1, 1100, 1100) == "1,100 (1 epoch of 1,100)"
    assert steps_in_words(1, 1100, 20) == "20 of the 1,100 that 1 epoch would give"
    assert steps_in_words(3, 0, 1500) == "1,500"  # of epochs that nobody can count


@pytest.mark.parametrize(("per_epoch", "words"), [(10, "3 of 4"), (0, "3")])
def test_the_bar_says_how_many_epochs_there_are_where_that_is_known(per_epoch: int, words: str) -> None:
    state = TrainingState(epoch=2, step=25, total_steps=40, steps_per_epoch=per_epoch)
    _, (counts, _) = bar_words(state, Pace(), {}, "")
    assert counts[0] == ("epoch", words)


def test_a_module_of_ones_own_is_named_and_counted() -> None:
    model = nn.Linear(3, 2)
    trainer = SimpleNamespace(
        config=load_config({}),
        state=TrainingState(total_steps=9),
        model=model,
        directory=Path("runs"),
        data=SimpleNamespace(rows={}, describe=lambda: {"batches": "as many as the loader gives"}),
    )
    found = fit_summary(trainer)
    assert found["model"] == "Linear, 8 parameters"
    assert "rows" not in found
    assert (found["batches"], found["steps"]) == ("as many as the loader gives", "9")
    codec = LabelCodec("label", "multiclass")
    codec.names = [f"c{number}" for number in range(9)]
    counted = labels_in_words(codec, np.array([0] * 1200 + [8]))
    assert counted == "multiclass: c0 1,200, c1 0, c2 0, c3 0, c4 0, c5 0, c6 0, c7 0, …"
    several = LabelCodec(["x", "y"], "multilabel")
    several.names = ["x", "y"]
    assert labels_in_words(several, np.array([[1, 0], [1, 1]])) == "multilabel: x 2, y 1"
    values = labels_in_words(LabelCodec("price", "regression"), np.array([1.5, 4.0, 2.0, 100000.0]))
    assert values == "regression from 1.5 to 100000, median 3"


def test_a_notebook_has_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython.display

    class Handle:
        def update(self, bundle: dict[str, str], raw: bool) -> None:
            shown.append(("update", bundle["text/plain"], bundle["text/html"]))

    def display(bundle: dict[str, str], raw: bool, display_id: bool) -> Handle:
        shown.append(("display", bundle["text/plain"], bundle["text/html"]))
        return Handle()

    shown: list[tuple[str, str, str]] = []
    monkeypatch.setattr(IPython.display, "display", display)
    area = NotebookArea()
    area.clear()  # nothing was drawn
    area.draw("<fold 1>", 1, 2, "50%", [[("step", "1"), ("", "3 rows/s")], [("loss", "0.5")]])
    area.draw("<fold 1>", 2, 2, "100%", [[("step", "2")]])
    area.clear()
    area.draw("next", 0, 0, "0%", [])  # of steps that nobody counted yet
    assert [kind for kind, *_ in shown] == ["display", "update", "update", "display"]
    assert shown[0][1] == f"  <fold 1> [{'#' * 15}{'.' * 15}] 50%\n  step 1 · 3 rows/s\n  loss 0.5"
    assert "&lt;fold 1&gt; <progress value='1' max='2'></progress> 50%<br>step 1 · 3 rows/s<br>loss 0.5" in shown[0][2]
    assert shown[2][1] == f"  <fold 1> [{'#' * 30}] 100%"
    assert "max='1'" in shown[3][2]


def test_what_is_no_notebook() -> None:
    assert not in_notebook(sys.stdout)
    assert not in_notebook(io.StringIO())


def test_a_log_line_tells_no_waiting_times() -> None:
    record = {"step": 3, "epoch": 0.5, "loss": 0.5, "data_wait_seconds": 0.1, "tokens_per_second": 20.0}
    assert log_line(TrainingState(step=3, total_steps=6), record, 0).endswith("loss 0.5000  20 tokens/s")


def test_a_resumed_run_says_that_its_clock_began_with_it(capsys: Any) -> None:
    for resumed, said in ((False, "  finished after 0:09\n"), (True, "  finished after 0:09 since it was resumed\n")):
        progress = Progress(Progress.Config(summary=False, bar="never"))
        progress.on_message("hello", "info")
        progress.begun = True
        progress.on_close(SimpleNamespace(seconds=9.0, resumed=resumed), "ok")
        assert capsys.readouterr().out.endswith(said)


def test_a_resumed_fit_says_its_own_steps_and_only_places_that_are_there(tmp_path: Path, capsys: Any) -> None:
    progress = Progress(Progress.Config(summary=False, bar="never"))
    run = SimpleNamespace(fits=[SimpleNamespace(name="fit")], results=[], next_command="stepbus")
    trainer = SimpleNamespace(run=run, fit_name="fit", directions={})
    progress.on_fit_start(trainer, SimpleNamespace(step=56, total_steps=196))  # type: ignore[arg-type]
    ended = SimpleNamespace(status="ok", metrics={}, seconds=9.0)
    progress.on_fit_end(trainer, SimpleNamespace(step=196, total_steps=196), ended)  # type: ignore[arg-type]
    assert "trained 140 of 196 steps in 0:09" in capsys.readouterr().out
    progress.on_checkpoint(tmp_path / "freed" / "step-00000196")
    progress.on_artifact("history", tmp_path)
    progress.on_run_end(run, SimpleNamespace(metrics={}))
    out = capsys.readouterr().out
    assert "history" in out and "checkpoints" not in out
