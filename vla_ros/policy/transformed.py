# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The wrapper that puts declared transforms around a policy."""

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vla_ros.data.transforms import IMAGE_TRANSFORMS
from vla_ros.data.transforms import transform_grippers
from vla_ros.errors import ImageError
from vla_ros.errors import VlaError
from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import check_batch
from vla_ros.policy.base import Observation

InferBatch = Callable[..., list[ActionChunk | VlaError]]


class TransformedPolicy:
    """A policy between image transforms and action transforms."""

    def __init__(self, policy: Any, image_transforms: Sequence[str] = (),
                 action_transforms: Sequence[str] = (),
                 grippers: Sequence[int] = (-1,)) -> None:
        """
        Wrap a policy.

        :param policy: any policy; adapters and rescaling are passed on to it.
        :param grippers: indices of the grippers in an action.
        """
        self.policy = policy
        self.spec = policy.spec
        self._images = [IMAGE_TRANSFORMS[name] for name in image_transforms]
        self._actions = tuple(action_transforms)
        self._grippers = list(grippers)

    def infer(self, observation: Observation) -> ActionChunk:
        """Infer from one observation; see :meth:`vla_ros.policy.base.Policy.infer`."""
        return self._after(self.policy.infer(self._before(observation)))

    @property
    def max_batch(self) -> int:
        """
        Most observations of a batch.

        :raises AttributeError: the policy has no batches, so this one has none.
        """
        most: int = self.policy.max_batch
        return most

    @property
    def infer_batch(self) -> InferBatch:
        """
        Infer from several; see :meth:`vla_ros.policy.base.BatchPolicy.infer_batch`.

        :raises AttributeError: the policy has no batches, so this one has none.
        """
        return partial(self._infer_batch, self.policy.infer_batch)

    def _infer_batch(self, infer: InferBatch, observations: Sequence[Observation],
                     drafts: Sequence[Sequence[int]] | None = None
                     ) -> list[ActionChunk | VlaError]:
        check_batch(observations, drafts, self.max_batch)
        results: dict[int, ActionChunk | VlaError] = {}
        transformed: dict[int, Observation] = {}
        for index, observation in enumerate(observations):
            try:
                transformed[index] = self._before(observation)
            except VlaError as error:
                results[index] = error
        if transformed:
            kept = None if drafts is None else [drafts[index] for index in transformed]
            results.update(zip(transformed, infer(list(transformed.values()), kept)))
        return [self._after(result) if isinstance(result, ActionChunk) else result
                for result in (results[index] for index in range(len(observations)))]

    def reset(self) -> None:
        """Discard earlier observations."""
        self.policy.reset()

    def select_adapter(self, name: str | None) -> None:
        """Switch the adapter; see :class:`vla_ros.policy.base.AdaptablePolicy`."""
        self.policy.select_adapter(name)

    def rescale(self, chunk: ActionChunk, unnorm_key: str | None) -> np.ndarray:
        """Scale by another dataset; see :meth:`vla_ros.model.openvla.OpenVlaPolicy.rescale`."""
        return self._move_grippers(self.policy.rescale(chunk, unnorm_key))

    def _before(self, observation: Observation) -> Observation:
        images = tuple(self._transform(image) for image in observation.images)
        return replace(observation, images=images)

    def _after(self, chunk: ActionChunk) -> ActionChunk:
        return replace(chunk, actions=self._move_grippers(chunk.actions))

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
