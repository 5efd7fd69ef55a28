"""Losses of classes: those that exclude each other, and labels that do not.

A class weight multiplies a row's loss, and the engine divides by the weights of the rows alone: the value is that of
PyTorch's `reduction="sum"`, over the sum of the row weights. PyTorch's own mean divides by the class weights of the
batch instead, so that what a row adds there hangs on its neighbours (in a batch of one class the weight is gone), and
accumulated batches are not one big batch. Over all training rows `balanced` weights average 1, and the two agree.
"""

from __future__ import annotations

from attrs import frozen

from stepbus import mx


def log_softmax(logits: mx.array) -> mx.array:
    """Return log-probabilities, [B, K]; the largest logit is taken off first, beside which a sum of few would drown."""
    logits = logits - mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def softplus(values: mx.array) -> mx.array:
    """Return log(1 + exp(x))."""
    return mx.logaddexp(values, mx.array(0.0))


def as_shares(labels: mx.array, outputs: int) -> mx.array:
    """Return labels as the share of each class, float [B, K]; soft ones are that already."""
    return labels if labels.ndim == 2 else (labels[:, None] == mx.arange(outputs)).astype(mx.float32)


@frozen
class CrossEntropy:
    """Cross-entropy with label smoothing and class weights, as PyTorch's `CrossEntropyLoss(reduction="none")`.

    -Σ_c w_c · t_c · log p_c, where t is the label's share of each class, (1 - s) · y + s / K with smoothing s.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture" (arXiv 1512.00567), section 7.

    Args:
        label_smoothing: s.
        weights: w, [K]; None weighs all 1.
    """

    label_smoothing: float = 0.0
    weights: tuple[float, ...] | None = None

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of logits [B, K] and class numbers [B] or soft labels [B, K]."""
        shares = as_shares(labels, logits.shape[-1])
        if self.label_smoothing:
            shares = shares * (1 - self.label_smoothing) + self.label_smoothing / logits.shape[-1]
        if self.weights is not None:
            shares = shares * mx.array(self.weights)
        return -(shares * log_softmax(logits)).sum(axis=-1)


@frozen
class Focal:
    """Focal loss of classes that exclude each other: -Σ_c w_c · y_c · (1 - p_c)^gamma · log p_c.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv 1708.02002).

    Args:
        gamma: How much less a row counts the surer it is right.
        weights: w, [K]; None weighs all 1.
    """

    gamma: float = 2.0
    weights: tuple[float, ...] | None = None

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of logits [B, K] and class numbers [B] or soft labels [B, K]."""
        shares, logs = as_shares(labels, logits.shape[-1]), log_softmax(logits)
        if self.weights is not None:
            shares = shares * mx.array(self.weights)
        return -(shares * mx.exp(self.gamma * log_complements(logs)) * logs).sum(axis=-1)


def log_complements(logs: mx.array) -> mx.array:
    """Return log(1 - p) of each class, [B, K], exact where p is next to 1: there it is the sum of the others.

    Args:
        logs: log p, [B, K].
    """
    largest = mx.arange(logs.shape[-1]) == mx.argmax(logs, axis=-1, keepdims=True)
    others = mx.logsumexp(mx.where(largest, mx.finfo(mx.float32).min, logs), axis=-1, keepdims=True)
    # The largest is left out of log1p too: its gradient there would be infinite, and 0 times that no number.
    return mx.where(largest, others, mx.log1p(-mx.where(largest, 0.0, mx.exp(logs))))


@frozen
class BinaryFocal:
    """Focal loss of several labels, averaged over them.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection" (arXiv 1708.02002).

    Args:
        gamma: How much less a row counts the surer it is right.
        alpha: Weight of true labels, where the others weigh 1 - alpha; None weighs both 1.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of logits [B, K] and labels from 0 to 1, [B, K]."""
        true, false = softplus(-logits), softplus(logits)  # -log p and -log(1 - p)
        positive, negative = (1.0, 1.0) if self.alpha is None else (self.alpha, 1 - self.alpha)
        terms = positive * labels * mx.exp(-self.gamma * false) * true
        return mx.mean(terms + negative * (1 - labels) * mx.exp(-self.gamma * true) * false, axis=-1)


@frozen
class BinaryCrossEntropy:
    """Binary cross-entropy of several labels, averaged over them, as PyTorch's `BCEWithLogitsLoss`.

    Args:
        positive_weights: What the loss of a true label is multiplied by, [K]; None weighs all 1.
    """

    positive_weights: tuple[float, ...] | None = None

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of logits [B, K] and labels from 0 to 1, [B, K]."""
        true = softplus(-logits)
        if self.positive_weights is not None:
            true = true * mx.array(self.positive_weights)
        return mx.mean(labels * true + (1 - labels) * softplus(logits), axis=-1)


@frozen
class Ordinal:
    """Binary cross-entropy of lying above each class but the highest, averaged over these K - 1 thresholds.

    P(y > k) is the sum of the probabilities above k, taken from log-probabilities. With the head `ordinal` it is
    the sigmoid of score - threshold_k, and this is CORAL's loss over K - 1.

    Source: Cao, Mirjalili and Raschka 2020, "Rank consistent ordinal regression" (arXiv 1901.07884).

    Args:
        order: Places of the classes from the lowest to the highest, [K].
    """

    order: tuple[int, ...]

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of logits [B, K] and class numbers [B] or soft labels [B, K]."""
        order, number = mx.array(self.order), logits.shape[-1]
        logs = log_softmax(logits)[:, None, order]
        above = mx.arange(number) > mx.arange(number - 1)[:, None]  # [K - 1, K]
        least = mx.finfo(mx.float32).min
        higher = mx.logsumexp(mx.where(above, logs, least), axis=-1)
        lower = mx.logsumexp(mx.where(above, least, logs), axis=-1)
        share = as_shares(labels, number)[:, order] @ above.T.astype(mx.float32)
        return -mx.mean(share * higher + (1 - share) * lower, axis=-1)
