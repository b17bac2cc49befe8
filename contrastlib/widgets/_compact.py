"""Class maps in eight bits, and the arithmetic of contrasts on them; the browser does the same in ``js/maps.js``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

LEADING = 32
"""Classes that are kept in sixteen bits: the likeliest, whose maps contrasts subtract from each other."""

FINE = 254
"""Steps of the second byte in one step of the first."""


@dataclass(frozen=True)
class Compact:
    """The maps of all classes of one picture, one byte for each value and a scale for each class.

    Eight bits leave errors of up to 0.4 % of a class's largest value. A contrast between two classes whose maps are
    nearly the same is a small difference of large numbers, in which that becomes several per cent. The likeliest
    classes therefore have a second byte for what the first one rounds away.

    Attributes:
        shape: C, h, w.
        coarse: (C, h, w) int8.
        scales: (C,) float32, relevance of one step.
        fine: (L, h, w) int8, of the L likeliest classes, the most probable first.
    """

    shape: tuple[int, int, int]
    coarse: NDArray[np.int8]
    scales: Array
    fine: NDArray[np.int8]

    @classmethod
    def of(cls, maps: ArrayLike, logits: ArrayLike) -> "Compact":
        """Quantise the maps of one picture.

        Args:
            maps: (C, h, w), finite.
            logits: (C,), finite.

        Returns:
            the maps in eight bits.

        Raises:
            ValueError: the shapes do not fit, or a value is not finite.
        """
        values, scores = np.asarray(maps, np.float32), np.asarray(logits, np.float32)
        if values.ndim != 3:
            raise ValueError(f"maps must be (C, h, w), got shape {values.shape}")
        if scores.shape != (len(values),):
            raise ValueError(f"{len(values)} maps need as many logits ({len(values)},), got shape {scores.shape}")
        if not (np.isfinite(values).all() and np.isfinite(scores).all()):
            raise ValueError("maps and logits must be finite")
        scales = (np.abs(values).max((1, 2)) / 127).astype(np.float32)
        steps = np.where(scales > 0, scales, 1)[:, None, None]
        coarse = np.round(values / steps).astype(np.int8)
        leading = ranked(scores)[:LEADING]
        fine = np.round(((values - coarse * steps) / steps)[leading] * FINE).astype(np.int8)
        return cls(values.shape, coarse, scales, fine)

    def maps(self, logits: ArrayLike) -> Array:
        """The maps as floats again.

        Args:
            logits: (C,), the same as before.

        Returns:
            (C, h, w) float32.
        """
        values = self.coarse.astype(np.float32)
        values[ranked(logits)[:len(self.fine)]] += self.fine.astype(np.float32) / FINE
        return values * self.scales[:, None, None]

    def state(self, name: str) -> dict[str, Any]:
        """What the browser gets."""
        return {"name": name, "shape": list(self.shape[1:]), "maps": self.coarse.tobytes(),
                "scales": self.scales.astype("<f4").tobytes(), "fine": self.fine.tobytes()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Compact":
        """The inverse of :meth:`state`."""
        h, w = state["shape"]
        scales = np.frombuffer(state["scales"], "<f4")
        coarse = np.frombuffer(state["maps"], np.int8).reshape(-1, h, w)
        return cls((len(scales), h, w), coarse, scales, np.frombuffer(state["fine"], np.int8).reshape(-1, h, w))


def ranked(logits: ArrayLike) -> NDArray[np.int64]:
    """Classes (C,) from the most probable down; of equal ones the lower index first."""
    return np.argsort(-np.asarray(logits, np.float32), kind="stable")


def temperature(position: float) -> float:
    """The temperature at a position of the dial: 0 at 0, 1 at 50, infinite at 100, logarithmic between."""
    if position <= 0:
        return 0.0
    return float("inf") if position >= 100 else float(10 ** ((position - 50) / 50))


def weights(logits: ArrayLike, target: int, at: float, among: Sequence[int] | None = None) -> NDArray[np.float64]:
    r"""What each other class is subtracted with.

    .. math:: \alpha_s(T) = \frac{e^{y_s/T}}{\sum_{k \ne t} e^{y_k/T}}

    Args:
        logits: (C,).
        target: the class t, which has no weight.
        at: temperature T, from 0 (the strongest other class) to infinity (all alike).
        among: the classes s and k, without the target; None for all others.

    Returns:
        (C,), at least 0, summing to 1.
    """
    scores = np.asarray(logits, np.float64)
    others = [s for s in (range(len(scores)) if among is None else among) if s != target]
    gap = scores[others] - scores[others].max()
    with np.errstate(invalid="ignore"):
        raw = (gap == 0).astype(float) if at == 0 else np.exp(np.zeros_like(gap) if np.isinf(at) else gap / at)
    out = np.zeros(len(scores))
    out[others] = raw / raw.sum()
    return out
