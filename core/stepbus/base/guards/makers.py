"""Who made a part: the plugin behind an optimizer, a head or a metric, named in each sentence about its faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from stepbus.base import PluginFailure, StepbusError, error_words
from stepbus.base.guards.places import raised_at


@frozen
class Maker:
    """A part that a plugin built, as messages name it.

    Args:
        said: What it is: "the optimizer 'mine'".
        provider: The plugin that offers it, with distribution and version; "" where nobody knows.
        mend: What to do without it, as the end of a sentence.
        keeps_finite: Whether it promises that its function of gradients gives finite ones for finite ones.
    """

    said: str
    provider: str = ""
    mend: str = ""
    keeps_finite: bool = False

    def sentence(self, words: str) -> str:
        """Return a sentence about the part, with whom it comes from."""
        return self.signed(f"{self.said}: {words}" + (f"; {self.mend}" if self.mend else ""))

    def signed(self, words: str) -> str:
        """Return words with whom the part comes from."""
        return f"{words} ({self.provider})" if self.provider else words

    def fault(self, words: str, error: type[StepbusError] = PluginFailure) -> StepbusError:
        """Return the error of what is wrong with the part."""
        return error(self.sentence(words))

    @contextmanager
    def calling(self, what: str, error: type[StepbusError] = PluginFailure, called_as: str = "") -> Iterator[None]:
        """Turn what the part's code raises meanwhile into a sentence, `sys.exit` included, which would end in silence.

        Args:
            what: What is called: "update".
            error: The kind of error.
            called_as: How it is called, for a function that takes something else: "loss(forward, batch)".
        """
        try:
            yield
        except (KeyboardInterrupt, MemoryError, StepbusError):
            raise
        except BaseException as raised:
            place = raised_at(raised)
            mistaken = called_as and not place and isinstance(raised, TypeError)
            more = f"; it is called as {called_as}" if mistaken else place
            words = _read_a_value(what, raised, place) or f"{what} raised {error_words(raised)}{more}"
            raise self.fault(words, error) from raised


def _read_a_value(what: str, error: BaseException, place: str) -> str:
    """Return what it is where code inside a compiled step wanted a value; "" where it is something else."""
    if not str(error).startswith(("[eval] ", "[async_eval] ")):
        return ""
    return (
        f"{what} reads the value of an array{place.lstrip(',')} (print, item, float, if, a text with it), and in a "
        "compiled step none is known: compute with arrays, mx.where in place of if, and return named scalars to see "
        "them in the log; or run it uncompiled, where each is known: environment.debug: true"
    )
