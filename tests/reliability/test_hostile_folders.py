"""What a model folder, a configuration or a command line may hold: each hostile case is answered by one sentence."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from stepbus.api.opening import open_trainer
from stepbus.api.writing.prediction_files import write_predictions
from stepbus.base import reading
from stepbus.base.errors import BadInput, ConfigError, DataError, ModelError, PluginError
from stepbus.base.paths import unusable
from stepbus.base.problems import Problem
from stepbus.base.quoting import without_secrets
from stepbus.cli.main import main
from stepbus.compute.folders import find_folder, read_config
from stepbus.config.discovery.plugins import import_module
from stepbus.config.layers import read_layers
from stepbus.config.load import load_config
from stepbus.fit import members
from stepbus.plan.memory import check_room, file_shapes
from stepbus.run.folders import find_run, read_run
from stepbus.storage.durable import from_json, to_json
from stepbus.text.rows.readers import read_table
from stepbus.text.tokens.encode import TextTokenizer, tokenizer_files
from stepbus.text.tokens.guard import without_panic_reports
from stepbus_plugins.bert import BertConfig, model_config
from stepbus_plugins.bert.checked import check_config, parameters, with_defaults
from stepbus_plugins.history import read_records

Make = Callable[..., dict[str, Any]]

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 11,
    "hidden_size": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
DEEP = "[" * 100_000 + "]" * 100_000
LONG = "n" * 300


def weights(config: dict[str, Any] = CONFIG) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor of an encoder, zero, by its name in the files."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(config["num_hidden_layers"]):
        here = f"encoder.layer.{layer}"
        square = {f"{here}.attention.{part}": (width, width) for part in ("self.query", "self.key", "self.value")}
        square |= {f"{here}.attention.output.dense": (width, width)}
        square |= {f"{here}.intermediate.dense": (inner, width), f"{here}.output.dense": (width, inner)}
        for name, shape in square.items():
            shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
        for name in (f"{here}.attention.output", f"{here}.output"):
            shapes |= {f"{name}.LayerNorm.weight": (width,), f"{name}.LayerNorm.bias": (width,)}
    return {f"bert.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder without a fault."""
    path = tmp_path / "m"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]))
    save_file(weights(), path / "model.safetensors")
    return path


def described(folder: Path) -> dict[str, Any]:
    """The config.json as a model from this folder takes it."""
    return model_config(BertConfig(pretrained=str(folder), pooling=None, head=None))


def with_key(name: str, text: str) -> str:
    """The text of config.json with one value written as it stands."""
    return json.dumps({**CONFIG, name: "HERE"}).replace('"HERE"', text)


# 1. config.json

ABSURD = [
    *[(name, text) for name in SIZES for text in ("-1", "0", "4.0", '"4"', "true", "null", "[4]", "{}", "3000000000")],
    *[(name, text) for name in ("max_position_embeddings", "type_vocab_size") for text in ("0", "2.0", '"2"', "true")],
    *[(name, text) for name in DROPOUTS for text in ("-0.1", "1", "1.5", '"0.1"', "true", "[0.1]")],
    *[("layer_norm_eps", text) for text in ("0", "-1e-12", "1e-300", "1", '"1e-12"', "false", "{}")],
    *[("initializer_range", text) for text in ("0", "-0.02", "2", '"x"', "true")],
    *[("pad_token_id", text) for text in ("-1", "11", "0.0", '"0"', "true")],
    *[("num_hidden_layers", text) for text in ("1001", "1000000000")],
    *[("id2label", text) for text in ("[]", '"x"', "3", '{"0": ["a"]}')],
    *[("label2id", text) for text in ("[]", '"x"', '{"a": "0"}')],
    *[("architectures", text) for text in ('"Bert"', "{}", "[3]")],
    *[("problem_type", text) for text in ("3", '"other"', "[]")],
    *[("stepbus_target", t) for t in ("[]", '{"mean": "1"}', '{"sd": 0}', '{"sd": -1}', '{"transform": 3}')],
    *[("hidden_act", text) for text in ('"swish"', "3", "[]", "true")],
    *[("model_type", text) for text in ('"gpt2"', "3", "[]")],
    ("num_attention_heads", "3"),
    ("position_embedding_type", '"relative_key"'),
    ("is_decoder", "true"),
    ("add_cross_attention", '"yes"'),
]


@pytest.mark.parametrize(("name", "text"), ABSURD, ids=[f"{name}={text}" for name, text in ABSURD])
def test_an_absurd_key_is_named_with_what_was_expected_and_what_came(folder: Path, name: str, text: str) -> None:
    (folder / "config.json").write_text(with_key(name, text))
    with pytest.raises(ModelError) as caught:
        described(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'config.json'}: {name}: expected ")
    assert f", got {json.loads(text)!r}; " in message
    assert "\n" not in message


NO_NUMBERS = [(name, text) for name in ("hidden_size", "layer_norm_eps") for text in ("NaN", "-Infinity", "1e999")]
NO_NUMBERS += [(name, "1" + "0" * n) for name in ("hidden_size", "hidden_dropout_prob") for n in (400, 5000)]


@pytest.mark.parametrize(("name", "text"), NO_NUMBERS, ids=[f"{name}={text[:9]}" for name, text in NO_NUMBERS])
def test_a_number_that_no_machine_has_is_no_json(folder: Path, name: str, text: str) -> None:
    (folder / "config.json").write_text(with_key(name, text))
    with pytest.raises(ModelError, match=r"config\.json: expected a readable JSON file: expected (strict|numbers)"):
        described(folder)


