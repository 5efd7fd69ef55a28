"""The keys that Hugging Face's encoders share in config.json: what each may hold, checked before anything is built."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from stepbus.base import ModelError

MOST_LAYERS = 1_000  # as many as were ever trained (DeepNet, arXiv 2203.00555)
MOST = 2**31 - 1  # the largest index of a token, a place or a feature
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")

Rule = tuple[Callable[[Any], bool], str]


def _whole(low: int, high: int) -> Rule:
    bounds = f"at least {low}" if high == MOST else f"{low:,} to {high:,}"
    words = f"a whole number of {bounds}" if high == MOST else f"a whole number from {bounds}"
    return lambda value: type(value) is int and low <= value <= high, words


def _number(fits: Callable[[float], bool], expected: str) -> Rule:
    def check(value: Any) -> bool:
        return is_number(value) and fits(value)

    return check, f"a number {expected}"


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number that a float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _target(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    numbers = [value.get("mean", 0.0), value.get("sd", 1.0)]
    return all(map(is_number, numbers)) and numbers[1] > 0 and isinstance(value.get("transform"), str | None)


def _mapping_of(kind: type | Any) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())

    return check


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_DROPOUT = _number(lambda p: 0 <= p < 1, "from 0 to below 1")
RULES: dict[str, Rule] = {
    "vocab_size": _whole(1, MOST),
    "hidden_size": _whole(1, MOST),
    "num_hidden_layers": _whole(1, MOST_LAYERS),
    "num_attention_heads": _whole(1, MOST),
    "intermediate_size": _whole(1, MOST),
    "max_position_embeddings": _whole(1, MOST),
    "type_vocab_size": _whole(1, MOST),
    "pad_token_id": _whole(0, MOST),
    "hidden_dropout_prob": _DROPOUT,
    "attention_probs_dropout_prob": _DROPOUT,
    "classifier_dropout": _DROPOUT,
    # Smaller ones are 0 in 32 bits, and larger ones drown what they are added to.
    "layer_norm_eps": _number(lambda eps: 1e-30 <= eps <= 0.1, "from 1e-30 to 0.1"),
    "initializer_range": _number(lambda spread: 0 < spread <= 1, "above 0 and at most 1"),
    "hidden_act": (lambda value: isinstance(value, str), "the name of an activation"),
    "model_type": (lambda value: isinstance(value, str), "the name of an architecture"),
    "id2label": (_mapping_of(str | int), "a mapping of numbers to names"),
    "label2id": (_mapping_of(int), "a mapping of names to numbers"),
    "architectures": (_is_list_of_text, "a list of names"),
    "problem_type": (lambda value: value in PROBLEM_TYPES, f"one of {', '.join(PROBLEM_TYPES)}"),
    "stepbus_target": (_target, "a mapping with the numbers mean and sd, sd above 0, and the text transform"),
}


def check_keys(config: Mapping[str, Any], source: str, required: Collection[str] = ()) -> None:
    """Refuse a config.json that holds what no model can be made of; null is a key's default.

    Args:
        config: Its content; keys that are not known here may hold anything.
        source: Where it was written: a file, or the section `model`.
        required: Keys that must be there.

    Raises:
        ModelError: A key is missing or holds another kind of value.

    Example:
        >>> check_keys({"hidden_size": 384}, "config.json", required=["hidden_size"])  # nothing to say
        >>> check_keys({"hidden_act": 5}, "model")
        Traceback (most recent call last):
        stepbus.base.errors.ModelError: model.hidden_act: expected the name of an activation, got 5; set another value
    """
    for name, (fits, expected) in RULES.items():
        value = config.get(name)
        if value is None and name not in required:
            continue
        if not fits(value):
            raise wrong_key(source, name, expected, value)
    pad, words = config.get("pad_token_id"), config.get("vocab_size")
    if pad is not None and words is not None and pad >= words:
        raise wrong_key(source, "pad_token_id", f"an entry of the {words:,} in the vocabulary", pad)


def wrong_key(source: str, name: str, expected: str, got: Any) -> ModelError:
    """Return the refusal of a key.

    Args:
        source: Where it was written: a file, or the section `model`.
        name: The key.
        expected: What it should be.
        got: What it is.

    Example:
        >>> str(wrong_key("model", "num_layers", "an even number", 3))
        'model.num_layers: expected an even number, got 3; set another value'
    """
    if type(got) is int and got > MOST and expected.startswith("a whole number of at least"):
        expected += f" and at most {MOST:,}"
    if isinstance(got, int) and not isinstance(got, bool) and abs(got) >= 10**30:
        shown = f"a number of {math.floor(math.log10(abs(got))) + 1:,} digits"
    else:
        shown = repr(got) if len(repr(got)) <= 80 else f"{repr(got)[:60]}…"
    if source == "model":
        return ModelError(f"model.{name}: expected {expected}, got {shown}; set another value")
    return ModelError(f"{source}: {name}: expected {expected}, got {shown}; pick another model or mend the file")
