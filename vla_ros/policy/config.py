# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which policy to load and how to run it."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import re

from vla_ros.data.transforms import check_names
from vla_ros.data.transforms import GRIPPER_TRANSFORMS
from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.errors import ParameterError
from vla_ros.policy.choices import ATTENTIONS
from vla_ros.policy.choices import DEVICES
from vla_ros.policy.choices import DTYPES
from vla_ros.policy.choices import HEADS
from vla_ros.policy.choices import PROMPTS
from vla_ros.policy.choices import PROTOCOLS
from vla_ros.policy.choices import QUANTIZATIONS
from vla_ros.util.progress import ignore_progress
from vla_ros.util.progress import Progress

#: Kinds of policy beside a factory of the user's own, ``package.module:function``.
POLICIES = ('local', 'remote')
_FACTORY = re.compile(r'[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*')


def check_policy_kind(kind: str) -> None:
    """
    Reject what names no policy.

    :raises ParameterError: it is neither one of :data:`POLICIES` nor ``package.module:function``.
    """
    if kind not in POLICIES and not _FACTORY.fullmatch(kind):
        raise ParameterError('policy', kind, f'{", ".join(POLICIES)} or the factory of an own '
                             'policy, package.module:function')


@dataclass(frozen=True)
class PolicyConfig:
    """
    Which policy to load and how to run it; each closed set is checked here.

    :param policy: what makes the policy: ``local`` loads the checkpoint here, ``remote`` asks the
        server at ``url``, ``package.module:function`` is the user's own factory.
    :param checkpoint: folder, or hub id ``owner/name``; a remote policy has none, an own policy
        reads it as it likes.
    :param revision: commit, branch or tag of a hub id; None for the commit that is cached.
    :param unnorm_key: dataset whose statistics scale the action; None if there is only one.
    :param prompt: prompt template; ``auto`` reads it from the checkpoint, ``raw`` takes the
        instruction as the whole prompt.
    :param clip_invalid: decode non-action tokens as the official code does instead of raising
        :class:`vla_ros.errors.InvalidAction`. For comparison only, never on a robot.
    :param head: how the action leaves the network, one of ``HEADS``.
    :param image_count: how many images every observation holds.
    :param use_proprio: feed the robot's state to a checkpoint that has a projector for it.
    :param chunk_length: actions in a chunk, of a checkpoint that does not say; 0: read it.
    :param url: address of the server that runs the model instead, ``http://host:port`` of a
        ``vla_serve``, ``ws://host:port`` of a server with openpi's protocol,
        ``tcp://host:port`` of GR00T's, ``tcp://host:port/deployment`` of LeRobot's.
    :param protocol: of that server, one of ``PROTOCOLS``.
    :param keys_file: file of keys of openpi's, GR00T's or LeRobot's protocol, or the name of one
        that comes with the package, see :mod:`vla_ros.policy.keys_file`.
    :param deadline_s: seconds in which the result of a remote policy must come.
    :param adapters: folders of LoRA adapters by name; a single one is merged into the weights,
        of several the active one can be switched between inferences.
    :param adapter: the active adapter; None: the first of ``adapters``.
    :param image_transforms: names out of :mod:`vla_ros.data.transforms`, applied to every image.
    :param action_transforms: likewise, applied to the grippers of every action.
    :param datasets_file: YAML file of the user's own dataset descriptions, see
        :mod:`vla_ros.data.datasets`.
    :param warmup: run the network once while loading, so that the first inference is not slower.
    """

    checkpoint: str = ''
    unnorm_key: str | None = None
    device: str = 'auto'
    dtype: str = 'auto'
    attention: str = 'auto'
    quantization: str = 'none'
    prompt: str = 'auto'
    clip_invalid: bool = False
    head: str = 'auto'
    image_count: int = 1
    use_proprio: bool = True
    chunk_length: int = 0
    policy: str = 'local'
    url: str = ''
    protocol: str = 'vla'
    keys_file: str | None = None
    deadline_s: float = 1.0
    adapters: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    image_transforms: tuple[str, ...] = ()
    action_transforms: tuple[str, ...] = ()
    datasets_file: str | None = None
    warmup: bool = True
    revision: str | None = None
    progress: Progress = field(default=ignore_progress, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Reject values outside the closed sets."""
        check_policy_kind(self.policy)
        if self.policy == 'local' and not self.checkpoint:
            raise ParameterError('checkpoint', self.checkpoint, 'a folder or a hub id owner/name')
        if (self.policy == 'remote') != bool(self.url):
            raise ParameterError('url', self.url, 'the address of a server, like '
                                 'http://gpu-machine:8000, where policy is remote, else empty')
        if (self.protocol in ('openpi', 'gr00t', 'lerobot')) != (self.keys_file is not None):
            raise ParameterError('keys_file', self.keys_file, 'a file of keys, or a name like '
                                 'pi05_droid, where protocol is openpi, gr00t or lerobot, else '
                                 'empty')
        if self.protocol != 'vla' and self.policy != 'remote':
            raise ParameterError('protocol', self.protocol, 'vla where policy is not remote')
        if self.url and self.revision is not None:
            raise ParameterError('revision', self.revision, 'empty where the policy is remote: it '
                                                            'is chosen where vla_serve runs')
        for name, allowed in (('device', DEVICES), ('dtype', DTYPES), ('attention', ATTENTIONS),
                              ('quantization', QUANTIZATIONS), ('prompt', PROMPTS),
                              ('head', HEADS), ('protocol', PROTOCOLS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ParameterError(name, value, f'one of {", ".join(allowed)}')
        check_names('image_transforms', self.image_transforms, IMAGE_TRANSFORMS)
        check_names('action_transforms', self.action_transforms, GRIPPER_TRANSFORMS)
        if self.adapter is not None and self.adapter not in self.adapters:
            raise ParameterError('adapter', self.adapter,
                                 f'one of {", ".join(self.adapters) or "none: none is given"}')
        if not self.deadline_s > 0:
            raise ParameterError('deadline_s', self.deadline_s, 'above zero')
        if self.image_count < 1:
            raise ParameterError('image_count', self.image_count, 'at least 1')
        if self.chunk_length < 0:
            raise ParameterError('chunk_length', self.chunk_length, 'zero or more')
