# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The forward passes of an inference, each a function of buffers with fixed addresses.

No pass reads back from the device: the number of decided tokens and the end of the prompt are
values on the device. One captured graph of a pass therefore serves every step and every prompt of
its bucket. Rows behind the prompt hold stale values, which no earlier row attends to.
"""

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vla_ros.model.cache_positions import ContiguousPositions
from vla_ros.model.cache_positions import DevicePositions
from vla_ros.model.network import OpenVlaNetwork


@dataclass(frozen=True)
class Layout:
    """
    Sizes of the buffers.

    :param max_length: longest sequence: patches, prompt and generated tokens.
    :param count: number of tokens that are generated.
    :param bucket: prompts are padded to a multiple of this.
    """

    max_length: int
    count: int
    bucket: int = 1

    @property
    def rows(self) -> int:
        """Rows of the cache, padding and a draft behind the last token included."""
        return self.max_length + self.bucket + self.count


@dataclass(frozen=True)
class Buffers:
    """
    All memory that a pass reads or writes besides the weights.

    D is the number of generated tokens.

    :param pixels: (1, 3·towers, S, S).
    :param sequence: (1, rows, hidden), the embeddings of prompt, image and draft.
    :param cache: keys and values of every layer.
    :param rotary: the rotary table.
    :param tokens: int64 (2·D,): the first ``decided`` are final, the draft follows.
    :param margins: float32 (2·D,).
    :param states: (2·D, hidden), the hidden states that the tokens were read from.
    :param decided: int64 (1,), number of final tokens.
    :param end: int64 (1,), length of image and prompt.
    :param order: int64 (rows,), 0, 1, 2 …
    :param count: D.
    :param results: uint8, the memory of ``decided``, ``tokens`` and ``margins``: one copy reads
        all of them.
    :param host: the pinned destination of that copy; on a CPU the same memory.
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
    results: Tensor
    host: Tensor

    @classmethod
    def allocate(cls, network: OpenVlaNetwork, layout: Layout) -> 'Buffers':
        """Allocate buffers on the device of a network."""
        llama, config = network.language_model, network.config
        weight = llama.embed_tokens.weight
        device, like = weight.device, {'dtype': weight.dtype, 'device': weight.device}
        side, room = config.towers[0].image_size, 2 * layout.count
        results = torch.zeros(8 + 12 * room, dtype=torch.uint8, device=device)
        host = results
        if device.type == 'cuda':
            host = torch.zeros(results.shape, dtype=torch.uint8, pin_memory=True)
        decided, tokens, margins = _split(results)
        return cls(
            pixels=torch.zeros(1, 3 * len(config.towers), side, side, **like),
            sequence=torch.zeros(1, layout.rows, config.language_model.hidden_size, **like),
            cache=llama.allocate_cache(layout.rows),
            rotary=llama.rotary_table(layout.rows),
            tokens=tokens, margins=margins, decided=decided,
            states=torch.zeros(room, config.language_model.hidden_size, **like),
            end=torch.full((1,), network.patch_count + 1, device=device),
            order=torch.arange(layout.rows, device=device), count=layout.count,
            results=results, host=host)

    def scratch(self) -> 'Buffers':
        """Allocate buffers like these, with contents on which every pass can run."""
        results = torch.zeros_like(self.results)
        decided, tokens, margins = _split(results)
        decided.fill_(1)
        return replace(
            self, pixels=torch.zeros_like(self.pixels), sequence=torch.zeros_like(self.sequence),
            cache=torch.zeros_like(self.cache), tokens=tokens, margins=margins, decided=decided,
            states=torch.zeros_like(self.states), end=torch.ones_like(self.end), results=results)

    def read(self) -> tuple[np.ndarray, np.ndarray, int]:
        """
        Wait for the device and read the results.

        :returns: token ids int64 (2·D,) and margins float32 (2·D,), overwritten by the next
            inference, and the number of final tokens.
        """
        if self.host is not self.results:
            self.host.copy_(self.results, non_blocking=True)
            torch.cuda.current_stream(self.results.device).synchronize()
        decided, tokens, margins = (view.numpy() for view in _split(self.host))
        return tokens, margins, int(decided[0])