@pytest.mark.parametrize("name", [*DROPOUTS, "layer_norm_eps", "initializer_range", "pad_token_id", "hidden_act"])
def test_null_means_the_default(folder: Path, name: str) -> None:
    (folder / "config.json").write_text(with_key(name, "null"))
    found = described(folder)
    expected = {"classifier_dropout": None, "pad_token_id": None}.get(name, with_defaults({}).get(name))
    assert found[name] == expected


def test_a_folder_without_a_fault_is_taken(folder: Path) -> None:
    assert described(folder) == CONFIG
    count = sum(array.size for array in weights().values())
    assert parameters(with_defaults(CONFIG)) == count


APART = [
    ({"num_hidden_layers": 3}, r"'encoder\.layer\.2\.attention\.self\.query\.weight' is missing"),
    ({"num_hidden_layers": 1000}, r"'encoder\.layer\.2\.attention\.self\.query\.weight' is missing"),
    ({"vocab_size": 2**31 - 1}, r"word_embeddings\.weight': expected shape \(2147483647, 4\), got \(11, 4\)"),
    ({"hidden_size": 10**9}, r"word_embeddings\.weight': expected shape \(11, 1000000000\)"),
    ({"intermediate_size": 10**9}, r"layer\.0\.intermediate\.dense\.weight': expected shape \(1000000000, 4\)"),
    ({"max_position_embeddings": 10**9}, r"position_embeddings\.weight': expected shape \(1000000000, 4\)"),
    ({"type_vocab_size": 3}, r"token_type_embeddings\.weight': expected shape \(3, 4\), got \(2, 4\)"),
]


