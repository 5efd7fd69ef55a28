"""Lineages in files, believed only where they are what was written; and in models, wherever they go."""

from __future__ import annotations

import copy
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base import ModelError
from stepbus.fit.seen.lineages import lineage_in, lineage_of, packed, put_lineage, unpacked
from stepbus.kernel.fits.lineage import Lineage


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text("0123456789abcdef", min_size=16, max_size=16), st.sets(st.integers(0, 10**6)), max_size=3),
    st.booleans(),
)
def test_a_file_gives_back_what_was_packed(rows: Any, unknown: bool) -> None:
    lineage = Lineage({key: np.array(sorted(places), dtype=np.int64) for key, places in rows.items()}, unknown)
    numbers = {key: np.arange(len(places), dtype=np.uint64) for key, places in lineage.rows.items()}
    lineage = Lineage(lineage.rows, unknown, numbers)
    content = packed(lineage)
    assert unpacked(content) == lineage
    assert packed(unpacked(content)) == content


def test_rows_that_lie_together_take_no_room() -> None:
    assert len(packed(Lineage({"0" * 16: np.arange(1_000_000)}))) < 1_000


def file_of(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **{"unknown": np.array(False), **arrays})
    return content.getvalue()


def squeezed() -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, unknown=np.array(False), a=np.zeros((10, 2), dtype=np.int64))
    return content.getvalue()


def torn() -> bytes:
    whole = file_of(a=np.array([[0, 4]]))
    return whole[: len(whole) // 2]


def claiming(shape: str) -> bytes:
    """A file whose array says that it is much larger than it is."""
    content, member = io.BytesIO(), io.BytesIO()
    np.save(member, np.array([[0, 4]]))
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a.npy", member.getvalue().replace(b"(1, 2)", shape.encode()))
        flag = io.BytesIO()
        np.save(flag, np.array(False))
        archive.writestr("unknown.npy", flag.getvalue())
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        torn(),
        squeezed(),
        claiming("(9**9, 2)"),
        claiming("(999, 2)"),
        file_of(a=np.array([[0.0, 4.0]])),
        file_of(a=np.array([0, 4])),
        file_of(a=np.array([[0, 4, 5]])),
        file_of(a=np.array([[-1, 4]])),
        file_of(a=np.array([[4, 4]])),
        file_of(a=np.array([[4, 2]])),
        file_of(a=np.array([[0, 4], [3, 9]])),
        file_of(a=np.array([[0, 2**62]])),
        file_of(a=np.array([[0, 10**9]]), b=np.array([[0, 10**9]])),
        file_of(**{"a": np.array([[0, 4]]), "a.contents": np.array([4, 5])}),
        file_of(**{"a": np.array([[0, 4]]), "a.contents": np.array([[4, 5]], dtype=np.uint64)}),
        file_of(**{"a": np.array([[0, 4]]), "a.contents": np.array([5, 4], dtype=np.uint64)}),
        file_of(**{"b": np.array([[0, 4]]), "a.contents": np.array([4, 5], dtype=np.uint64)}),
        file_of(unknown=np.array([True])),
        file_of(unknown=np.array(3)),
        file_of(a=np.array(["x"], dtype=object)),
    ],
    ids=lambda content: "content",  # an archive holds the time when it was made, and each worker makes its own
)
def test_what_somebody_else_made_is_refused_in_a_sentence(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lineage.npz").write_bytes(content)
    monkeypatch.setattr("stepbus.fit.seen.lineages.verify_folder", lambda folder: frozenset({"lineage.npz"}))
    with pytest.raises(
        ModelError, match=r"lineage\.npz: expected the rows that the model has seen, got a damaged file"
    ):
        lineage_in(tmp_path)


def test_places_are_laid_out_only_where_all_of_them_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbus.fit.seen.lineages._places", lambda ranges: pytest.fail("8 GB of them"))
    with pytest.raises(ValueError, match="at most 1,000,000,000 rows"):
        unpacked(file_of(a=np.array([[0, 10**9]]), b=np.array([[0, 1]])))


def test_a_folder_of_others_has_none_and_an_old_one_of_ours_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lineage_in(tmp_path) == Lineage()
    monkeypatch.setattr("stepbus.fit.seen.lineages.verify_folder", lambda folder: frozenset({"stepbus.json"}))
    (tmp_path / "lineage.npz").write_bytes(b"put there by somebody, and vouched for by nobody")
    assert lineage_in(tmp_path) == Lineage(unknown=True)


def test_a_model_and_its_copies_keep_it() -> None:
    import mlx.nn as nn

    model, lineage = nn.Linear(2, 2), Lineage({"a": np.array([1])})
    before = {name for name, _ in model.parameters().items()}
    assert lineage_of(model) == Lineage()
    put_lineage(model, lineage)
    assert lineage_of(model) is lineage
    assert lineage_of(copy.deepcopy(model)) is lineage
    assert {name for name, _ in model.parameters().items()} == before
    assert lineage_of(None) == Lineage()
