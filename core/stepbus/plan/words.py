"""The plan of a run in words, for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from stepbus.author import MEANINGS
from stepbus.base import counted, show

# More fits than this are shown by their first, smallest and largest.
MANY = 10
CLASSES = 12


def render(plan: Mapping[str, Any], width: int = 100) -> str:
    """Return a plan as text.

    Args:
        plan: As `stepbus.plan.planning.describe_plan` returned it.
        width: Columns of the screen, where cells go on in the next line; nothing is cut.
    """
    width = max(width, 60)
    blocks = [_head(plan, width)]
    if plan["plugins"]:
        blocks += [_plugins(plan["plugins"], width), _events(plan["events"], width)]
    if plan["fits"]:
        blocks += [_sets(plan["fits"], width), _batches(plan["fits"], width)]
    if plan["memory"]:
        blocks.append(_memory(plan["memory"]))
    if plan["disk"]:
        blocks.append(_disk(plan["disk"], len(plan["fits"])))
    if plan["notes"]:
        blocks.append("\n".join(["NOTES", *plan["notes"]]))
    return "\n\n".join([*blocks, _problems(plan["problems"])])


def table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return rows of cells as lines with straight columns; the last column goes on below itself.

    Args:
        rows: The cells, heads first.
        width: Columns of the screen.
    """
    sizes = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    indent = sum(sizes) + 2 * len(sizes)
    lines = []
    for row in rows:
        start = "".join(f"{cell:<{size}}  " for cell, size in zip(row[:-1], sizes, strict=True))
        last = _wrap(row[-1], max(width - indent, 24)) or [""]
        lines += [f"{start}{last[0]}".rstrip(), *(" " * indent + rest for rest in last[1:])]
    return lines


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _head(plan: Mapping[str, Any], width: int) -> str:
    arrows = {True: " (higher is better)", False: " (lower is better)", None: ""}
    best, rest = plan["monitor"], [name for name in plan["metrics"] if name != plan["monitor"]]
    pairs = [
        ("plan of", plan["config"]),
        ("folder", plan["folder"]),
        *((path, f"{each['file']} #sha256={each['sha256']}") for path, each in plan["wheels"].items()),
        ("task", plan["told"].get("task") or plan["task"]),
        *((name, words) for name, words in plan["told"].items() if name != "task"),
        ("monitor", f"{best}{arrows[plan['metrics'].get(best)]}" if best else None),
        ("metrics", ", ".join(rest)),
        ("precision", plan["precision"]),
    ]
    return "\n".join(table([(name, str(value)) for name, value in pairs if value] or [("plan", "")], width))


def _plugins(plugins: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = [("PLUGIN", "FROM", "SCOPE", "MAY", "GIVES")]
    for each in plugins:
        place = " ".join(filter(None, (each["distribution"], each["version"])))
        rows.append((each["name"], place, each["scope"], ", ".join(each["may"]), _grouped(each["gives"])))
    words = {word for each in plugins for word in each["may"]}
    legend = "; ".join(f"{word}: {meaning}" for word, meaning in MEANINGS.items() if word in words)
    return "\n".join([*table(rows, width), *_wrap(legend and f"{legend}.", width)])


def _grouped(gives: Sequence[str]) -> str:
    """Return ["head binary", "metric f1", "metric auc"] as "head binary; metric f1, auc"."""
    kinds: dict[str, list[str]] = {}
    for each in gives:
        kind, _, name = each.partition(" ")
        kinds.setdefault(kind, []).append(name)
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items())


