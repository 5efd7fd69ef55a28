"""What was found, as a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus.compute.watching.findings import Finding, Found
from stepbus.compute.watching.words import advice, in_words, rows_in_words


def finding(kind: Any, name: str = "head.weight", **more: Any) -> Finding:
    return Finding(kind, name, "float32 [2, 3]", 1, 2, 6, **more)


def found(each: Finding | None, step: int = 4, **more: Any) -> Found:
    return Found(step, ["a batch"], each, **more)


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (finding("batch", "x"), "the array 'x' of the batch"),
        (finding("weight", layer="layer 1 of 2"), "the weight head.weight (layer 1 of 2) before the step"),
        (finding("input", "head", module="Linear"), "what head is given (Linear)"),
        (
            finding("activation", "", module="Net", layer="layer 1 of 2"),
            "what the model gives in the forward pass (Net, layer 1 of 2)",
        ),
        (finding("loss", ""), "the losses of the rows, while every module gives finite numbers"),
        (finding("loss", "", by="rdrop: wrap_loss"), "the losses of the rows, as rdrop: wrap_loss gives it"),
        (finding("gradient"), "the gradient of head.weight, while the loss is finite"),
        (
            finding("changed_gradient", by="clip: transform_gradients"),
            "the gradient of head.weight, as clip: transform_gradients gives it, while it was finite before",
        ),
        (
            finding("update"),
            "the new value of head.weight that the optimizer gives, while its gradient is finite",
        ),
        (
            finding("gradient", call=2),
            "the gradient of head.weight, while the loss is finite, when the batch is computed for the second time, as "
            "a plugin asks for it",
        ),
    ],
)
def test_each_place_has_its_words(each: Finding, words: str) -> None:
    assert in_words(found(each), ["a"], ["a", "b"], "train") == (
        f"the first numbers that are not finite are in {words}: 1 NaN and 2 infinite of 6 numbers, float32 [2, 3]; "
        "not finite: row a; the batch: rows a and b of train"
    )


def test_nothing_found_is_said_and_why_that_may_be() -> None:
    assert in_words(found(None), [], [7], "train") == (
        "computed again, uncompiled, everything is finite in it, so it hangs on the compiled step: environment.debug: "
        "true trains without it; the batch: row 7 of train"
    )
    later = in_words(found(None, ahead=1), [], [7], "train")
    assert "with the weights of 1 update later: training.pipeline_depth: 0 computes it with its own" in later
    assert "up to where it raised KeyError: 'x'" in in_words(found(None, raised="KeyError: 'x'"), [], [7], "train")


def test_with_later_weights_that_is_said_where_it_matters() -> None:
    assert "(computed again with the weights of 2 updates later)" in in_words(
        found(finding("activation"), ahead=2), [], [1], "train"
    )
    assert "later" not in in_words(found(finding("batch"), ahead=2), [], [1], "train")


def test_without_a_batch_none_is_named() -> None:
    assert in_words(Found(4, [], finding("update")), [], [], "train").endswith("of 6 numbers, float32 [2, 3]")


def test_many_rows_are_a_few_and_a_number() -> None:
    assert rows_in_words([]) == "no row, padding alone"
    assert rows_in_words(list("abcdef")) == "rows a, b, c, d, e and f"
    assert rows_in_words([*range(8)]) == "rows 0, 1, 2, 3, 4, 5 and 2 more"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (found(finding("batch")), "mend or leave out these rows"),
        (found(finding("weight"), step=1), "the weights came so: begin with others"),
        (found(finding("weight")), "environment.debug: true stops at that one"),
        (found(Finding("activation", "a", "float16 [3]", 0, 1, 3)), "training.precision to bfloat16 or float32"),
        (found(finding("activation"), step=1), "look for broken inputs"),
        (found(finding("weight"), debug=True), "no update left them so, as each was looked at"),
        (
            found(finding("activation", suspect="batch")),
            "where the infinities before it are no mask, mend or leave out",
        ),
        (found(finding("activation", suspect="weight")), "no mask, an update before it left them so"),
        (found(finding("activation", suspect="input")), "try a lower optimizer.learning_rate"),
        (found(finding("state")), "look at what the optimizer divides by"),
        (found(finding("average")), "look at what averages the weights"),
        (found(finding("gradient")), "a lower optimizer.learning_rate"),
        (found(None), "a lower optimizer.learning_rate"),
    ],
)
def test_what_to_try_goes_by_where_it_began(given: Found, words: str) -> None:
    assert words in advice(given)
