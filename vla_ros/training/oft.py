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
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.platforms import find_platform
from vla_ros.data.platforms import normalization
from vla_ros.data.preprocess import ImageProcessor
from vla_ros.errors import ParameterError
from vla_ros.model.checkpoint import Checkpoint
from vla_ros.model.heads import HEAD_PREFIXES
from vla_ros.model.heads import MlpResNet
from vla_ros.model.heads import Projector
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


@dataclass(frozen=True)
class OftPlan(FineTuningPlan):
    """
    What decides the result, beside checkpoint and dataset.

    :param chunk: actions that are predicted at once.
    :param cameras: features of the images, in order; empty for the first one.
    :param proprio: whether the model is given the state of the robot.
    """

    chunk: int = 8
    cameras: tuple[str, ...] = ()
    proprio: bool = False


class OftModel(nn.Module):
    """A model with its adapter, an L1 action head, and a projector of the state."""

    def __init__(self, vla: Any, hidden: int, action_dim: int, proprio_dim: int) -> None:
        """
        Add new heads to a model.

        :param vla: a :class:`TrainableVla` with its adapter.
        :param hidden: width of its language model.
        :param proprio_dim: numbers of the state; 0 for no state.
        """
        super().__init__()
        self.vla = vla
        self.action_head = MlpResNet(_HEAD_BLOCKS, action_dim * hidden, hidden, action_dim)
        self.proprio_projector = Projector(proprio_dim, hidden) if proprio_dim else None

    def forward(self, pixels: Tensor, input_ids: Tensor, lengths: Tensor, states: Tensor,
                actions: Tensor) -> Tensor:
        """Give the mean L1 error of the normalised actions; see :meth:`predict`."""
        predicted = self.predict(pixels, input_ids, lengths, states, actions)
        return functional.l1_loss(predicted.float(), actions)

    def predict(self, pixels: Tensor, input_ids: Tensor, lengths: Tensor, states: Tensor,
                actions: Tensor) -> Tensor:
        """
        Predict a chunk, (B, T, D), normalised.

        :param pixels: float32 (B, cameras, 3·towers, S, S).
        :param input_ids: int64 (B, L): prompt, a placeholder for each number of the chunk, EOS,
            padded at the end.
        :param lengths: int64 (B,), tokens of each prompt.
        :param states: float32 (B, P), normalised; P may be 0.
        :param actions: float32 (B, T, D); only its shape counts.
        """
        llama, (batch, steps, width) = self.vla.language_model, actions.shape
        count = steps * width
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
        chosen = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
        return self.action_head(chosen.reshape(batch, steps, -1))


@dataclass(frozen=True)
class ChunkReader:
    """Reads frames and chunks as the model sees them; copied into the processes that do so."""

    chunks: ChunkDataset
    length: int
    processor: ImageProcessor
    encoder: ExampleEncoder
    scale: ActionStatistics
    state_scale: ActionStatistics | None

    def read(self, rows: np.ndarray,
             random: Sequence[np.random.Generator] = ()) -> tuple[Tensor, ...]:
        """
        Read some frames.

        :param rows: int64 (B,), numbers of frames.
        :param random: a generator for the augmentation of each; empty for none.
        :returns: pixels, token ids, lengths, states and actions, see :meth:`OftModel.predict`.
        """
        pixels, texts, lengths, actions = [], [], [], []
        for index, row in enumerate(rows.tolist()):
            images = self.chunks.images(row)
            if random:
                images = [augment(image, random[index]) for image in images]
            pixels.append(np.stack([self.processor(image) for image in images]))
            chunk = self.scale.normalize(self.chunks.chunk(row, self.length))
            prompt = self.encoder.prompt(self.chunks.main.instruction(row))
            texts.append([*prompt, *[self.encoder.end] * (chunk.size + 1)])
            lengths.append(len(prompt))
            actions.append(chunk)
        states = np.zeros((len(rows), 0))
        if self.chunks.states is not None and self.state_scale is not None:
            states = self.state_scale.normalize(self.chunks.states[rows])
        return (torch.from_numpy(np.stack(pixels)), pad(texts, self.encoder.end),
                torch.tensor(lengths), torch.from_numpy(states).float(),
                torch.from_numpy(np.stack(actions)).float())


class OftFineTuning(FineTuning):
    """The fine-tuning of a model with an L1 head; ``folder`` becomes adapter and heads."""

    errors = ('l1',)

    def __init__(self, plan: OftPlan, checkpoint: Checkpoint, dataset: ChunkDataset,
                 folder: Path, accelerator: 'Accelerator',
                 gradient_checkpointing: bool = False, decoders: int = 0) -> None:
        """
        Begin, or go on where an interrupted training saved; see the base.

        :raises ParameterError: the base cannot take so many images.
        """
        if len(dataset.cameras) > 1 and len(checkpoint.config.towers) == 1:
            raise ParameterError('--camera', list(plan.cameras), 'one camera: only fused vision '
                                                                 'towers take several images')
        self.chunks = dataset
        self._state_scale: ActionStatistics | None = None
        super().__init__(plan, checkpoint, dataset.main, folder, accelerator,
                         gradient_checkpointing, decoders)

    def _make_reader(self, processor: ImageProcessor) -> Any:
        return ChunkReader(self.chunks, self.plan.chunk, processor, self._encoder, self._scale,
                           self._state_scale)

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
                         0 if states is None else states.shape[1])
        return model.to(self.accelerator.device)

    def _sum_errors(self, inputs: Sequence[torch.Tensor]) -> dict[str, float]:
        errors = (self.network.predict(*inputs).float() - inputs[-1]).abs()
        return {'count': float(errors.numel()), 'l1': float(errors.sum())}

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
