"""What the bus costs: the engine with its plugins against a hand-written compiled MLX loop on the same batches.

    python tests/benchmarks/bus_overhead.py [STEPS]

Each engine step is followed at once by one hand-written step on the same batch, so that both meet the same machine;
the figures are medians over the pairs. The cases: MiniLM-L6 with all default plugins; one tiny layer with twenty
plugins in all, over a vocabulary of 17 words and over BERT's, whose table of embeddings makes the step longer and the
host's caches colder. Below them stands the host's time alone, over steps that compute nothing. Metal and CUDA have
not been measured.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from stepbus import StepResult, create_model, create_trainer, hookimpl, import_module
from stepbus.device import backend

mx = backend.mx

import mlx.nn as nn  # noqa: E402  # after the fast BLAS
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from stepbus.compute.stepping.steps import mix, to_device  # noqa: E402
from stepbus.compute.stepping.updater import ParameterUpdater  # noqa: E402

PRETRAINED = import_module(str(Path(__file__).parents[1] / "fixtures" / "minilm.py")).SOURCE
WORDS = ["the", "film", "was", "a", "long", "and", "very", "quiet", "story", "about", "good", "people"]


def hand_written(model: Any, updater: ParameterUpdater, clip: Any) -> Any:
    """Return what somebody would write without a bus: loss, gradient, clipping, update, in one compiled step."""
    state = [model.state, updater.state, mx.random.state]

    def loss(model: Any, batch: Any) -> Any:
        total = (model.head.loss(model(batch), batch["labels"]) * batch["weights"]).sum()
        return total / batch["weights"].sum()

    @partial(mx.compile, inputs=state, outputs=state)
    def step(batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss)(model, batch)
        gradients, named = clip(gradients)
        model.update(updater.apply(gradients, model.trainable_parameters()))
        return mx.stack([value, *named.values()])

    return step


class Pair:
    """Time the engine's step, then the hand-written one on the same batch."""

    def __init__(self, model: Any, skip: int) -> None:
        self.model, self.skip, self.left = model, skip, 0.0
        self.engine: list[float] = []
        self.hand: list[float] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        # The same groups and the same clipping, so that the two differ in nothing but who drives them.
        (groups,) = trainer.bus.in_order("parameter_groups", trainer=trainer, model=self.model)
        (clip,) = trainer.bus.in_order("transform_gradients", trainer=trainer)
        settings = trainer.config.optimizer.settings
        optimizer = trainer.config.optimizer.build()
        self.updater = ParameterUpdater(optimizer, settings.learning_rate, settings.weight_decay, groups)
        self.updater.init(self.model.trainable_parameters())
        self.step = hand_written(self.model, self.updater, clip)
        launch = trainer.steps.launch

        def noting(window: Any, number: int) -> Any:
            self.batch = window[0]
            return launch(window, number)

        trainer.steps.launch = noting

    @hookimpl(trylast=True)
    def on_step_end(self, trainer: Any, state: Any) -> None:
        # Each side is charged until the device is idle again: else the tail of one would run in the other's time.
        mx.eval(trainer.model.state, trainer.optimizer.state)
        arrived = time.perf_counter()
        left = (state.total_steps - state.step) / state.total_steps
        self.updater.set_learning_rate(self.updater.learning_rate * left)  # a linear schedule, as the engine's
        mx.random.seed(mix(1, state.step))
        numbers = self.step(to_device(self.batch))
        mx.async_eval(numbers, self.model.state, self.updater.state)
        assert np.isfinite(np.array(numbers)).all()
        mx.eval(self.model.state, self.updater.state)
        done = time.perf_counter()
        if state.step > self.skip:
            self.engine.append(arrived - self.left)
            self.hand.append(done - arrived)
        self.left = time.perf_counter()


def watcher(number: int) -> Any:
    """Return a plugin that does next to nothing at every step."""

    class Watcher:
        seen = 0.0

        @hookimpl
        def on_step_end(self, state: Any, step: Any) -> None:
            self.seen += step.loss * state.step

    Watcher.__name__ = f"Watcher{chr(97 + number)}"
    return Watcher()


