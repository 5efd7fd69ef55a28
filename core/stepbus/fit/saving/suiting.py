"""Whether a checkpoint says the same of rows in another trainer's model: what its shapes do not tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.base import CheckpointError, ModelError, Selected, listed, show
from stepbus.base.trees import plain
from stepbus.config import DataSettings
from stepbus.storage import DESCRIPTION, checkpoints, from_json, to_json

if TYPE_CHECKING:
    from stepbus.storage.checkpoints import Checkpoint
    from stepbus.text import RowEncoder

# Of section `data`, what turns rows into tokens beside the settings that a component of data adds.
_READING = ("type", "max_length")
# Of the labels, what hangs on which rows are trained on.
_OF_ROWS = ("mean", "sd")
# Words of a config.json that say nothing of what is computed from weights that are there.
_OF_NOTHING = (
    "architectures", "problem_type", "id2label", "label2id", "stepbus_labels", "stepbus_target", "initializer",
    "dropout", "dtype", "version", "name_or_path", "use_cache", "checkpointing", "finetuning", "return_dict", "output_",
    "_class", "task",
)  # fmt: skip


def check_suits(checkpoint: Checkpoint, model: Any, data: Any, state: Any = None, run: str = "") -> None:
    """Refuse a checkpoint of another model or other labels; every way to put one into a trainer's model comes here.

    Args:
        checkpoint: The checkpoint, verified.
        model: The model that it is to be put into.
        data: What its rows are read with.
        state: What else the model's folder says of how rows are read, where the data is none of text.
        run: The run that goes on, whose own checkpoints may be of other rows, where that was allowed.

    Raises:
        CheckpointError: Its labels are others, or a pooling or a head computes something else.
        ModelError: The encoder does, or has other sizes.
    """
    from stepbus.text import TextData  # which brings MLX

    section = getattr(model, "settings", None)
    if isinstance(data, TextData):
        state, section = data.encoder.state_dict(), data.config.model
    was, now = labels_of(checkpoint), _labels(state)
    if run and checkpoint.facts.get("run") == run and isinstance(was, dict) and isinstance(now, dict):
        was |= {key: now[key] for key in _OF_ROWS if key in now}
    if state is not None and was != now:
        raise CheckpointError(
            f"{checkpoint.path}: expected the labels of this trainer's model, got those of another one, for which its "
            "head was trained; open_trainer(PATH) opens it as it is"
        )
    check_model(checkpoint, model, section if isinstance(section, Selected) else None, getattr(model, "task", None))


def labels_of(checkpoint: Checkpoint) -> Any:
    """Return what a checkpoint says of the labels that its model was trained for; None where it says nothing."""
    was = checkpoints.read_document(checkpoint, DESCRIPTION)
    return _labels(was.get("encoder") if isinstance(was, dict) else None)


def _labels(state: Any) -> Any:
    """Return what the state of a model's data says of labels, as JSON gives it back."""
    if not isinstance(state, Mapping) or "labels" not in state:
        return None
    labels = _as_json(state["labels"])
    # Where a chance becomes a yes changes nothing of the head.
    return {key: value for key, value in labels.items() if key != "thresholds"} if isinstance(labels, dict) else labels


def check_model(checkpoint: Checkpoint, model: Any, section: Selected | None, task: str | None) -> None:
    """Refuse a checkpoint whose weights have the shapes of a model, and another meaning in it.

    Args:
        checkpoint: The checkpoint, verified.
        model: The model.
        section: The section `model` that it was made from; None where nobody knows.
        task: What its labels are, which decides the head `auto`.

    Raises:
        CheckpointError: A pooling or a head computes something else; each setting is named.
        ModelError: The encoder does, or has other sizes.
    """
    if section is not None and (said := _of_section(checkpoint, section, task)):
        raise CheckpointError(
            f"{checkpoint.path}: expected a checkpoint of this trainer's model, got one whose outputs mean something "
            f"else in it: {'; '.join(said)}; set that as it was, or open_trainer(PATH) opens it as it is"
        )
    if apart := [*_of_encoder(checkpoint.path, model, known=section is not None)]:
        raise ModelError(
            f"{checkpoint.path}: expected a checkpoint of this trainer's model, got one of another: "
            f"{', '.join(apart)} here; create_model with its sizes makes a model that it suits, and "
            "open_trainer(PATH) opens it"
        )


