"""Small charts as SVG text. Colours are CSS variables, so that a chart follows the page into the dark.

A chart is 360 units wide: on a phone that is its width in pixels, and its letters stay letters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from loadtests.slo.axes import Scale, label, linear, logarithmic

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 40, 348, 28, 188
Point = tuple[float, float | None]  # None: a gap in the line


@dataclass(frozen=True)
class Line:
    """`colour`: a CSS variable's number, the same for the same thing on every chart of a page."""

    name: str
    points: Sequence[Point]
    colour: int
    dashed: bool = False
    marked: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Limit:
    """A line across, such as an objective: at `x`, or at `y`."""

    name: str
    colour: int
    x: float | None = None
    y: float | None = None


def line_chart(
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    limits: Sequence[Limit] = (),
    log_x: bool = False,
    log_y: bool = False,
    top: float | None = None,
) -> str:
    """`top`: the highest value of y, where it is known beforehand."""
    xs = [x for line in lines for x, y in line.points if y is not None] + [at.x for at in limits if at.x]
    ys = [y for line in lines for _, y in line.points if y is not None] + [at.y for at in limits if at.y]
    if not any(y is not None for line in lines for _, y in line.points):
        return _nothing()
    x_scale = logarithmic(xs, LEFT, RIGHT) if log_x else _from_zero(xs, LEFT, RIGHT)
    y_scale = logarithmic(ys, BOTTOM, TOP) if log_y else linear(ys if top is None else [top], BOTTOM, TOP)
    if top is not None:
        y_scale = Scale(0, top, BOTTOM, TOP)
    drawn = [_path(line, x_scale, y_scale) for line in lines]
    marks = [_limit(limit, x_scale, y_scale) for limit in limits]
    return _svg([*_grid(x_scale, y_scale, x_title, y_title), *marks, *drawn])


def bar_chart(
    bars: Mapping[str, float | None], colours: Mapping[str, int], target: float | None = None, top: float = 1.0
) -> str:
    """Shares from 0 to `top` as bars across, with a mark where the target is."""
    if not bars:
        return _nothing()
    scale = Scale(0, top, 96, 306)
    height = 18 + len(bars) * 34
    parts = []
    for number, (name, value) in enumerate(bars.items()):
        y = 12 + number * 34
        parts.append(_text(90, y + 13, name, "end", "label"))
        parts.append(f'<rect class="track" x="96" y="{y}" width="210" height="18" rx="4"/>')
        if value is not None:
            width = scale(value) - 96
            parts.append(
                f'<rect class="c{colours.get(name, 1)}f" x="96" y="{y}" width="{width:.1f}" height="18" rx="4"/>'
            )
        parts.append(_text(314, y + 13, "–" if value is None else _percent(value), "start", "value"))
    if target is not None:
        x = scale(target)
        parts.append(f'<line class="target" x1="{x}" x2="{x}" y1="6" y2="{height - 8}"/>')
    return _svg(parts, height)


def stacked_chart(rows: Mapping[str, Mapping[str, float]], colours: Mapping[str, int]) -> str:
    """Shares that make up a whole, a row each."""
    if not rows:
        return _nothing("nothing was drafted")
    scale = Scale(0, 1, 96, 348)
    parts = []
    for number, (name, shares) in enumerate(rows.items()):
        y, done = 12 + number * 30, 0.0
        parts.append(_text(90, y + 13, name, "end", "label"))
        for part, share in shares.items():
            x, width = scale(done), scale(done + share) - scale(done)
            title = f"<title>{escape(part)} {share:.0%}</title>"
            rect = f'x="{x:.1f}" y="{y}" width="{max(0.0, width - 1):.1f}" height="18" rx="2"'
            parts.append(f'<rect class="c{colours[part]}f" {rect}>{title}</rect>')
            done += share
    return _svg(parts, 14 + len(rows) * 30)


