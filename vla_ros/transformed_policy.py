# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The wrapper that puts declared transforms around a policy."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vla_ros.errors import ImageError
from vla_ros.policy import ActionChunk
from vla_ros.policy import Observation
from vla_ros.transforms import IMAGE_TRANSFORMS
from vla_ros.transforms import transform_grippers


class TransformedPolicy:
    """A policy between image transforms and action transforms."""

    def __init__(self, policy: Any, image_transforms: Sequence[str] = (),
                 action_transforms: Sequence[str] = (),
                 grippers: Sequence[int] = (-1,)) -> None:
        """
        Wrap a policy.

        :param policy: any policy; adapters and rescaling are passed on to it.
        :param grippers: places of the grippers in an action.
        """
        self.policy = policy
        self.spec = policy.spec
        self._images = [IMAGE_TRANSFORMS[name] for name in image_transforms]
        self._actions = tuple(action_transforms)
        self._grippers = list(grippers)

    def infer(self, observation: Observation) -> ActionChunk:
        """Answer one observation; see :meth:`vla_ros.policy.Policy.infer`."""
        images = tuple(self._transform(image) for image in observation.images)
        chunk = self.policy.infer(replace(observation, images=images))
        return replace(chunk, actions=self._move_grippers(chunk.actions))

    def reset(self) -> None:
        """Forget earlier observations."""
        self.policy.reset()

    def select_adapter(self, name: str | None) -> None:
        """Switch the adapter; see :class:`vla_ros.policy.AdaptablePolicy`."""
        self.policy.select_adapter(name)

    def rescale(self, chunk: ActionChunk, unnorm_key: str | None) -> np.ndarray:
        """Scale by another dataset; see :meth:`vla_ros.model.openvla.OpenVlaPolicy.rescale`."""
        return self._move_grippers(self.policy.rescale(chunk, unnorm_key))

    def _move_grippers(self, actions: np.ndarray) -> np.ndarray:
        actions = actions.copy()
        actions[:, self._grippers] = transform_grippers(self._actions, actions[:, self._grippers])
        return actions

    def _transform(self, image: np.ndarray) -> np.ndarray:
        if min(image.shape[:2], default=0) < 1:
            raise ImageError(f'image: has no pixels, shape {image.shape}')
        for transform in self._images:
            image = transform(image)
        return image
