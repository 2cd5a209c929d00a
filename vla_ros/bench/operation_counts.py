# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Lower bounds of what an inference computes and reads: the floor of its time."""

from dataclasses import dataclass

from torch import nn

from vla_ros.model.network import OpenVlaNetwork


@dataclass(frozen=True)
class OperationCounts:
    """
    Operations of the stages that compute, bytes of the stage that reads.

    :param vision: operations for one image, towers and projector.
    :param prefill: operations for image and prompt.
    :param decode: bytes that one more token reads: every weight of the language model, once.
    """

    vision: float
    prefill: float
    decode: float

    @classmethod
    def of(cls, network: OpenVlaNetwork, length: int) -> 'OperationCounts':
        """
        Count the matrix products; what else there is hardly counts.

        :param length: of image and prompt.
        """
        vision = 0.0
        backbone = network.vision_backbone
        towers = [backbone.featurizer, getattr(backbone, 'fused_featurizer', None)]
        for tower in filter(None, towers):
            count = tower.config.patch_count + tower.config.prefix_tokens
            attention = 4 * count * count * tower.config.embed_dim
            vision += 2 * count * _weights(tower) + len(tower.blocks) * attention
        vision += 2 * network.patch_count * _weights(network.projector)
        llama, config = network.language_model, network.config.language_model
        head = config.vocab_size * config.hidden_size
        body = _weights(llama.layers)
        width = config.num_attention_heads * config.head_size
        # Half of the scores of causal attention are not computed.
        attention = 2 * length * length * width * config.num_hidden_layers
        item = llama.embed_tokens.weight.element_size()
        cache = 2 * length * config.kv_heads * config.head_size * config.num_hidden_layers
        return cls(vision, 2 * length * body + attention + 2 * head,
                   item * (body + head + cache))

    def floor_ms(self, copy_rate: float, matmul_rate: float, tokens: int) -> dict[str, float]:
        """
        Return the least time at the measured ceilings, token by token and with a perfect draft.

        :param copy_rate: bytes per second; a copy reads half of them, a decode step reads all.
        :param matmul_rate: operations per second.
        """
        first = (self.vision + self.prefill) / matmul_rate * 1e3
        step = self.decode / copy_rate * 1e3
        return {'engine': round(first + (tokens - 1) * step, 3), 'drafted': round(first, 3)}


def _weights(module: nn.Module) -> int:
    """Count the weights of all matrices of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.dim() > 1)
