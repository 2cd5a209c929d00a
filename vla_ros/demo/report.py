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

from vla_ros.demo.plots import plot_ages
from vla_ros.demo.plots import plot_joints
from vla_ros.demo.record import Record

#: Simulated seconds between two frames of the animation, and milliseconds for which it shows
#: each: twice as fast as it was.
_FRAME_PERIOD, _FRAME_MS = 0.2, 100
_SIDE, _CAPTION = 336, 54

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;
color:#222}table{border-collapse:collapse}td,th{padding:.25em .9em;text-align:left;
border-bottom:1px solid #ddd}.yes{color:#187a2f}.no{color:#b3261e}pre{background:#f4f4f4;
padding:.8em;overflow-x:auto}svg{max-width:100%;height:auto}img{border-radius:4px}"""


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
        '<h2>Age of the image when its command goes out [ms, simulated]</h2>', plot_ages(record),
        '<h2>Joints: measured (lines) and commanded (dots)</h2>',
        plot_joints(record), f'<h2>Summary</h2><pre>{escape(summary.strip())}</pre></body></html>']
    path.write_text('\n'.join(parts), encoding='utf-8')


def _table(record: Record) -> str:
    rows = []
    for attempt in record.attempts:
        results = [result for result in record.results
                   if attempt.began <= result.time <= attempt.began + attempt.seconds]
        rate = f'{len(results) / attempt.seconds:.1f}' if attempt.seconds else ''
        outcome = ('<td class="yes">done</td>' if attempt.succeeded else
                   f'<td class="no">not done: {escape(attempt.decided or "nothing happened")}'
                   '</td>')
        rows.append(f'<tr><td>{escape(attempt.instruction)}</td>{outcome}'
                    f'<td>{attempt.seconds:.1f}</td><td>{len(results)}</td><td>{rate}</td></tr>')
    return ('<table><tr><th>instruction</th><th>outcome</th><th>seconds</th><th>results</th>'
            f'<th>Hz</th></tr>{"".join(rows)}</table>')


def _animation(record: Record) -> str:
    frames, due = [], -np.inf
    for time, jpeg in record.frames:
        attempt = record.attempt_at(time)
        if time < due or attempt is None:
            continue
        due = time + _FRAME_PERIOD - 1e-6
        result = record.result_at(time)
        tokens = '  '.join(map(str, result.tokens)) if result else ''
        frames.append(_frame(jpeg, f'{attempt.instruction}   {time - attempt.began:4.1f} s',
                             f'tokens  {tokens}'))
    if not frames:
        return '<p>No image was recorded.</p>'
    output = io.BytesIO()
    frames[0].save(output, 'WEBP', save_all=True, append_images=frames[1:],
                   duration=_FRAME_MS, loop=0, quality=70)
    data = base64.b64encode(output.getvalue()).decode()
    return (f'<img src="data:image/webp;base64,{data}" width="{_SIDE}" '
            f'height="{_SIDE + _CAPTION}" alt="what the camera saw, twice as fast as it was">')


def _frame(jpeg: bytes, first: str, second: str) -> Image.Image:
    frame = Image.new('RGB', (_SIDE, _SIDE + _CAPTION), '#181a1f')
    with Image.open(io.BytesIO(jpeg)) as image:
        frame.paste(image.resize((_SIDE, _SIDE)), (0, 0))
    draw = ImageDraw.Draw(frame)
    font = ImageFont.load_default()
    draw.text((8, _SIDE + 8), first, fill='#ffffff', font=font)
    draw.text((8, _SIDE + 30), second, fill='#9fd0ff', font=font)
    return frame