@pytest.mark.parametrize(("change", "words"), APART)
def test_a_config_that_the_weights_do_not_fit_is_refused_by_their_heads(
    folder: Path, change: dict[str, int], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepbus.compute.folders.read_safetensors", lambda path: pytest.fail("the weights were read"))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(ModelError, match=words):
        described(folder)


SCRATCH = [
    ("hidden_size", 10**9),
    ("num_hidden_layers", 10**9),
    ("vocab_size", 2 * 10**9),
    ("intermediate_size", 10**9),
    ("max_position_embeddings", 2 * 10**9),
    ("vocab_size", 10**200),
]


@pytest.mark.parametrize(("name", "size"), SCRATCH)
def test_a_model_from_scratch_beyond_the_memory_is_refused_with_its_line(
    tiny_config: Make, tmp_path: Path, name: str, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tiny_config(model={"hidden_size": 1024, "intermediate_size": 2048, name: size})
    text = json.dumps(tree, indent=1)
    (tmp_path / "run.json").write_text(text)
    line = next(n for n, row in enumerate(text.splitlines(), 1) if f'"{name}":' in row)
    assert main(["train", str(tmp_path / "run.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"stepbus: {tmp_path / 'run.json'}:{line}: model.{name}: expected ")
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("written", ["1e9", "1.5", ".inf", ".nan", "-1", "0", "true", "[1]", "1" + "0" * 400])
def test_a_size_that_is_no_whole_number_is_refused_with_its_line(tmp_path: Path, written: str) -> None:
    (tmp_path / "run.yaml").write_text(f"model:\n  hidden_size: {written}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "run.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'run.yaml'}:2: model.hidden_size: expected ")


def test_what_fits_into_memory_is_weighed_at_four_bytes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbus.device.backend.describe_machine", lambda: {"memory": 4_000})
    check_room(1_000, "model.size")
    with pytest.raises(ModelError, match=r"model\.size: expected a model that fits into .* got one of 1e\+03"):
        check_room(1_001, "model.size")


@pytest.mark.parametrize("name", ["initializer_range", "hidden_dropout_prob", "classifier_dropout"])
def test_python_gets_the_same_sentence(name: str) -> None:
    with pytest.raises(ModelError, match=f"^model.{name}: expected a number"):
        check_config({**CONFIG, name: float("nan")}, "model")


# 2. tokenizers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad"]
SPECIAL = {"id": 0, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
SEQUENCE_A, SEQUENCE_B = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
CLS, SEP = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [CLS, SEQUENCE_A, SEP],
    "pair": [CLS, SEQUENCE_A, SEP, SEQUENCE_B, SEP],
    "special_tokens": {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")},
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [{**SPECIAL, "id": place, "content": word} for place, word in enumerate(WORDS[:5])],
    "normalizer": None,
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": TEMPLATE,
    "decoder": None,
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": {word: place for place, word in enumerate(WORDS)},
    },
}


def regex(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def model(**changes: Any) -> dict[str, Any]:
    return {"model": {**TOKENIZER["model"], **changes}}


def vocabulary(**ids: int) -> dict[str, Any]:
    return model(vocab={**TOKENIZER["model"]["vocab"], **ids})


def charsmap(text: str) -> dict[str, Any]:
    return {"normalizer": {"type": "Precompiled", "precompiled_charsmap": text}}


# Changes of a good tokenizer.json; those marked with a star panic in the Rust library.
PANICS: list[dict[str, Any]] = [
    charsmap(""),  # *
    charsmap("AAAA"),  # *
    charsmap("/////w=="),  # *
    charsmap("CAAAAAAAAAD/////YQBi"),  # * at the first text
    {"pre_tokenizer": {"type": "FixedLength", "length": 0}},  # *
    {"post_processor": {**TEMPLATE, "special_tokens": {}}},  # *
    {"post_processor": {**TEMPLATE, "single": [SEQUENCE_B]}},  # *
    {"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}, SEQUENCE_A]}},  # *
    {"post_processor": {**TEMPLATE, "single": []}},
    {"post_processor": {**TEMPLATE, "single": [SEQUENCE_A, SEP, SEQUENCE_A]}},
    {"post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 300}}, SEQUENCE_A]}},
    {"post_processor": {**TEMPLATE, "single": [{"Sequence": {"id": "A", "type_id": 2**32 - 1}}]}},
    {"post_processor": {**TEMPLATE, "pair": [SEQUENCE_A, {"Sequence": {"id": "B", "type_id": 256}}]}},
    {"post_processor": {"type": "BertProcessing", "sep": ["x", 2**32 - 1], "cls": ["y", 99]}},
    vocabulary(a=-1),
    vocabulary(a=2**32),
    model(vocab={}),
    model(vocab=[]),
    {"model": None},
    {"model": {"type": "Unigram", "vocab": [], "unk_id": None}},
    {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 7}},
    {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}},
    {"added_tokens": [{**SPECIAL, "id": -5, "content": "[PAD]"}]},
    {"pre_tokenizer": regex("(")},
    {"pre_tokenizer": regex("a{99999999}")},
    {"decoder": {"type": "CTC"}},
    {"normalizer": {"type": "Nothing"}},
]


def tokenizer_folder(path: Path, change: dict[str, Any], kind: str = "PreTrainedTokenizerFast") -> Path:
    """A folder with a tokenizer.json, which this class takes as it is; BERT's own take its vocabulary only."""
    path.mkdir(exist_ok=True)
    (path / "tokenizer.json").write_text(json.dumps({**TOKENIZER, **change}))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    return path


def opened(folder: Path) -> TextTokenizer:
    return TextTokenizer(tokenizer_files(folder), 16, folder)


@pytest.mark.parametrize("change", PANICS, ids=[f"{place}-{next(iter(each))}" for place, each in enumerate(PANICS)])
def test_a_tokenizer_that_the_library_cannot_use(
    tmp_path: Path, change: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tokenizer_folder(tmp_path / "t", change)
    with pytest.raises(ModelError) as caught:
        opened(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / 'tokenizer.json'}: expected a tokenizer of the tokenizers library, got one")
    assert "\n" not in message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("change", PANICS, ids=[f"{place}-{next(iter(each))}" for place, each in enumerate(PANICS)])
def test_what_berts_classes_do_not_read_harms_nothing(
    tmp_path: Path, change: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tokenizer_folder(tmp_path / "t", change, "BertTokenizer")
    try:
        tokens = opened(folder).encode(["good", "a"], ["a", "b"])
    except ModelError as error:
        assert str(error).startswith(f"{folder / 'tokenizer.json'}: expected ")
        assert "\n" not in str(error)
    else:
        assert next(iter(change)) in ("normalizer", "pre_tokenizer", "post_processor")
        assert tokens.ids.tolist() == [2, 6, 3, 5, 3, 2, 5, 3, 1, 3]
    assert capfd.readouterr().err == ""


AT_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"pre_tokenizer": regex("(a+)+$")}, "retry-limit-in-match"),  # *
    ({"pre_tokenizer": regex("((a+)+)+$")}, "retry-limit-in-match"),  # *
    ({"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "a"}}, "retry-limit-in-match"),  # *
    (model(unk_token="[NO]"), "Missing"),
    ({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": None}}, "unk_id"),
    ({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "zz"}}, "Missing"),
    (vocabulary(good=2**31), "expected token ids of at most 2,147,483,647"),
    (vocabulary(good=2**32 - 1), "expected token ids of at most 2,147,483,647"),
]


@pytest.mark.parametrize(("change", "words"), AT_ROWS[:4])
def test_a_tokenizer_whose_class_does_not_read_what_would_fail_at_a_row(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    tokenizer = opened(tokenizer_folder(tmp_path / "t", change, "BertTokenizer"))
    assert tokenizer.encode(["a good " + "a" * 40 + "b"]).ids.tolist() == [2, 5, 6, 1, 3]


@pytest.mark.parametrize(("change", "words"), AT_ROWS)
def test_a_tokenizer_that_fails_at_a_row(
    tmp_path: Path, change: dict[str, Any], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    tokenizer = opened(tokenizer_folder(tmp_path / "t", change))
    with pytest.raises(ModelError) as caught:
        tokenizer.encode(["a", "a good zzz é " + "a" * 40 + "b"])
    assert str(caught.value).startswith(f"{tmp_path / 't' / 'tokenizer.json'}: expected ")
    assert words in str(caught.value)
    assert capfd.readouterr().err == ""


def test_what_others_write_meanwhile_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with without_panic_reports(), without_panic_reports():
        os.write(2, b"from elsewhere\n")
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "from elsewhere\nafterwards\n"


def test_threads_give_the_standard_error_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = opened(tokenizer_folder(tmp_path / "t", {}))
    with ThreadPoolExecutor(8) as pool:
        lengths = [len(tokens) for tokens in pool.map(tokenizer.encode, [["good", "a"]] * 200)]
    assert lengths == [2] * 200
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


PAIRS: list[list[dict[str, Any]]] = [[], [SEQUENCE_A], [SEQUENCE_B], [SEQUENCE_B, SEQUENCE_A]]
PAIRS += [[SEQUENCE_A, SEQUENCE_B, SEQUENCE_A], [SEQUENCE_A, SEP, SEQUENCE_B, SEQUENCE_B]]


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_a_pair_needs_a_place_for_each_of_its_texts(tmp_path: Path, pair: list[dict[str, Any]]) -> None:
    tokenizer = opened(tokenizer_folder(tmp_path / "t", {"post_processor": {**TEMPLATE, "pair": pair}}))
    assert tokenizer.encode(["a"]).ids.tolist() == [2, 5, 3]
    with pytest.raises(ModelError, match="both texts of a pair"):
        tokenizer.encode(["a"], ["a"])


def test_fields_that_are_not_used_may_say_anything(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 0, "strategy": "OnlySecond", "stride": 5}
    pad = {"strategy": {"Fixed": 10**12}, "direction": "Right", "pad_to_multiple_of": 0}
    pad |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "x"}
    tokenizer = opened(tokenizer_folder(tmp_path / "t", {"truncation": cut, "padding": pad}))
    assert tokenizer.encode(["good"]).ids.tolist() == [2, 6, 3]


def test_an_interrupt_is_no_fault_of_the_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stepbus.text.tokens.guard.check_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(tokenizer_folder(tmp_path / "t", {}))


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def replaced(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def circle(path: Path) -> None:
    path.symlink_to(path)


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "fifo": (fifo, "expected a file, got a special file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "expected a file, got a special file"),
    "folder": (Path.mkdir, "expected a file, got a folder"),
    "sparse": (sparse, "expected a file of at most"),
    "circle": (circle, "the file cannot be read: Too many levels of symbolic links"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "the file cannot be read: No such file"),
}
JSON_TEXTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "expected a readable JSON file"),
    "latin-1": ('{"a": "é"}'.encode("latin-1"), "expected a JSON file in UTF-8, got the byte 0xe9"),
    "utf-16": ("{}".encode("utf-16"), "expected a JSON file in UTF-8, got the byte 0xff"),
    "deep": (DEEP.encode(), "nested too deeply"),
    "deep mapping": (b'{"a":' * 100_000, "nested too deeply"),
    "list": (b"[]", "expected a mapping, got list"),
    "null": (b"null", "expected a mapping, got NoneType"),
    "twice": (b'{"a": 1, "a": 2}', "expected each key once, got 'a' again"),
    "nan": (b'{"a": NaN}', "expected strict JSON, got NaN"),
    "10**400": (b'{"a": 1' + b"0" * 400 + b"}", "expected numbers of at most 308 digits, got one of 401"),
    "10**5000": (b'{"a": 1' + b"0" * 5000 + b"}", "expected numbers of at most 308 digits, got one of 5,001"),
    "1e999": (b'{"a": 1e999}', "expected numbers that fit into 64 bits, got 1e999"),
    "half a character": (rb'{"a": "\ud800"}', "got half of a character (the surrogate U+D800)"),
    "half as key": (rb'{"\uDFFF": 1}', "got half of a character (the surrogate U+DFFF)"),
}
SIDE_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*SIDE_FILES[:1], "tokenizer.json", "vocab.txt"])
def test_what_is_no_plain_file_of_a_sane_size(tokenizer_folder: Path, name: str, kind: str) -> None:
    make, words = KINDS[kind]
    (tokenizer_folder / name).unlink(missing_ok=True)
    make(tokenizer_folder / name)
    with pytest.raises(ModelError) as caught:
        opened(tokenizer_folder)
    assert str(caught.value).startswith(f"{tokenizer_folder / name}: {words}")


@pytest.mark.parametrize("kind", JSON_TEXTS)
@pytest.mark.parametrize("name", SIDE_FILES)
def test_a_file_beside_the_tokenizer_that_is_no_json_mapping(tokenizer_folder: Path, name: str, kind: str) -> None:
    content, words = JSON_TEXTS[kind]
    (tokenizer_folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        opened(tokenizer_folder)
    message = str(caught.value)
    assert message.startswith(f"{tokenizer_folder / name}:")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("value", ["3", "true", "[]", "{}", '{"content": 3}', '{"content": null}', "1.5"])
@pytest.mark.parametrize("name", ["pad_token", "cls_token"])
def test_a_special_token_that_is_no_text(tokenizer_folder: Path, name: str, value: str) -> None:
    (tokenizer_folder / "tokenizer_config.json").write_text(f'{{"{name}": {value}}}')
    with pytest.raises(ModelError) as caught:
        opened(tokenizer_folder)
    place = f"{tokenizer_folder / 'tokenizer_config.json'}: {name}: "
    as_token, got = "expected a token as text or as a mapping with its content", json.loads(value)
    words = as_token
    if isinstance(got, dict) and "content" in got:
        words, got = "content: expected str", got["content"]
    assert str(caught.value) == f"{place}{words}, got {got!r}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_config.json", {"unk_token": "a\nb\x1b[31m"}),
        ("tokenizer_config.json", {"unk_token": "long" * 10_000}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1\r2": {"content": "a"}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"a\nb": True}}}),
        ("added_tokens.json", {"a\n\u202eb": "x"}),
        ("special_tokens_map.json", {"additional_special_tokens": [{"content": "a", "b\n": 1}]}),
    ],
)
def test_what_a_sentence_quotes_breaks_no_line(tokenizer_folder: Path, name: str, value: dict[str, Any]) -> None:
    (tokenizer_folder / name).write_text(json.dumps(value))
    with pytest.raises(ModelError) as caught:
        opened(tokenizer_folder)
    assert str(caught.value).startswith(f"{tokenizer_folder}/")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("content", [b"", "[PAD]\n[UNK]\n[CLS]\n[SEP]\né".encode("latin-1"), b"\xff\xfe", b"a\nb"])
def test_a_vocabulary_that_is_no_utf_8_or_lacks_what_bert_needs(tokenizer_folder: Path, content: bytes) -> None:
    (tokenizer_folder / "vocab.txt").write_bytes(content)
    with pytest.raises(ModelError, match=r"vocab\.txt: expected"):
        opened(tokenizer_folder)


@pytest.mark.parametrize("content", [b"", b"\xff", DEEP.encode(), b"[]", b"{}", b"null", "{}".encode("utf-16")])
def test_a_tokenizer_json_that_is_none(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    expected = (
        "a tokenizer of the tokenizers library" if content == b"{}" else "a (readable JSON file|JSON file|mapping)"
    )
    with pytest.raises(ModelError, match=rf"/tokenizer\.json(:1)?: expected {expected}"):
        opened(tmp_path)
    assert capfd.readouterr().err == ""


def test_links_to_plain_files_are_read(tmp_path: Path, tokenizer_folder: Path) -> None:
    (tmp_path / "linked").mkdir()
    for file in tokenizer_folder.iterdir():
        (tmp_path / "linked" / file.name).symlink_to(file)
    assert opened(tmp_path / "linked").encode(["good"]).ids.tolist() == [2, 5, 3]


# 3. JSON wherever it is read


@pytest.mark.parametrize("kind", JSON_TEXTS)
def test_a_config_json_that_is_no_json_mapping(folder: Path, kind: str) -> None:
    content, words = JSON_TEXTS[kind]
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_config(folder)
    assert str(caught.value).startswith(f"{folder / 'config.json'}:")
    assert words in str(caught.value)


def test_a_byte_order_mark_is_no_fault(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(CONFIG).encode())
    assert read_config(folder) == CONFIG


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_json_or_listing_that_is_no_plain_file(folder: Path, kind: str) -> None:
    make, words = KINDS[kind]
    make(folder / "modules.json")
    with pytest.raises(ModelError) as caught:
        find_folder(str(folder))
    assert str(caught.value).startswith(f"{folder / 'modules.json'}: {words}")


@pytest.mark.parametrize("path", ["a\0b", LONG, "..", "/etc", "x/" * 5000])
def test_a_listing_that_leads_nowhere(folder: Path, path: str) -> None:
    (folder / "modules.json").write_text(json.dumps([{"path": path, "type": "x.Transformer"}]))
    with pytest.raises(ModelError, match=r"modules\.json: "):
        find_folder(str(folder))


INDEXES = [DEEP, "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "x\\u0000y"}}']
INDEXES += [json.dumps({"weight_map": {"a": LONG}}), "", "NaN"]


@pytest.mark.parametrize("text", INDEXES, ids=range(len(INDEXES)))
def test_an_index_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ModelError, match=r"index\.json: expected"):
        file_shapes(folder)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "1" + "0" * 400, "[1e999]", "1" + "0" * 5000, "[NaN]"])
def test_what_stepbus_wrote_is_read_as_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected (JSON of a sane depth|numbers|strict JSON)"):
        from_json(text)


def test_what_could_not_be_read_again_is_not_written() -> None:
    assert from_json(to_json(10**307)) == 10**307
    with pytest.raises(ValueError, match=r"a\[0\]: expected a number of at most 308 digits"):
        to_json({"a": [-(10**308)]})


@pytest.mark.parametrize("text", [DEEP, "[]", "{}", '{"id": 3, "facts": {}}', '{"id": "x", "facts": []}', "7", '"x"'])
def test_a_run_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BadInput, match=r"run\.json: expected what a run is"):
        read_run(tmp_path)


DESCRIPTIONS = [DEEP, "[]", "{}", "7", '{"config": [], "encoder": {}}', '{"config": {"model": 3}, "encoder": {}}']
DESCRIPTIONS += [r'{"config": {"model": {"a": "\ud800"}}, "encoder": {}}', '{"config": 1' + "0" * 400 + "}", "NaN"]


@pytest.mark.parametrize("text", DESCRIPTIONS, ids=range(len(DESCRIPTIONS)))
def test_a_model_description_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stepbus.json").write_text(text)
    with pytest.raises(ModelError, match=r"stepbus\.json: expected how the model was made"):
        open_trainer(tmp_path)


@pytest.mark.parametrize("line", [DEEP, '{"a":' * 100_000])
def test_a_history_that_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "history.jsonl").write_text(f"{line}\n")
    with pytest.raises(Exception, match=r"history\.jsonl:1: expected a JSON object"):
        read_records(tmp_path / "history.jsonl")


ROWS = [
    DEEP,
    '{"a": 1' + "0" * 400 + "}",
    '{"a": 1' + "0" * 5000 + "}",
    '{"a": 1e999}',
    r'{"a": "\ud800"}',
    '{"a":' * 9,
]


@pytest.mark.parametrize("line", ROWS, ids=range(len(ROWS)))
def test_a_row_that_is_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": 1.5}\n' + line + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: expected a JSON object on one line, got "):
        read_table(str(tmp_path / "rows.jsonl"), load_config({}).data.settings)


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "x: " + "[" * 100_000, "- " * 100_000])
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_configuration_that_is_too_deep(tmp_path: Path, text: str, ending: str) -> None:
    path = tmp_path / f"run.{ending}"
    path.write_text(text)
    with pytest.raises(ConfigError, match=f"run.{ending}:.*expected at most 20 levels"):
        load_config(path)


