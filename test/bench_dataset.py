# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measures a large dataset: seconds to open it, and the peak memory of a training on it.

    python test/bench_dataset.py make FOLDER --codec h264 --frames 20000
    python test/bench_dataset.py measure FOLDER...

A dataset has two cameras of 64x64 pixels, 14 numbers in an action and in a state, and episodes of
500 frames. Each is opened, and trained on for 40 steps, in a process of its own; the peak is that
of this process, and beside it the largest of its decoders. Prints a JSON object a line.
"""

import argparse
import json
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

from vla_ros.data.lerobot_dataset import LeRobotDataset
from vla_ros.data.lerobot_writer import DatasetLayout
from vla_ros.data.lerobot_writer import EpisodeNumbers
from vla_ros.data.lerobot_writer import LeRobotWriter

_LENGTH, _SIDE = 500, 64
_NAMES = tuple(f'joint_{number}' for number in range(14))


def make(folder, codec, frames):
    """Write a dataset: a square that moves over a gradient, before two cameras."""
    folder.mkdir(parents=True)
    writer = LeRobotWriter(folder, DatasetLayout(
        {'front': (_SIDE, _SIDE), 'wrist': (_SIDE, _SIDE)}, _NAMES, _NAMES, 30.0, 'bench', codec))
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.uint8)
    ground = np.stack([2 * rows, 2 * columns, rows + columns], 2)
    rng = np.random.default_rng(0)
    for first in range(0, frames, _LENGTH):
        for frame in range(_LENGTH):
            image = ground.copy()
            place = (first // _LENGTH + frame) % (_SIDE - 8)
            image[place:place + 8, place:place + 8] = 255
            writer.add_image('front', image)
            writer.add_image('wrist', image[::-1])
        numbers = rng.normal(size=(_LENGTH, 14)).cumsum(0).astype(np.float32)
        writer.save_episode(EpisodeNumbers(['wave'] * _LENGTH, numbers, numbers,
                                           np.zeros(_LENGTH, bool)))
    writer.close()


def open_once(folder):
    """Open a dataset and read a frame, in this process."""
    began = time.monotonic()
    dataset = LeRobotDataset(folder)
    opened = time.monotonic() - began
    assert dataset[len(dataset) - 1].image.shape == (_SIDE, _SIDE, 3)
    return {'frames': len(dataset), 'open_s': round(opened, 2), 'open_peak_mb': peak_mb()}


def train(folder, steps):
    """Train on a dataset, in this process."""
    from vla_ros.cli.train import main
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        status = main(['--dataset', str(folder), '--out', f'{out}/small', '--steps', str(steps),
                       '--batch', '16', '--decoders', '1', '--threads', '1', '--device', 'cpu'])
        assert status == 0
    return {'train_s': round(time.monotonic() - began, 1), 'train_peak_mb': peak_mb(),
            'decoder_peak_mb': peak_mb(resource.RUSAGE_CHILDREN)}


def peak_mb(who=resource.RUSAGE_SELF):
    """Return the largest resident memory so far, in MB."""
    return round(resource.getrusage(who).ru_maxrss / 1024)


def measure(folder, steps):
    """Measure each dataset in a new process."""
    found = {'dataset': folder.name}
    for what in ('open', 'train'):
        done = subprocess.run([sys.executable, __file__, what, str(folder), '--steps', str(steps)],
                              check=True, capture_output=True, text=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def main():
    """Run the command of the arguments."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('make', 'measure', 'open', 'train'))
    parser.add_argument('folders', nargs='+', type=Path)
    parser.add_argument('--codec', choices=('h264', 'av1', 'images'), default='h264')
    parser.add_argument('--frames', type=int, default=20000)
    parser.add_argument('--steps', type=int, default=40)
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if arguments.what == 'make':
            make(folder, arguments.codec, arguments.frames)
        elif arguments.what == 'measure':
            print(json.dumps(measure(folder, arguments.steps)), flush=True)
        else:
            print(json.dumps(open_once(folder) if arguments.what == 'open' else
                             train(folder, arguments.steps)))


if __name__ == '__main__':
    main()
