# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The vision towers: timm's VisionTransformer up to the block that OpenVLA takes features from."""

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.model.attention import Attend
from vla_ros.model.config import VitConfig

# float32 is float32: cuDNN would convolve in TF32, whose 10 bits change tokens.
torch.backends.cudnn.allow_tf32 = False

_ACTIVATIONS = {
    'gelu': functional.gelu,
    'gelu_tanh': lambda x: functional.gelu(x, approximate='tanh'),
    'quick_gelu': lambda x: x * torch.sigmoid(1.702 * x),
}


class LayerScale(nn.Module):
    """A learned factor for each channel; OpenVLA stores timm's ``gamma`` as ``scale_factor``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_factor


class Attention(nn.Module):
    """Multi-head self-attention without a mask."""

    def __init__(self, config: VitConfig, attend: Attend) -> None:
        super().__init__()
        dim = config.embed_dim
        self.heads = config.num_heads
        self.attend = attend
        self.qkv = nn.Linear(dim, 3 * dim, bias=config.qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        query, key, value = self.qkv(x).view(batch, count, 3, self.heads, -1).unbind(2)
        return self.proj(self.attend(query, key, value, False).reshape(batch, count, dim))


class Mlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        hidden = int(config.embed_dim * config.mlp_ratio)
        self.activation = _ACTIVATIONS[config.act_layer]
        self.fc1 = nn.Linear(config.embed_dim, hidden)
        self.fc2 = nn.Linear(hidden, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block, with layer scale where the tower has it."""

    def __init__(self, config: VitConfig, attend: Attend) -> None:
        super().__init__()
        scaled = config.init_values is not None
        self.norm1 = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.attn = Attention(config, attend)
        self.ls1 = LayerScale(config.embed_dim) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)
        self.mlp = Mlp(config)
        self.ls2 = LayerScale(config.embed_dim) if scaled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Cut an image into patches, row by row."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.embed_dim, config.patch_size, config.patch_size,
                              bias=not config.pre_norm)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.proj(pixels).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """
    One tower.

    OpenVLA takes the output of the last-but-one block, without the final norm. The last block,
    that norm and the attention pool of a checkpoint never matter, so they are not even built.
    """

    def __init__(self, config: VitConfig, attend: Attend) -> None:
        super().__init__()
        dim = config.embed_dim
        positions = config.patch_count
        if not config.no_embed_class:
            positions += config.prefix_tokens
        self.config = config
        self.patch_embed = PatchEmbed(config)
        if config.class_token:
            self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        if config.reg_tokens:
            self.reg_token = nn.Parameter(torch.empty(1, config.reg_tokens, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, positions, dim))
        self.norm_pre = (nn.LayerNorm(dim, eps=config.norm_eps) if config.pre_norm
                         else nn.Identity())
        self.blocks = nn.ModuleList(Block(config, attend) for _ in range(config.depth - 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """
        Convert images to patch features.

        :param pixels: (B, 3, S, S), normalised.
        :returns: (B, patches, embed_dim).
        """
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        return x[:, self.config.prefix_tokens:]

    def embed(self, pixels: Tensor) -> Tensor:
        """Convert (B, 3, S, S) to the first block's input, (B, tokens, embed_dim)."""
        return self.norm_pre(self._tokens(pixels))

    def _tokens(self, pixels: Tensor) -> Tensor:
        x = self.patch_embed(pixels)
        prefix = []
        if self.config.class_token:
            prefix.append(self.cls_token.expand(len(x), -1, -1))
        if self.config.reg_tokens:
            prefix.append(self.reg_token.expand(len(x), -1, -1))
        if self.config.no_embed_class:
            return torch.cat([*prefix, x + self.pos_embed], dim=1)
        return torch.cat([*prefix, x], dim=1) + self.pos_embed
