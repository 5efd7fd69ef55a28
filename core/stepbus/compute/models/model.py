"""A classifier made of an encoder, a pooling and a head, and its tensors under their Hugging Face names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from stepbus.base import ModelError, Selected
from stepbus.base.guards import Maker, unheard_hooks
from stepbus.compute.checks import called, encoded, pooled_by, pooled_width
from stepbus.compute.models.head_labels import PROBLEM_TYPES as PROBLEM_TYPES
from stepbus.compute.models.head_labels import HeadMeaning, keys_of, meaning_in
from stepbus.compute.models.head_labels import label_keys as label_keys
from stepbus.compute.models.layers import count_layers
from stepbus.compute.models.loading import LoadReport as LoadReport
from stepbus.compute.models.loading import check_finite, match_names
from stepbus.compute.models.model_keys import check_keys
from stepbus.compute.models.part_state import built_part, check_kinds
from stepbus.compute.models.pooling import build_pooling, check_reads
from stepbus.compute.models.showing import model_in_words
from stepbus.compute.models.starting_values import initialise
from stepbus.config import ModelSettings


class Classifier(nn.Module):
    """An encoder, a pooling and a head as one model: batch → logits.

    Args:
        encoder: Called with input_ids, attention_mask, token_type_ids and first_token_only; gives [B, L, D]. Its
            `hidden_size` is D. Its optional `prefix` stands before its names in files that hold a whole model, and its
            optional `present_name(name)` returns the name that a tensor of an older file has here, or None for what
            is no parameter.
        pooling: Called with hidden [B, L, D], or a list of them, and mask [B, L]; gives [B, D], or its `output_size`.
        head: Called with pooled [B, D]; gives logits [B, K]; has `loss` and `predictions`.
        task: What the head is for: binary, multiclass, multilabel or regression.
        outputs: K.
        dropout: Probability of dropping a pooled feature in training.
        config: What config.json shall say.

    `loaded` is the report of the last load, `section` the model section that it was made from, where known, `settings`
    what that section says, `providers` which plugins its parts come from, and `meaning` what the outputs of a trained
    head stand for; None while the head is new.

    Raises:
        ModelError: Two tensors of the parts would have the same name in a file.
    """

    def __init__(
        self,
        encoder: Any,
        pooling: Any,
        head: Any,
        *,
        task: str,
        outputs: int,
        dropout: float = 0.0,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.task, self.outputs = task, outputs
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.dropout = nn.Dropout(dropout)
        self.loaded = LoadReport()
        self.config: dict[str, Any]
        self.section: dict[str, Any]
        self.settings: Selected | None
        self.providers: dict[str, str]
        # A dict set the usual way would be taken for a part of the parameter tree.
        object.__setattr__(self, "config", dict(config or {}))
        object.__setattr__(self, "section", {})
        object.__setattr__(self, "settings", None)
        object.__setattr__(self, "providers", {})
        self.meaning: HeadMeaning | None = None
        names = [self.tensor_name(path) for path, _ in _flat(self)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelError(f"two parts of the model share the tensor name {twice[0]!r}: rename one part's parameters")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {model_in_words(self)}>"  # that of `model.encoder` has a line for each layer

    def __call__(self, batch: Mapping[str, mx.array]) -> mx.array:
        """Return logits [B, K] of a batch: input_ids, attention_mask and, where used, token_type_ids, each [B, L]."""
        return self.logits(self.pooled(batch))

    def pooled(self, batch: Mapping[str, mx.array]) -> mx.array:
        """Return what the head reads of a batch, [B, D], before its dropout."""
        return pooled_by(self, encoded(self, batch), batch["attention_mask"])

    def logits(self, pooled: mx.array) -> mx.array:
        """Return logits [B, K] of what the head reads, [B, D], through its dropout."""
        logits: mx.array = called(self, "head", self.dropout(pooled))
        return logits

    @property
    def head_names(self) -> set[str]:
        """The names in files of the head's parameters."""
        return {self.tensor_name(path) for path, _ in _flat(self) if path.startswith("head.")}

    @property
    def is_familys_own(self) -> bool:
        """Whether Hugging Face's sequence classifier of the family computes what this model does."""
        linear = self.head_names == {"classifier.weight", "classifier.bias"}
        return linear and bool(getattr(self.pooling, "in_encoder", False))

    @property
    def prefix(self) -> str:
        """What stands before the encoder's names in a file that holds the whole model."""
        return str(getattr(self.encoder, "prefix", ""))

    def tensor_name(self, path: str) -> str:
        """Return the name in files of the parameter at `path` of `model.parameters()`."""
        part, _, rest = path.partition(".")
        if part == "encoder":
            return self.prefix + rest
        if part == "head":
            return f"classifier.{rest}"
        # A pooling that Hugging Face counts as the encoder's is stored with the encoder.
        return self.prefix + rest if getattr(self.pooling, "in_encoder", False) else f"pooling.{rest}"

    def tensors(self) -> dict[str, mx.array]:
        """Return every parameter under the name that files use."""
        return {self.tensor_name(path): array for path, array in _flat(self)}

    def load_tensors(
        self,
        tensors: Mapping[str, mx.array],
        *,
        source: str = "the weights",
        strict: bool = False,
        growing: Collection[str] = (),
    ) -> LoadReport:
        """Take over tensors from a whole classifier, a bare encoder, or an encoder under another head.

        Args:
            tensors: Arrays by name; encoder names with or without the model's prefix, and as older files spell them.
            source: The file, for messages.
            strict: Also refuse a head or pooling that is missing or of another shape, and unexpected names:
                for files that stepbus wrote.
            growing: Tables that may have fewer rows in the file; their further rows stay as they are.

        Returns:
            What was unexpected, and which head and pooling tensors the file did not have.

        Raises:
            ModelError: A tensor of the encoder is missing or has another shape or kind than expected.
        """
        parameters = {self.tensor_name(path): (path, array) for path, array in _flat(self)}
        found, unexpected = match_names(
            tensors, parameters, self.prefix, source, getattr(self.encoder, "present_name", str)
        )
        if strict and unexpected:
            raise ModelError(f"{source}: unexpected tensor {unexpected[0]!r}: this file belongs to another model")
        updates: list[tuple[str, mx.array]] = []
        initialised: dict[str, str] = {}
        grown: list[str] = []
        for name, (path, parameter) in parameters.items():
            part = path.partition(".")[0]
            if name not in found:
                if strict or part == "encoder":
                    raise ModelError(
                        f"{source}: tensor {name!r} is missing (expected shape {parameter.shape}); "
                        "config.json and weights do not belong together"
                    )
                initialised[name] = "missing"
                continue
            spelt, array = found[name]
            if name in growing and array.shape[1:] == parameter.shape[1:] and len(array) < len(parameter):
                grown.append(f"{name} has {len(parameter) - len(array)} new rows after the file's {len(array)}")
                array = mx.concatenate([array, parameter[len(array) :].astype(array.dtype)])
            if array.shape != parameter.shape:
                if strict or part != "head":
                    raise ModelError(
                        f"{source}: tensor {spelt!r}: expected shape {parameter.shape}, got {array.shape}; "
                        "config.json and weights do not belong together"
                    )
                initialised[name] = f"the file's shape is {array.shape}, expected {parameter.shape}"
                continue
            if not mx.issubdtype(array.dtype, mx.floating):
                raise ModelError(
                    f"{source}: tensor {spelt!r}: expected floating-point numbers, got {array.dtype}; "
                    "quantised weights cannot be trained"
                )
            if not strict:
                check_finite(spelt, array, source)
            updates.append((path, array.astype(parameter.dtype)))
        self.update(tree_unflatten(updates))
        self.loaded = LoadReport(tuple(unexpected), tuple(initialised), tuple(initialised.values()), tuple(grown))
        return self.loaded


