"""The time axis that all plots share, and what lies behind them: the phases."""

from dataclasses import dataclass

from atoll.picture.labels import Box, box, label, shorten
from atoll.picture.markup import Markup, join, tag
from atoll.picture.scale import Linear, seconds, time_ticks

SMALL = 11.0
"""Font size of everything but titles, in pixels."""
TICKS_APART = 64.0


@dataclass(frozen=True, slots=True)
class Frame:
    """`width` is of the whole picture in pixels. Plots lie between `left` and `right`."""

    width: float
    begin_s: float
    heal_s: float
    end_s: float
    origin: str = "the fault"
    left: float = 52.0
    margin: float = 12.0

    @property
    def right(self) -> float:
        return self.width - self.margin

    @property
    def x(self) -> Linear:
        """From seconds since the fault to pixels."""
        return Linear(self.begin_s, max(self.end_s, self.begin_s + 1.0), self.left, self.right)

    @property
    def phases(self) -> tuple[tuple[float, float], ...]:
        """Left and right edge of the steady state, the fault and the recovery."""
        edges = [self.x(at) for at in (self.begin_s, 0.0, self.heal_s, self.end_s)]
        edges = [min(max(edge, self.left), self.right) for edge in edges]
        return (edges[0], edges[1]), (edges[1], edges[2]), (edges[2], edges[3])

    def each(self, bins: int) -> int:
        """How many neighbouring bins are drawn as one, so that each is wide enough to be seen."""
        return max(1, -(-bins * 3 // max(1, int(self.right - self.left))))

    def header(self, fault: str, y: float) -> Markup:
        """The phases' names above the plots, as far as they fit; what doesn't is on the time line anyway."""
        names = (("steady state", "before"), (fault, "fault"), ("recovery", "after"))
        return join(
            *(
                label(text, (begin + end) / 2, y, SMALL, "middle", bold=True, class_="quiet")
                for (begin, end), forms in zip(self.phases, names, strict=True)
                if (text := _fitting(forms, end - begin - 8))
            )
        )

    def background(self, top: float, bottom: float) -> Markup:
        """What lies behind a plot: lines at the ticks, the time of the fault shaded, its edges dashed."""
        (_, fault), (_, heal), _ = self.phases
        grid = [tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid") for x in map(self.x, self.ticks)]
        edges = [
            tag("line", x1=x, x2=x, y1=top, y2=bottom, class_=name)
            for x, name in ((fault, "fault-line"), (heal, "heal-line"))
        ]
        shade = tag("rect", x=fault, y=top, width=max(0.0, heal - fault), height=bottom - top, class_="shade")
        return join(shade, *grid, *edges)

    @property
    def ticks(self) -> tuple[float, ...]:
        """In seconds from the fault."""
        most = max(2, int((self.right - self.left) / TICKS_APART))
        return time_ticks(self.begin_s, self.end_s, most)

    def axis(self, bottom: float) -> Markup:
        """The ticks in words, and what they count. Takes 36 pixels below `bottom`."""
        minutes = self.end_s - self.begin_s > 240
        taken: list[Box] = []
        parts = []
        for tick in self.ticks:
            x, text = self.x(tick), seconds(tick, minutes=minutes)
            place = box(text, x, bottom + 17, SMALL, "middle")
            if place.right <= self.width and not any(place.overlaps(other) for other in taken):
                taken.append(place)
                parts.append(label(text, x, bottom + 17, SMALL, "middle"))
        unit = f"minutes and seconds from {self.origin}" if minutes else f"seconds from {self.origin}"
        parts.append(label(unit, self.right, bottom + 32, SMALL, "end", class_="quiet"))
        return join(*parts)


def _fitting(forms: tuple[str, str], room: float) -> str:
    long, short = forms
    text = shorten(long, room, SMALL, bold=True)
    if text == long or len(text) > len(short) + 3:
        return text
    return short if shorten(short, room, SMALL, bold=True) == short else ""
