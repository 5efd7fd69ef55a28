"""Writing a new plugin to start from: one file, or a whole distribution."""

from __future__ import annotations

import json
import keyword
import os
import re
import string
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from attrs import frozen

from stepbus.base import BadInput, did_you_mean, is_url, remedy_of, snake_case
from stepbus.config.discovery import NAME, find_module, installed, offering

TEMPLATES = Path(__file__).parents[1] / "templates"
# What can be begun: a plugin of hooks that watches or changes the training, or one that offers a component -> what it
# is for, and the YAML that picks it.
KINDS = {
    "plugin": ("tell the mean loss every few updates", ""),
    "technique": ("a term beside the loss", ""),
    "optimizer": ("an optimizer", "optimizer: {type: NAME}\n"),
    "scheduler": ("a schedule of the learning rate", "scheduler: {type: NAME}\n"),
    "head": ("a head with a focal loss", "model: {head: NAME}\n"),
    "loss": ("a loss of classes", "loss: {type: NAME}\n"),
    "pooling": ("a pooling of first token and mean", "model: {pooling: NAME}\n"),
    "metric": ("a metric of probabilities", "training: {metrics: [NAME]}\n"),
    "data": ("texts of several columns", "data: {type: NAME, columns: [text]}\n"),
    "reader": ("rows of text files", "data: {train: train.NAME}\n"),
    "model": ("a model", "model: {type: NAME, hidden_size: 16, vocab_size: 30522}\n"),
}
# Where each file of a distribution lies, and the template that it is made from; one without a template is empty.
DISTRIBUTION = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    "src/$module/__init__.py": "$kind.py.tmpl",
    "src/$module/py.typed": None,
    "tests/test_$name.py": "test_$kind.py.tmpl",
}


@frozen
class Names:
    """What one new plugin is called, in each place that needs a name.

    Args:
        name: In YAML: print_loss.
        cls: Its class: PrintLoss.
        module: The package that is imported: stepbus_print_loss.
        distribution: The package that is installed: stepbus-print-loss.
        kind: What it offers, of `KINDS`.
    """

    name: str
    cls: str
    module: str
    distribution: str
    kind: str = "plugin"


def names(name: str, kind: str = "plugin") -> Names:
    """Return the names that belong to a plugin's name.

    Args:
        name: What was asked for.
        kind: What it is to offer, of `KINDS`.

    Raises:
        BadInput: It is no name for a plugin, or an installed plugin or component of the kind has it; or no such kind.
    """
    if kind not in KINDS:
        raise BadInput(f"--kind: expected one of {', '.join(KINDS)}, got {kind!r}{did_you_mean(kind, KINDS)}")
    if not NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "_", snake_case(name)).strip("_")
        try_this = f"; try {near}" if NAME.fullmatch(near) and not is_url(name) else ""
        raise BadInput(
            f"expected a plugin name of small letters, digits and _ that begins with a letter, got {name!r}{try_this}"
        )
    if yaml.safe_load(name) != name:
        raise BadInput(f"YAML reads {name} as {yaml.safe_load(name)!r} and not as a name; choose another name")
    known = installed()
    if name in known:
        owner = f"{known[name].distribution} {known[name].version}"
        raise BadInput(f"an installed plugin is called {name!r} already ({owner}); choose another name")
    for other in offering(kind, name, known.values()):
        owner = f"{other.name}, {other.distribution} {other.version}"
        raise BadInput(f"an installed plugin offers the {kind} {name!r} already ({owner}); choose another name")
    short = re.sub("_+", "-", name.removeprefix("stepbus_")).strip("-")
    module = f"stepbus_{name.removeprefix('stepbus_')}"
    return Names(name, class_name(name, kind), module, f"stepbus-{short}", kind)


def class_name(name: str, kind: str = "plugin") -> str:
    """Return the class that goes with a plugin's name: print_loss → PrintLoss."""
    cls = "".join(part.capitalize() for part in name.split("_"))
    # `Session` and `None` mean something in the file already.
    text = (TEMPLATES / f"{kind}.py.tmpl").read_text(encoding="utf-8")
    taken = {each for names in re.findall(r"import (.+)", text) for each in names.split(", ")}
    taken |= set(re.findall(r"class (\w+)", text))
    return f"{cls}Plugin" if cls in taken or keyword.iskeyword(cls) else cls


