"""Arguments by our names and by the original's, in their places, and what is told where they cannot be meant."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, ConfigError, Trainer, create_model, create_trainer, get_trainer_config, open_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny trainer of one column of text, after one epoch."""
    folder = tmp_path_factory.mktemp("arguments")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\n")
    sizes = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = create_model("bert_with_head", tokenizer=str(folder), seed=1, **sizes)
    trainer = create_trainer(model, label="label", progress=False, batch_size=4, output_dir=str(folder / "runs"))
    trainer.train(frame(), frame(), 1)
    return trainer


def frame() -> pd.DataFrame:
    return pd.DataFrame({"text": ["good film", "bad film", "film"] * 4, "label": [1, 0, 1] * 4})


def test_line_107_epochs_stand_in_the_third_place(trained: Any) -> None:
    assert trained.result.steps == 3
    again = trained.train(train_dataloader=frame(), val_dataloader=frame(), num_epochs=2)
    assert (again.steps, len(again.history)) == (6, 2)
    assert list(inspect.signature(Trainer.train).parameters)[1:4] == ["train", "validation", "num_epochs"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, None, frame()), "num_epochs: expected a whole number, got a DataFrame; rows to predict are given as"),
        ((None, None, "test.csv"), "num_epochs: expected a whole number, got 'test.csv'; rows to predict are given"),
        ((None, None, [{"text": "a"}]), "num_epochs: expected a whole number, got a list"),
        ((None, None, 1.5), "training.num_epochs: expected int, got 1.5"),
        ((None, None, 0), "training.num_epochs: expected a number of at least 1, got 0"),
        ((None, None, True), "training.num_epochs: expected int, got true"),
    ],
)
def test_line_107_what_is_no_number_of_epochs(trained: Any, arguments: Any, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        trained.train(*arguments)
    assert str(refused.value).startswith(words)


def test_an_argument_by_both_names_is_refused(trained: Any) -> None:
    for call, name in (
        (lambda: trained.train(frame(), train_dataloader=frame()), "train_dataloader: it is another name of train"),
        (lambda: trained.train(frame(), 0.5, val_dataloader=0.5), "val_dataloader: it is another name of validation"),
        (lambda: trained.evaluate(frame(), dataloader=frame()), "dataloader: it is another name of data"),
        (lambda: trained.predict(frame(), dataloader=frame()), "dataloader: it is another name of data"),
        (lambda: trained.predict(), "data: expected rows, got none"),
        (lambda: trained.evaluate(), "data: expected rows, got none"),
    ):
        with pytest.raises(BadInput, match=name):
            call()


def test_line_109_and_110_by_the_originals_names(trained: Any) -> None:
    named = trained.evaluate(dataloader=frame(), prefix="held_out")
    assert named == trained.evaluate(frame(), "held_out") and "held_out_loss" in named
    one, other = trained.predict(dataloader=frame(), return_logits=True), trained.predict(frame(), True)
    assert (one == other).all()


def test_line_109_an_underscore_comes_once_between_prefix_and_name(trained: Any) -> None:
    plain = trained.evaluate(frame(), "")
    for prefix, before in (("test", "test_"), ("test_", "test_"), ("", ""), (None, ""), ("in_a_row", "in_a_row_")):
        assert trained.evaluate(frame(), prefix) == {before + name: value for name, value in plain.items()}
    for prefix, got in ((frame(), "a DataFrame"), (5, "5"), (["test"], "a list")):
        with pytest.raises(BadInput, match=f'^prefix: expected a text such as "test", got {got}$'):
            trained.evaluate(frame(), prefix)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "frame: expected at least one row, got none"),
        ((), "frame: expected at least one row, got none"),
        (pd.Series([], dtype=str), "frame: expected at least one row, got none"),
        (np.array([]), "frame: expected at least one row, got none"),
        (frame()[:0], "frame: expected at least one row, got none"),
        ("", "data: expected a file or rows, got an empty text; texts to predict stand in a list"),
        ("  ", "data: expected a file or rows, got an empty text; texts to predict stand in a list"),
        (["film", 3], "frame, row 2: expected a text like the other rows, got the int 3"),
        (np.array(["film", None, 3.5], dtype=object), "row 3: expected a text like the other rows, got the float 3.5"),
    ],
)
def test_rows_that_are_none_get_one_sentence(trained: Any, rows: Any, words: str) -> None:
    for call in (trained.predict, trained.evaluate):
        with pytest.raises(BadInput, match=words) as caught:
            call(rows)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gap", ["", "  ", None, float("nan"), pd.NA])
def test_a_gap_among_texts_is_one_of_their_column(trained: Any, gap: Any) -> None:
    for make in (list, tuple, pd.Series):
        with pytest.raises(
            BadInput, match="predict frame, row 2: column 'text': expected text, got nothing; mend the "
        ):
            trained.predict(make(["film", gap]))


@pytest.mark.parametrize("make", [list, tuple, pd.Series, pd.Index, np.array])
def test_line_110_bare_texts(trained: Any, make: Any) -> None:
    texts = make(frame()["text"])
    assert (trained.predict(texts) == trained.predict(frame())).all()
    opened = open_trainer(trained.result.model_path)
    assert (opened.predict(texts) == trained.predict(frame())).all()
    assert (trained.predict(["good film"]) == trained.predict(frame()[:1])).all()


@pytest.mark.parametrize("make", [tuple, pd.Series, np.array])
def test_bare_texts_are_predicted_at_the_end_of_a_training_too(tiny_config: Any, review_files: Any, make: Any) -> None:
    texts = make(pd.read_csv(review_files["dev"])["text"])
    trainer = create_trainer(config=tiny_config(training={"num_epochs": 1}))
    assert (trainer.train(test=texts).predictions["test"].values == trainer.predict(texts)).all()


def test_line_110_bare_texts_of_rows_with_several_columns(trained: Any, tmp_path: Any) -> None:
    rows = frame().assign(more="film")
    pair = create_trainer(trained.model, label="label", text=["text", "more"], progress=False, output_dir=str(tmp_path))
    pair.train(rows, None, 1)
    with pytest.raises(BadInput, match="expected rows with 'text' and 'more', as the model was trained on, got a"):
        pair.predict(["good film", "bad film"])
    with pytest.raises(BadInput, match="'label'"):
        trained.evaluate(["good film"])  # which have no labels


def test_line_117_a_wrong_name_lists_the_presets() -> None:
    with pytest.raises(ConfigError, match=r"\(did you mean 'production'\?\); presets: development, pretrain"):
        get_trainer_config("prodction")
    assert get_trainer_config("production").training.num_epochs == 10


def test_line_158_there_is_no_such_module() -> None:
    import stepbus

    said = "there is no such module or class here; create_trainer"
    with pytest.raises(ImportError, match=f"cannot import name 'MLXTrainer' from 'stepbus'; {said}"):
        from stepbus import MLXTrainer  # noqa: F401
    with pytest.raises(AttributeError, match=said):
        _ = stepbus.MLXTrainer
    assert not hasattr(stepbus, "MLXTrainer")
