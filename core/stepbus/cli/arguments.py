"""The parser of the command line's words."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse quotes what was typed; passwords in URLs are left out of that too."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words, and end with exit code 2."""
        from stepbus.base import without_secrets

        super().error(without_secrets(message))
