# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What an observation holds beside the main image: further cameras, and the robot's state."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
import time
from typing import Any

import numpy as np

from vla_ros.errors import MissingInput
from vla_ros.errors import ParameterError
from vla_ros.errors import UnnormKeyError
from vla_ros.errors import UnsupportedError
from vla_ros.parameters import NodeConfig
from vla_ros.platforms import find_platform
from vla_ros.policy import Observation
from vla_ros.policy import PolicySpec

_logger = logging.getLogger(__name__)

#: Reads a kept image message: uint8 (H, W, 3) RGB.
ReadImage = Callable[[], np.ndarray]


class Observing:
    """
    Keeps the newest of every input, and makes an observation of them once a main image comes.

    Inputs come from any thread; each is replaced as a whole. Their age counts from their arrival.
    """

    def __init__(self, config: NodeConfig) -> None:
        """
        Start with nothing received.

        :raises ParameterError: the state is to come from two places.
        """
        if config.proprio_joint_names and config.proprio_topic:
            raise ParameterError('proprio.topic', config.proprio_topic,
                                 'empty where proprio.joint_names is given')
        self._config = config
        self._proprio_dim = 0
        self._images: dict[str, tuple[float, ReadImage]] = {}
        self._joints: dict[str, tuple[float, float]] = {}
        self._state: tuple[float, tuple[float, ...]] | None = None

    def check(self, spec: PolicySpec) -> None:
        """
        Compare what a loaded policy wants with what there is.

        :raises VlaError: it wants something else; the message says what to set.
        """
        config = self._config
        if config.policy == 'remote' and config.unnorm_key not in ('', spec.unnorm_key):
            raise UnnormKeyError(config.unnorm_key, [spec.unnorm_key])
        cameras = 1 + len(config.extra_topics)
        if spec.image_count != cameras:
            raise UnsupportedError(
                f'checkpoint {spec.checkpoint}', f'it looks at {spec.image_count} cameras, the '
                f'node has {cameras}', 'name those beside the main one in image.extra_topics')
        self._check_proprio(spec)
        self._proprio_dim = spec.proprio_dim

    def image(self, topic: str, read: ReadImage) -> None:
        """Take an image of a further camera in; it is read when it is needed."""
        self._images[topic] = (time.monotonic(), read)

    def joints(self, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take measured joint positions in, in rad and m."""
        now = time.monotonic()
        for name, position in zip(names, positions):
            if name in self._config.proprio_joint_names:
                self._joints[name] = (now, position)

    def state(self, values: Sequence[float]) -> None:
        """Take the robot's state in, as the checkpoint was trained on it."""
        self._state = (time.monotonic(), tuple(values))

    def observe(self, image: np.ndarray, instruction: str, staged: Any = None) -> Observation:
        """
        Make an observation of a main image and the newest of everything else.

        :param image: uint8 (H, W, 3) RGB.
        :param staged: for :attr:`vla_ros.policy.Observation.staged`.
        :raises MissingInput: something has not come, not for long, or is not usable.
        """
        now = time.monotonic()
        extra = tuple(self._newest_image(topic, now) for topic in self._config.extra_topics)
        return Observation((image, *extra), instruction,
                           self._proprio(now) if self._proprio_dim else None, staged)

    def _check_proprio(self, spec: PolicySpec) -> None:
        names, topic, wanted = (self._config.proprio_joint_names, self._config.proprio_topic,
                                spec.proprio_dim)
        if not wanted:
            if names or topic:
                raise ParameterError('proprio.topic' if topic else 'proprio.joint_names',
                                     topic or list(names),
                                     'empty: the policy takes no proprioception')
            return
        platform = find_platform(spec.unnorm_key, spec.action_shape[1], wanted)
        known = f' (of {platform.name}: {platform.state})' if platform else ''
        if not (names or topic):
            raise UnsupportedError(
                f'checkpoint {spec.checkpoint}', f'it wants the state of the robot, {wanted} '
                f'numbers{known}', 'where these are joint positions, name the joints in '
                'proprio.joint_names; where they are not, name a topic of '
                'std_msgs/Float64MultiArray in proprio.topic and publish them there')
        if names and len(names) != wanted:
            raise ParameterError('proprio.joint_names', list(names),
                                 f'{wanted} names: one for each number of the state{known}')
        if names and platform is not None and not platform.has_joint_state:
            _logger.warning('proprio.joint_names: a state of %d numbers is usually no joint '
                            'positions%s; publish it on a proprio.topic if that is so here',
                            wanted, known)

    def _newest_image(self, topic: str, now: float) -> np.ndarray:
        arrived, read = self._images.get(topic, (None, None))
        if arrived is None or read is None:
            raise MissingInput(f'no image on {topic} yet, which image.extra_topics names')
        self._check_age(f'the newest image on {topic}', now - arrived, 'image.extra_max_age',
                        self._config.extra_max_age)
        return read()

    def _proprio(self, now: float) -> np.ndarray:
        names, topic = self._config.proprio_joint_names, self._config.proprio_topic
        if names:
            missing = [name for name in names if name not in self._joints]
            if missing:
                raise MissingInput(f'joint_states never held {", ".join(missing)}, which '
                                   'proprio.joint_names names')
            arrived = min(self._joints[name][0] for name in names)
            values: Sequence[float] = [self._joints[name][1] for name in names]
            what = 'the state of the robot on joint_states'
        else:
            if self._state is None:
                raise MissingInput(f'no state of the robot on {topic} yet, which proprio.topic '
                                   'names')
            arrived, values = self._state
            what = f'the state of the robot on {topic}'
        self._check_age(what, now - arrived, 'proprio.max_age', self._config.proprio_max_age)
        state = np.array(values, np.float64)
        if state.shape != (self._proprio_dim,) or not np.isfinite(state).all():
            raise MissingInput(f'{what} is {state.tolist()}, it must be {self._proprio_dim} '
                               'finite numbers')
        return state

    @staticmethod
    def _check_age(what: str, age: float, parameter: str, limit: float) -> None:
        if age > limit:
            raise MissingInput(f'{what} came {age:.3f} s ago, {parameter} is {limit:g} s')