def test_a_size_is_looked_up_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unread(io.FileIO):
        def readall(self) -> bytes:
            pytest.fail("it was read")

    monkeypatch.setattr(reading.os, "fdopen", lambda descriptor, *_, **__: Unread(descriptor))
    sparse(tmp_path / "large.json")
    with pytest.raises(
        ModelError, match=r"large\.json: expected a file of at most 16,777,216 bytes, got 1,073,741,824"
    ):
        reading.read_json(tmp_path / "large.json", ModelError)


# 4. paths


def bad_paths(tmp_path: Path) -> dict[str, tuple[str, str]]:
    """Texts that are no paths, and what is said of them."""
    (tmp_path / "file").write_text("x")
    circle(tmp_path / "circle")
    return {
        "empty": ("", "it is empty"),
        "nul": ("./a\0b.csv", "it holds a NUL character"),
        "name": (f"./{LONG}.csv", "a name in it is longer than 255 bytes"),
        "bytes": (f"./{'é' * 130}.csv", "a name in it is longer than 255 bytes"),
        "long": ("./" + "x/" * 4000 + "a.csv", "it is longer than the system allows"),
        "through a file": (str(tmp_path / "file" / "a.csv"), "it leads through a file as if that were a folder"),
        "circle": (str(tmp_path / "circle" / "a.csv"), "its links go round in a circle"),
        "user": ("~nobody-of-this-name/a.csv", "there is no user 'nobody-of-this-name'"),
        "half": ("./\ud800.csv", "it holds a character that no file's name here can hold"),
    }


