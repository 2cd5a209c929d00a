# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The loss of the small model: several instructions share one image.

A sequence is the image and the common prefix of the prompts, followed by a branch for each
instruction: the rest of its prompt and its action. A branch attends to the prefix and to itself,
as in inference, and the prefix, which costs most, is computed once for all of them.
"""

from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.data.actions import ActionStatistics
from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.prompts import build_prompt
from vla_ros.model.attention import attend_sdpa
from vla_ros.model.config import read_config
from vla_ros.model.layer_operations import rotate
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.worlds.tasks import ALL_TASKS
from vla_ros.worlds.tasks import COLORS

_DIMENSIONS = 7
# Width of the target distribution about the right bin, in bins.
_SMOOTHING = 1.5


@dataclass(frozen=True)
class Prompts:
    """
    The tokens of all instructions.

    :param shared: int64 (P,), the common prefix, BOS included.
    :param branches: int64 (12, L), the rest of each, padded at its end.
    :param lengths: int64 (12,).
    :param colors: int64 (12,), position of the word of the colour in its branch.
    """

    shared: Tensor
    branches: Tensor
    lengths: Tensor
    colors: Tensor

    @classmethod
    def read(cls, folder: Path) -> 'Prompts':
        """Encode the instruction of every task."""
        tokenizer = PromptTokenizer(folder, 1)
        encoded = [tokenizer.close(tokenizer.encode(build_prompt('openvla', task.instruction)))
                   for task in ALL_TASKS]
        start = next(index for index, ids in enumerate(zip(*encoded)) if len(set(ids)) > 1)
        lengths = torch.tensor([len(ids) - start for ids in encoded])
        branches = torch.zeros(len(encoded), int(lengths.max()), dtype=torch.int64)
        for row, ids in zip(branches, encoded):
            row[:len(ids) - start] = torch.tensor(ids[start:])
        kinds = branches.unflatten(0, (-1, len(COLORS)))
        colors = (kinds != kinds[:, :1]).any(1).int().argmax(-1)
        return cls(torch.tensor(encoded[0][:start]), branches, lengths,
                   colors.repeat_interleave(len(COLORS)))

    def to(self, device: torch.device) -> 'Prompts':
        """Move all tensors to a device."""
        return Prompts(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Losses:
    """The losses and the accuracy of a batch: each a scalar."""

    action: Tensor
    keypoints: Tensor
    state: Tensor
    accuracy: Tensor

    @property
    def total(self) -> Tensor:
        """The loss that is minimised."""
        return self.action + self.keypoints + 2 * self.state

    def balance(self, visible: float) -> 'Losses':
        """
        Weigh the keypoint loss of a microbatch, so that the mean over all is that of the batch.

        :param visible: number of its visible keypoints, divided by the mean of all microbatches.
        """
        return replace(self, keypoints=self.keypoints * visible)


class Learner(nn.Module):
    """The network with auxiliary heads, which exist in training only."""

    _low: Tensor
    _high: Tensor
    _arm_middle: Tensor
    _arm_spread: Tensor
    _rotary: Tensor
    _mask: Tensor

    def __init__(self, folder: Path, branches: int) -> None:
        """
        Build an untrained network.

        :param folder: checkpoint folder, all but the weights.
        :param branches: instructions for each image.
        """
        super().__init__()
        config = read_config(folder)
        self.network = OpenVlaNetwork(config, attend_sdpa)
        hidden = config.language_model.hidden_size
        # The auxiliary heads predict keypoints (blocks and tool) from each patch, the named block
        # from the word of its colour, and it and the arm's state from the end of the prompt.
        self.patch_head = nn.Linear(hidden, 15)
        self.color_head = nn.Linear(hidden, 2)
        self.state_head = nn.Linear(hidden, 6)
        self.branches = branches
        self.prompts = Prompts.read(folder)
        stats = ActionStatistics.from_dataset(next(iter(config.norm_stats.values())))
        # Not saved: they are derived from the folder.
        for name, value in (('_low', torch.tensor(stats.low)), ('_high', torch.tensor(stats.high)),
                            ('_arm_middle', torch.tensor([0.4, 0, 0.1, 0.02])),
                            ('_arm_spread', torch.tensor([0.1, 0.2, 0.06, 0.02]))):
            self.register_buffer(name, value, persistent=False)
        self._tokenizer = ActionTokenizer(config.vocab_size, config.n_action_bins)
        self._vocabulary = config.vocab_size
        self._side = int(self.network.patch_count ** 0.5)
        initialise(self.network)
        self._prefix = self.network.patch_count + len(self.prompts.shared)
        width = self.prompts.branches.shape[1] + _DIMENSIONS - 1
        rotary, mask = self._geometry(width)
        self.register_buffer('_rotary', rotary, persistent=False)
        self.register_buffer('_mask', mask, persistent=False)

    def forward(self, pixels: Tensor, tasks: Tensor, actions: Tensor, keypoints: Tensor,
                state: Tensor, noise: Tensor) -> Losses:
        """
        Return the losses of a batch.

        :param pixels: float32 (B, 6, S, S), normalised.
        :param tasks: int64 (B, K), index of each branch's task; its block is there.
        :param actions: float32 (B, K, 7), rad and m.
        :param keypoints: float32 (B, 5, 2), see ``Samples``.
        :param state: float32 (B, 4).
        :param noise: float32 (B, K, 7), standard normal; it perturbs the previous tokens.
        """
        patches = self.network.embed_image(pixels)
        bins = self._bins(actions)
        lengths = self.prompts.lengths[tasks]
        hidden = self._run(patches, self._branch_tokens(tasks, bins, lengths, noise))
        steps = lengths[..., None] - 1 + torch.arange(_DIMENSIONS, device=tasks.device)
        chosen = hidden.gather(2, steps[..., None].expand(-1, -1, -1, hidden.shape[-1]))
        logits = self.network.language_model.logits(chosen)
        action, accuracy = self._action_loss(logits, bins)
        named = (tasks % len(COLORS))[..., None].expand(-1, -1, 2)
        target = 4 * (keypoints.gather(1, named) - 0.5)
        words = hidden.gather(2, self.prompts.colors[tasks][..., None, None].expand(
            -1, -1, 1, hidden.shape[-1]))[:, :, 0]
        word = functional.smooth_l1_loss(self.color_head(words), target, beta=0.2)
        return Losses(action, self._keypoint_loss(patches, keypoints),
                      word + self._state_loss(chosen[:, :, 0], target, state), accuracy)

    def on(self, device: torch.device) -> 'Learner':
        """Move to a device."""
        self.prompts = self.prompts.to(device)
        return self.to(device)

    def _bins(self, actions: Tensor) -> Tensor:
        """Bin of each number, 0 for the lowest, int64 of the same shape."""
        normal = (2 * (actions - self._low) / (self._high - self._low) - 1).clamp(-1, 1)
        count = self._tokenizer.n_bins - 1
        return ((normal + 1) / 2 * count).floor().long().clamp(0, count - 1)

    def _branch_tokens(self, tasks: Tensor, bins: Tensor, lengths: Tensor,
                       noise: Tensor) -> Tensor:
        """Prompt rest and action of every branch, int64 (B, K, L)."""
        # In inference the previous tokens are predictions, which are slightly off: so are these.
        noisy = bins + noise.mul(1.5).round().long()
        ids = self._vocabulary - 1 - noisy.clamp(0, self._tokenizer.n_bins - 2)
        tokens = functional.pad(self.prompts.branches[tasks], (0, _DIMENSIONS - 1))
        steps = lengths[..., None] + torch.arange(_DIMENSIONS - 1, device=tasks.device)
        return tokens.scatter(2, steps, ids[..., :-1])

    def _run(self, patches: Tensor, tokens: Tensor) -> Tensor:
        """Hidden states of the branches, (B, K, L, hidden)."""
        llama, batch = self.network.language_model, len(patches)
        shared = llama.embed_tokens(self.prompts.shared).expand(batch, -1, -1)
        branches = llama.embed_tokens(tokens.flatten(1))
        x = torch.cat([shared[:, :1], patches, shared[:, 1:], branches], 1)
        for layer in llama.layers:
            x = x + self._attend(layer.self_attn, layer.input_layernorm(x))
            x = x + self._feed_forward(layer.mlp, layer.post_attention_layernorm(x))
        return llama.norm(x[:, self._prefix:]).unflatten(1, tokens.shape[1:])

    def _attend(self, attention: nn.Module, x: Tensor) -> Tensor:
        batch, count, _ = x.shape
        heads = attention.qkv_proj(x).view(batch, count, -1, attention.head_size)
        split = attention.heads + attention.kv_heads
        turned = rotate(heads[:, :, :split], self._rotary)
        query, key = turned[:, :, :attention.heads], turned[:, :, attention.heads:]
        out = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), heads[:, :, split:].transpose(1, 2),
            attn_mask=self._mask)
        return attention.o_proj(out.transpose(1, 2).reshape(batch, count, -1))

    def _feed_forward(self, mlp: nn.Module, x: Tensor) -> Tensor:
        gate, up = mlp.gate_up_proj(x).chunk(2, dim=-1)
        return mlp.down_proj(functional.silu(gate) * up)

    def _geometry(self, width: int) -> tuple[Tensor, Tensor]:
        """Rotary table by position in the sequence, and the additive attention mask."""
        positions = torch.cat([torch.arange(self._prefix),
                               (self._prefix + torch.arange(width)).repeat(self.branches)])
        branch = torch.cat([torch.zeros(self._prefix, dtype=torch.int64),
                           1 + torch.arange(self.branches).repeat_interleave(width)])
        earlier = torch.arange(len(branch))[:, None] >= torch.arange(len(branch))
        allowed = earlier & ((branch == 0) | (branch == branch[:, None]))
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, float('-inf'))
        table = self.network.language_model.rotary_table(int(positions.max()) + 1)
        return table[:, :, positions], mask

    def _action_loss(self, logits: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        count = self._tokenizer.n_bins - 1
        distance = torch.arange(count, device=bins.device) - bins[..., None]
        target = torch.softmax(-0.5 * (distance / _SMOOTHING) ** 2, -1)
        # Bin 0 is the last id.
        scores = functional.log_softmax(logits[..., :self._vocabulary + 1].float(), -1)
        scores = scores[..., self._vocabulary - count:self._vocabulary].flip(-1)
        loss = -(target * scores).sum(-1).mean()
        near = (scores.argmax(-1) - bins).abs() <= 3
        return loss, near.float().mean()

    def visible(self, keypoints: Tensor) -> Tensor:
        """Return which keypoints are in the image, bool (…,) for (…, 2)."""
        scaled = keypoints * self._side
        return ((scaled >= 0) & (scaled < self._side)).all(-1)

    def _keypoint_loss(self, patches: Tensor, keypoints: Tensor) -> Tensor:
        """Loss of the patch of each keypoint, and of the offset in it."""
        outputs = self.patch_head(patches).unflatten(-1, (5, 3))
        scaled = keypoints * self._side
        visible = self.visible(keypoints)
        cell = scaled.nan_to_num(0).clamp(0, self._side - 1e-3)
        index = cell[..., 1].long() * self._side + cell[..., 0].long()
        logits = outputs[..., 0].float().transpose(1, 2)
        which = functional.cross_entropy(logits[visible], index[visible])
        offsets = outputs[..., 1:].float().transpose(1, 2)[visible]
        rows = torch.arange(len(offsets), device=offsets.device)
        inside = functional.smooth_l1_loss(
            offsets[rows, index[visible]], (cell % 1)[visible], beta=0.1)
        return which * 0.5 + inside * 2

    def _state_loss(self, hidden: Tensor, keypoint: Tensor, state: Tensor) -> Tensor:
        """Loss of the named block's keypoint and of the arm's state."""
        arm = (state - self._arm_middle) / self._arm_spread
        target = torch.cat([keypoint, arm[:, None].expand(-1, keypoint.shape[1], -1)], -1)
        return functional.smooth_l1_loss(self.state_head(hidden), target, beta=0.2)


class PixelTable:
    """Turns stored images into the network's input, with augmentation."""

    def __init__(self, tables: list[np.ndarray]) -> None:
        """
        Copy the normalisation of the towers.

        :param tables: of each tower, float32 (3, 256), see ``TowerTransform.table``.
        """
        self._slope = torch.tensor(np.concatenate([t[:, 255] - t[:, 0] for t in tables]))
        self._offset = torch.tensor(np.concatenate([t[:, 0] for t in tables]))

    def __call__(self, images: np.ndarray, augment: bool) -> Tensor:
        """Return float32 (B, 6, S, S) for uint8 (B, S, S, 3)."""
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)
        if augment:
            shape = (len(x), 3, 1, 1)
            whole = (len(x), 1, 1, 1)
            gain = 1 + 0.15 * (torch.rand(whole) - 0.5) + 0.06 * (torch.rand(shape) - 0.5)
            x = (x * gain + 0.10 * (torch.rand(whole) - 0.5)).clamp(0, 1)
            x = x + 0.01 * torch.randn_like(x)
        x = x.repeat(1, 2, 1, 1)
        return x * self._slope[:, None, None] + self._offset[:, None, None]


def initialise(network: nn.Module) -> None:
    """Small random weights, norms at one, residual branches smaller by depth."""
    for name, parameter in network.named_parameters():
        if name.endswith('norm.weight') or 'norm' in name and name.endswith('weight'):
            nn.init.ones_(parameter)
        elif name.endswith('bias'):
            nn.init.zeros_(parameter)
        elif name.endswith('pos_embed'):
            nn.init.normal_(parameter, std=0.2)
        elif parameter.dim() >= 2 and 'embed_tokens' not in name and 'lm_head' not in name:
            nn.init.xavier_uniform_(parameter.view(len(parameter), -1))
        else:
            nn.init.normal_(parameter, std=0.05)
