# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The page of an evaluation: success by task, and a filmstrip of each episode."""

import base64
from collections.abc import Iterable
from html import escape
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vla_ros.evaluation.suite_evaluator import SuiteEpisode

#: Side of an image in a filmstrip, pixels.
_SIDE = 128
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;text-align:left;
border-bottom:1px solid #ccc}}img{{max-width:100%}}.failed{{color:#b00020}}
figure{{margin:1rem 0}}</style>
<h1>{title}</h1><p>{settings}</p>
<table><tr><th>task<th>instruction<th>success<th>95 % interval</tr>{rows}</table>
<h2>Episodes, failures first</h2>{strips}</html>
"""


def write_report(folder: Path, title: str, settings: str, result: dict[str, Any],
                 episodes: Iterable[SuiteEpisode]) -> Path:
    """
    Write ``index.html``, ``result.json`` and the actions of each episode.

    :param settings: how it was run, as one line.
    :returns: the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'result.json').write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    ordered = sorted(episodes, key=lambda e: (e.succeeded, e.task.number, e.state))
    recording = []
    for episode in ordered:
        name = f'{episode.task.suite}_{episode.task.number}_{episode.state}.npy'
        np.save(folder / name, episode.commands)
        recording.append({'instruction': episode.instruction, 'task': str(episode.task),
                          'state': episode.state, 'file': name})
    recording.sort(key=lambda entry: (entry['task'], entry['state']))
    (folder / 'recording.json').write_text(json.dumps(recording, indent=1) + '\n',
                                           encoding='utf-8')
    page = folder / 'index.html'
    page.write_text(_PAGE.format(
        title=escape(title), settings=escape(settings),
        rows=''.join(_row(row) for row in (*result['rows'], result['all'])),
        strips=''.join(_strip(episode) for episode in ordered)), encoding='utf-8')
    return page


def _row(row: dict[str, Any]) -> str:
    low, high = row['interval']
    return (f'<tr><td>{escape(row["task"])}<td>{escape(row["instruction"])}'
            f'<td>{row["successes"]} of {row["episodes"]}'
            f'<td>{100 * low:.0f} to {100 * high:.0f} %</tr>')


def _strip(episode: SuiteEpisode) -> str:
    outcome = (f'success after {episode.actions} actions' if episode.succeeded
               else f'<span class="failed">failed</span>, {episode.actions} actions')
    held = ', '.join(f'{escape(reason)} {count}' for reason, count in episode.held.items())
    return (f'<figure><figcaption>{episode.task}, initial state {episode.state}: {outcome}'
            f'{"; holds: " + held if held else ""}<br>{escape(episode.instruction)}'
            f'</figcaption>{_image(episode.frames)}</figure>')


def _image(frames: list[np.ndarray]) -> str:
    if not frames:
        return '<p>no image</p>'
    images = [np.asarray(Image.fromarray(frame).resize((_SIDE, _SIDE))) for frame in frames]
    stream = io.BytesIO()
    Image.fromarray(np.hstack(images)).save(stream, 'JPEG', quality=80)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="filmstrip" src="data:image/jpeg;base64,{data}">'