def column_chart(values: Sequence[float], x_title: str, y_title: str, colour: int = 1) -> str:
    """A column a share, numbered from 1."""
    if not values:
        return _nothing("nothing was drafted")
    y_scale = Scale(0, 1, BOTTOM, TOP)
    step = (RIGHT - LEFT) / len(values)
    parts = _grid(None, y_scale, x_title, y_title)
    for number, value in enumerate(values):
        x, y = LEFT + number * step + step * 0.15, y_scale(value)
        parts.append(
            f'<rect class="c{colour}f" x="{x:.1f}" y="{y}" width="{step * 0.7:.1f}" height="{BOTTOM - y:.1f}" rx="2">'
            f"<title>{number + 1}: {label(value)}</title></rect>"
        )
        parts.append(_text(LEFT + (number + 0.5) * step, BOTTOM + 14, str(number + 1), "middle", "tick"))
    return _svg(parts)


def _path(line: Line, x_scale: Scale, y_scale: Scale) -> str:
    placed = [(x_scale(x), None if y is None else y_scale(y)) for x, y in line.points]
    steps, pen = [], "M"
    for x, y in placed:
        if y is None:
            pen = "M"
            continue
        steps.append(f"{pen}{x} {y}")
        pen = "L"
    style = f'class="c{line.colour} line{" dashed" if line.dashed else ""}"'
    area = [_area(placed, line.colour)] if line.filled else []
    marks = [_dot(x, y, point, line) for (x, y), point in zip(placed, line.points, strict=True) if y is not None]
    drawn = f'<path {style} d="{"".join(steps)}"><title>{escape(line.name)}</title></path>'
    return "".join([*area, drawn, *(marks if line.marked else [])])


def _area(placed: Sequence[Point], colour: int) -> str:
    """Below a line; gaps are 0."""
    inner = "".join(f"L{x} {BOTTOM if y is None else y}" for x, y in placed)
    return f'<path class="c{colour}a" d="M{placed[0][0]} {BOTTOM}{inner}L{placed[-1][0]} {BOTTOM}Z"/>'


def _dot(x: float, y: float, point: Point, line: Line) -> str:
    title = f"{escape(line.name)}: {label(point[0])}, {label(point[1] or 0.0)}"
    return f'<circle class="c{line.colour}f" cx="{x}" cy="{y}" r="3"><title>{title}</title></circle>'


def _limit(limit: Limit, x_scale: Scale, y_scale: Scale) -> str:
    title = f"<title>{escape(limit.name)}</title>"
    if limit.x is not None:
        x = x_scale(limit.x)
        return f'<line class="c{limit.colour} limit" x1="{x}" x2="{x}" y1="{TOP}" y2="{BOTTOM}">{title}</line>'
    y = y_scale(limit.y or 0.0)
    return f'<line class="c{limit.colour} limit" x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}">{title}</line>'


def _grid(x_scale: Scale | None, y_scale: Scale, x_title: str, y_title: str) -> list[str]:
    parts = [_text(LEFT - 34, 12, y_title, "start", "axis"), _text(RIGHT, HEIGHT - 6, x_title, "end", "axis")]
    for value in y_scale.ticks():
        y = y_scale(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(_text(LEFT - 6, y + 3.5, label(value), "end", "tick"))
    for value in x_scale.ticks() if x_scale else []:
        parts.append(_text(x_scale(value) if x_scale else 0, BOTTOM + 14, label(value), "middle", "tick"))
    return parts


def _from_zero(values: Sequence[float], start: float, end: float) -> Scale:
    return Scale(0, max(values, default=0.0) or 1.0, start, end)


def _text(x: float, y: float, text: str, anchor: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def _percent(share: float) -> str:
    return "100%" if share == 1 else f"{share:.1%}"


def _nothing(why: str = "nothing to show") -> str:
    return _svg([_text(WIDTH / 2, 40, why, "middle", "axis")], 70)


def _svg(parts: Sequence[str], height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
