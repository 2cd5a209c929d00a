# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The forward passes of several sequences at once, each a function of buffers.

As in :mod:`vla_ros.model.passes`, lengths and numbers of decided tokens are values on the device,
here one for each sequence. Shorter prompts are padded behind their end: no earlier row attends to
the padding, and decoding overwrites it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

import torch
from torch import Tensor

from vla_ros.model.cache_positions import BatchPositions
from vla_ros.model.cache_positions import ContiguousPositions
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.passes import best_tokens
from vla_ros.model.passes import Layout

#: Stands for a token that no draft names; the model never decodes it.
NO_TOKEN = -1


@dataclass(frozen=True)
class BatchBuffers:
    """
    All memory that a pass of B sequences reads or writes besides the weights.

    D is the number of generated tokens.

    :param pixels: (B, 3·towers, S, S).
    :param sequence: (B, rows, hidden), the embeddings of prompt, image and draft.
    :param cache: keys and values of every layer.
    :param rotary: the rotary table.
    :param tokens: int64 (B, 2·D): the first ``decided`` are final, the draft follows.
    :param margins: float32 (B, 2·D).
    :param states: (B, 2·D, hidden), the hidden states that the tokens were read from.
    :param decided: int64 (B,), number of final tokens, D at most.
    :param end: int64 (B,), length of image and prompt.
    :param order: int64 (rows,), 0, 1, 2 …
    :param count: D.
    :param noise: float32 (B, 2·D, vocabulary), added to the logits of each token: with Gumbel
        noise the best token is a sample; None where decoding is greedy.
    """

    pixels: Tensor
    sequence: Tensor
    cache: Tensor
    rotary: Tensor
    tokens: Tensor
    margins: Tensor
    states: Tensor
    decided: Tensor
    end: Tensor
    order: Tensor
    count: int
    noise: Tensor | None = None

    @classmethod
    def allocate(cls, network: OpenVlaNetwork, layout: Layout, size: int,
                 is_sampled: bool = False) -> 'BatchBuffers':
        """
        Allocate buffers of so many sequences on the device of a network.

        :param is_sampled: allocate the noise, too.
        """
        llama, config = network.language_model, network.config
        weight = llama.embed_tokens.weight
        device, like = weight.device, {'dtype': weight.dtype, 'device': weight.device}
        side, room = config.towers[0].image_size, 2 * layout.count
        hidden = config.language_model.hidden_size
        return cls(
            pixels=torch.zeros(size, 3 * len(config.towers), side, side, **like),
            sequence=torch.zeros(size, layout.rows, hidden, **like),
            cache=llama.allocate_cache(layout.rows, size),
            rotary=llama.rotary_table(layout.rows),
            tokens=torch.full((size, room), NO_TOKEN, device=device),
            margins=torch.zeros(size, room, device=device),
            states=torch.zeros(size, room, hidden, **like),
            decided=torch.ones(size, dtype=torch.int64, device=device),
            end=torch.full((size,), network.patch_count + 1, device=device),
            order=torch.arange(layout.rows, device=device), count=layout.count,
            noise=torch.zeros(size, room, config.language_model.vocab_size, device=device)
            if is_sampled else None)

    @property
    def size(self) -> int:
        """B."""
        return len(self.sequence)

    def first(self, size: int) -> 'BatchBuffers':
        """Return views of the first sequences."""
        return replace(
            self, pixels=self.pixels[:size], sequence=self.sequence[:size],
            cache=self.cache[:, :, :size], tokens=self.tokens[:size], margins=self.margins[:size],
            states=self.states[:size], decided=self.decided[:size], end=self.end[:size],
            noise=None if self.noise is None else self.noise[:size])

    def scratch(self) -> 'BatchBuffers':
        """Allocate buffers like these, with contents on which every pass can run."""
        names = ('pixels', 'sequence', 'cache', 'tokens', 'margins', 'states')
        noise = None if self.noise is None else torch.zeros_like(self.noise)
        return replace(self, decided=torch.ones_like(self.decided), end=torch.ones_like(self.end),
                       noise=noise,
                       **{name: torch.zeros_like(getattr(self, name)) for name in names})


