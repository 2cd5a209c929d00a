# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The decoding engine: greedy tokens from image patches and a prompt, in buffers kept for good."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vla_ros.model.network import OpenVlaNetwork


@dataclass(frozen=True)
class Decoded:
    """
    What the engine generated, on the network's device: reading it waits for the device.

    :param token_ids: int64 (count,).
    :param margins: float32 (count,), logit of each token minus that of the runner-up.
    """

    token_ids: Tensor
    margins: Tensor


class Engine:
    """
    Greedy decoding with a cache and buffers that are allocated once for the longest sequence.

    Nothing here waits for the device: the tokens stay there until the caller reads them.
    """

    def __init__(self, network: OpenVlaNetwork, max_length: int, max_tokens: int) -> None:
        """
        Allocate everything that decoding needs.

        :param max_length: longest sequence: patches, prompt and generated tokens.
        :param max_tokens: most tokens that are generated at once.
        """
        llama = network.language_model
        weight = llama.embed_tokens.weight
        self.network = network
        self.max_length = max_length
        self._cache = llama.allocate_cache(max_length)
        self._rotary = llama.rotary_table(max_length)
        self._embeddings = torch.empty(1, max_length, network.config.language_model.hidden_size,
                                       dtype=weight.dtype, device=weight.device)
        self._tokens = torch.empty(max_tokens, dtype=torch.int64, device=weight.device)
        self._margins = torch.empty(max_tokens, dtype=torch.float32, device=weight.device)

    @torch.inference_mode()
    def embed_image(self, pixels: Tensor) -> Tensor:
        """Turn one image, (1, 3·towers, S, S), into its patches, (1, patches, hidden)."""
        return self.network.embed_image(pixels)

    @torch.inference_mode()
    def prefill(self, patches: Tensor, input_ids: Tensor) -> int:
        """
        Fill the cache with the image and the prompt, and pick the first token.

        :param patches: (1, P, hidden), they come right behind the first prompt token (BOS).
        :param input_ids: int64 (N,).
        :returns: length of the sequence so far, P + N.
        """
        text = self.network.language_model.embed_tokens(input_ids)
        length = patches.shape[1] + len(input_ids)
        sequence = self._embeddings[:, :length]
        sequence[:, :1] = text[:1]
        sequence[:, 1:1 + patches.shape[1]] = patches
        sequence[:, 1 + patches.shape[1]:] = text[1:]
        self._step(sequence, 0, 0)
        return length

    @torch.inference_mode()
    def decode(self, length: int, count: int) -> Decoded:
        """
        Continue greedily after :meth:`prefill`.

        :param length: what prefill returned.
        :param count: number of tokens wanted, the first included.
        """
        for index in range(1, count):
            embedding = self.network.language_model.embed_tokens(self._tokens[index - 1:index])
            self._step(embedding[None], length + index - 1, index)
        return Decoded(self._tokens[:count], self._margins[:count])

    @torch.inference_mode()
    def read_again(self, length: int, last_id: int, count: int) -> Tensor:
        """
        Return the hidden states that the tokens were read from, after :meth:`decode`.

        One pass over all of them, with the cache that decoding left behind.

        :param length: what prefill returned.
        :param last_id: the last token of the prompt.
        :param count: number of tokens that were decoded.
        :returns: (count, hidden).
        """
        llama = self.network.language_model
        last = torch.tensor([last_id], device=self._tokens.device)
        embeddings = llama.embed_tokens(torch.cat([last, self._tokens[:count - 1]]))
        return llama(embeddings[None], self._rotary, self._cache, length - 1)[0]

    def _step(self, embeddings: Tensor, start: int, index: int) -> None:
        """Extend the cache and store the token that follows, with its margin."""
        llama = self.network.language_model
        hidden = llama(embeddings, self._rotary, self._cache, start)
        logits = llama.logits(hidden[0, -1])
        best = torch.topk(logits.float(), 2).values
        # argmax and not topk's index: on equal logits both this and the official code then take
        # the first.
        self._tokens[index] = logits.argmax()
        self._margins[index] = best[0] - best[1]