def _events(events: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = [("EVENT", "PLUGINS, IN CALL ORDER")]
    for each in events:
        calls = [call["plugin"] + (" (around the others)" if call["around"] else "") for call in each["calls"]]
        rows.append((each["event"], ", ".join(calls)))
    return "\n".join(table(rows, width))


def _sets(fits: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = [("FIT", "SEED", "SET", "ROWS", "LABELS")]
    chosen = shown(fits)
    for fit in chosen:
        name, seed = fit["name"], str(fit["seed"])
        for kind, each in fit["sets"].items():
            rows.append((name, seed, kind, f"{each['rows']:,}", _labels(each)))
            name = seed = ""
        rows += [("", "", "", "", words) for words in _about(fit)]
    left = len(fits) - len(chosen)
    lie = "1 more fit lies" if left == 1 else f"{left} more fits lie"
    more = [f"{lie} between these in size; --json has all {len(fits)}"] if left else []
    return "\n".join([*table(rows, width), *more])


def _about(fit: Mapping[str, Any]) -> list[str]:
    """Return what else to know of a fit, a line each."""
    after, start = ", ".join(fit["after"]), fit["starts_from"]
    own = after == start
    found = [fit["notice"], f"after {after}{', from its weights' if own else ''}" if after else ""]
    found.append(f"from the weights of {start}" if start and not own else "")
    found += [f"{name}: {show(value)}" for name, value in fit["overrides"].items()]
    found.append(f"filled later by {', '.join(fit['filled_by'])}" if fit["filled_by"] else "")
    found.append("auxiliary: it is in no combination" if fit["auxiliary"] else "")
    return [words for words in found if words]


def shown(fits: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the fits that are worth a line: all, or of many the first, the smallest and the largest."""
    if len(fits) <= MANY:
        return list(fits)
    sizes = [sum(each["rows"] for name, each in fit["sets"].items() if name == "train") for fit in fits]
    places = {0, sizes.index(min(sizes)), sizes.index(max(sizes))}
    return [fits[place] for place in sorted(places)]


def _labels(described: Mapping[str, Any]) -> str:
    """Return what is known of the labels of a set."""
    labels: Mapping[str, float] | None = described["labels"]
    if labels is None:
        return "predicted, not read" if described["roles"] == ["predict"] else "not known"
    numbers = [f"{number:,}" if isinstance(number, int) else f"{number:g}" for number in labels.values()]
    named = [f"{name}: {number}" for name, number in zip(labels, numbers, strict=True)]
    left = len(named) - CLASSES
    return ", ".join(named[:CLASSES]) + (f", and {left} more" if left > 0 else "")


def _batches(fits: Sequence[Mapping[str, Any]], width: int) -> str:
    rows = [("FIT", "UPDATES", "WARM-UP", "PADDING", "BATCHES OF AN EPOCH (ROWS X TOKENS)")]
    chosen = [fit for fit in shown(fits) if fit["shapes"]]
    for fit in chosen:
        shapes = ", ".join(f"{each['batches']} of {each['rows']} x {each['tokens']}" for each in fit["shapes"])
        updates = f"{fit['steps']:,}"
        if fit["steps"] == fit["epochs"] * fit["steps_per_epoch"]:
            updates += f" = {fit['epochs']} x {fit['steps_per_epoch']:,}"
        else:
            updates += f" of {fit['epochs'] * fit['steps_per_epoch']:,}"
        about = "" if fit["exact"] else "~"
        updates = f"at most {updates}" if fit["filled_by"] else about + updates
        rows.append((fit["name"], updates, f"{fit['warmup_steps']:,}", f"{about}{fit['padding']:.1%}", shapes))
    if not chosen:
        return "\n".join(_wrap("The batches are not known, because the data could not be prepared.", width))
    lines = table(rows, width)
    if not all(fit["exact"] for fit in chosen):
        lines += _wrap(f"~: estimated from the tokens that the rows have in {fits[0]['name']}.", width)
    if fits[0]["cut"]:
        cut = counted(fits[0]["cut"], "training row")
        be = "is" if fits[0]["cut"] == 1 else "are"
        lines += _wrap(f"{cut} of {fits[0]['name']} {be} longer than data.max_length.", width)
    return "\n".join(lines)


def _memory(memory: Mapping[str, Any]) -> str:
    batch = memory["largest_batch"]
    rows = [
        ("weights", memory["weights"], _parameters(memory)),
        ("optimizer", memory["optimizer"], f"{memory['optimizer'] / memory['parameters']:.1f} bytes a parameter"),
        ("gradients", memory["gradients"], ""),
        ("activations", memory["kept"], f"of the largest batch, {batch['rows']} x {batch['tokens']}"),
        ("update", memory["update"], "new weights and state, once the activations are gone"),
        ("best weights", memory["best"], "kept until the end"),
        ("first fit", memory["first"], "its weights and state, which stay while the other fits run"),
        ("peak", memory["peak"], "the most at one time"),
        ("process", memory["process"], "Python, libraries and rows, as of now"),
        ("buffers", memory["cache"], "at most, which MLX keeps for reuse"),
        ("machine", memory["machine"], ""),
    ]
    lines = [f"{name:<13}{_size(size):>9}  {meaning}".rstrip() for name, size, meaning in rows if size]
    return "\n".join(["MEMORY OF A FIT, AN ESTIMATE", *lines])


def _parameters(memory: Mapping[str, Any]) -> str:
    """Return how many parameters there are, and how many of them are trained where that is not all."""
    every, trained = memory["weights"] / 4, memory["parameters"]
    few = "" if trained == every else f", of which {trained / 1e6:.2f} M are trained"
    return f"{every / 1e6:.1f} M parameters{few}"


def _disk(disk: Mapping[str, Any], fits: int) -> str:
    rows = [
        ("model", disk["model"], "as it is exported" + (f", of each of {fits} fits" if fits > 1 else "")),
        ("checkpoint", disk["checkpoint"], "one that is whole, to go on from"),
        ("at most", disk["most"], "while it runs" + _from(disk["most_least"], disk["most"])),
        (
            "at the end",
            disk["end"],
            "the same weights lie once, where the file system has hard links" + _from(disk["end_least"], disk["end"]),
        ),
        ("free", disk["free"], "now"),
    ]
    said = (f"{name:<13}{_size(size):>9}  {meaning}" for name, size, meaning in rows if size is not None)
    return "\n".join(["DISK OF THE RUN, AN ESTIMATE", *said])


def _from(least: int, most: int) -> str:
    """Return from where a figure goes that depends on which evaluation turns out to be the best."""
    return f"; {_size(least)} if each evaluation is better than the one before" if most > 1.02 * least else ""


def _size(number: float) -> str:
    if number < 10e6:
        return f"{number / 1e6:.2f} MB"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def _problems(problems: Sequence[Mapping[str, Any]]) -> str:
    if not problems:
        return "No problem was found."
    said = []
    for each in problems:
        place = ":".join(str(part) for part in (each["file"], each["line"]) if part is not None)
        said.append(": ".join(part for part in (place, each["path"], each["message"]) if part))
    return "\n".join(["1 PROBLEM" if len(said) == 1 else f"{len(said)} PROBLEMS", *said])
