# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Llama with a key-value cache of fixed size: compact, and the same numbers as transformers'."""

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.model.attention import Attend
from vla_ros.model.cache_positions import CachePositions
from vla_ros.model.cache_positions import ContiguousPositions
from vla_ros.model.cache_positions import WantedPositions
from vla_ros.model.config import LlamaConfig
from vla_ros.model.layer_operations import LayerOperations
from vla_ros.model.layer_operations import PlainOperations
from vla_ros.model.layer_operations import RmsNorm


class Attention(nn.Module):
    """
    Causal self-attention with rotary positions.

    Query, key and value come from one matrix: a single product reads the input once and fills a
    GPU better than three.
    """

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.operations: LayerOperations = PlainOperations()
        self.heads, self.kv_heads = config.num_attention_heads, config.kv_heads
        self.head_size = config.head_size
        self.qkv_proj = nn.Linear(
            config.hidden_size, (self.heads + 2 * self.kv_heads) * self.head_size, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, update: Tensor | None, norm: RmsNorm, rotary: Tensor,
                cache: Tensor, positions: CachePositions, wanted: WantedPositions | None = None
                ) -> tuple[Tensor, Tensor | None]:
        """
        Attend to the cache up to and including x.

        :param x: (B, T, hidden), the residual stream.
        :param update: what is still to be added to it, None for nothing.
        :param norm: of the sum, before the projections.
        :param rotary: (2, 1 or B, T, 1, head), cosine and signed sine of the positions of x.
        :param cache: (2, B, S, kv heads, head), keys and values; those of x are written.
        :param positions: those of x in the sequences.
        :param wanted: return only these positions; x is then the start of the sequences.
        :returns: the residual stream, (B, T or the number of wanted positions, hidden), and what
            is still to be added to it.
        """
        x, projected = self.operations.norm_linear(x, update, norm, self.qkv_proj)
        heads = projected.view(*x.shape[:2], -1, self.head_size)
        query = self.operations.rotate_and_store(heads, self.kv_heads, rotary, cache, positions)
        if wanted is not None:
            x, query, positions = wanted.take(x), wanted.take(query), wanted
        out = positions.attend(self.attend, query, cache)
        return self.operations.add_linear(x, out.flatten(2), self.o_proj)


class Mlp(nn.Module):
    """Gated feed-forward layer; gate and up projection share one matrix."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.operations: LayerOperations = PlainOperations()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, update: Tensor | None,
                norm: RmsNorm) -> tuple[Tensor, Tensor | None]:
        """Take and return the residual stream, as :meth:`Attention.forward`."""
        x, gated = self.operations.norm_gated(x, update, norm, self.gate_up_proj)
        return self.operations.add_linear(x, gated, self.down_proj)


class Layer(nn.Module):
    """A pre-norm decoder layer."""

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, attend)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, update: Tensor | None, rotary: Tensor, cache: Tensor,
                positions: CachePositions, wanted: WantedPositions | None = None
                ) -> tuple[Tensor, Tensor | None]:
        """Take the parameters of :meth:`Attention.forward`, but for the norm."""
        x, update = self.self_attn.forward(x, update, self.input_layernorm, rotary, cache,
                                           positions, wanted)
        return self.mlp.forward(x, update, self.post_attention_layernorm)


class Llama(nn.Module):
    """The decoder, from embeddings to the normalised last hidden state, and its head."""

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.config = config
        self.operations: LayerOperations = PlainOperations()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Layer(config, attend) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def allocate_cache(self, length: int, batch: int = 1) -> Tensor:
        """Allocate keys and values of all layers, (layers, 2, batch, length, kv heads, head)."""
        weight = self.embed_tokens.weight
        return torch.zeros(len(self.layers), 2, batch, length, self.config.kv_heads,
                           self.config.head_size, dtype=weight.dtype, device=weight.device)

    def rotary_table(self, length: int) -> Tensor:
        """
        Cosine and signed sine of every position, (2, 1, length, 1, head).

        Computed in float32 and rounded once, as in transformers' LlamaRotaryEmbedding. The sine
        of the first half is negated here, so that a rotation needs no negation of its own.
        """
        weight = self.embed_tokens.weight
        exponent = torch.arange(0, self.config.head_size, 2, dtype=torch.float32) \
            / self.config.head_size
        frequency = 1.0 / self.config.rope_theta ** exponent
        angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
        cosine, sine = angle.cos(), angle.sin()
        table = torch.stack([torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1)])
        return table[:, None, :, None].to(weight.device, weight.dtype)

    def forward(self, embeddings: Tensor, rotary: Tensor, cache: Tensor, start: int) -> Tensor:
        """
        Extend the cache by some positions.

        :param embeddings: (B, T, hidden).
        :param rotary: from :meth:`rotary_table`, at least start+T positions long.
        :param cache: from :meth:`allocate_cache`, filled up to ``start``.
        :returns: hidden states after the final norm, (B, T, hidden).
        """
        positions = ContiguousPositions(start, start + embeddings.shape[1])
        return self.extend(embeddings, rotary, cache, positions)

    def extend(self, embeddings: Tensor, rotary: Tensor, cache: Tensor, positions: CachePositions,
               wanted: WantedPositions | None = None) -> Tensor:
        """
        Extend the cache by some positions, known to the host or to the device only.

        :param wanted: positions whose hidden states are returned; ``positions`` then begin at 0.
            The last layer is computed for them alone: of the others it needs keys and values.
        :returns: hidden states after the final norm, (B, T or the number wanted, hidden).
        """
        angles = positions.select(rotary)
        x: Tensor = embeddings
        update: Tensor | None = None
        last = len(self.layers) - 1
        for index, (layer, layer_cache) in enumerate(zip(self.layers, cache)):
            x, update = layer.forward(x, update, angles, layer_cache, positions,
                                      wanted if index == last else None)
        return self.operations.add_norm(x, update, self.norm)[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary, (…, hidden) to (…, vocabulary)."""
        if self.config.tie_word_embeddings:
            return functional.linear(hidden, self.embed_tokens.weight)
        return self.operations.linear(hidden, self.lm_head)
