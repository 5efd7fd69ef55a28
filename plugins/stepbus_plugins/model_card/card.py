"""The text of a model card: metadata as YAML, then Markdown in which every word of somebody else is only a word."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from stepbus import counted
from stepbus_plugins.model_card.facts import Facts

SHOWN = 50  # labels that are listed
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
TASKS = {
    "binary": "tells two classes apart",
    "multiclass": "tells classes apart",
    "multilabel": "says for each of several labels whether it applies",
    "regression": "predicts a number",
}


def word(text: str) -> str:
    """Return a text as Markdown shows it, whatever letters it has: every sign with a backslash, on one line."""
    return _PUNCTUATION.sub(r"\\\1", _CONTROLS.sub(" ", text).strip()) or "(empty)"


def number(value: float) -> str:
    """Return a number with four places, or what it is instead of one."""
    return f"{value:.4f}" if math.isfinite(value) else "not a number" if math.isnan(value) else f"{value:+}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; the cells are Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def of_sets(facts: Facts) -> dict[str, dict[str, float]]:
    """Return set -> metric -> value; the metrics of the monitored set begin with eval_, of others with their name."""
    found: dict[str, dict[str, float]] = {name: {} for name in facts.scored}
    prefixes = {name: "eval_" if name == facts.monitored else f"{name}_" for name in facts.scored}
    for name, value in facts.metrics.items():
        # The longest prefix is the right one: a set may be called like the beginning of another.
        own = [each for each in found if name.startswith(prefixes[each])]
        if own:
            place = max(own, key=lambda each: len(prefixes[each]))
            found[place][name.removeprefix(prefixes[place])] = value
    return found


def title(facts: Facts, name: str | None) -> str:
    """Return what the model is called."""
    kind = {"regression": "regression"}.get(facts.task or "", "classifier" if facts.task else "model")
    return name or " ".join(part for part in (facts.family, facts.task if facts.task != kind else "", kind) if part)


def metadata(facts: Facts, config: Any) -> dict[str, Any]:
    """Return the metadata that the Hugging Face hub reads, without what is not known.

    Args:
        facts: What there is to say.
        config: The plugin's settings.
    """
    pipeline = "text-classification" if facts.is_text else None
    tags = ["stepbus", "mlx", facts.family, pipeline, facts.task]
    results = [
        {
            "task": {"type": pipeline or "other"},
            "dataset": {"name": name, "type": "unknown", "split": name},
            "metrics": [
                {"type": metric, "value": value, "name": metric}
                for metric, value in metrics.items()
                if math.isfinite(value)
            ],
        }
        for name, metrics in of_sets(facts).items()
    ]
    results = [result for result in results if result["metrics"]]
    names = dict.fromkeys(metric["type"] for result in results for metric in result["metrics"])  # type: ignore[index]
    found = {
        "library_name": "stepbus",
        "license": config.license,
        "language": list(config.language),
        "base_model": facts.hub_base,
        "pipeline_tag": pipeline,
        "tags": list(dict.fromkeys(tag for tag in tags if tag)),
        "metrics": list(names),
        "model-index": [{"name": title(facts, config.name), "results": results}] if results else None,
    }
    return {key: value for key, value in found.items() if value}


def card(facts: Facts, config: Any) -> str:
    """Return a model card.

    Args:
        facts: What there is to say.
        config: The plugin's settings.
    """
    head = yaml.safe_dump(metadata(facts, config), sort_keys=False, allow_unicode=True, width=1000)
    parts = [
        [f"# {word(title(facts, config.name))}"],
        list(_model(facts)),
        ["## Intended use", "", (config.intended_use or "Not said.").strip()],
        ["## Data", "", *_data(facts)],
        ["## Scores", "", *_scores(facts)],
        ["## Limits", "", *_limits(facts, config.limitations)],
        ["## How to use it", "", *_usage(facts)],
        ["## Training", "", *_training(facts)],
    ]
    body = "\n\n".join("\n".join(part) for part in parts)
    return f"---\n{head}---\n\n{body}\n"


def _model(facts: Facts) -> Iterator[str]:
    does = TASKS.get(facts.task or "", "was trained")
    start = f"It started from the weights of {word(facts.base)}." if facts.base else "It was trained from scratch."
    yield f"A model that {does} ({word(facts.architecture)}), made with stepbus {word(facts.version)}. {start}"
    if facts.labels:
        names = ", ".join(word(label) for label in facts.labels[:SHOWN])
        more = len(facts.labels) - SHOWN
        what = "It predicts" if facts.task == "regression" else "Labels, in the order of its outputs:"
        yield f"\n{what} {names}{f' and {more:,} more' if more > 0 else ''}."


def _data(facts: Facts) -> Iterator[str]:
    yield from table(["set", "rows"], [[word(name), f"{rows:,}"] for name, rows in facts.rows.items()])


def _scores(facts: Facts) -> Iterator[str]:
    rows = [
        [word(name), word(metric), number(value)]
        for name, metrics in of_sets(facts).items()
        for metric, value in metrics.items()
    ]
    if rows:
        yield from table(["set", "metric", "value"], rows)
    else:
        yield "No rows with labels were held out, so nothing is known of its errors."


def _limits(facts: Facts, said: str | None) -> Iterator[str]:
    if said:
        yield f"{said.strip()}\n"
    yield f"- It has seen {counted(facts.rows.get('train', 0), 'row')}; on others than such rows nothing was measured."
    if facts.cut:
        yield f"- Texts are cut after {facts.cut:,} tokens."
    for name in facts.decided:
        yield f"- Decisions were made by the scores of {word(name)}, which are too good for new rows therefore."
    if facts.task == "regression" and facts.is_text:
        yield (
            "- Its raw outputs are standardised; stepbus gives values in the target's unit, and `stepbus_target` in "
            "config.json says how."
        )


def _usage(facts: Facts) -> Iterator[str]:
    if not facts.is_text:
        yield "The weights are in `model.safetensors`; the model itself is made in Python, where it was trained."
        return
    row = repr(dict.fromkeys(facts.columns or ("column",), "…"))
    yield from ["```python", "from stepbus import open_trainer", "", 'trainer = open_trainer("FOLDER")']
    yield from [f"print(trainer.predict([{row}]))", "```"]


def _training(facts: Facts) -> Iterator[str]:
    yield f"{counted(facts.steps, 'update')}, {facts.epochs:g} epochs."
    if facts.plugins:
        yield f"\nPlugins that take part in it: {', '.join(map(word, facts.plugins))}."
    settings: Mapping[str, str] = facts.settings
    if settings:
        yield ""
        yield from table(["setting", "value"], [[f"`{name}`", f"`{value}`"] for name, value in settings.items()])
