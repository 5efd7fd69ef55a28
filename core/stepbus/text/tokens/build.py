"""A tokenizer from its files as transformers 5 builds a fast one.

For BERT's own classes, transformers takes the vocabulary of tokenizer.json or vocab.txt and builds the rest anew from
tokenizer_config.json (`BertTokenizer.__init__`); for any other class it takes tokenizer.json as it is
(`TokenizersBackend.__init__`). Both then add the tokens that the remaining files name. The order of the steps below is
theirs, because it decides the ids of added tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from stepbus.base import ModelError
from stepbus.text.tokens.guard import (
    guarded,
    json_mapping,
    one_line,
    parse_tokenizer,
    try_tokenizer,
    without_panic_reports,
)
from stepbus.text.tokens.vocabulary import NAMED as NAMED
from stepbus.text.tokens.vocabulary import SETTINGS as SETTINGS
from stepbus.text.tokens.vocabulary import add_tokens, added_tokens, content_of

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

BERT_NAMED = {name: f"[{name[:3].upper()}]" for name in ("unk_token", "sep_token", "pad_token", "cls_token")}
BERT_NAMED["mask_token"] = "[MASK]"
BERT_INPUTS = ("input_ids", "token_type_ids", "attention_mask")
PLAIN_INPUTS = ("input_ids", "attention_mask")
# transformers' classes that are BERT's tokenizer under another name -> what they give to the model.
BERT_CLASSES = {
    **dict.fromkeys(("BertTokenizer", "ConvBertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer"), BERT_INPUTS),
    **dict.fromkeys(("LxmertTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer"), BERT_INPUTS),
    "DistilBertTokenizer": PLAIN_INPUTS,
}
AS_IT_IS = ("PreTrainedTokenizerFast", "TokenizersBackend")
# transformers' own mark of "no limit" is 1e30; everything above 1e20 counts as that.
NO_LIMIT = 10**20


@frozen(eq=False)
class FolderTokenizer:
    """A tokenizer with what the folder says about its use.

    Args:
        tokenizer: The Rust tokenizer, without padding and truncation.
        pad_id: Id of the padding token.
        types: Whether the model is given token types.
        cut_left: Whether too long texts lose their beginning, in place of their end.
        pad_left: Whether the folder wants rows padded at their beginning.
        longest: Tokens that a row may have, or None where the folder sets no limit.
        probes: A text and a pair, encoded, that show the special tokens around them.
        notes: What a user should know about the folder, a sentence each.
    """

    tokenizer: Tokenizer
    pad_id: int
    types: bool
    cut_left: bool
    pad_left: bool
    longest: int | None
    probes: tuple[Encoding, Encoding]
    notes: list[str] = field(factory=list)


def load_tokenizer(files: Mapping[str, bytes], place: str = "", vocabulary: str = "tokenizer.json") -> FolderTokenizer:
    """Build the tokenizer that transformers builds from the same files, tried on a text and a pair.

    Args:
        files: Contents of the tokenizer's files by name, as `tokenizer_files` returns them.
        place: What stands before a file's name in messages: the folder and a slash.
        vocabulary: The file that the folder keeps its vocabulary in, for messages.

    Raises:
        ModelError: A file cannot be understood, or says what the tokenizers library cannot do.
    """
    source = place + vocabulary
    saved, settings = json_mapping(files, "tokenizer.json", place), json_mapping(files, SETTINGS, place)
    as_written = parse_tokenizer(files["tokenizer.json"], source)
    with guarded(source, "be built"), without_panic_reports(), _named_in(place):
        return _built(files, saved, settings, as_written, vocabulary)


@contextmanager
def _named_in(place: str) -> Iterator[None]:
    """Say of a refusal, which begins with a file's name, in which folder that is."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{place}{one_line(str(error))}") from None


def _built(
    files: Mapping[str, bytes], saved: Mapping[str, Any], settings: dict[str, Any], as_written: Tokenizer, source: str
) -> FolderTokenizer:
    kind, notes = class_of(settings), list[str]()
    _refuse_unknown(settings)
    added = added_tokens(files, settings, saved)
    if is_bert(kind):
        inputs = BERT_CLASSES.get(kind or "", BERT_INPUTS)
        settings = {**BERT_NAMED, **settings}
        tokenizer = _bert(saved, settings, source)
    else:
        inputs, tokenizer = PLAIN_INPUTS, as_written
    add_tokens(tokenizer, added, settings)
    if is_bert(kind):
        _frame(tokenizer, settings)
    elif tokenizer.post_processor is None:
        from tokenizers import processors

        tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = settings.get("split_special_tokens") is True
    probes = try_tokenizer(tokenizer, source)
    if is_bert(kind):
        notes += _differences(saved, as_written, tokenizer, probes)
    pad_left = _side(settings, saved, "padding") == "left"
    if pad_left:
        notes.append(
            "the tokenizer pads on the left, which would move every token to a place that depends on its batch: rows "
            "are padded on the right, and the export says so"
        )
    pad = settings.get("pad_token")
    pad_id = None if pad is None else tokenizer.token_to_id(content_of(pad))
    return FolderTokenizer(
        tokenizer,
        0 if pad_id is None else pad_id,
        "token_type_ids" in (settings.get("model_input_names") or inputs),
        _side(settings, saved, "truncation") == "left",
        pad_left,
        _longest(settings),
        probes,
        notes,
    )


def is_bert(kind: str | None) -> bool:
    """Return whether a class is BERT's tokenizer; a folder that names none has it too."""
    return kind is None or kind in BERT_CLASSES


