"""How a model in a package of an index is named, and what is said of names that are none."""

from __future__ import annotations

import pytest

from stepbus.base.errors import ModelError
from stepbus.storage.wheels.source import is_source, parse

DIGEST = "0123456789abcdef" * 4


def test_name_version_folder_and_digest_are_read() -> None:
    found = parse(f"pypi:Some_Model.x==1.0rc1+cpu/some_model/the model#sha256={DIGEST.upper()}")
    assert (found.name, found.version, found.inside, found.sha256) == (
        "some-model-x",
        "1.0rc1+cpu",
        "some_model/the model",
        DIGEST,
    )
    assert found.release == "some-model-x==1.0rc1+cpu"
    assert parse("pypi:a==1!2/b/").inside == "b"
    assert parse("pypi:a==1/b").sha256 is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pypi:a/b", r"got no version; write one \(a==1\.2\.3\), so that the run can be repeated"),
        ("pypi:a", "got no version"),
        ("pypi:", "got '' as the name"),
        ("pypi:/b", "got '' as the name"),
        ("pypi:==1/b", "got '' as the name"),
        ("pypi:a>=1/b", "got 'a>=1' as the name"),
        ("pypi:a[x]==1/b", r"got 'a\[x\]' as the name"),
        ("pypi:-r==1/b", "got '-r' as the name"),
        ("pypi: a==1/b", "got ' a' as the name"),
        ("pypi:a ==1/b", "got 'a ' as the name"),
        (f"pypi:{'a' * 200}==1/b", "as the name"),
        ("pypi:https://x/y", "got 'https:' as the name"),
        ("pypi:a==/b", "got '' as the version; write one exact version"),
        ("pypi:a==1.*/b", r"got '1\.\*' as the version"),
        ("pypi:a===1/b", "got '=1' as the version"),
        ("pypi:a==1,<2/b", "got '1,<2' as the version"),
        ("pypi:a==1 --pre/b", "got '1 --pre' as the version"),
        ("pypi:a==1\n2/b", "as the version"),
        ("pypi:a==1", "got no folder in the package; name the one that holds config.json"),
        ("pypi:a==1/", "got no folder"),
        ("pypi:a==1/../b", "got '../b' as the folder"),
        ("pypi:a==1/b/../../c", "as the folder"),
        ("pypi:a==1//etc", "got '/etc' as the folder"),
        ("pypi:a==1/b//c", "as the folder"),
        ("pypi:a==1/./b", "as the folder"),
        ("pypi:a==1/b\\c", "as the folder"),
        ("pypi:a==1/b#", "got '#' as the digest"),
        ("pypi:a==1/b#sha256=12", "got '#sha256=12' as the digest; write the 64 hexadecimal digits"),
        (f"pypi:a==1/b#md5={DIGEST}", "as the digest"),
        (f"pypi:a==1/b#sha256={DIGEST}#", "as the digest"),
        (f"pypi:a==1#sha256={DIGEST}", "got no folder"),
    ],
)
def test_what_is_wrong_is_said_with_the_form(text: str, words: str) -> None:
    with pytest.raises(ModelError, match=words) as raised:
        parse(text)
    assert "expected pypi:NAME==VERSION/FOLDER" in str(raised.value)


def test_a_password_in_it_is_not_said() -> None:
    with pytest.raises(ModelError) as raised:
        parse("pypi:https://somebody:geheim@index.example/a==1/b")
    assert "geheim" not in str(raised.value)


def test_only_what_begins_so_is_one() -> None:
    assert is_source("pypi:a==1/b")
    for other in ("package:a/b", "PyPI:a", "a/pypi:b", None, 3):
        assert not is_source(other)
