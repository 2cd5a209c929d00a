# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The forward passes of an inference, each a function of buffers that stay where they are.

No pass asks the device for anything: how far the decoding has come, and where the prompt ends,
are numbers on the device. So one recording of a pass serves every step and every prompt that fits
into its bucket. Rows behind the prompt hold leftovers; nothing in front of them can see them.
"""

from dataclasses import dataclass
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.place import Span
from vla_ros.model.place import Spots


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
        """Rows of the cache: padding, and a draft behind the last token, need room too."""
        return self.max_length + self.bucket + self.count


@dataclass(frozen=True)
class Buffers:
    """
    Everything that a pass reads or writes besides the weights.

    D is the number of tokens generated.

    :param pixels: (1, 3·towers, S, S).
    :param sequence: (1, rows, hidden), the embeddings of prompt, image and draft.
    :param cache: keys and values of every layer.
    :param rotary: the rotary table.
    :param tokens: int64 (2·D,): the first ``known`` are decided, those behind them guessed.
    :param margins: float32 (2·D,).
    :param states: (2·D, hidden), the hidden states that the tokens were read from.
    :param known: int64 (1,), how many tokens are decided.
    :param end: int64 (1,), length of image and prompt.
    :param order: int64 (rows,), 0, 1, 2 …
    :param count: D.
    :param results: the memory of known, tokens and margins, so that one copy reads all of them.
    :param host: where that copy goes, pinned; on a CPU the same memory.
    """

    pixels: Tensor
    sequence: Tensor
    cache: Tensor
    rotary: Tensor
    tokens: Tensor
    margins: Tensor
    states: Tensor
    known: Tensor
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
        known, tokens, margins = _split(results)
        return cls(
            pixels=torch.zeros(1, 3 * len(config.towers), side, side, **like),
            sequence=torch.zeros(1, layout.rows, config.language_model.hidden_size, **like),
            cache=llama.allocate_cache(layout.rows),
            rotary=llama.rotary_table(layout.rows),
            tokens=tokens, margins=margins, known=known,
            states=torch.zeros(room, config.language_model.hidden_size, **like),
            end=torch.full((1,), network.patch_count + 1, device=device),
            order=torch.arange(layout.rows, device=device), count=layout.count,
            results=results, host=host)

    def scratch(self) -> 'Buffers':
        """Allocate buffers like these, in a state in which every pass can run."""
        results = torch.zeros_like(self.results)
        known, tokens, margins = _split(results)
        known.fill_(1)
        return replace(
            self, pixels=torch.zeros_like(self.pixels), sequence=torch.zeros_like(self.sequence),
            cache=torch.zeros_like(self.cache), tokens=tokens, margins=margins, known=known,
            states=torch.zeros_like(self.states), end=torch.ones_like(self.end), results=results)

    def read(self) -> tuple[np.ndarray, np.ndarray, int]:
        """
        Wait for the device, and read what it decided.

        :returns: token ids int64 (2·D,) and margins float32 (2·D,), overwritten by the next
            inference; and how many of them are decided.
        """
        if self.host is not self.results:
            self.host.copy_(self.results, non_blocking=True)
            torch.cuda.current_stream(self.results.device).synchronize()
        known, tokens, margins = (part.numpy() for part in _split(self.host))
        return tokens, margins, int(known[0])


def _split(results: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See the one block as known, tokens and margins."""
    room = (len(results) - 8) // 12
    return (results[:8].view(torch.int64), results[8:8 + 8 * room].view(torch.int64),
            results[8 + 8 * room:].view(torch.float32))


def embed_image(network: OpenVlaNetwork, buffers: Buffers) -> None:
    """Put the patches of the image into the sequence, right behind its first token."""
    buffers.sequence[:, 1:1 + network.patch_count] = network.embed_image(buffers.pixels)


def prefill(network: OpenVlaNetwork, buffers: Buffers, length: int, count: int) -> None:
    """
    Read image and prompt, check the guesses, and decide the tokens up to the first wrong one.

    :param length: of image and prompt, padding included.
    :param count: number of tokens to decide at most: one, and one more for each guess.
    """
    llama = network.language_model
    buffers.known.zero_()
    if count > 1:
        guesses = llama.embed_tokens(buffers.tokens[:count - 1])
        buffers.sequence[0].index_copy_(0, buffers.end + buffers.order[:count - 1], guesses)
    length += count - 1
    wanted = Spots.at(buffers.end - 1 + buffers.order[:count], buffers.order[:length],
                      buffers.cache.dtype)
    hidden = llama.extend(buffers.sequence[:, :length], buffers.rotary, buffers.cache,
                          Span(0, length), wanted)
    _decide(hidden[0], llama.logits(hidden[0]), buffers)


def decode(network: OpenVlaNetwork, buffers: Buffers, length: int, count: int) -> None:
    """
    Continue behind the last token that is decided, and check the guesses behind it.

    :param length: of image and prompt, padding included.
    :param count: number of tokens to decide at most: one, and one more for each guess.
    """
    llama = network.language_model
    spots = buffers.known - 1 + buffers.order[:count]
    embeddings = llama.embed_tokens(buffers.tokens.index_select(0, spots))
    rows = buffers.order[:length + buffers.count + count - 2]
    place = Spots.at(buffers.end + spots, rows, buffers.cache.dtype)
    hidden = llama.extend(embeddings[None], buffers.rotary, buffers.cache, place)
    _decide(hidden[0], llama.logits(hidden[0]), buffers)


def _decide(hidden: Tensor, logits: Tensor, buffers: Buffers) -> None:
    """
    Take the best tokens, as far as they were computed from right guesses.

    :param hidden: (n, hidden), what the scores were read from.
    :param logits: (n, vocabulary), scores for the next n tokens, all but the first on the
        assumption that the guesses before it are right.
    """
    count = len(logits)
    # argmax and not topk's index: on equal logits both this and the official code then take the
    # first.
    best = logits.argmax(-1)
    # topk of two sorts far more than that.
    others = logits.scatter(-1, best[:, None], float('-inf')).amax(-1)
    margins = logits.gather(-1, best[:, None])[:, 0].float() - others.float()
    spots = buffers.known + buffers.order[:count]
    buffers.margins.index_copy_(0, spots, margins)
    buffers.states.index_copy_(0, spots, hidden)
    if count == 1:
        buffers.tokens.index_copy_(0, spots, best)
        buffers.known.add_(1)
        return
    guesses = buffers.tokens.index_select(0, spots)
    right = (best[:-1] == guesses[:-1]).long().cumprod(0).sum()
    decided = torch.where(buffers.order[:count] <= right, best, guesses)
    buffers.tokens.index_copy_(0, spots, decided)
    buffers.known.add_(right + 1)
