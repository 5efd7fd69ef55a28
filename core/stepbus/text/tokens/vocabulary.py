"""The tokens that a tokenizer's files add to its vocabulary, as transformers reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError
from stepbus.text.tokens.guard import json_mapping

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

SETTINGS = "tokenizer_config.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def read_token(value: Any, place: str, **more: bool) -> AddedToken | str:
    """Return a token of a file: text, or a mapping with its content and how it is found in a text."""
    from tokenizers import AddedToken

    if isinstance(value, AddedToken):
        return value
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if key != "__type"} | more
        known = {"content": str, **dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized", "special"), bool)}
        for key, each in value.items():
            if key not in known or not isinstance(each, known[key]):
                expected = f"one of {', '.join(known)}" if key not in known else known[key].__name__
                raise ModelError(f"{place}: {key}: expected {expected}, got {key if key not in known else each!r}")
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str):
        raise ModelError(f"{place}: expected a token as text or as a mapping with its content, got {value!r}")
    return AddedToken(**value) if isinstance(value, dict) else content


def content_of(token: AddedToken | str) -> str:
    return token if isinstance(token, str) else str(token.content)


def added_tokens(
    files: Mapping[str, bytes], settings: dict[str, Any], saved: Mapping[str, Any]
) -> dict[int, AddedToken]:
    """Return the tokens that the files add, by the ids they name, and put named tokens into `settings`."""
    from tokenizers import AddedToken

    added: dict[int, AddedToken] = {}
    newest = settings.get("added_tokens_decoder")
    if newest is not None:
        if not isinstance(newest, dict):
            raise ModelError(f"{SETTINGS}: added_tokens_decoder: expected a mapping of ids to tokens, got {newest!r}")
        for index, value in newest.items():
            token = read_token(value, f"{SETTINGS}: added_tokens_decoder: {index}")
            added[_index(index, f"{SETTINGS}: added_tokens_decoder")] = (
                AddedToken(token) if isinstance(token, str) else token
            )
    else:
        # Files of older releases; the map of special tokens overrules tokenizer_config.json.
        for key, value in json_mapping(files, "special_tokens_map.json").items():
            place = f"special_tokens_map.json: {key}"
            settings[key] = (
                read_token(value, place, special=True) if key in NAMED and isinstance(value, dict) else value
            )
        special = {
            content_of(read_token(settings[name], f"{SETTINGS}: {name}"))
            for name in NAMED
            if settings.get(name) is not None
        }
        special |= {content_of(token) for token in _extra(settings)}
        for content, index in json_mapping(files, "added_tokens.json").items():
            read_token(content, "added_tokens.json")
            is_special = content in special
            added[_index(index, f"added_tokens.json: {content}")] = AddedToken(
                content, rstrip=False, lstrip=False, normalized=not is_special, special=is_special
            )
        for value in saved.get("added_tokens") or []:
            token = read_token(
                {key: each for key, each in value.items() if key != "id"}, "tokenizer.json: added_tokens"
            )
            assert not isinstance(token, str)
            added[int(value["id"])] = token
    by_content = {token.content: token for token in added.values()}
    for name in NAMED:
        if settings.get(name) is not None:
            token = read_token(settings[name], f"{SETTINGS}: {name}")
            settings[name] = by_content.get(content_of(token), token)
    return added


def _index(value: Any, place: str) -> int:
    try:
        index = int(value)
    except (TypeError, ValueError, OverflowError):
        index = -1
    if index < 0:
        raise ModelError(f"{place}: expected an id of at least 0, got {value!r}")
    return index


def _extra(settings: Mapping[str, Any]) -> list[AddedToken | str]:
    """Return the special tokens that have no name of transformers' own, in the order in which they are added."""
    listed = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    models_own = [settings[key] for key in settings if _is_models_own(key, settings[key])]
    values = models_own + list(listed.values() if isinstance(listed, dict) else listed)
    return [read_token(value, f"{SETTINGS}: extra_special_tokens") for value in values]


def _is_models_own(key: str, value: Any) -> bool:
    return key.endswith("_token") and key not in NAMED and isinstance(value, str)


def add_tokens(tokenizer: Tokenizer, added: Mapping[int, AddedToken], settings: Mapping[str, Any]) -> None:
    """Add tokens in transformers' order; one that the vocabulary has keeps its id, others get the next free ones."""
    from tokenizers import AddedToken

    tokens: list[AddedToken | str] = [token for _, token in sorted(added.items(), key=lambda item: item[0])]
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()} | {content_of(t) for t in tokens}
    named = [settings[name] for name in NAMED if settings.get(name) is not None]
    for token in [*named, *_extra(settings)]:
        if content_of(token) not in known:
            known.add(content_of(token))
            tokens.append(token)
    names = {content_of(token) for token in named}
    complete = [AddedToken(token, special=True) if isinstance(token, str) else token for token in tokens]
    for token in complete:
        if not token.special and token.content in names:
            token.special = True
    tokenizer.add_tokens(complete)
