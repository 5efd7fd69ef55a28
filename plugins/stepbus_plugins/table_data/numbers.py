"""Numbers as words for their rank among the training rows. Knows no files and no frames."""

from __future__ import annotations

import numpy as np

# A column of whole numbers with at most this many different values is a code or a count: its values say more.
FEW = 20
# The lower half of the scale for 2 to 11 words, from the outside; the upper half mirrors it, `average` is between.
LOW = {
    1: ["low"],
    2: ["very low", "low"],
    3: ["very low", "low", "below average"],
    4: ["extremely low", "very low", "low", "below average"],
    5: ["lowest", "extremely low", "very low", "low", "below average"],
}


def quantile_edges(numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]], bins: int) -> list[float] | None:
    """Return the values between one word and the next, or None where the values themselves say more.

    Args:
        numbers: Training values, NaN where missing, [N].
        bins: Words on the scale.
    """
    known = numbers[~np.isnan(numbers)]
    different = np.unique(known)
    if len(different) <= 1 or (len(different) <= FEW and np.all(different == np.round(different))):
        return None
    return [float(edge) for edge in np.quantile(known, np.arange(1, bins) / bins)]


def ranks(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]], edges: list[float]
) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Return the position of each number on the scale, from 0, [N].

    A value that spans several quantiles, such as many zeros, gets the rank in the middle of them.
    """
    return (np.searchsorted(edges, numbers, "left") + np.searchsorted(edges, numbers, "right")) // 2


def scale(words: int) -> list[str]:
    """Return as many words as asked for, from low to high; more than 11 are numbered as well."""
    if words > 11:
        levels = scale(5)
        return [f"{levels[rank * 5 // words]} {rank + 1} of {words}" for rank in range(words)]
    low = LOW[words // 2]
    high = [word.replace("lowest", "highest").replace("low", "high").replace("behigh", "above") for word in low[::-1]]
    return low + ["average"] * (words % 2) + high


def plain(value: float) -> str:
    """Return a number as a person writes it: whole ones whole, others with four significant digits, no exponent."""
    if float(value).is_integer():
        return str(int(value))
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")