def write_file(plugin: Names, folder: Path) -> Path:
    """Write a plugin as one file.

    Args:
        plugin: Its names.
        folder: Where to write it; made if it is not there.

    Returns:
        The file.

    Raises:
        BadInput: There is such a file already, or it cannot be written.
    """
    return _place({f"{plugin.name}.py": _filled(f"{plugin.kind}.py.tmpl", plugin)}, folder / f"{plugin.name}.py")


def write_distribution(plugin: Names, folder: Path) -> Path:
    """Write a plugin as a distribution: pyproject, class, test and README.

    Args:
        plugin: Its names.
        folder: Where to write its folder; made if it is not there.

    Returns:
        The distribution's folder.

    Raises:
        BadInput: There is such a folder already, its module's name is taken, or it cannot be written.
    """
    if find_module(plugin.module) is not None:
        raise BadInput(f"a module called {plugin.module} is installed already; choose another name than {plugin.name}")
    files = {}
    for place, template in DISTRIBUTION.items():
        inside = string.Template(place).substitute(module=plugin.module, name=plugin.name)
        filled = _filled(template.replace("$kind", plugin.kind), plugin) if template else ""
        files[f"{plugin.distribution}/{inside}"] = filled
    return _place(files, folder / plugin.distribution)


def yaml_lines(plugin: Names, file: Path | None = None) -> str:
    """Return the YAML that switches a new plugin on.

    Args:
        plugin: Its names.
        file: The file that holds its class, where it is not installed.
    """
    settings, picks = ("every: 10", "") if plugin.kind == "plugin" else ("", KINDS[plugin.kind][1])
    picks = picks.replace("NAME", plugin.name)
    if file is None:
        return f"plugins:\n  {plugin.name}: {{{settings}}}\n{picks}"
    path = os.path.relpath(file)
    use = f"{file.resolve() if path.startswith('..') else f'./{Path(path).as_posix()}'}:{plugin.cls}"
    # A quoted text means itself, whatever stands in it.
    written = use if re.fullmatch(r"[\w./:-]+", use) else json.dumps(use, ensure_ascii=False)
    more = f"    {settings}\n" if settings else ""
    return f"plugins:\n  {plugin.name}:\n    use: {written}\n{more}{picks}"


def _filled(template: str, plugin: Names) -> str:
    from stepbus.base import HOOKS_VERSION, __version__

    text = string.Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(
        name=plugin.name,
        cls=plugin.cls,
        module=plugin.module,
        distribution=plugin.distribution,
        version=__version__,
        hooks=HOOKS_VERSION,
        # A scheme has no underscore, and one letter is a drive.
        scheme=f"{plugin.name.replace('_', '-')}{'-rows' if len(plugin.name) < 2 else ''}",
        purpose=KINDS[plugin.kind][0],
        yaml=yaml_lines(plugin),
    )
    # Linters want classes before functions, each by the alphabet.
    return re.sub(rf"(?<=^from {plugin.module} import ).+", _sorted_names, text, flags=re.MULTILINE)


def _sorted_names(found: re.Match[str]) -> str:
    return ", ".join(sorted(found[0].split(", "), key=lambda name: (name[0].islower(), name)))


def _place(files: Mapping[str, str], target: Path) -> Path:
    """Write files beside a target and move them there in one step, so that a failure leaves nothing half-written."""
    if os.path.lexists(target):
        raise BadInput(f"{target} is there already; move it away, or choose another name or --output")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".stepbus-new-") as folder:
            for place, text in files.items():
                path = Path(folder, place)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            Path(folder, target.name).rename(target)
    except OSError as error:
        remedy = remedy_of(error, "choose another folder with --output")
        raise BadInput(f"{target} cannot be written: {error.strerror}; {remedy}") from error
    return target