def _flat(module: nn.Module) -> list[tuple[str, mx.array]]:
    """Return a module's parameters by their paths, joined with dots."""
    return tree_flatten(module.parameters())  # type: ignore[return-value] # a str only where a destination is given


def compose(
    settings: ModelSettings,
    encoder: Any,
    config: Mapping[str, Any],
    *,
    outputs: int,
    head: Selected,
    seed: int,
    architecture: str,
    tensors: Mapping[str, mx.array] | None = None,
    source: str = "the weights",
    growing: Collection[str] = (),
) -> Classifier:
    """Put pooling and head on an encoder, fill in the numbers, and return the whole model.

    A model plugin calls it at the end of its `build`; `model.loaded` then says what the file did not have.

    Args:
        settings: The model section.
        encoder: The encoder, see `Classifier`.
        config: The encoder's config.json; `classifier_dropout`, else `hidden_dropout_prob`, is the default dropout,
            and `initializer_range` the spread of new matrices.
        outputs: Number of logits a row.
        head: The head that was picked, or that fits the labels.
        seed: Seed of whatever is newly initialised.
        architecture: Hugging Face's name of the family, such as "Bert".
        tensors: Pretrained weights; none leaves every tensor newly initialised.
        source: The file of these weights, for messages.
        growing: Tables that may have fewer rows there; the others are newly initialised.

    Returns:
        The model, all its arrays evaluated, in training mode.

    Raises:
        ModelError: The weights do not fit the encoder, a key of the configuration holds what no model can use, or a
            part holds what no file can keep, see `stepbus.compute.models.part_state`.

    Example:
        >>> parts, own = load_config({"model": {"head": "regression"}}).model.settings, model.config
        >>> whole = compose(parts, model.encoder, own, outputs=1, head=parts.head, seed=42, architecture="Bert")
        >>> whole.task, whole.outputs
        ('regression', 1)
    """
    check_keys(config, source)
    maker = Maker(f"the encoder {type(encoder).__name__}", type(encoder).__module__)
    check_kinds(maker, encoder)
    if wrong := unheard_hooks(encoder, "model"):
        raise maker.fault(wrong, ModelError)
    pooling = build_pooling(settings.pooling, encoder.hidden_size, count_layers(encoder))
    check_reads(encoder, settings.pooling, pooling)
    dropout = settings.dropout
    if dropout is None:
        dropout = config.get("classifier_dropout")
    if dropout is None:
        dropout = config.get("hidden_dropout_prob")
    model = Classifier(
        encoder,
        pooling,
        built_part(head, pooled_width(encoder, pooling), outputs),
        task=head.component.metadata["task"],
        outputs=outputs,
        dropout=float(dropout or 0.0),
    )
    object.__setattr__(model, "providers", {"pooling": settings.pooling.provider, "head": head.provider})
    # The number of outputs is that of the names; `num_labels` of another head would overrule them in transformers.
    dropped = ("num_labels", "_num_labels")
    own = {name: value for name, value in config.items() if not name.startswith("stepbus_") and name not in dropped}
    if settings.dropout is not None:
        own["classifier_dropout"] = settings.dropout
    # Only on the family's own pooling does its sequence classifier compute what this model computes. transformers goes
    # by no architecture's name; `keys_of` gives such a folder no outputs, so that no classifier there takes its head.
    if not model.is_familys_own:
        own["stepbus_pooling"] = settings.pooling.name
    kind = f"{architecture}ForSequenceClassification" if model.is_familys_own else f"Stepbus{architecture}Classifier"
    own["architectures"] = [kind]
    own["problem_type"] = PROBLEM_TYPES[model.task]
    names = [f"LABEL_{index}" for index in range(outputs)]
    object.__setattr__(model, "config", own | keys_of(names, own=model.is_familys_own))
    spread = float(config.get("initializer_range") or 0.02)
    initialise(model, seed, spread, growing if tensors is not None else None)
    if tensors is not None:
        report = model.load_tensors(tensors, source=source, growing=growing)
        initialise(model, seed, spread, report.initialised)
        if not model.head_names & set(report.initialised):
            model.meaning = meaning_in(config, settings.pooling.name, own=model.is_familys_own)
    mx.eval(model.parameters())
    return model
