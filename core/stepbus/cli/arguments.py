"""The parser of the command line's words."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")
_UNKNOWN = re.compile(r"unrecognized arguments: (--[^\s=]+)")
_SETTING = re.compile(r"unrecognized arguments: (\w[\w.-]*)=")


class Parser(argparse.ArgumentParser):
    """argparse, with what was probably meant; it quotes what was typed, and passwords in URLs are left out of that."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words, and end with exit code 2."""
        from stepbus.base import without_secrets

        super().error(without_secrets(message) + self._meant(message))

    def _meant(self, message: str) -> str:
        """Return " (did you mean …?)" for a mistyped command or option, how settings are given, or nothing."""
        from stepbus.base import did_you_mean

        if choice := _CHOICE.search(message):
            return did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        if unknown := _UNKNOWN.search(message):
            return did_you_mean(unknown[1], self._known_options())
        if setting := _SETTING.search(message):
            return f" (a setting is given as --set {setting[1]}=VALUE)"
        return ""

    def _known_options(self) -> list[str]:
        """Return the long options of this command, or of every command below it."""
        found = [option for option in self._option_string_actions if option.startswith("--")]
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for command in action.choices.values():
                    found += command._known_options()
        return found


def at_least_one(text: str) -> int:
    """Return a whole number that was typed.

    Raises:
        ArgumentTypeError: It is none, or below 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
