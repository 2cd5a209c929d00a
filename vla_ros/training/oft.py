# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The fine-tuning of OpenVLA-OFT with an L1 head: chunks, several cameras, proprioception.

Source: ``vla-scripts/finetune.py`` of moojink/openvla-oft. A LoRA adapter, an action head and,
with proprioception, a projector are trained together. All numbers of a chunk are predicted in one
pass with bidirectional attention; the loss is the L1 error of the normalised actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from safetensors.torch import load_file
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.platforms import find_platform
from vla_ros.data.platforms import normalization
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.errors import CheckpointError
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.heads import HEAD_PREFIXES
from vla_ros.model.heads import MlpResNet
from vla_ros.model.heads import Projector
from vla_ros.model.module_files import find_module_files
from vla_ros.model.module_files import read_module_file
from vla_ros.model.weights import weight_files
from vla_ros.training.augmentation import augment
from vla_ros.training.chunks import ChunkDataset
from vla_ros.training.finetuning import FineTuning
from vla_ros.training.finetuning import FineTuningPlan
from vla_ros.training.trainable import ExampleEncoder
from vla_ros.training.trainable import pad

if TYPE_CHECKING:
    from accelerate import Accelerator

# As L1RegressionActionHead has it.
_HEAD_BLOCKS = 2
# OFT widens every range by this.
_WIDENING = 1e-8
# Of the tokens' cross-entropy beside the L1 error.
_TOKEN_WEIGHT = 0.2
# A small model that is trained from the start: steps of the warmup, and the largest gradient.
_WARMUP, _LARGEST_GRADIENT = 200, 1.0


@dataclass(frozen=True)
class OftPlan(FineTuningPlan):
    """
    What decides the result, beside checkpoint and dataset.

    :param chunk: actions that are predicted at once.
    :param cameras: features of the images, in order; empty for the first one.
    :param proprio: whether the model is given the state of the robot.
    :param tokens: whether the language model learns the action tokens of the chunk, too.
    :param shift: pixels by which each training image is shifted at most, at random, as the model
        sees it.
    :param start: checkpoint of the first weights of a small model; empty for random ones.
    """

    chunk: int = 8
    cameras: tuple[str, ...] = ()
    proprio: bool = False
    tokens: bool = False
    shift: int = 0
    start: str = ''

    @property
    def is_random(self) -> bool:
        """Whether training images are changed at random."""
        return self.augment or self.shift > 0

    def learning_rate_factor(self, step: int) -> float:
        """Return the factor of the learning rate: without adapter a warmup, then a cosine."""
        if self.rank:
            return 1.0
        rise = min(1.0, (step + 1) / _WARMUP)
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(step / self.steps, 1.0)))


class OftModel(nn.Module):
    """A model with its adapter, an L1 action head, and a projector of the state."""

    def __init__(self, vla: Any, hidden: int, action_dim: int, proprio_dim: int,
                 has_tokens: bool = False) -> None:
        """
        Add new heads to a model.

        :param vla: a :class:`TrainableVla` with its adapter.
        :param hidden: width of its language model.
        :param proprio_dim: numbers of the state; 0 for no state.
        :param has_tokens: whether the loss has the cross-entropy of the action tokens.
        """
        super().__init__()
        self.vla = vla
        self.has_tokens = has_tokens
        self.action_head = MlpResNet(_HEAD_BLOCKS, action_dim * hidden, hidden, action_dim)
        self.proprio_projector = Projector(proprio_dim, hidden) if proprio_dim else None

    def forward(self, pixels: Tensor, input_ids: Tensor, lengths: Tensor, states: Tensor,
                actions: Tensor) -> Tensor:
        """Return the mean L1 error of the normalised actions, and the tokens' part of the loss."""
        chosen = self.hidden(pixels, input_ids, lengths, states, actions)
        loss = functional.l1_loss(self.regress(chosen, actions).float(), actions)
        if self.has_tokens:
            loss = loss + _TOKEN_WEIGHT * functional.cross_entropy(
                self.vla.language_model.lm_head(chosen).flatten(0, 1).float(),
                self.targets(input_ids, lengths, actions).flatten())
        return loss

    def regress(self, hidden: Tensor, actions: Tensor) -> Tensor:
        """Return the chunk, (B, T, D), of the outputs that predict it, (B, T·D, hidden)."""
        return self.action_head(hidden.reshape(*actions.shape[:2], -1))

    def targets(self, input_ids: Tensor, lengths: Tensor, actions: Tensor) -> Tensor:
        """Return the action tokens of a chunk, int64 (B, T·D)."""
        count = actions.shape[1] * actions.shape[2]
        return input_ids.gather(1, lengths[:, None] + torch.arange(
            count, device=input_ids.device))

    def predict(self, pixels: Tensor, input_ids: Tensor, lengths: Tensor, states: Tensor,
                actions: Tensor) -> Tensor:
        """Predict a chunk by the L1 head, (B, T, D), normalised; see :meth:`hidden`."""
        return self.regress(self.hidden(pixels, input_ids, lengths, states, actions), actions)

    def hidden(self, pixels: Tensor, input_ids: Tensor, lengths: Tensor, states: Tensor,
               actions: Tensor) -> Tensor:
        """
        Return the outputs that predict a chunk, (B, T·D, hidden).

        :param pixels: float32 (B, cameras, 3·towers, S, S).
        :param input_ids: int64 (B, L): prompt, the tokens of the chunk, which the model does not
            see, EOS, padded at the end.
        :param lengths: int64 (B,), tokens of each prompt.
        :param states: float32 (B, P), normalised; P may be 0.
        :param actions: float32 (B, T, D); only its shape counts.
        """
        llama, batch = self.vla.language_model, len(actions)
        count = actions.shape[1] * actions.shape[2]
        text = llama.model.embed_tokens(input_ids)
        index = torch.arange(input_ids.shape[1], device=input_ids.device)
        start, end = lengths[:, None], lengths[:, None] + count
        text = text * ~((index >= start) & (index < end))[..., None]
        features = self.vla.vision_backbone(pixels.flatten(0, 1).to(text.dtype))
        visual = self.vla.projector(features).to(text.dtype).view(batch, -1, text.shape[-1])
        if self.proprio_projector is not None:
            visual = torch.cat([visual, self.proprio_projector(states)[:, None].to(text.dtype)], 1)
        sequence = torch.cat([text[:, :1], visual, text[:, 1:]], 1)
        # Every position attends to every other but to the padding behind EOS.
        used = torch.arange(sequence.shape[1], device=input_ids.device) <= end + visual.shape[1]
        mask = torch.zeros(batch, 1, sequence.shape[1], sequence.shape[1], dtype=sequence.dtype,
                           device=sequence.device).masked_fill(
            ~used[:, None, None], torch.finfo(sequence.dtype).min)
        hidden = llama.model(inputs_embeds=sequence, attention_mask=mask,
                             use_cache=False).last_hidden_state
        # The output at a position predicts the next one.
        first = visual.shape[1] + start - 1
        places = first + torch.arange(count, device=first.device)
        return hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))


