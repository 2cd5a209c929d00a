# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The demo's report: one HTML file that needs nothing else."""

import base64
from html import escape
import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

from vla_ros.demo.record import Record

_WIDTH, _HEIGHT, _MARGIN = 860, 240, 46
_COLORS = ('#4269d0', '#efb118', '#ff725c', '#6cc5b0', '#3ca951', '#a463f2', '#9c6b4e')
#: Simulated seconds between two pictures of the animation, and milliseconds for which it shows
#: each: twice as fast as it was.
_PICTURE_PERIOD, _PICTURE_MS = 0.2, 100
_SIDE, _CAPTION = 336, 54
#: Points of a line in a plot.
_MOST_POINTS = 1500

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;
color:#222}table{border-collapse:collapse}td,th{padding:.25em .9em;text-align:left;
border-bottom:1px solid #ddd}.yes{color:#187a2f}.no{color:#b3261e}pre{background:#f4f4f4;
padding:.8em;overflow-x:auto}svg text{font:12px system-ui,sans-serif;fill:#444}
img{border-radius:4px}"""


def write_report(path: Path, record: Record, summary: str) -> None:
    """
    Write the report.

    :param summary: what the terminal showed at the end.
    """
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>vla_ros demo</title>',
        f'<style>{_STYLE}</style></head><body><h1>vla_ros demo</h1>',
        '<p>The real inference node over DDS, a simulated camera and arm; commands went through '
        'the motion layer and its limits.</p>',
        _animation(record), '<h2>Instructions</h2>', _table(record),
        '<h2>Age of the image when its command goes out [ms, simulated]</h2>', _ages(record),
        '<h2>Joints: measured (lines) and commanded (dashes) [rad; gripper in m]</h2>',
        _joints(record), f'<h2>Summary</h2><pre>{escape(summary.strip())}</pre></body></html>']
    path.write_text('\n'.join(parts), encoding='utf-8')


def _table(record: Record) -> str:
    rows = []
    for turn in record.turns:
        answers = [answer for answer in record.answers
                   if turn.began <= answer.time <= turn.began + turn.seconds]
        rate = f'{len(answers) / turn.seconds:.1f}' if turn.seconds else ''
        outcome = ('<td class="yes">done</td>' if turn.succeeded else
                   f'<td class="no">not done: {escape(turn.decided or "nothing happened")}</td>')
        rows.append(f'<tr><td>{escape(turn.instruction)}</td>{outcome}'
                    f'<td>{turn.seconds:.1f}</td><td>{len(answers)}</td><td>{rate}</td></tr>')
    return ('<table><tr><th>instruction</th><th>outcome</th><th>seconds</th><th>answers</th>'
            f'<th>Hz</th></tr>{"".join(rows)}</table>')


def _animation(record: Record) -> str:
    pictures, due = [], -np.inf
    for time, jpeg in record.frames:
        turn = record.turn_at(time)
        if time < due or turn is None:
            continue
        due = time + _PICTURE_PERIOD - 1e-6
        answer = record.answer_at(time)
        tokens = '  '.join(map(str, answer.tokens)) if answer else ''
        pictures.append(_picture(jpeg, f'{turn.instruction}   {time - turn.began:4.1f} s',
                                 f'tokens  {tokens}'))
    if not pictures:
        return '<p>No picture was recorded.</p>'
    output = io.BytesIO()
    pictures[0].save(output, 'WEBP', save_all=True, append_images=pictures[1:],
                     duration=_PICTURE_MS, loop=0, quality=70)
    data = base64.b64encode(output.getvalue()).decode()
    return (f'<img src="data:image/webp;base64,{data}" width="{_SIDE}" '
            f'height="{_SIDE + _CAPTION}" alt="what the camera saw, twice as fast as it was">')


def _picture(jpeg: bytes, first: str, second: str) -> Image.Image:
    picture = Image.new('RGB', (_SIDE, _SIDE + _CAPTION), '#181a1f')
    with Image.open(io.BytesIO(jpeg)) as image:
        picture.paste(image.resize((_SIDE, _SIDE)), (0, 0))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default()
    draw.text((8, _SIDE + 8), first, fill='#ffffff', font=font)
    draw.text((8, _SIDE + 30), second, fill='#9fd0ff', font=font)
    return picture


def _ages(record: Record) -> str:
    if not record.answers:
        return '<p>No answer was recorded; vla_ros_msgs may not be built.</p>'
    times = np.array([answer.time for answer in record.answers])
    ages = np.array([1e3 * answer.age for answer in record.answers])
    plot = _Plot(times, ages, floor=0.0)
    for percentile, color in ((50, _COLORS[0]), (99, _COLORS[2])):
        value = float(np.percentile(ages, percentile))
        plot.line(times[[0, -1]], np.array([value, value]), color, '5 4')
        plot.text(f'p{percentile} {value:.0f} ms', value, color)
    plot.dots(times, ages, '#888')
    return plot.svg()


def _joints(record: Record) -> str:
    # Before the first instruction the arm only waits.
    begin = record.turns[0].began if record.turns else 0.0
    joints, commands = ([row for row in rows if row[0] >= begin]
                        for rows in (record.joints, record.commands))
    if len(joints) < 2:
        return '<p>No joint states were recorded.</p>'
    measured, commanded = _columns(joints), _columns(commands)
    plot = _Plot(measured[0], np.concatenate([measured[1].ravel(), commanded[1].ravel()]))
    for index, name in enumerate(record.names):
        color = _COLORS[index % len(_COLORS)]
        plot.line(measured[0], measured[1][:, index], color)
        if len(commanded[0]):
            plot.line(commanded[0], commanded[1][:, index], color, '2 3')
        plot.legend(index, name, color)
    return plot.svg()


def _columns(rows: list[tuple[float, tuple[float, ...]]]) -> tuple[np.ndarray, np.ndarray]:
    """Give times, float64 (N,), and positions, float64 (N, 7), of some of the rows."""
    some = rows[::max(1, len(rows) // _MOST_POINTS)]
    return (np.array([time for time, _ in some]),
            np.array([positions for _, positions in some]).reshape(len(some), -1))


class _Plot:
    """A plot over time, as SVG."""

    def __init__(self, times: np.ndarray, values: np.ndarray, floor: float | None = None) -> None:
        self._left, self._right = float(times.min()), float(times.max()) + 1e-9
        self._low = float(values.min()) if floor is None else floor
        self._high = float(values.max()) + 1e-9
        self._parts: list[str] = []
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            self._grid(share)

    def line(self, times: np.ndarray, values: np.ndarray, color: str, dashes: str = '') -> None:
        """Draw a line."""
        points = ' '.join(f'{self._x(time):.1f},{self._y(value):.1f}'
                          for time, value in zip(times, values))
        self._parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" '
                           f'stroke-width="1.4" stroke-dasharray="{dashes or "none"}"/>')

    def dots(self, times: np.ndarray, values: np.ndarray, color: str) -> None:
        """Draw points."""
        self._parts += [f'<circle cx="{self._x(time):.1f}" cy="{self._y(value):.1f}" r="1.6" '
                        f'fill="{color}"/>' for time, value in zip(times, values)]

    def text(self, text: str, value: float, color: str) -> None:
        """Write at the right end of a value's line."""
        self._parts.append(f'<text x="{_WIDTH - 4}" y="{self._y(value) - 4:.1f}" '
                           f'text-anchor="end" style="fill:{color}">{escape(text)}</text>')

    def legend(self, index: int, name: str, color: str) -> None:
        """Name a line."""
        self._parts.append(f'<text x="{_MARGIN + 100 * index}" y="12" '
                           f'style="fill:{color}">{escape(name)}</text>')

    def svg(self) -> str:
        """Give the whole plot."""
        return (f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 24}" width="{_WIDTH}" '
                f'xmlns="http://www.w3.org/2000/svg">{"".join(self._parts)}</svg>')

    def _grid(self, share: float) -> None:
        value = self._low + share * (self._high - self._low)
        time = self._left + share * (self._right - self._left)
        self._parts.append(
            f'<line x1="{_MARGIN}" x2="{_WIDTH}" y1="{self._y(value):.1f}" '
            f'y2="{self._y(value):.1f}" stroke="#e4e4e4"/>'
            f'<text x="{_MARGIN - 6}" y="{self._y(value) + 4:.1f}" text-anchor="end">'
            f'{value:.3g}</text>'
            f'<text x="{self._x(time):.1f}" y="{_HEIGHT + 18}" text-anchor="middle">'
            f'{time:.1f} s</text>')

    def _x(self, time: float) -> float:
        share = (time - self._left) / (self._right - self._left)
        return _MARGIN + share * (_WIDTH - _MARGIN - 20)

    def _y(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low)
        return _HEIGHT - share * (_HEIGHT - 24)