PATHS = ("empty", "nul", "name", "bytes", "long", "through a file", "circle", "user", "half")
SETTINGS = ("data.train", "data.test", "data.cache", "model.pretrained", "model.tokenizer", "environment.output_dir")


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("setting", [*SETTINGS, "data.validation"])
def test_a_setting_that_is_no_path(tmp_path: Path, setting: str, kind: str) -> None:
    text, words = bad_paths(tmp_path)[kind]
    section, _, name = setting.partition(".")
    with pytest.raises(ConfigError) as caught:
        load_config({section: {name: text}})
    message = str(caught.value)
    assert setting in message
    if kind != "half":  # which no configuration may hold in any text
        assert message.startswith(f"{setting}: expected a path, got ")
        assert f": {words}" in message
    assert len(message) < 400
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["nul", "name", "through a file", "circle", "user"])
@pytest.mark.parametrize("text", ["extends: {}", "hooks: {}", "hooks: [os, {}]", "plugins: {{mine: {{use: {}}}}}"])
def test_a_file_named_in_a_configuration_that_is_no_path(tmp_path: Path, text: str, kind: str) -> None:
    place, words = bad_paths(tmp_path)[kind]
    place = place.replace(".csv", ".py:X" if "use" in text else ".py" if "hooks" in text else ".yaml")
    (tmp_path / "run.yaml").write_text("training: {seed: 1}\n" + text.format(json.dumps(place)))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "run.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'run.yaml'}:2: {text.partition(':')[0]}")
    assert words in str(caught.value)