def measure(name: str, model: dict[str, Any], rows: int, words: int, steps: int, extra: int) -> None:
    """Run one case and print its row."""
    draw = np.random.default_rng(0)
    # One epoch, collated ahead during the first steps, which are not counted: both sides get batches that are ready.
    texts = [" ".join(draw.choice(WORDS, size=words)) for _ in range(rows * steps)]
    frame = pd.DataFrame({"text": texts, "label": [index % 2 for index in range(len(texts))]})
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(create_model(**model), skip=steps // 4)
        tree = {
            "model": model,
            "data": {"text": "text", "label": "label", "batch_size": rows, "prefetch_size": steps},
            "training": {"num_epochs": 1, "eval_strategy": "no"},
            "environment": {"output_dir": str(Path(folder) / "run")},
            "plugins": {"checkpoint": {"save_strategy": "no"}, "progress": {"bar": "never"}},
        }
        create_trainer(config=tree, plugins=[*map(watcher, range(extra)), pair]).train(frame)
    difference = statistics.median(a - b for a, b in zip(pair.engine, pair.hand, strict=True))
    ratio = statistics.median(a / b for a, b in zip(pair.engine, pair.hand, strict=True))
    print(
        f"{name:<34} {len(pair.engine):>6} {statistics.median(pair.engine) * 1e3:>10.3f} "
        f"{statistics.median(pair.hand) * 1e3:>10.3f} {difference * 1e6:>12.0f} {ratio:>8.4f}",
        file=sys.stderr,
    )


class Still:
    """Take the compiled step and the collation away: what is left is the engine, the bus and the plugins."""

    def __init__(self, steps: int) -> None:
        self.steps, self.times, self.members = steps, [], 0

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.members = len(trainer.bus.members)
        number = StepResult(0.5, 8.0, 8, 80, 1e-4, {"gradient_norm": 1.0}, 0.01)
        trainer.steps.launch = lambda window, number: None
        trainer.steps.read = lambda ticket: number
        trainer.data.windows = lambda epoch, start: nullcontext(iter([[None]] * self.steps))

    @hookimpl
    def on_step_end(self) -> None:
        self.times.append(time.perf_counter())


def measure_host(extra: int, steps: int) -> None:
    """Print the host's time for a step that computes nothing, with the default plugins and some more."""
    model = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30522}
    frame = pd.DataFrame({"text": WORDS * steps, "label": [index % 2 for index in range(len(WORDS) * steps)]})
    with tempfile.TemporaryDirectory() as folder:
        tree = {
            "model": {**model, "tokenizer": PRETRAINED},
            "data": {"text": "text", "label": "label", "batch_size": len(WORDS)},
            "training": {"num_epochs": 1, "eval_strategy": "no"},
            "environment": {"output_dir": str(Path(folder) / "run")},
            "plugins": {"checkpoint": {"save_strategy": "no"}, "progress": {"bar": "never"}},
        }
        still = Still(steps)
        trainer = create_trainer(config=tree, plugins=[*map(watcher, range(extra)), still])
        trainer.train(frame)
        plugins = still.members - 1
    each = [after - before for before, after in zip(still.times, still.times[1:], strict=False)]
    mean, median = statistics.fmean(each) * 1e6, statistics.median(each) * 1e6
    print(f"host alone, {plugins} plugins: {median:.0f} µs a step (median), {mean:.0f} with log lines", file=sys.stderr)


def main() -> None:
    """Print the tables (on stderr: stdout carries the runs' own output)."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print(f"{'case':<34} {'pairs':>6} {'engine ms':>10} {'hand ms':>10} {'diff µs':>12} {'ratio':>8}", file=sys.stderr)
    measure("MiniLM-L6, 32 x 32, defaults", {"pretrained": PRETRAINED}, 32, 24, steps, 0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    with tempfile.TemporaryDirectory() as folder:
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        Path(folder, "vocab.txt").write_text("\n".join(words) + "\n")
        Path(folder, "tokenizer_config.json").write_text('{"do_lower_case": true}')
        few = {"tokenizer": folder, "vocab_size": len(words)}
        measure("one tiny layer, 20 plugins in all", {**tiny, **few}, 8, 10, steps * 50, 8)
    measure("the same, 30,522 words", {**tiny, "tokenizer": PRETRAINED, "vocab_size": 30522}, 8, 10, steps * 50, 8)
    measure_host(0, 2000)
    measure_host(8, 2000)
    measure_host(20, 2000)


if __name__ == "__main__":
    main()
