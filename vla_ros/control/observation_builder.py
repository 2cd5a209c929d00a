# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""What an observation holds beside the main image: further cameras, and the robot's state."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import logging
import time
from typing import Any

import numpy as np

from vla_ros.camera.health import image_topic
from vla_ros.control.parameters import NodeConfig
from vla_ros.data.alignment import Aligner
from vla_ros.data.alignment import STATE
from vla_ros.data.contract import ARRAY
from vla_ros.data.contract import CameraInput
from vla_ros.data.contract import JOINTS
from vla_ros.data.contract import load_contract
from vla_ros.data.contract import ObservationContract
from vla_ros.data.contract import VectorInput
from vla_ros.data.platforms import find_platform
from vla_ros.errors import MissingInput
from vla_ros.errors import ParameterError
from vla_ros.errors import UnnormKeyError
from vla_ros.errors import UnsupportedError
from vla_ros.policy.base import Observation
from vla_ros.policy.base import PolicySpec

_logger = logging.getLogger(__name__)

#: Reads a kept image message: uint8 (H, W, 3) RGB.
ReadImage = Callable[[], np.ndarray]


def observation_contract(config: NodeConfig) -> ObservationContract:
    """
    Return the contract of a node: that of the parameter ``contract``, or what the others make.

    :raises VlaError: it cannot be read, or the parameters say something else.
    """
    if not config.contract:
        if config.proprio_joint_names and config.proprio_topic:
            raise ParameterError('proprio.topic', config.proprio_topic,
                                 'empty where proprio.joint_names is given')
        return _contract_of_parameters(config)
    for name, value in (('image.extra_topics', config.extra_topics),
                        ('proprio.joint_names', config.proprio_joint_names),
                        ('proprio.topic', config.proprio_topic)):
        if value:
            raise ParameterError(name, value, 'empty where a contract is given')
    contract = load_contract(config.contract)
    if contract.clock_camera != contract.cameras[0]:
        raise ParameterError('contract', config.contract, 'one whose clock is its first camera: '
                             'the node answers its images')
    for camera in contract.cameras:
        if camera.transforms != config.image_transforms:
            raise ParameterError('image.transforms', list(config.image_transforms),
                                 f'{list(camera.transforms)}, as the contract has it for the '
                                 f'camera {camera.name}')
    return contract


def _contract_of_parameters(config: NodeConfig, size: int = 1) -> ObservationContract:
    """
    Make a contract of single parameters.

    :param size: of the state, where it comes on a topic of its own.
    """
    cameras = [CameraInput('main', image_topic(config.image_source))]
    cameras += [CameraInput(f'extra_{number}', topic, max_age=config.extra_max_age)
                for number, topic in enumerate(config.extra_topics)]
    state = None
    if config.proprio_joint_names:
        state = VectorInput('joint_states', config.proprio_joint_names,
                            max_age=config.proprio_max_age)
    elif config.proprio_topic:
        state = VectorInput(config.proprio_topic, tuple(f'state_{n}' for n in range(size)), ARRAY,
                            max_age=config.proprio_max_age)
    return ObservationContract(tuple(cameras), state, max_skew=2 * config.extra_max_age)


