"""The files that a model folder's tokenizer is kept in: what they are, and what an export needs of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from stepbus.base import ModelError
from stepbus.storage import verify_folder
from stepbus.text.tokens.build import AS_IT_IS, BERT_CLASSES, BERT_NAMED, class_of, is_bert, load_tokenizer
from stepbus.text.tokens.guard import guarded, json_mapping, read_files, without_panic_reports
from stepbus.text.tokens.vocabulary import NAMED, SETTINGS

# What a Hugging Face folder may hold about its tokenizer; export copies what is there.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """Return what an exported model needs to be tokenized again, by file name.

    Args:
        folder: A Hugging Face model folder with a tokenizer.json, or with a vocab.txt of WordPiece.

    Returns:
        File names and contents; always with a tokenizer.json, made from vocab.txt where the folder has none, and with
        a tokenizer_config.json that says in the folder's place what its config.json says of the tokenizer.

    Raises:
        ModelError: The folder has neither, is not what stepbus wrote, or its tokenizer is none that the tokenizers
            library has.
    """
    ours = verify_folder(folder)
    files = read_files(folder, tuple(name for name in TOKENIZER_FILES if ours is None or name in ours))
    if "tokenizer.json" not in files and "vocab.txt" not in files:
        raise ModelError(f"{folder}: expected a tokenizer.json or a vocab.txt, got neither")
    place = f"{folder}/"
    settings, before = json_mapping(files, SETTINGS, place), json_mapping(files, SETTINGS, place)
    for name in ("special_tokens_map.json", "added_tokens.json"):
        json_mapping(files, name, place)
    if settings.get("tokenizer_class") is None and (named := _class_in_config(folder)) is not None:
        settings["tokenizer_class"] = named
    kind, model = class_of(settings), json_mapping(files, "tokenizer.json", place).get("model")
    if "tokenizer.json" not in files and kind is not None and kind not in BERT_CLASSES:
        raise ModelError(
            f"{folder}: tokenizer_class: expected BertTokenizer for a vocab.txt without a tokenizer.json, got "
            f"{settings['tokenizer_class']!r}, which splits words in another way; save the tokenizer with "
            "transformers' save_pretrained, which writes a tokenizer.json if it can"
        )
    if isinstance(model, dict) and model.get("type", "WordPiece") != "WordPiece" and is_bert(kind):
        settings["tokenizer_class"] = AS_IT_IS[0]  # BERT's classes would read its vocabulary as WordPiece
    for name in NAMED:
        if isinstance(settings.get(name), dict):
            settings[name] = {**settings[name], "__type": "AddedToken"}  # transformers 5 reads no other mapping
    if settings != before:
        files[SETTINGS] = json.dumps(settings, indent=2).encode()
    if "tokenizer.json" not in files:
        files["tokenizer.json"] = _from_vocabulary(folder / "vocab.txt", files)
    return files


def padded_right(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return a tokenizer's files with padding on the right, which is how its model was trained here."""
    settings = {**json_mapping(files, SETTINGS), "padding_side": "right"}
    return {**files, SETTINGS: json.dumps(settings, indent=2).encode()}


def vocabulary_rows(folder: Path) -> int:
    """Return the rows that an embedding table needs for every token of a folder's tokenizer.

    Args:
        folder: A folder with a tokenizer.

    Raises:
        ModelError: It has none that can be used.

    Example:
        >>> vocabulary_rows(Path("tokenizer"))
        21
    """
    tokenizer = load_tokenizer(tokenizer_files(folder), f"{folder}/").tokenizer
    return 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def _class_in_config(folder: Path) -> str | None:
    """Return the tokenizer's class that a folder's config.json names."""
    config = json_mapping(read_files(folder, ("config.json",)), "config.json", f"{folder}/")
    named = config.get("tokenizer_class")
    if named is None and config.get("model_type") == "distilbert":
        return "DistilBertTokenizer"
    return named if isinstance(named, str) else None


def _from_vocabulary(path: Path, files: Mapping[str, bytes]) -> bytes:
    """Return the tokenizer.json that transformers would write for a vocab.txt and the files beside it."""
    from tokenizers import Tokenizer, models

    with guarded(str(path), "be read"), without_panic_reports():
        # Lines end at line feeds; white space at their ends goes, and of two equal lines the later counts.
        words = models.WordPiece.read_file(str(path))
    vocabulary = dict(sorted(words.items(), key=lambda item: item[1]))

    def with_vocabulary(tokenizer: Tokenizer) -> bytes:
        # Put in by hand: the library complains on the standard output of ids that no token has.
        document = json.loads(tokenizer.to_str())
        document["model"]["vocab"] = vocabulary
        return json.dumps(document, ensure_ascii=False).encode()

    bare = Tokenizer(models.WordPiece({}, unk_token=BERT_NAMED["unk_token"]))
    whole = load_tokenizer({**files, "tokenizer.json": with_vocabulary(bare)}, f"{path.parent}/", path.name).tokenizer
    whole.model = models.WordPiece({}, unk_token=whole.model.unk_token)
    return with_vocabulary(whole)