@dataclass(frozen=True)
class ChunkReader:
    """Reads frames and chunks as the model sees them; copied into the processes that do so."""

    chunks: ChunkDataset
    length: int
    processor: ImageProcessor
    encoder: ExampleEncoder
    scale: ActionStatistics
    state_scale: ActionStatistics | None
    is_augmented: bool = False
    shift: int = 0
    cache: dict[int, np.ndarray] | None = None

    def read(self, rows: np.ndarray,
             random: Sequence[np.random.Generator] = ()) -> tuple[Tensor, ...]:
        """
        Read some frames.

        :param rows: int64 (B,), numbers of frames.
        :param random: a generator for the augmentation of each; empty for none.
        :returns: pixels, token ids, lengths, states and actions, see :meth:`OftModel.hidden`.
        """
        pixels, texts, lengths, actions = [], [], [], []
        for index, row in enumerate(rows.tolist()):
            pixels.append(self._pixels(row, random[index] if random else None))
            chunk = self.scale.normalize(self.chunks.chunk(row, self.length))
            prompt = self.encoder.prompt(self.chunks.main.instruction(row))
            texts.append([*prompt, *self.encoder.actions.encode(chunk.ravel()).tolist(),
                          self.encoder.end])
            lengths.append(len(prompt))
            actions.append(chunk)
        states = np.zeros((len(rows), 0))
        if self.chunks.states is not None and self.state_scale is not None:
            states = self.state_scale.normalize(self.chunks.states[rows])
        return (torch.from_numpy(np.stack(pixels)), pad(texts, self.encoder.end),
                torch.tensor(lengths), torch.from_numpy(states).float(),
                torch.from_numpy(np.stack(actions)).float())

    def _pixels(self, row: int, rng: np.random.Generator | None) -> np.ndarray:
        """Return what the network sees in a frame, float32 (cameras, 3·towers, S, S)."""
        pixels = None if self.cache is None else self.cache.get(row)
        if pixels is None:
            images = self.chunks.images(row)
            if self.is_augmented and rng is not None:
                images = [augment(image, rng) for image in images]
            pixels = np.stack([self.processor(image) for image in images])
            if self.cache is not None:
                self.cache[row] = pixels
        if self.shift and rng is not None:
            pixels = np.stack([shift_image(image, self.shift, rng) for image in pixels])
        return pixels


