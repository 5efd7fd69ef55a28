"""What the command line says of words that it does not know."""

from __future__ import annotations

import pytest

from stepbus.cli.main import main


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["plugins", "shwo"], "(did you mean 'show'?)"),
        (["config", "schme"], "(did you mean 'schema'?)"),
        (["plugins", "new", "mine", "--pakage"], "(did you mean '--package'?)"),
        (["train", "run.yaml", "--alow-changed"], "(did you mean '--allow-changed'?)"),
        (["train", "run.yaml", "--outptu=https://user:geheim@host/x"], "(did you mean '--output'?)"),
        (["plugins", "qqq"], "invalid choice: 'qqq' (choose from 'list', 'show', 'doctor', 'new')"),
        (["train", "run.yaml", "training.seed=1", "a=b"], "(a setting is given as --set training.seed=VALUE)"),
        (["train", "run.yaml", "--qqq"], "unrecognized arguments: --qqq"),
    ],
)
def test_what_was_meant(words: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.rstrip().endswith(meant)
    assert "geheim" not in said
