# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""A policy that samples its actions, for several worlds in one pass of the batched engine."""

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
import torch
from torch import Tensor

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.actions import choose_dataset
from vla_ros.data.prompts import choose_template
from vla_ros.errors import CheckpointError
from vla_ros.model.attention import attend_sdpa
from vla_ros.model.batch_engine import BatchEngine
from vla_ros.model.batch_engine import BatchItem
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.timings import HostTimings
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.model.weights import load_weights
from vla_ros.model.weights import targets
from vla_ros.training.learner import PixelTable
from vla_ros.training.trainable import ExampleEncoder
from vla_ros.util.progress import ignore_progress
from vla_ros.worlds.robot import JOINTS

# Longest sentence, in tokens: those of the simulator have 22.
_TEXT = 128


@dataclass(frozen=True)
class SampledActions:
    """
    A sampled action.

    :param tokens: int64 (D,).
    :param log_probs: float32 (D,), of each token at the temperature of the sampling.
    :param action: float64 (D,), rad and m; None if a token is no action token.
    """

    tokens: np.ndarray
    log_probs: np.ndarray
    action: np.ndarray | None


class ActionSpace:
    """What a checkpoint's tokens mean, and how it sees images and sentences."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """
        Read the parts of a checkpoint that are no weights.

        :raises CheckpointError: its actions are not those of the simulated arm, or its towers
            see images of different sizes.
        """
        config, towers = checkpoint.config, checkpoint.image_processor.towers
        self.unnorm_key = choose_dataset(config.norm_stats, None)
        self.statistics = ActionStatistics.from_dataset(config.norm_stats[self.unnorm_key])
        if self.statistics.dim != len(JOINTS):
            raise CheckpointError(
                checkpoint.folder, f'its actions have {self.statistics.dim} dimensions, and the '
                                   f'simulated arm takes {len(JOINTS)}: {", ".join(JOINTS)}')
        if any(tower.geometry != towers[0].geometry for tower in towers):
            raise CheckpointError(checkpoint.folder, 'its towers see images of different sizes, '
                                                     'which reinforcement learning cannot feed')
        self.tokenizer = ActionTokenizer(config.vocab_size, config.n_action_bins)
        self.encoder = ExampleEncoder(
            PromptTokenizer(checkpoint.folder, config.language_model.bos_token_id),
            self.tokenizer, choose_template(checkpoint.name, config.llm_backbone_id),
            config.language_model.eos_token_id)
        self.pixels = PixelTable([tower.table for tower in towers])
        self._transform = towers[0]

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Return what the towers see of a frame, uint8 (S, S, 3)."""
        return np.asarray(self._transform.shape_pixels(Image.fromarray(image)))

    def action(self, tokens: np.ndarray) -> np.ndarray | None:
        """Return the action, float64 (D,), rad and m; None if a token is no action token."""
        if not self.tokenizer.is_action(tokens).all():
            return None
        return self.statistics.unnormalize(self.tokenizer.decode(tokens))


class Actor:
    """The network in float32, in the batched engine."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device | None = None) -> None:
        """
        Load a checkpoint.

        :raises CheckpointError: see :class:`ActionSpace`.
        """
        self.space = ActionSpace(checkpoint)
        self.network = OpenVlaNetwork(checkpoint.config, attend_sdpa).requires_grad_(False)
        load_weights(self.network, checkpoint.folder, ignore_progress)
        self.network.to(device or torch.device('cpu'))
        count = self.space.statistics.dim
        limit = min(checkpoint.config.language_model.max_position_embeddings,
                    self.network.patch_count + _TEXT + count)
        self._engine = BatchEngine(self.network, limit, count, is_sampled=True)
        self._shape = count, checkpoint.config.language_model.vocab_size
        self._prompts: dict[str, tuple[int, ...]] = {}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load other weights, under their official keys."""
        for key, target in targets(self.network).items():
            target.view().copy_(weights[key])

    def noise(self, rng: np.random.Generator, temperature: float) -> Tensor:
        """Draw what makes one action a sample, see ``BatchItem``."""
        # In float64: a float32 may be 0, whose logarithm is infinite.
        gumbel = -np.log(rng.standard_exponential(self._shape)).astype(np.float32)
        return torch.from_numpy(temperature * gumbel).to(self.network.device)

    @torch.inference_mode()
    def act(self, images: Sequence[np.ndarray], instructions: Sequence[str],
            noises: Sequence[Tensor | None],
            temperatures: Sequence[float]) -> list[SampledActions]:
        """
        Sample an action for each image.

        :param images: each uint8 (S, S, 3), see :meth:`ActionSpace.resize`.
        :param noises: of each, see :meth:`noise`; None takes the best tokens.
        :param temperatures: of the log-probabilities of each.
        """
        pixels = self.space.pixels(np.stack(images), augment=False).to(self.network.device)
        items = [BatchItem(image, self._prompt(text), noise=noise)
                 for image, text, noise in zip(pixels, instructions, noises)]
        tokens = np.array([one.token_ids for one in self._engine.run(items, HostTimings())])
        states = torch.stack([self._engine.states(index) for index in range(len(items))])
        warmth = torch.tensor(temperatures, device=states.device)
        log_probs = token_log_probs(
            self.network.language_model.logits(states) / warmth[:, None, None],
            torch.from_numpy(tokens).to(states.device))
        return [SampledActions(ids, values, self.space.action(ids))
                for ids, values in zip(tokens, log_probs.cpu().numpy())]

    def _prompt(self, instruction: str) -> tuple[int, ...]:
        if instruction not in self._prompts:
            self._prompts[instruction] = self.space.encoder.prompt(instruction)
        return self._prompts[instruction]


def token_log_probs(logits: Tensor, tokens: Tensor) -> Tensor:
    """
    Return the log-probability of each token, float32 (…,).

    :param logits: (…, V), divided by the temperature.
    :param tokens: int64 (…,).
    """
    return torch.log_softmax(logits.float(), -1).gather(-1, tokens[..., None])[..., 0]