SETTINGS_OF_DATA = SimpleNamespace(train=None, validation=None, test=None)
TRAINER = SimpleNamespace(
    config=SimpleNamespace(data=SimpleNamespace(settings=SETTINGS_OF_DATA)),
    predict_rows=lambda rows: pytest.fail("rows were predicted"),
    predicted_rows=lambda: (None, "rows.csv"),
)
CALLS: dict[str, tuple[Callable[[str], Any], type[BadInput]]] = {
    "load_config": (load_config, ConfigError),
    "read_layers": (lambda text: read_layers(Path(text), []), ConfigError),
    "open_trainer": (open_trainer, ModelError),
    "find_folder": (find_folder, ModelError),
    "read_table": (lambda text: read_table(text, load_config({}).data.settings), DataError),
    "find_run": (lambda text: find_run(text, Path("runs")), BadInput),
    "import_module": (lambda text: import_module(text.replace(".csv", ".py")), PluginError),
    "write_predictions": (lambda text: write_predictions(TRAINER, None, text), BadInput),  # type: ignore[arg-type]
}


# An empty name is no file in these places, but a name like any other.
NAMES = ("load_config", "read_layers", "import_module")


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in CALLS for k in PATHS if k != "empty" or n not in NAMES])
def test_an_argument_in_python_that_is_no_path(tmp_path: Path, name: str, kind: str) -> None:
    call, error = CALLS[name]
    text, words = bad_paths(tmp_path)[kind]
    with pytest.raises(error) as caught:
        call(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


COMMANDS = [
    *(["train", "{}"], ["plan", "{}"], ["config", "show", "{}"], ["config", "schema", "{}"]),
    *(["evaluate", "{}", "x.csv"], ["predict", "{}", "x.csv"], ["plugins", "list", "--config", "{}"]),
    ["plugins", "new", "mine", "--output", "{}"],
    ["train", "quick_test", "--resume", "{}"],
    *(["train", "quick_test", "--output", "{}"], ["plan", "quick_test", "--set", "data.train={}"]),
    *(["train", "quick_test", "--set", "model.pretrained={}"], ["config", "show", "production", "--set=data.test={}"]),
]


@pytest.mark.parametrize("kind", ["name", "through a file", "circle", "user"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_argument_of_a_command_that_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = bad_paths(tmp_path)[kind]
    before = sorted(tmp_path.iterdir())
    code = main([word.format(text) for word in command])
    said = "".join(capsys.readouterr())
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before


def test_an_empty_output_is_not_no_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "quick_test", "--output", ""]) == 2
    said = capsys.readouterr().err
    assert "--output: expected a folder, got '': it is empty; name one, or leave --output out" in said
    assert "environment" not in said and "--set" not in said


def test_a_folder_that_may_not_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert unusable("secret/x.csv") == "expected a path, got 'secret/x.csv': there is no permission to look there"


def test_good_paths_are_good(tmp_path: Path) -> None:
    (tmp_path / "ü ~x").mkdir()
    for text in (str(tmp_path / "ü ~x"), "nowhere/yet", "~", "sklearn:iris", "package:json", "https://x/y", "n" * 255):
        assert unusable(text) is None


def test_a_refusal_of_the_system_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/secret/file")

    monkeypatch.setattr("stepbus.cli.commands.info.info", refuse)
    assert main(["info"]) == 2
    assert capsys.readouterr().err == "stepbus: /secret/file: the system says: Permission denied\n"


# 5. passwords in URLs

URLS = {
    "https://user:secret@host/x": "https://***@host/x",
    "sqlite://user:secret@host": "sqlite://***@host",
    "see 'https://u:secret@h/x', and http://secret@c.": "see 'https://***@h/x', and http://***@c.",
    "https:/user:secret@host/x": "https:/***@host/x",
    "postgresql+psycopg://u:secret@h:5432/db?x=1": "postgresql+psycopg://***@h:5432/db?x=1",
    "https://u:sec/re@t@host/p": "https://***@host/p",
    "https://:secret@host": "https://***@host",
    "https://h/x?access_token=secret&b=1": "https://h/x?access_token=***&b=1",
    "https://h/x?b=1&password=secret": "https://h/x?b=1&password=***",
    "git+https://github.com/x/y@main": "git+https://github.com/x/y@main",
    "https://host:8080/x@v1": "https://host:8080/x@v1",
    "someone@example.org": "someone@example.org",
    "./file.py:/x@y": "./file.py:/x@y",
}


@pytest.mark.parametrize("text", URLS)
def test_a_url_in_a_sentence_has_no_password(text: str) -> None:
    assert without_secrets(text) == URLS[text]
    assert without_secrets(URLS[text]) == URLS[text]
    for error in (ModelError(text), ConfigError([Problem("data.train", text)]), ConfigError([Problem("", "x", text)])):
        assert URLS[text] in str(error)
        assert "secret" not in str(error)


@pytest.mark.parametrize("setting", ["data.train", "model.pretrained", "model.tokenizer", "data.nonsense", "nonsense"])
def test_a_url_typed_as_a_setting_is_told_without_its_password(
    setting: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("train", "plan"):
        assert main([command, "quick_test", "--set", f"{setting}=https://user:secret@host/x.csv"]) == 2
        said = "".join(capsys.readouterr())
        assert "secret" not in said
    assert main(["train", "https://user:secret@host/x.yaml"]) == 2
    assert "https://***@host/x.yaml" in capsys.readouterr().err.replace(":/***", "://***").replace(":///", "://")
    for options in ([], ["--json"]):
        assert main(["plan", "https://user:secret@host/x.yaml", *options]) == 2
        assert "secret" not in "".join(capsys.readouterr())
    with pytest.raises(SystemExit):
        main(["plan", "x.yaml", "https://user:secret@host"])
    assert "secret" not in capsys.readouterr().err


def test_what_is_stored_has_no_password_and_another_password_is_no_difference() -> None:
    trees = [{"data": {"train": f"https://user:{word}@host/x.csv"}} for word in ("secret", "other")]
    first, second = map(load_config, trees)
    assert first.data.settings.train == "https://user:secret@host/x.csv"
    assert "secret" not in json.dumps([first.resolved(), first.deciding()])
    assert first.resolved()["data"]["train"] == "https://***@host/x.csv"
    assert first.digest() == second.digest()


def test_the_digest_of_settings_tells_nothing_of_a_password() -> None:
    @frozen
    class Settings:
        server: str

    first, second = (members._settings_digest(Settings(f"https://user:{word}@host")) for word in ("secret", "other"))
    assert first == second
    assert first != members._settings_digest(Settings("https://user:secret@elsewhere"))


REPORTER = """
from attrs import define
from stepbus import hookimpl, setting

class Reporter:
    scope = "run"

    @define(frozen=True, kw_only=True)
    class Config:
        server: str = setting(meaning="where to")

    def __init__(self, config):
        self.config = config

    @hookimpl
    def on_run_start(self, run):
        assert self.config.server.startswith("https://user:")
        run.message(f"reporting to {self.config.server}")
"""


def test_a_run_leaves_no_password_and_resumes_with_another(
    tiny_config: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reporter.py").write_text(REPORTER)

    def train(password: str, epochs: int, *options: str) -> int:
        reporter = {"use": "./reporter.py:Reporter", "server": f"https://user:{password}@host/x"}
        tree = tiny_config(plugins={"progress": {}, "reporter": reporter}, training={"num_epochs": epochs})
        (tmp_path / "run.json").write_text(json.dumps(tree))
        return main(["train", str(tmp_path / "run.json"), *options])

    assert train("secret", 1) == 0
    assert "reporting to https://***@host/x" in capfd.readouterr().out
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"config.yaml", "run.json", "stepbus.json", "manifest.json"} <= {path.name for path in files}
    assert [path for path in files if b"secret" in path.read_bytes()] == []
    assert any(b"https://***@host/x" in path.read_bytes() for path in files)
    assert train("another", 1, "--resume") == 0
    assert "server" not in capfd.readouterr().err


def test_a_traceback_has_no_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("cannot connect to https://user:secret@host/x")

    monkeypatch.setattr("stepbus.cli.commands.info.info", fail)
    assert main(["info"]) == 1
    error = capsys.readouterr().err
    assert "RuntimeError: cannot connect to https://***@host/x" in error
    assert "secret" not in error


# 6. terminals

SPOKEN = [
    *(["hooks"], ["hooks", "on_step_end"], ["hooks", "--markdown"], ["plugins", "list"], ["config", "presets"]),
    *(["plugins", "show", "early_stopping"], ["config", "schema"], ["config", "show", "quick_test"], ["--help"]),
    ["info"],
]


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", **options.pop("env", {})}
    command = [sys.executable, "-m", "stepbus.cli", *words]
    return subprocess.run(command, env=environment, text=True, check=False, **options)


@pytest.mark.parametrize("words", SPOKEN, ids=" ".join)
def test_a_terminal_that_knows_ascii_only(words: list[str]) -> None:
    ran = run(*words, capture_output=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.isascii()
    assert ran.stdout
    if words == ["config", "schema"]:
        assert json.loads(ran.stdout)["title"]


def test_the_locale_c_of_old() -> None:
    old = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    ran = run("hooks", capture_output=True, env=old)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u2026" in ran.stdout


def test_a_plan_and_its_json_on_a_terminal_that_knows_ascii_only(tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config(data={"text": "tëxt→😀"})
    (tmp_path / "run.json").write_text(json.dumps(tree))
    ran = run("plan", str(tmp_path / "run.json"), "--json", capture_output=True)
    assert ran.returncode == 2
    assert "tëxt→😀" in json.loads(ran.stdout)["problems"][0]["message"]
    ran = run("plan", str(tmp_path / "run.json"), capture_output=True)
    assert (ran.returncode, ran.stderr) == (2, "")


@pytest.mark.parametrize("words", [["hooks"], ["plugins", "list"], ["info"]], ids=" ".join)
@pytest.mark.parametrize("end", ["closed", "gone", "full"])
def test_a_standard_output_that_takes_nothing(words: list[str], end: str) -> None:
    command = " ".join([sys.executable, "-m", "stepbus.cli", *words])
    line = {"closed": f"{command} >&-", "gone": f"{command} | true", "full": f"{command} > /dev/full"}[end]
    # What is buffered fails only at the end.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=environment)
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr
    assert ran.returncode == (1 if end == "full" else 0)
    assert ("No space left on device" in ran.stderr) == (end == "full")


def test_closed_streams_are_not_given_to_the_next_file(tmp_path: Path) -> None:
    code = (
        f"from stepbus.base import terminal; terminal.prepare(); print(open({str(tmp_path / 'x')!r}, 'w').fileno() > 2)"
    )
    line = f'{sys.executable} -c "{code}" <&- 2>&-'
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert ran.stdout == "True\n"


# Mutations of what is good: whatever comes of them, it is an answer or one sentence.

ODD = [None, True, 0, -1, 7, 2**31, 2**32 - 1, 2**63, 10**20, 10**400, -0.5, 1e308, 5e-324, float("nan"), float("inf")]
ODD += ["", "x", "\0", "\ud800", LONG, "~x/y", "https://u:secret@h", [], {}, [1], [[]], {"a": 1}, ["a", "b"], [0, "a"]]
ODD += ["A", "[CLS]", "BPE", "Unigram", "Sequence", "Replace", "Right", "./x.py:Y"]
SETTINGS_TREE = {
    "model": {"type": "bert", "pretrained": "x", "hidden_size": 8, "pooling": {"type": "cls"}, "head": "binary"},
    "data": {"type": "text", "train": "a.csv", "validation": 0.1, "label": ["a"], "text": "t", "cache": "c"},
    "training": {"seed": 1, "metrics": ["f1"], "num_epochs": 2},
    "environment": {"output_dir": "runs"},
    "plugins": {"early_stopping": {"patience": 2}},
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in ((*path, key), *places(item, (*path, key)))]


@st.composite
def mutations(draw: st.DrawFn, good: dict[str, Any]) -> dict[str, Any]:
    tree = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from(places(tree) or [("x",)]))
        inside: Any = tree
        for key in above:
            inside = inside[key]
        if draw(st.integers(0, 4)) or not isinstance(inside, dict):
            inside[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        else:
            inside.pop(last, None)
    return tree


mutated = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def answered(call: Callable[[], Any]) -> None:
    """Hold an answer, or a refusal, against what each must be."""
    try:
        assert call() is not None
    except BadInput as error:
        assert str(error)
        assert "secret" not in str(error)


def named(folder: Path, call: Callable[[], Any]) -> None:
    """Hold an answer, or a refusal that names a file of the folder, against what each must be."""
    try:
        assert call() is not None
    except ModelError as error:
        assert str(error).startswith(f"{folder}/")
        assert "\n" not in str(error)


@mutated
@given(tree=mutations(CONFIG))
def test_mutations_of_a_config_json(folder: Path, tree: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(tree))
    answered(lambda: described(folder))


@mutated
@given(change=mutations(TOKENIZER))
def test_mutations_of_a_tokenizer_json(tmp_path: Path, change: dict[str, Any]) -> None:
    for kind in ("PreTrainedTokenizerFast", "BertTokenizer"):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
        (tmp_path / "tokenizer.json").write_text(json.dumps(change))
        named(tmp_path, lambda: opened(tmp_path).encode(["a good bad", ""]))


TOKEN = {"content": "[NEW]", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
TOKENIZER_SETTINGS: dict[str, Any] = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    "strip_accents": None,
    "model_max_length": 512,
    "padding_side": "right",
    "truncation_side": "left",
    "model_input_names": ["input_ids", "token_type_ids"],
    "cls_token": "[CLS]",
    "mask_token": {**TOKEN, "content": "[MASK]"},
    "extra_special_tokens": ["[ONE]"],
    "image_token": "[IMAGE]",
    "added_tokens_decoder": {"8": {**TOKEN, "special": True}},
}


@mutated
@given(tree=mutations(TOKENIZER_SETTINGS), older=mutations({"cls_token": TOKEN, "extra_special_tokens": ["[TWO]"]}))
def test_mutations_of_the_files_beside_a_tokenizer(tmp_path: Path, tree: dict[str, Any], older: dict[str, Any]) -> None:
    tokenizer_folder(tmp_path, {})
    for settings_tree in (tree, {**tree, "added_tokens_decoder": None}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings_tree))
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(older))
        named(tmp_path, lambda: opened(tmp_path).encode(["a good [NEW] bad", ""], ["", "[TWO]"]))


@mutated
@given(tree=mutations(SETTINGS_TREE))
def test_mutations_of_a_configuration(tmp_path: Path, tree: dict[str, Any]) -> None:
    (tmp_path / "run.json").write_text(json.dumps(tree))
    answered(lambda: load_config(tmp_path / "run.json"))
    answered(lambda: load_config(tree))