def _of_section(checkpoint: Checkpoint, section: Selected, task: str | None) -> list[str]:
    was = _section(checkpoint, "model")
    return _parts_apart(was, _as_json(plain(section, places=False)), task) if was else []


def other_model(was: Selected, now: Selected, task: str) -> str:
    """Return how a section `model` lets weights mean something else than the one they were trained in; "" for not.

    Args:
        was: The section that they were trained in.
        now: Another one.
        task: What the labels are.
    """
    before, after = (_as_json(plain(each, places=False)) for each in (was, now))
    return "; ".join(_parts_apart(before, after, task))


def _parts_apart(was: Mapping[str, Any], now: Mapping[str, Any], task: str | None) -> list[str]:
    found = []
    for part in ("head", "pooling"):
        one, other = (_part(each.get(part), task) for each in (was, now))
        # With another type, its settings came and went.
        keys = ["type"] if one.get("type") != other.get("type") else sorted({*one, *other})
        for key in keys:
            if one.get(key) != other.get(key):
                name = f"model.{part}" if key == "type" else f"model.{part}.{key}"
                found.append(f"{name} was {_said(one, key)}, is {_said(other, key)}")
    return found


def _of_encoder(path: Path, model: Any, *, known: bool) -> Iterator[str]:
    now = getattr(model, "config", None)
    if not isinstance(now, Mapping) or not (path / "config.json").is_file():
        return
    from stepbus.compute import read_config  # which brings MLX

    was, now = read_config(path), _as_json(dict(now))
    for key in sorted(was.keys() & now.keys()):
        if key == "stepbus_pooling" and known:
            continue  # the section has said it, with its settings
        if was[key] != now[key] and not any(word in key for word in _OF_NOTHING):
            yield f"{key} {was[key]} against {now[key]}"


def other_reading(checkpoint: Checkpoint, data: Selected, encoder: RowEncoder) -> str:
    """Return how rows are read otherwise than where a checkpoint was trained, in one sentence; "" where they are not.

    Args:
        checkpoint: The checkpoint, verified.
        data: The section `data` of who reads them now.
        encoder: What turns them into tokens now.
    """
    was, now = _section(checkpoint, "data"), _as_json(plain(data, places=False))
    if not was:
        return ""
    known = {field.name for field in attrs.fields(DataSettings)}
    names = [*_READING, *sorted((was.keys() | now.keys()) - known - {*_READING})]
    names = names if was["type"] == now["type"] else ["type", "max_length"]
    found = [f"data.{name} was {_said(was, name)}, is {_said(now, name)}" for name in names if _differ(was, now, name)]
    saved, here = checkpoints.read_document(checkpoint, DESCRIPTION), _as_json(encoder.state_dict())
    then = saved["encoder"] if isinstance(saved, dict) and isinstance(saved.get("encoder"), dict) else {}
    thresholds = [_thresholds(each) for each in (then, here)]
    if thresholds[0] != thresholds[1]:
        found.append(f"data.threshold was {thresholds[0]}, is {thresholds[1]}")
    if not found and then.get("source") != here["source"]:
        found.append("its training rows told something else of the columns")
    if _tokenizer(checkpoint) not in (None, encoder.tokenizer_files["tokenizer.json"]):
        found.append("its tokenizer is another one")
    if not found:
        return ""
    return (
        f"{checkpoint.path}: rows were read otherwise where it was trained: {'; '.join(found)}; here they are read as "
        "this trainer reads them, and open_trainer(PATH) reads them as there"
    )


def _tokenizer(checkpoint: Checkpoint) -> bytes | None:
    name = "tokenizer.json"
    return (checkpoint.path / name).read_bytes() if name in checkpoint.files else None


def _section(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    config = checkpoint.facts.get("config")
    found = config.get(name) if isinstance(config, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def _part(said: Any, task: str | None) -> dict[str, Any]:
    """Return a head or a pooling by its settings; the head `auto` is the one of the labels."""
    found = {"type": said} if isinstance(said, str) else dict(said or {})
    return {"type": task} if found.get("type") == "auto" else found


def _differ(was: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return bool(was.get(name) != now.get(name))


def _said(settings: Mapping[str, Any], name: str) -> str:
    return show(settings[name]) if name in settings else "not set"


def _thresholds(state: Mapping[str, Any]) -> str:
    labels = state.get("labels")
    found = labels.get("thresholds") if isinstance(labels, Mapping) else None
    return "not set" if found is None else listed(map(str, found))


def _as_json(value: Any) -> Any:
    return from_json(to_json(value))