def write_prompts(network: OpenVlaNetwork, buffers: BatchBuffers,
                  prompts: Sequence[Sequence[int]], drafts: Sequence[Sequence[int]]) -> None:
    """
    Write the prompts and drafts of the first sequences.

    :param prompts: ids of each model input, the beginning-of-sequence token first.
    :param drafts: for each at most D-1 tokens.
    """
    device, patches = buffers.sequence.device, network.patch_count
    length = max(map(len, prompts))
    padded = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in prompts], device=device)
    text = network.language_model.embed_tokens(padded)
    used = len(prompts)
    # The image comes right behind the first token.
    buffers.sequence[:used, :1] = text[:, :1]
    buffers.sequence[:used, 1 + patches:patches + length] = text[:, 1:]
    buffers.end[:used] = torch.tensor([patches + len(ids) for ids in prompts], device=device)
    room = buffers.count - 1
    buffers.tokens.fill_(NO_TOKEN)
    if room:
        buffers.tokens[:used, :room] = torch.tensor(
            [[*draft, *[NO_TOKEN] * (room - len(draft))] for draft in drafts], device=device)


def embed_images(network: OpenVlaNetwork, buffers: BatchBuffers) -> None:
    """Write the patches of each image into its sequence, behind the first token."""
    buffers.sequence[:, 1:1 + network.patch_count] = network.embed_image(buffers.pixels)


def prefill(network: OpenVlaNetwork, buffers: BatchBuffers, length: int, count: int) -> None:
    """
    Process images and prompts, verify the drafts, and accept each up to its first rejected token.

    :param length: of image and prompt, padding included.
    :param count: most tokens to decide: one, and one more for each draft token.
    """
    llama = network.language_model
    buffers.decided.zero_()
    if count > 1:
        rows = buffers.end[:, None] + buffers.order[:count - 1]
        buffers.sequence.index_put_((buffers.order[:buffers.size, None], rows),
                                    _embed(network, buffers.tokens[:, :count - 1]))
    length += count - 1
    wanted = BatchPositions.of(buffers.end[:, None] - 1 + buffers.order[:count],
                               buffers.order[:length], buffers.cache.dtype)
    hidden = llama.extend(buffers.sequence[:, :length], buffers.rotary, buffers.cache,
                          ContiguousPositions(0, length), wanted)
    _accept(hidden, llama.logits(hidden), buffers)


def decode(network: OpenVlaNetwork, buffers: BatchBuffers, length: int, count: int) -> None:
    """
    Continue each sequence behind its last final token, and verify the draft tokens behind it.

    A sequence that is complete takes part without effect.

    :param length: of image and prompt, padding included.
    :param count: most tokens to decide: one, and one more for each draft token.
    """
    llama = network.language_model
    inputs = buffers.decided[:, None] - 1 + buffers.order[:count]
    embeddings = _embed(network, buffers.tokens.gather(1, inputs))
    rows = buffers.order[:length + buffers.count + count - 1]
    positions = BatchPositions.of(buffers.end[:, None] + inputs, rows, buffers.cache.dtype)
    hidden = llama.extend(embeddings, buffers.rotary, buffers.cache, positions)
    _accept(hidden, llama.logits(hidden), buffers)


def _embed(network: OpenVlaNetwork, tokens: Tensor) -> Tensor:
    return network.language_model.embed_tokens(tokens.clamp(min=0))


def _accept(hidden: Tensor, logits: Tensor, buffers: BatchBuffers) -> None:
    """
    Accept, in each sequence, the best tokens up to and including the first that its draft lacks.

    :param hidden: (B, n, hidden), the states that the logits were computed from.
    :param logits: (B, n, vocabulary), see :func:`vla_ros.model.passes._accept`.
    """
    count = logits.shape[1]
    if buffers.noise is not None:
        places = buffers.decided[:, None, None] + buffers.order[:count, None]
        logits = logits + buffers.noise.gather(1, places.expand(-1, -1, logits.shape[-1]))
    best, margins = best_tokens(logits)
    order, outputs = buffers.order[:count], buffers.decided[:, None] + buffers.order[:count]
    buffers.margins.scatter_(1, outputs, margins)
    buffers.states.index_put_((buffers.order[:buffers.size, None], outputs), hidden)
    draft = buffers.tokens.gather(1, outputs)
    accepted = (best[:, :-1] == draft[:, :-1]).long().cumprod(1).sum(1)
    buffers.tokens.scatter_(1, outputs, torch.where(order <= accepted[:, None], best, draft))
    buffers.decided.add_(accepted + 1).clamp_(max=buffers.count)
