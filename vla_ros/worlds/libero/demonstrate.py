# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Records the scripted expert in one task of LIBERO, moved by the benchmark's own controller.

A process under the Python of ``.venv-libero``; it writes a file for each episode.
"""

from dataclasses import dataclass
from dataclasses import field
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np

from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.worlds.libero.expert import Expert
from vla_ros.worlds.libero.expert import WorldState
from vla_ros.worlds.libero.suites import step_limit
from vla_ros.worlds.libero.suites import TaskName
from vla_ros.worlds.libero.world import CAMERAS
from vla_ros.worlds.libero.world import LiberoWorld

#: What the evaluation does to each image (vla_ros.evaluation.suite_pair).
_TRANSFORMS = ('rotate_180', 'libero_resize')
# A disturbance begins in a step with this probability, lasts for some steps, and is added to the
# six numbers of the arm; half of the episodes have none.
_PROBABILITY, _STEPS, _SCALE = 0.05, (3, 9), np.array([0.5] * 3 + [0.15] * 3)
_DISTURBED = 0.5


@dataclass
class Disturbance:
    """Adds an offset to the arm's deltas for a few steps, at random times."""

    rng: np.random.Generator
    left: int = 0
    offset: np.ndarray = field(default_factory=lambda: np.zeros(6))

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Return the disturbed action, float64 (7,); the gripper is left as it is."""
        if self.left == 0 and self.rng.random() < _PROBABILITY:
            self.left = int(self.rng.integers(*_STEPS))
            self.offset = _SCALE * self.rng.standard_normal(6)
        if self.left == 0:
            return action
        self.left -= 1
        return np.append(np.clip(action[:6] + self.offset, -1.0, 1.0), action[6])


def demonstrate(world: LiberoWorld, state: int, seed: int, every: int) -> dict[str, Any]:
    """
    Record one episode of T steps; it ends with the success or at the suite's limit.

    :param seed: of the disturbances.
    :param every: steps from one image to the next.
    :returns: ``agentview`` and ``wrist``, uint8 (F, 224, 224, 3) as the evaluation feeds them;
        ``states``, float32 (F, 8), at each image; ``actions``, float32 (T, 7), the expert's, the
        gripper 1 open; ``success``; ``instruction``.
    """
    rng = np.random.default_rng([23, seed])
    disturbance = Disturbance(rng) if rng.random() < _DISTURBED else None
    world.reset(state)
    expert = Expert()
    images: dict[str, list[np.ndarray]] = {camera: [] for camera in CAMERAS}
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    success = False
    while not success and len(actions) < step_limit(world.task.suite):
        if len(actions) % every == 0:
            states.append(world.proprio())
            for camera, found in images.items():
                image = world.render(camera)
                for name in _TRANSFORMS:
                    image = IMAGE_TRANSFORMS[name](image)
                found.append(image)
        action = expert.act(WorldState.read(world.state()))
        actions.append(action)
        # The label is the expert's action, not the disturbed one.
        executed = disturbance.apply(action) if disturbance else action
        world.act([*executed[:6], 1.0 - 2.0 * executed[6]])
        success = world.is_success()
    return {**{name: np.stack(found) for name, found in zip(('agentview', 'wrist'),
                                                            images.values())},
            'states': np.array(states, np.float32), 'actions': np.array(actions, np.float32),
            'success': success, 'instruction': world.instruction}


def main() -> int:
    """
    Record the episodes of one task.

    The only argument is JSON: ``task``, ``every``, and ``episodes``, of which each has the initial
    ``state``, the ``seed`` and the ``file`` that is written.
    """
    job = json.loads(sys.argv[1])
    world = LiberoWorld(TaskName.parse(job['task']))
    for episode in job['episodes']:
        found = demonstrate(world, episode['state'], episode['seed'], job['every'])
        path = Path(episode['file'])
        unfinished = path.with_suffix('.unfinished')
        with unfinished.open('wb') as file:
            np.savez_compressed(file, **found)
        unfinished.replace(path)  # an interruption leaves whole files only
        print(f'{path.name} {job["task"]} state {episode["state"]}: '
              f'{"success" if found["success"] else "failed"} after {len(found["actions"])} '
              'actions', flush=True)
    world.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