def shift_image(pixels: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """
    Shift an image at random; its borders are repeated.

    :param pixels: float32 (C, H, W).
    :param most: pixels in each direction.
    """
    top, left = rng.integers(0, 2 * most + 1, 2)
    height, width = pixels.shape[1:]
    wide = np.pad(pixels, ((0, 0), (most, most), (most, most)), 'edge')
    return wide[:, top:top + height, left:left + width]


class OftFineTuning(FineTuning):
    """The fine-tuning of a model with an L1 head; ``folder`` becomes adapter and heads."""

    errors: tuple[str, ...] = ('l1', 'gripper')

    def __init__(self, plan: OftPlan, checkpoint: Checkpoint, dataset: ChunkDataset,
                 folder: Path, accelerator: 'Accelerator',
                 gradient_checkpointing: bool = False, decoders: int = 0,
                 is_preloaded: bool = False) -> None:
        """
        Start, or resume an interrupted training from its last save; see the base.

        :param is_preloaded: whether images stay in memory, as the model sees them.
        :raises ParameterError: the base cannot take so many images.
        """
        if len(dataset.cameras) > 1 and len(checkpoint.config.towers) == 1:
            raise ParameterError('--camera', list(plan.cameras), 'one camera: only fused vision '
                                                                 'towers take several images')
        self.chunks = dataset
        self._state_scale: ActionStatistics | None = None
        self._cache: dict[int, np.ndarray] | None = {} if is_preloaded else None
        if plan.tokens:
            self.errors = (*self.errors, 'accuracy', 'l1_tokens')
        super().__init__(plan, checkpoint, dataset.main, folder, accelerator,
                         gradient_checkpointing, decoders)

    def _make_reader(self, processor: ImageProcessor) -> Any:
        return ChunkReader(self.chunks, self.plan.chunk, processor, self._encoder, self._scale,
                           self._state_scale, self.plan.augment, self.plan.shift, self._cache)

    def _read_statistics(self) -> dict[str, Any]:
        stats = self.chunks.statistics
        entry, states = stats[self.dataset.name], self.chunks.states
        # The runtime scales by the same rule.
        platform = find_platform(self.dataset.name, self.dataset.actions.shape[1],
                                 None if states is None else states.shape[1])
        scheme = normalization(platform, None)
        self._scale = ActionStatistics.from_dataset(entry, 'action', scheme, _WIDENING)
        if states is not None:
            self._state_scale = ActionStatistics.from_dataset(entry, 'proprio', scheme, _WIDENING)
        return stats

    def _make_network(self, checkpoint: Checkpoint) -> nn.Module:
        states = self.chunks.states
        model = OftModel(self.vla, checkpoint.config.language_model.hidden_size, self._scale.dim,
                         0 if states is None else states.shape[1], self.plan.tokens)
        if self.plan.start:
            load_matching(model, Path(self.plan.start))
        return model.to(self.accelerator.device)

    def _sum_errors(self, inputs: Sequence[torch.Tensor]) -> dict[str, float]:
        network, (_, input_ids, lengths, _, actions) = self.network, inputs
        hidden = network.hidden(*inputs)
        predicted = network.regress(hidden, actions).float()
        # The gripper is the last number of an action; each counts as its whole action.
        agrees = (predicted[..., -1] > 0) == (actions[..., -1] > 0)
        found = {'count': float(actions.numel()),
                 'l1': float((predicted - actions).abs().sum()),
                 'gripper': float(agrees.sum()) * actions.shape[-1]}
        if self.plan.tokens:
            best = self.vla.language_model.lm_head(hidden).argmax(-1)
            decoded = self._encoder.actions.decode(best.cpu().numpy())
            right = actions.flatten(1).cpu().numpy()
            targets = network.targets(input_ids, lengths, actions)
            found |= {'accuracy': float((best == targets).sum()),
                      'l1_tokens': float(np.abs(decoded - right).sum())}
        return found

    def _limit_gradients(self) -> None:
        if not self.plan.rank:
            self.accelerator.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)

    def _write_weights(self) -> None:
        super()._write_weights()
        head = {HEAD_PREFIXES['l1'] + name: tensor.detach().cpu()
                for name, tensor in self.network.action_head.state_dict().items()}
        torch.save(head, self.folder / 'action_head--latest_checkpoint.pt')
        projector = self.network.proprio_projector
        if projector is not None:
            torch.save({name: tensor.detach().cpu()
                        for name, tensor in projector.state_dict().items()},
                       self.folder / 'proprio_projector--latest_checkpoint.pt')


def load_matching(model: OftModel, folder: Path) -> None:
    """
    Start a small model with the weights of another one, where names and shapes agree.

    :raises CheckpointError: none do, or a file is damaged.
    """
    stored: dict[str, Tensor] = {}
    for path in set(weight_files(folder).values()):
        stored |= {f'vla.{name}': tensor for name, tensor in load_file(path).items()}
    for module, path in find_module_files(folder).items():
        stored |= {f'{module}.{name.removeprefix(HEAD_PREFIXES["l1"])}': tensor
                   for name, tensor in read_module_file(path).items()}
    fitting = {name: stored[name] for name, parameter in model.named_parameters()
               if name in stored and stored[name].shape == parameter.shape}
    if not fitting:
        raise CheckpointError(folder, 'no weight has name and shape of one of the small model')
    model.load_state_dict(fitting, strict=False)