def class_of(settings: Mapping[str, Any]) -> str | None:
    """Return transformers' class of the tokenizer, in its present spelling."""
    named = settings.get("tokenizer_class")
    if not isinstance(named, str):
        return None
    return named if named in AS_IT_IS else named.removesuffix("Fast")


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Refuse what transformers refuses as well, or what only its slow tokenizers did."""
    if "add_special_tokens" in settings:
        raise ModelError(
            f"{SETTINGS}: add_special_tokens: expected no such setting, which transformers does not open either, got "
            f"{settings['add_special_tokens']!r}; take it out"
        )
    for name in ("do_lower_case", "tokenize_chinese_chars"):
        if name in settings and not isinstance(settings[name], bool):
            raise ModelError(f"{SETTINGS}: {name}: expected true or false, got {settings[name]!r}")
    if not isinstance(settings.get("strip_accents"), bool | None):
        raise ModelError(f"{SETTINGS}: strip_accents: expected true, false or null, got {settings['strip_accents']!r}")
    names = settings.get("model_input_names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ModelError(f"{SETTINGS}: model_input_names: expected a list of names, got {names!r}")


def _bert(saved: Mapping[str, Any], settings: Mapping[str, Any], source: str) -> Tokenizer:
    """Return BERT's WordPiece tokenizer (Devlin et al. 2018) over a vocabulary, as `BertTokenizer` builds it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    vocabulary = saved["model"]["vocab"]
    for name in ("unk_token", "cls_token", "sep_token"):
        if settings[name] is None:
            raise ModelError(f"{SETTINGS}: {name}: expected a token, got null")
    unknown = content_of(settings["unk_token"])
    if unknown not in vocabulary:
        raise ModelError(f"{source}: expected the token {unknown}, got a vocabulary without it")
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        strip_accents=settings.get("strip_accents"),
        lowercase=settings.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _frame(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Put the special tokens of BERT around a text, and between two."""
    from tokenizers import processors

    start, end = content_of(settings["cls_token"]), content_of(settings["sep_token"])
    if "" in (start, end):
        raise ModelError(f"{SETTINGS}: cls_token, sep_token: expected tokens, got an empty text")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[f"{start}:0", "$A:0", f"{end}:0"],
        pair=[f"{start}:0", "$A:0", f"{end}:0", "$B:1", f"{end}:1"],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((start, end))],
    )


def _differences(
    saved: Mapping[str, Any], as_written: Tokenizer, built: Tokenizer, probes: tuple[Encoding, Encoding]
) -> list[str]:
    """Return a sentence about the parts of a tokenizer.json that BERT's classes do not read, where they differ."""
    if saved.get("pre_tokenizer") is None and saved.get("normalizer") is None:
        return []  # a bare vocabulary
    now, then = _parts(built), _parts(as_written)
    changed = [
        f"{part}.{key} is {now[part].get(key)!r}, not {one_line(repr(value), 60)}"
        for part, settings in then.items()
        for key, value in settings.items()
        if now[part].get(key) != value
    ]
    if saved.get("post_processor") is not None and not _frames_alike(as_written, built, probes):
        changed.append("the special tokens around texts, and the types, are BERT's, not those of post_processor")
    if not changed:
        return []
    return [
        "tokenizer_config.json and BERT's defaults overrule tokenizer.json, as in transformers: "
        f"{', '.join(changed)}; tokenizer_class: PreTrainedTokenizerFast in tokenizer_config.json takes it as it is"
    ]


def _frames_alike(as_written: Tokenizer, built: Tokenizer, probes: tuple[Encoding, Encoding]) -> bool:
    """Return whether a tokenizer's post-processor, which may be unusable, does the same as that of another."""
    as_written.normalizer, as_written.pre_tokenizer = built.normalizer, built.pre_tokenizer
    try:
        return [_around(probe) for probe in try_tokenizer(as_written, "")] == [_around(probe) for probe in probes]
    except ModelError:
        return False


def _around(probe: Encoding) -> list[tuple[int, int, int | None]]:
    """Return id and type of each special token of a probe, and the type of each run of its texts' own tokens."""
    found: list[tuple[int, int, int | None]] = []
    for number, kind, text in zip(probe.ids, probe.type_ids, probe.sequence_ids, strict=True):
        entry = (number if text is None else -1, kind, text)
        if text is None or entry not in found[-1:]:
            found.append(entry)
    return found


def _parts(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Return normalizer and pre-tokenizer as their JSON says them, and what splits a word."""
    parts = {"normalizer": tokenizer.normalizer, "pre_tokenizer": tokenizer.pre_tokenizer}
    found = {name: {} if part is None else json.loads(part.__getstate__()) for name, part in parts.items()}
    names = ("continuing_subword_prefix", "max_input_chars_per_word", "unk_token")
    return found | {"model": {name: getattr(tokenizer.model, name) for name in names}}


def _side(settings: Mapping[str, Any], saved: Mapping[str, Any], what: str) -> str:
    """Return left or right: what tokenizer_config.json says, else tokenizer.json.

    Raises:
        ModelError: It is neither.
    """
    side = settings.get(f"{what}_side")
    if side is None:
        side = str((saved.get(what) or {}).get("direction", "right")).lower()
    if side not in ("left", "right"):
        raise ModelError(f"{SETTINGS}: {what}_side: expected left or right, got {side!r}")
    return str(side)


def _longest(settings: Mapping[str, Any]) -> int | None:
    """Return the limit of a row's length, None for the very large numbers that stand for no limit."""
    limit = settings.get("model_max_length", settings.get("max_len"))
    return int(limit) if isinstance(limit, int | float) and 0 < limit < NO_LIMIT else None
