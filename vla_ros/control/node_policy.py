# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The node's policy: loaded as the parameters say, with its adapters and its prefetching."""

from collections.abc import Callable
from typing import Any
from typing import cast

import numpy as np

from vla_ros.control.adapter_choice import AdapterChoice
from vla_ros.control.adapter_choice import SwitchingPolicy
from vla_ros.control.parameters import NodeConfig
from vla_ros.control.status import NodeStatus
from vla_ros.errors import ParameterError
from vla_ros.policy.base import AdaptablePolicy
from vla_ros.policy.base import Policy
from vla_ros.policy.config import PolicyConfig
from vla_ros.util.progress import Progress


class NodePolicy:
    """Makes the policy, as often as the node is configured."""

    def __init__(self, config: NodeConfig, status: NodeStatus,
                 load_policy: Callable[[PolicyConfig], Policy], image_count: int) -> None:
        """
        Start with nothing loaded.

        :param load_policy: :func:`vla_ros.policy.load.load_policy`, or a test's own.
        :param image_count: images in an observation.
        :raises ParameterError: the parameters of the adapters are not valid.
        """
        self._config = config
        self._status = status
        self._load_policy = load_policy
        self._image_count = image_count
        #: The adapters, and which one is wanted.
        self.adapters = AdapterChoice(config.adapters, config.adapter)
        #: Uploads the pixels of a frame, uint8 (H, W, 3), before its inference; None without.
        self.prefetch: Callable[[np.ndarray], Any] | None = None

    def load(self, progress: Progress) -> Policy:
        """
        Load the policy, in the thread that will infer.

        :raises VlaError: it cannot be loaded.
        """
        policy = self._load_policy(self._policy_config(progress))
        self._status.adapter(self.adapters.in_place)
        self.prefetch = getattr(policy, 'prefetch', None)
        if not self.adapters.folders:
            return policy
        adaptable = cast(AdaptablePolicy, policy)  # it was loaded with adapters
        return SwitchingPolicy(adaptable, self.adapters, self._status.adapter)

    def _policy_config(self, progress: Progress) -> PolicyConfig:
        config, adapters = self._config, self.adapters.folders
        is_remote = config.policy == 'remote'
        if is_remote and adapters:
            raise ParameterError('adapters', list(adapters), 'empty where policy is remote: they '
                                 'are chosen where vla_serve runs')
        return PolicyConfig(
            policy=config.policy, checkpoint='' if is_remote else config.checkpoint,
            revision=config.revision or None, unnorm_key=config.unnorm_key or None,
            device=config.device, dtype=config.dtype, attention=config.attention,
            quantization=config.quantization, prompt=config.prompt, head=config.head,
            image_count=self._image_count, use_proprio=config.use_proprio,
            chunk_length=config.chunk_length, url=config.url, protocol=config.protocol,
            keys_file=config.keys_file or None, deadline_s=config.deadline,
            adapters=adapters, adapter=self.adapters.begin(),
            image_transforms=config.image_transforms, action_transforms=config.action_transforms,
            datasets_file=config.datasets_file or None, progress=progress)