class ObservationBuilder:
    """
    Keeps what comes in, and makes an observation of it once an image of the clock comes.

    Inputs come from any thread. Which of them belong to an image the contract says, by their
    stamps; that none is stale counts from their arrival.
    """

    def __init__(self, config: NodeConfig) -> None:
        """
        Start with nothing received.

        :raises VlaError: the parameters do not go together, or the contract cannot be read.
        """
        self._config = config
        self.contract = observation_contract(config)
        self._aligner = Aligner(self.contract)
        self._cameras = {camera.topic: camera for camera in self.contract.cameras[1:]}
        #: Stamps of the last observation, ns, by the names of the contract.
        self.stamps: Mapping[str, int] = {}

    def check(self, spec: PolicySpec) -> None:
        """
        Compare what a loaded policy wants with what there is.

        :raises VlaError: it wants something else; the message says what to set.
        """
        config = self._config
        if config.policy == 'remote' and config.unnorm_key not in ('', spec.unnorm_key):
            raise UnnormKeyError(config.unnorm_key, [spec.unnorm_key])
        cameras = len(self.contract.cameras)
        if spec.image_count != cameras:
            raise UnsupportedError(
                f'checkpoint {spec.checkpoint}', f'it looks at {spec.image_count} cameras, the '
                f'node has {cameras}', 'name those beside the main one in image.extra_topics')
        self._check_proprio(spec)
        if config.proprio_topic:
            self.contract = _contract_of_parameters(config, spec.proprio_dim)
            self._aligner = Aligner(self.contract)

    def image(self, topic: str, read: ReadImage, stamp: int = 0) -> None:
        """Accept an image of a further camera; it is read when it is needed."""
        self._aligner.image(self._cameras[topic].name, stamp, _now(), read)

    def joints(self, names: Sequence[str], positions: Sequence[float], stamp: int = 0) -> None:
        """Accept measured joint positions, in rad and m."""
        state = self.contract.state
        if state is not None and state.type == JOINTS:
            self._aligner.joints(STATE, stamp, _now(), names, positions)

    def state(self, values: Sequence[float], stamp: int = 0) -> None:
        """
        Accept the robot's state, as the checkpoint was trained on it.

        :param stamp: the ROS time at which it came.
        """
        self._aligner.array(STATE, stamp, _now(), values)

    def observe(self, image: np.ndarray, instruction: str, prefetched: Any = None,
                stamp: int = 0, arrived: float | None = None) -> Observation:
        """
        Make an observation of a main image and what belongs to it.

        :param image: uint8 (H, W, 3) RGB.
        :param prefetched: for :attr:`vla_ros.policy.base.Observation.prefetched`.
        :param stamp: of the image, ns; 0 if it has none.
        :param arrived: when it arrived, monotonic seconds; now if not given.
        :raises MissingInput: something has not come, not for long, or is not usable.
        """
        now = _now()
        for camera in self.contract.cameras[1:]:
            self._check_camera(camera, now)
        if self.contract.state is not None:
            self._check_state(self.contract.state, now)
        aligned = self._aligner.align(
            stamp, now if arrived is None else int(arrived * 1e9), lambda: image)
        self.stamps = aligned.stamps
        images = (image, *(read() for read in aligned.images[1:]))
        return Observation(images, instruction, aligned.state, prefetched)

    def _check_proprio(self, spec: PolicySpec) -> None:
        names, topic, wanted = (self._config.proprio_joint_names, self._config.proprio_topic,
                                spec.proprio_dim)
        state = self.contract.state
        if self._config.contract:
            found = 0 if state is None else len(state.names)
            if found != wanted:
                raise ParameterError('contract', self._config.contract,
                                     f'one whose state has {wanted} numbers, for this checkpoint; '
                                     f'it has {found}')
            return
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

    def _check_camera(self, camera: CameraInput, now: int) -> None:
        newest = self._aligner.newest_image(camera.name)
        if newest is None:
            raise MissingInput(f'no image on {camera.topic} yet, which '
                               f'{self._named_by("image.extra_topics")} names')
        self._check_age(f'the newest image on {camera.topic}', now - newest.arrived,
                        'image.extra_max_age', camera.max_age)

    def _check_state(self, state: VectorInput, now: int) -> None:
        parts = self._aligner.newest_samples(STATE)
        missing = [name for name, newest in parts.items() if newest is None]
        if missing and state.type == ARRAY:
            raise MissingInput(f'no state of the robot on {state.topic} yet, which '
                               f'{self._named_by("proprio.topic")} names')
        if missing:
            raise MissingInput(f'{state.topic} never held {", ".join(missing)}, which '
                               f'{self._named_by("proprio.joint_names")} names')
        oldest = min(newest.arrived for newest in parts.values() if newest is not None)
        self._check_age(f'the state of the robot on {state.topic}', now - oldest,
                        'proprio.max_age', state.max_age)

    def _named_by(self, parameter: str) -> str:
        return 'the contract' if self._config.contract else parameter

    def _check_age(self, what: str, age: int, parameter: str, limit: float) -> None:
        if age > 1e9 * limit:
            name = "the contract's max_age" if self._config.contract else parameter
            raise MissingInput(f'{what} came {age * 1e-9:.3f} s ago, {name} is {limit:g} s')


def _now() -> int:
    return round(time.monotonic() * 1e9)
