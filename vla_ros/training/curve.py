# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The loss curve as a picture."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageDraw


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Draw the action loss and, where it is known, the share of right tokens as a PNG."""
    width, height, margin = 800, 400, 40
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    draw.rectangle((margin, margin, width - margin, height - margin), outline='black')
    lines = [('action', 'firebrick', max(x['action'] for x in curve))]
    if 'accuracy' in curve[0]:
        lines.append(('accuracy', 'steelblue', 1.0))
    for name, color, top in lines:
        window = max(1, len(curve) // 200)
        values = np.array([x[name] for x in curve])[:len(curve) // window * window]
        means = values.reshape(-1, window).mean(1)
        x = margin + (width - 2 * margin) * (np.arange(len(means)) + 1) / len(means)
        y = height - margin - (height - 2 * margin) * means / top
        draw.line(list(zip(x.tolist(), y.tolist())), fill=color, width=2)
    right = 'blue: tokens within 3 bins, 0 to 1     ' if len(lines) == 2 else ''
    draw.text((margin, 12), f'red: action loss, 0 to {lines[0][2]:.2f}     {right}'
              f'{len(curve)} steps', fill='black')
    picture.save(path)