def _split(results: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return views of one block: decided, tokens, margins."""
    room = (len(results) - 8) // 12
    return (results[:8].view(torch.int64), results[8:8 + 8 * room].view(torch.int64),
            results[8 + 8 * room:].view(torch.float32))


def embed_image(network: OpenVlaNetwork, buffers: Buffers) -> None:
    """Write the patches of the image into the sequence, behind its first token."""
    buffers.sequence[:, 1:1 + network.patch_count] = network.embed_image(buffers.pixels)


def prefill(network: OpenVlaNetwork, buffers: Buffers, length: int, count: int) -> None:
    """
    Process image and prompt, verify the draft, and accept it up to the first rejected token.

    :param length: of image and prompt, padding included.
    :param count: most tokens to decide: one, and one more for each draft token.
    """
    llama = network.language_model
    buffers.decided.zero_()
    if count > 1:
        draft = llama.embed_tokens(buffers.tokens[:count - 1])
        buffers.sequence[0].index_copy_(0, buffers.end + buffers.order[:count - 1], draft)
    length += count - 1
    wanted = DevicePositions.of(buffers.end - 1 + buffers.order[:count], buffers.order[:length],
                                buffers.cache.dtype)
    hidden = llama.extend(buffers.sequence[:, :length], buffers.rotary, buffers.cache,
                          ContiguousPositions(0, length), wanted)
    _accept(hidden[0], llama.logits(hidden[0]), buffers)


def decode(network: OpenVlaNetwork, buffers: Buffers, length: int, count: int) -> None:
    """
    Continue behind the last final token, and verify the draft tokens behind it.

    :param length: of image and prompt, padding included.
    :param count: most tokens to decide: one, and one more for each draft token.
    """
    llama = network.language_model
    inputs = buffers.decided - 1 + buffers.order[:count]
    embeddings = llama.embed_tokens(buffers.tokens.index_select(0, inputs))
    rows = buffers.order[:length + buffers.count + count - 2]
    positions = DevicePositions.of(buffers.end + inputs, rows, buffers.cache.dtype)
    hidden = llama.extend(embeddings[None], buffers.rotary, buffers.cache, positions)
    _accept(hidden[0], llama.logits(hidden[0]), buffers)


def best_tokens(logits: Tensor) -> tuple[Tensor, Tensor]:
    """
    Choose the best token of each row.

    :param logits: (…, vocabulary).
    :returns: token ids int64 (…), and float32 (…), their logits minus those of the runners-up.
    """
    # argmax and not topk's index: on equal logits both this and the official code then take the
    # first.
    best = logits.argmax(-1)
    # topk of two sorts far more than that.
    others = logits.scatter(-1, best[..., None], float('-inf')).amax(-1)
    return best, logits.gather(-1, best[..., None])[..., 0].float() - others.float()


def _accept(hidden: Tensor, logits: Tensor, buffers: Buffers) -> None:
    """
    Accept the best tokens up to and including the first that differs from the draft.

    :param hidden: (n, hidden), the states that the logits were computed from.
    :param logits: (n, vocabulary), of the next n tokens, each computed as if the draft tokens
        before it were accepted.
    """
    count = len(logits)
    best, margins = best_tokens(logits)
    outputs = buffers.decided + buffers.order[:count]
    buffers.margins.index_copy_(0, outputs, margins)
    buffers.states.index_copy_(0, outputs, hidden)
    if count == 1:
        buffers.tokens.index_copy_(0, outputs, best)
        buffers.decided.add_(1)
        return
    draft = buffers.tokens.index_select(0, outputs)
    accepted = (best[:-1] == draft[:-1]).long().cumprod(0).sum()
    final = torch.where(buffers.order[:count] <= accepted, best, draft)
    buffers.tokens.index_copy_(0, outputs, final)
    buffers.decided.add_(accepted + 1)
