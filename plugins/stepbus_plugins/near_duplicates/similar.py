"""Which texts are alike: runs of characters in common, candidates by MinHash, each counted exactly."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

RUN = 5  # characters
BANDS, ROWS = 20, 5  # texts that share 80 of 100 runs meet in a band with a probability of 0.9996
PRIME = (1 << 31) - 1
# Texts of one band beyond these are compared with the first ones only, so that boilerplate costs no square.
MOST = 100


def normalised(text: str) -> str:
    """Return a text without case, with its blanks as one."""
    return " ".join(text.casefold().split())


def neighbours(texts: list[str], threshold: float, seed: int = 0) -> dict[int, dict[int, float]]:
    """Return for each text those that are nearly the same, and how near: the share of runs of characters in common.

    Args:
        texts: Different texts, normalised.
        threshold: The least share, above 0 and at most 1.
        seed: Of the signatures.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    found: dict[int, dict[int, float]] = defaultdict(dict)
    long = [place for place, text in enumerate(texts) if len(text) >= RUN]
    if len(long) < 2 or threshold >= 1:
        return found
    # A vectorizer of scikit-learn cuts texts into runs and numbers these by a hash.
    runs = HashingVectorizer(
        analyzer="char", ngram_range=(RUN, RUN), n_features=2**24, norm=None, binary=True, alternate_sign=False,
        lowercase=False,
    ).transform([texts[place] for place in long])  # fmt: skip
    sizes = np.diff(runs.indptr)
    pairs = _candidates(runs.indices, runs.indptr, seed)
    for start in range(0, len(pairs), 50_000):
        ones, others = pairs[start : start + 50_000].T
        common = np.asarray(runs[ones].multiply(runs[others]).sum(axis=1)).reshape(-1)
        share = common / (sizes[ones] + sizes[others] - common)
        for place in np.flatnonzero(share >= threshold):
            one, other, near = ones[place], others[place], share[place]
            found[long[one]][long[other]] = found[long[other]][long[one]] = float(near)
    return found


def _candidates(runs: np.ndarray[Any, Any], starts: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Return pairs of texts whose signatures agree in a band, int [M, 2].

    Args:
        runs: Numbers of the runs of all texts, one text after the other; each has at least one.
        starts: Where each text begins, and the end.
        seed: Of the signatures.
    """
    draw, pairs = np.random.default_rng(seed), set[tuple[int, int]]()
    values = runs.astype(np.int64)
    for _ in range(BANDS):
        signature = np.zeros(len(starts) - 1, np.uint64)
        for _ in range(ROWS):
            factor, shift = (int(number) for number in draw.integers(1, PRIME, 2))
            least = np.minimum.reduceat((values * factor + shift) % PRIME, starts[:-1]).astype(np.uint64)
            signature = signature * np.uint64(0x9E3779B97F4A7C15) + least  # wraps around, as hashes do
        order = np.argsort(signature, kind="stable")
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(signature[order])) + 1, [len(order)]])
        for place in np.flatnonzero(np.diff(cuts) > 1):
            group = order[cuts[place] : cuts[place + 1]]
            first = group[:MOST].tolist()
            pairs.update((one, other) for place, one in enumerate(first) for other in first[place + 1 :])
            pairs.update((first[0], other) for other in group[MOST:].tolist())
    return np.array(sorted(pairs), np.int64).reshape(-1, 2)
