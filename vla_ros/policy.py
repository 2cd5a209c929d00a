# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The policy contract: an observation goes in, a chunk of actions comes out."""

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

import numpy as np

from vla_ros.datasets import find_grippers
from vla_ros.errors import ParameterError
from vla_ros.torch_libraries import preload_torch
from vla_ros.transforms import check_names
from vla_ros.transforms import GRIPPER_TRANSFORMS
from vla_ros.transforms import IMAGE_TRANSFORMS

DEVICES = ('auto', 'cpu', 'cuda')
DTYPES = ('auto', 'float32', 'bfloat16')
ATTENTIONS = ('auto', 'flash_attention_2', 'sdpa', 'eager')
QUANTIZATIONS = ('none', 'int8', 'int4', 'fp8')
PROMPTS = ('auto', 'openvla', 'openvla-v01', 'raw')
#: How the action leaves the network: token by token, or (OpenVLA-OFT) a whole chunk at once, as
#: tokens, by regression or by diffusion. ``auto`` reads it from the checkpoint folder.
HEADS = ('auto', 'tokens', 'discrete', 'l1', 'diffusion')

#: Called while weights are loaded with the fraction done (0 to 1) and what is being done.
#: May raise :class:`vla_ros.errors.Cancelled` to stop the loading.
Progress = Callable[[float, str], None]


def ignore_progress(fraction: float, activity: str) -> None:
    """Take no notice."""


@dataclass(frozen=True)
class Observation:
    """
    What the robot sees, knows and was told.

    :param images: one array per camera, uint8 (H, W, 3) RGB, the main camera first. They may be
        views of a message's memory: valid only while ``infer`` runs, never written to.
    :param instruction: the task as a sentence, as the user gave it.
    :param proprio: the robot's state as the checkpoint was trained on it, float64 (P,), or None.
    :param staged: what :attr:`StagingPolicy.stage` gave for the first image, if it was sent ahead.
    """

    images: tuple[np.ndarray, ...]
    instruction: str
    proprio: np.ndarray | None = None
    staged: Any = None


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
    :param period_s: seconds from one action to the next, None if nobody described the dataset.
    :param drafted: how many tokens had been guessed from the previous action.
    :param accepted: how many of these the model confirmed, saving a step each.
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
    :param attention_reason: one sentence on why this attention implementation was chosen.
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


class Policy(Protocol):
    """A model that answers an observation with a chunk of actions; not thread-safe."""

    spec: PolicySpec

    def infer(self, observation: Observation) -> ActionChunk:
        """
        Answer one observation.

        :raises InvalidAction: the output is not an action.
        :raises ObservationError: the observation does not fit the policy.
        """

    def reset(self) -> None:
        """Forget whatever was kept from earlier observations."""


class AdaptablePolicy(Policy, Protocol):
    """A policy with LoRA adapters beside its base."""

    def select_adapter(self, name: str | None) -> None:
        """
        Make another adapter the active one, None for the base alone.

        :raises ParameterError: there is none of that name, or the only one was merged.
        """


class StagingPolicy(Policy, Protocol):
    """A policy to whose device a frame can be sent while it still answers the one before."""

    @property
    def stage(self) -> Callable[[np.ndarray], Any] | None:
        """
        What sends a frame, uint8 (H, W, 3) RGB, ahead; None on a machine where nothing is gained.

        It may be called from any thread, and reads the frame before it returns. What it gives goes
        into :attr:`Observation.staged`; None if this frame has to wait for its inference.
        """


@dataclass(frozen=True)
class PolicyConfig:
    """
    Which policy to load and how to run it; each closed set is checked here.

    :param checkpoint: folder, or hub id ``owner/name``; empty with a ``url``.
    :param unnorm_key: dataset whose statistics scale the action; None if there is only one.
    :param prompt: prompt template; ``auto`` reads it from the checkpoint, ``raw`` takes the
        instruction as the whole prompt.
    :param clip_invalid: decode non-action tokens as the official code does instead of raising
        :class:`vla_ros.errors.InvalidAction`. For comparison only, never on a robot.
    :param head: how the action leaves the network, one of ``HEADS``.
    :param image_count: how many images every observation holds.
    :param use_proprio: feed the robot's state to a checkpoint that has a projector for it.
    :param chunk_length: actions in a chunk, of a checkpoint that does not tell; 0: read it.
    :param url: address of a ``vla_serve`` that runs the model instead, ``http://host:port``.
    :param deadline_s: seconds in which a remote policy must have answered.
    :param adapters: folders of LoRA adapters by name; a single one is merged into the weights,
        of several the active one can be switched between inferences.
    :param adapter: the active adapter; None: the first of ``adapters``.
    :param image_transforms: names out of :mod:`vla_ros.transforms`, applied to every image.
    :param action_transforms: likewise, applied to the grippers of every action.
    :param datasets_file: YAML file of the user's own dataset descriptions, see
        :mod:`vla_ros.datasets`.
    :param warmup: run the network once while loading, so that the first inference is not slower.
    """

    checkpoint: str
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
    url: str = ''
    deadline_s: float = 1.0
    adapters: Mapping[str, str] = field(default_factory=dict)
    adapter: str | None = None
    image_transforms: tuple[str, ...] = ()
    action_transforms: tuple[str, ...] = ()
    datasets_file: str | None = None
    warmup: bool = True
    progress: Progress = field(default=ignore_progress, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Reject values outside the closed sets."""
        if not (self.checkpoint or self.url):
            raise ParameterError('checkpoint', self.checkpoint, 'a folder or a hub id owner/name')
        for name, allowed in (('device', DEVICES), ('dtype', DTYPES), ('attention', ATTENTIONS),
                              ('quantization', QUANTIZATIONS), ('prompt', PROMPTS),
                              ('head', HEADS)):
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


def load_policy(config: PolicyConfig) -> Policy:
    """
    Load a checkpoint and make it ready to infer, or reach the machine that has done so.

    :raises RemoteError: the machine at ``config.url`` does not answer.
    :raises CheckpointError: the folder is missing, incomplete, damaged or of another kind.
    :raises UnnormKeyError: the statistics asked for do not exist, or none was named of several.
    :raises UnsupportedError: this machine cannot run what was asked for.
    :raises Cancelled: ``config.progress`` raised it.
    """
    # torch is imported only when a model is wanted: messages, safety and tools start without it.
    policy: AdaptablePolicy
    if config.url:
        from vla_ros.remote import RemotePolicy
        policy = RemotePolicy(config)
    else:
        preload_torch()
        from vla_ros.model.load import load_checkpoint
        policy = load_checkpoint(config)
    if not (config.image_transforms or config.action_transforms):
        return policy
    from vla_ros.transformed_policy import TransformedPolicy
    grippers = find_grippers(policy.spec.unnorm_key, config.datasets_file)
    return TransformedPolicy(policy, config.image_transforms, config.action_transforms, grippers)
