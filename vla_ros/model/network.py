# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The network as a whole: vision towers, projector, language model."""

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.model.attention import Attend
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.llama import Llama
from vla_ros.model.vit import VisionTransformer


class VisionBackbone(nn.Module):
    """One tower, or two whose features are joined channel by channel."""

    def __init__(self, config: OpenVlaConfig, attend: Attend) -> None:
        super().__init__()
        self.featurizer = VisionTransformer(config.towers[0], attend)
        if len(config.towers) == 2:
            self.fused_featurizer = VisionTransformer(config.towers[1], attend)

    def forward(self, pixels: Tensor) -> Tensor:
        """
        Convert images to patch features.

        :param pixels: (B, 3·towers, S, S).
        :returns: (B, patches, sum of the towers' widths).
        """
        features = self.featurizer(pixels[:, :3])
        if hasattr(self, 'fused_featurizer'):
            features = torch.cat([features, self.fused_featurizer(pixels[:, 3:])], dim=2)
        return features


class Projector(nn.Module):
    """From patch features to the language model's embeddings; deeper for fused towers."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        width = sum(tower.embed_dim for tower in config.towers)
        out = config.language_model.hidden_size
        if len(config.towers) == 2:
            self.fc1 = nn.Linear(width, 4 * width)
            self.fc2 = nn.Linear(4 * width, out)
            self.fc3 = nn.Linear(out, out)
        else:
            self.fc1 = nn.Linear(width, out)
            self.fc2 = nn.Linear(out, out)

    def forward(self, features: Tensor) -> Tensor:
        """Project (B, patches, width) to (B, patches, hidden)."""
        x = self.fc2(functional.gelu(self.fc1(features)))
        return self.fc3(functional.gelu(x)) if hasattr(self, 'fc3') else x


class OpenVlaNetwork(nn.Module):
    """All weights of an OpenVLA checkpoint."""

    def __init__(self, config: OpenVlaConfig, attend: Attend) -> None:
        super().__init__()
        self.config = config
        self.vision_backbone = VisionBackbone(config, attend)
        self.projector = Projector(config)
        self.language_model = Llama(config.language_model, attend)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.embed_tokens.weight.device

    @property
    def patch_count(self) -> int:
        """Number of tokens that one image becomes."""
        return self.config.towers[0].patch_count

    def embed_image(self, pixels: Tensor) -> Tensor:
        """Convert (B, 3·towers, S, S) to (B, patches, hidden)."""
        return self.projector(self.vision_backbone(pixels))
