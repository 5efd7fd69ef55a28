"""What was found, as a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepbus.base import counted, listed, show_python
from stepbus.compute.watching.findings import Finding, Found

# Rows that are named; of more, how many there are.
NAMED = 6
GENTLER = "try a lower optimizer.learning_rate, a longer warm-up or gradient_clipping"
ADVICE = {
    "batch": "mend or leave out these rows",
    "loss": "look at the labels of these rows, and at what the loss divides by or takes the logarithm of",
    "gradient": f"look for what has no finite slope there, such as a root at 0 or a division, or {GENTLER}",
    "changed_gradient": "look at what changes the gradients",
    "update": f"look at what the optimizer divides by or takes the root of, or {GENTLER}",
    "average": "look at what averages the weights",
    "state": f"look at what the optimizer divides by or takes the root of, or {GENTLER}",
}


def in_words(found: Found, rows: Sequence[Any], batch: Sequence[Any], name: str) -> str:
    """Return a sentence without its full stop.

    Args:
        found: What was found.
        rows: What names the rows that are not finite.
        batch: What names all rows of the update.
        name: The set that they are of.
    """
    drawn = f"; the batch: {rows_in_words(batch)} of {name}" if found.window else ""
    if found.finding is None:
        return f"computed again, uncompiled, everything is finite in it{_why_not(found)}{drawn}"
    finding = found.finding
    where = place(finding, found.wrappers or "a plugin")
    first = f"the first numbers that are not finite are in {where}: {amount(finding)}"
    if finding.later:
        first += f", and then {finding.later}"
    if found.overflow:
        first += ", by the scale of the loss: without it the gradient is finite"
    if finding.earlier:
        first += f" ({finding.earlier} before, which may be meant, as in a mask, or the cause)"
    if found.ahead and finding.kind != "batch":
        first += f" (computed again with the weights of {counted(found.ahead, 'update')} later)"
    if rows and drawn and sorted(map(repr, rows)) == sorted(map(repr, batch)):
        return f"{first}; not finite: all of the batch: {rows_in_words(batch)} of {name}"
    of = f"; not finite: {rows_in_words(rows)}" if rows else ""
    return f"{first}{of}{drawn}"


def place(finding: Finding, wrappers: str = "a plugin") -> str:
    """Return what the array is and where it stands.

    Args:
        finding: The array.
        wrappers: Who asks for several computations of a batch.
    """
    name, layer = finding.name, f" ({finding.layer})" if finding.layer else ""
    module, of = name or "the model", f" ({', '.join(filter(None, (finding.module, finding.layer)))})"
    by = f", as {finding.by} gives it" if finding.by else ""
    if finding.kind == "loss" and not finding.by:
        by = ", while every module gives finite numbers"
    said = {
        "batch": f"the array {name!r} of the batch",
        "weight": f"the weight {name}{layer}{by or ' before the step'}",
        "input": f"what {module} is given{of}",
        "activation": f"what {module} gives in the forward pass{of}",
        "loss": f"the losses of the rows{by}",
        "gradient": f"the gradient of {name}{layer}{by}, while the loss is finite",
        "changed_gradient": f"the gradient of {name}{layer}{by}, while it was finite before",
        "state": f"what the optimizer keeps of {name}{layer} as {finding.by!r}, while its gradient is finite",
        "update": f"the new value of {name}{layer} that the optimizer gives, while its gradient is finite",
        "average": f"the average of {name}{layer} that counts in its place, while the weight itself is finite",
    }[finding.kind or "batch"]
    if finding.call > 1:
        said += f", when the batch is computed for the {_ordinal(finding.call)} time, as {wrappers} asks for it"
    return said


def advice(found: Found) -> str:
    """Return what to try, by where it began."""
    finding = found.finding
    kind = "" if finding is None else finding.kind
    if finding is not None and kind in ("input", "activation", "loss") and finding.suspect in ("batch", "weight"):
        mend = _advice(found, finding.suspect)
        return f"where the infinities before it are no mask, {mend}; else {_advice(found, kind)}"
    return _advice(found, kind)


def _advice(found: Found, kind: str) -> str:
    finding = found.finding
    if kind == "weight" and found.step == 1:
        return "the weights came so: begin with others"
    if kind == "weight" and found.debug:
        return "no update left them so, as each was looked at: look at what changes weights between two updates"
    if kind == "weight":
        return f"an update before it left them so: environment.debug: true stops at that one; {GENTLER}"
    if kind in ("input", "activation") and finding is not None and finding.array.startswith("float16"):
        return "float16 ends at 65504: set training.precision to bfloat16 or float32"
    return ADVICE.get(kind, GENTLER if found.step > 1 else "look for broken inputs, targets or weights")


def amount(finding: Finding) -> str:
    """Return how much of an array is not finite: "3 NaN of 464 numbers, float32 [29, 16]"."""
    parts = [f"{number:,} {word}" for number, word in ((finding.nan, "NaN"), (finding.infinite, "infinite")) if number]
    return f"{' and '.join(parts)} of {counted(finding.size, 'number')}, {finding.array}"


def rows_in_words(rows: Sequence[Any]) -> str:
    """Return what names rows, a few of them: "rows 3, 7 and 12"."""
    if not rows:
        return "no row, padding alone"
    shown = [each if isinstance(each, str) else show_python(each) for each in rows[:NAMED]]
    if len(rows) > NAMED:
        return f"rows {', '.join(shown)} and {len(rows) - NAMED} more"
    return f"{'row' if len(rows) == 1 else 'rows'} {listed(shown)}"


def _why_not(found: Found) -> str:
    if found.raised:
        return f" up to where it raised {found.raised}"
    if found.ahead:
        later = counted(found.ahead, "update")
        return f", with the weights of {later} later: training.pipeline_depth: 0 computes it with its own"
    return ", so it hangs on the compiled step: environment.debug: true trains without it"


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
