# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The policy contract: an observation goes in, a chunk of actions comes out."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol

import numpy as np

from vla_ros.data.instructions import check_instruction
from vla_ros.errors import ObservationError
from vla_ros.errors import ParameterError
from vla_ros.errors import VlaError


@dataclass(frozen=True)
class Observation:
    """
    Images, instruction and state of a robot at one moment.

    :param images: one array per camera, uint8 (H, W, 3) RGB, the main camera first. They may be
        views of a message's memory: valid only while ``infer`` runs, never written to.
    :param instruction: the task in natural language, as the user gave it.
    :param proprio: the robot's state as the checkpoint was trained on it, float64 (P,), or None.
    :param prefetched: what :attr:`PrefetchingPolicy.prefetch` returned for the first image, if it
        was prefetched.
    """

    images: tuple[np.ndarray, ...]
    instruction: str
    proprio: np.ndarray | None = None
    prefetched: Any = None

    def __post_init__(self) -> None:
        """
        Reject an instruction that no model can read.

        :raises InstructionError: see :func:`vla_ros.data.instructions.check_instruction`.
        """
        check_instruction(self.instruction)


@dataclass(frozen=True)
class ActionChunk:
    """
    One or more consecutive actions, and how the model arrived at them.

    T is the number of actions (1 for OpenVLA), D their dimension (7 for most datasets).

    :param actions: float64 (T, D), un-normalised: the units of the dataset.
    :param normalized: float64 (T, D) in [-1, 1], as the model gives them.
    :param token_ids: the T·D generated token ids, row by row; empty for a continuous head.
    :param bins: the action bin of each token, 0 for -1; empty for a continuous head.
    :param margins: logit of each token minus that of the runner-up, float32 (T·D,).
    :param prompt: the text that the model was asked to continue.
    :param input_ids: the prompt's token ids, as the model saw them.
    :param timings_ms: milliseconds by stage, in the order in which the stages ran.
    :param period_s: seconds from one action to the next, None if the dataset is not described.
    :param drafted: number of draft tokens, those of the previous action, that were verified.
    :param accepted: number of draft tokens that the model accepted, saving a pass each.
    """

    actions: np.ndarray
    normalized: np.ndarray
    token_ids: tuple[int, ...]
    bins: tuple[int, ...]
    margins: np.ndarray
    prompt: str
    input_ids: tuple[int, ...]
    timings_ms: Mapping[str, float]
    period_s: float | None = None
    drafted: int = 0
    accepted: int = 0


@dataclass(frozen=True)
class PolicySpec:
    """
    What a loaded policy is and how it runs: for logs, tools and checks at start.

    :param action_shape: (T, D) of every chunk.
    :param image_count: how many images an observation must hold.
    :param proprio_dim: length of the proprioception vector, 0 if the policy takes none.
    :param attention_reason: why this attention implementation was chosen.
    :param revision: commit of a checkpoint of the hub; empty for a folder.
    """

    checkpoint: str
    unnorm_key: str
    action_shape: tuple[int, int]
    image_count: int
    proprio_dim: int
    device: str
    dtype: str
    attention: str
    attention_reason: str
    quantization: str
    revision: str = ''


class Policy(Protocol):
    """A model that infers a chunk of actions from an observation; not thread-safe."""

    spec: PolicySpec

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Infer a chunk of actions from one observation.

        :raises InvalidAction: the output is not an action.
        :raises ObservationError: the observation does not fit the policy.
        """

    def reset(self) -> None:
        """Discard earlier observations."""


class AdaptablePolicy(Policy, Protocol):
    """A policy with LoRA adapters beside its base."""

    def select_adapter(self, name: str | None) -> None:
        """
        Make another adapter the active one, None for the base alone.

        :raises ParameterError: there is none of that name, or the only one was merged.
        """


class BatchPolicy(Policy, Protocol):
    """
    A policy that infers from several observations in one pass.

    ``getattr(policy, 'infer_batch', None)`` finds out whether a policy is one. What
    :meth:`infer_batch` does leaves :meth:`infer` untouched: draft and prompt of the single path
    stay.
    """

    #: Most observations of one call.
    max_batch: int

    def infer_batch(self, observations: Sequence[Observation],
                    drafts: Sequence[Sequence[int]] | None = None
                    ) -> list[ActionChunk | VlaError]:
        """
        Infer from 1 to ``max_batch`` observations of different robots.

        Each has its own images, prompt and state. All use the active adapter and the statistics
        of ``spec.unnorm_key``; the ``rescale`` method of a policy scales a chunk by others.

        :param drafts: the ``token_ids`` of each robot's previous chunk, empty for none; they make
            a pass shorter and never change a result. None for no drafts.
        :returns: one item an observation, in their order: its chunk, as :meth:`infer` gives it in
            float32, or the error that :meth:`infer` raises. One bad observation spoils no other.
        :raises ParameterError: there are no observations, more than ``max_batch``, or not one
            draft for each.
        :raises DeviceLostError: the device is lost for every later call.
        """


def check_batch(observations: Sequence[Observation], drafts: Sequence[Sequence[int]] | None,
                max_batch: int) -> None:
    """
    Check the parameters of :meth:`BatchPolicy.infer_batch`.

    :raises ParameterError: see there.
    """
    count = len(observations)
    if not 1 <= count <= max_batch:
        raise ParameterError('observations', count, f'1 to {max_batch}')
    if drafts is not None and len(drafts) != count:
        raise ParameterError('drafts', len(drafts), f'{count}, one for each observation')


def check_image(image: np.ndarray) -> None:
    """
    Make sure that an image can be preprocessed.

    :raises ObservationError: it is not uint8 (H, W, 3), or has no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ObservationError(
            f'observation: an image must be uint8 (H, W, 3), got {image.dtype} {image.shape}')


class PrefetchingPolicy(Policy, Protocol):
    """A policy that uploads a frame to its device while it still infers from the one before."""

    @property
    def prefetch(self) -> Callable[[np.ndarray], Any] | None:
        """
        A function that uploads a frame, uint8 (H, W, 3) RGB; None where nothing is gained.

        It may be called from any thread, and reads the frame before it returns. Its result goes
        into :attr:`Observation.prefetched`; None if the frame is uploaded with its inference.
        """
