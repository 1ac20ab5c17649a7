"""What `d` of an SVG path says: lines, steps and areas through points; None is a gap."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from atoll.picture.markup import point

Points = Sequence[tuple[float, float]]


def line(points: Iterable[tuple[float, float | None]]) -> str:
    """Straight from point to point. A point between two gaps is drawn as a dot where line ends are round."""
    parts: list[str] = []
    begun = False
    run = 0
    for x, y in points:
        if y is None:
            if run == 1:
                parts.append("h0")
            begun, run = False, 0
            continue
        parts.append(f"{'L' if begun else 'M'}{point(x)} {point(y)}")
        begun = True
        run += 1
    if run == 1:
        parts.append("h0")
    return "".join(parts)


def steps(points: Iterable[tuple[float, float | None]], end: float) -> str:
    """Each value holds until the next one's time, the last until `end`."""
    parts: list[str] = []
    last: float | None = None
    for x, y in points:
        if y is None:
            if last is not None:
                parts.append(f"H{point(x)}")
            last = None
        elif last is None:
            parts.append(f"M{point(x)} {point(y)}")
            last = y
        elif y != last:
            parts.append(f"H{point(x)}V{point(y)}")
            last = y
    if last is not None:
        parts.append(f"H{point(end)}")
    return "".join(parts)


def area(upper: Points, lower: Points) -> str:
    """What lies between two lines."""
    there = "L".join(f"{point(x)} {point(y)}" for x, y in _plain(upper))
    back = "L".join(f"{point(x)} {point(y)}" for x, y in _plain(tuple(reversed(lower))))
    return f"M{there}L{back}Z" if there and back else ""


def stack(layers: Sequence[Sequence[float]]) -> list[tuple[list[float], list[float]]]:
    """Each layer's lower and upper values when all stand on each other."""
    if not layers:
        return []
    edges = [[0.0] * len(layers[0])]
    for layer in layers:
        edges.append([low + value for low, value in zip(edges[-1], layer, strict=True)])
    return list(pairwise(edges))


def _plain(points: Points) -> Points:
    """Without those in the middle of a level stretch."""
    return [
        here
        for number, here in enumerate(points)
        if number in {0, len(points) - 1} or not (points[number - 1][1] == here[1] == points[number + 1][1])
    ]
