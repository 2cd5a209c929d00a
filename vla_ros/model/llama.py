# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Llama with a key-value cache of fixed size: compact, and the same numbers as transformers'."""

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.model.attention import Attend
from vla_ros.model.config import LlamaConfig
from vla_ros.model.place import Place
from vla_ros.model.place import Span
from vla_ros.model.place import Spots


class RmsNorm(nn.Module):
    """
    Root mean square norm, computed in float32 and rounded before it is scaled, as in transformers.

    PyTorch's fused kernel does the first part: one kernel in place of six.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * functional.rms_norm(x, self.weight.shape, None, self.eps)


class Attention(nn.Module):
    """
    Causal self-attention with rotary positions.

    Query, key and value come from one matrix: a single product reads the input once and fills a
    GPU better than three.
    """

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.heads, self.kv_heads = config.num_attention_heads, config.kv_heads
        self.head_size = config.head_size
        self.qkv_proj = nn.Linear(
            config.hidden_size, (self.heads + 2 * self.kv_heads) * self.head_size, bias=False)
        self.o_proj = nn.Linear(self.heads * self.head_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotary: Tensor, cache: Tensor, place: Place,
                wanted: Spots | None = None) -> Tensor:
        """
        Attend to the cache up to and including x.

        :param x: (1, T, hidden).
        :param rotary: (2, 1, T, 1, head), cosine and signed sine of the positions of x.
        :param cache: (2, 1, S, kv heads, head), keys and values; those of x are written.
        :param place: where x stands in the sequence.
        :param wanted: answer only these of the positions, x being the start of the sequence.
        :returns: (1, T or the number of wanted positions, hidden).
        """
        heads = self.qkv_proj(x).view(1, x.shape[1], -1, self.head_size)
        split = self.heads + self.kv_heads
        # One rotation for queries and keys together.
        turned = rotate(heads[:, :, :split], rotary)
        place.store(cache, turned[:, :, self.heads:], heads[:, :, split:])
        query = turned[:, :, :self.heads]
        if wanted is not None:
            query, place = query.index_select(1, wanted.positions), wanted
        out = place.attend(self.attend, query, cache)
        return self.o_proj(out.flatten(2))


class Mlp(nn.Module):
    """Gated feed-forward layer; gate and up share one matrix, for the reason above."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(functional.silu(gate) * up)


class Layer(nn.Module):
    """A pre-norm decoder layer."""

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, attend)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, rotary: Tensor, cache: Tensor, place: Place,
                wanted: Spots | None = None) -> Tensor:
        """Take the parameters of :meth:`Attention.forward`, before the norm."""
        # Called past PyTorch's hooks, which nothing here uses: on a CPU they took a tenth of the
        # time of a decoding step.
        normed = self.input_layernorm.forward(x)
        attended = self.self_attn.forward(normed, rotary, cache, place, wanted)
        if wanted is not None:
            x = x.index_select(1, wanted.positions)
        x = x + attended
        return x + self.mlp.forward(self.post_attention_layernorm.forward(x))


class Llama(nn.Module):
    """The decoder, from embeddings to the normalised last hidden state, and its head."""

    def __init__(self, config: LlamaConfig, attend: Attend) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Layer(config, attend) for _ in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def allocate_cache(self, length: int) -> Tensor:
        """Allocate keys and values of all layers, (layers, 2, 1, length, kv heads, head)."""
        weight = self.embed_tokens.weight
        return torch.zeros(len(self.layers), 2, 1, length, self.config.kv_heads,
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

        :param embeddings: (1, T, hidden).
        :param rotary: from :meth:`rotary_table`, at least start+T positions long.
        :param cache: from :meth:`allocate_cache`, filled up to ``start``.
        :returns: hidden states after the final norm, (1, T, hidden).
        """
        place = Span(start, start + embeddings.shape[1])
        return self.extend(embeddings, rotary, cache, place)

    def extend(self, embeddings: Tensor, rotary: Tensor, cache: Tensor, place: Place,
               wanted: Spots | None = None) -> Tensor:
        """
        Extend the cache by some positions, known to the host or to the device only.

        :param wanted: positions whose hidden states are wanted, where ``place`` begins at 0. The
            last layer is computed for them alone: of the others it needs only keys and values.
        :returns: hidden states after the final norm, (1, T or the number wanted, hidden).
        """
        angles = place.select(rotary)
        x = embeddings
        last = len(self.layers) - 1
        for index, (layer, layer_cache) in enumerate(zip(self.layers, cache)):
            x = layer.forward(x, angles, layer_cache, place, wanted if index == last else None)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Score every token of the vocabulary, (…, hidden) to (…, vocabulary)."""
        if self.config.tie_word_embeddings:
            return functional.linear(hidden, self.embed_tokens.weight)
        return self.lm_head(hidden)


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """Turn pairs (i, i + d/2) of the last dimension by the angle of their position."""
    return torch.addcmul(x * rotary[0], x.roll(x.shape[-1] // 2, -1), rotary[1])
