# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Parallel decoding: one pass of the network gives every number of a chunk.

Source: predict_action of prismatic/extern/hf/modeling_prismatic.py, moojink/openvla-oft. The
sequence is BOS, the patches of every image, the state's token, [the diffusion time's token], the
prompt, one placeholder for each number of the chunk, the end token; every position sees every
other. As everywhere in a language model, the output at a position predicts the next one, so the
hidden states of the numbers begin at the last token of the prompt.
"""

import numpy as np
import torch
from torch import Tensor

from vla_ros.model.diffusion import Ddim
from vla_ros.model.diffusion import encode_time
from vla_ros.model.film import FilmBackbone
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.oft_modules import OftModules

# Longest prompt to keep room for, in tokens.
_MAX_TEXT = 512
# The diffusion head starts from noise. Drawing the same noise each time makes the result a
# function of the observation, so that a recorded run can be repeated.
_NOISE_SEED = 0


class ParallelDecoder:
    """One pass of the network over a whole sequence, in buffers kept for the longest one."""

    def __init__(self, network: OpenVlaNetwork, modules: OftModules, chunk_shape: tuple[int, int],
                 image_count: int) -> None:
        config = network.config.language_model
        self.network = network
        self.chunk_shape = chunk_shape
        self.count = chunk_shape[0] * chunk_shape[1]
        self._modules = modules
        visual = network.patch_count * image_count
        extra = (modules.proprio is not None) + (modules.kind == 'diffusion')
        fixed = visual + extra + self.count + 1
        self.max_text = min(_MAX_TEXT, config.max_position_embeddings - fixed)
        weight = network.language_model.embed_tokens.weight
        self._device, self._dtype = weight.device, weight.dtype
        length = fixed + self.max_text
        self._rotary = network.language_model.rotary_table(length)
        # Nothing is kept from one pass to the next, so all layers share one layer's cache.
        layer = torch.empty(2, 1, length, config.kv_heads, config.head_size, dtype=weight.dtype,
                            device=weight.device)
        self._cache = layer.expand(config.num_hidden_layers, *layer.shape)
        self._end = torch.tensor([config.eos_token_id], device=weight.device)
        generator = torch.Generator().manual_seed(_NOISE_SEED)
        self._noise = torch.randn(chunk_shape, generator=generator).to(weight.device)

    @torch.inference_mode()
    def embed_text(self, input_ids: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Embed prompt and end token, (N, hidden) and (1, hidden)."""
        ids = torch.tensor(input_ids, device=self._device)
        embed = self.network.language_model.embed_tokens
        return embed(ids), embed(self._end)

    @torch.inference_mode()
    def embed_images(self, pixels: np.ndarray, text: Tensor, end: Tensor) -> Tensor:
        """
        Turn images into tokens.

        :param pixels: float32 (images, 3·towers, S, S).
        :returns: (images · patches, hidden).
        """
        images = torch.from_numpy(pixels).to(self._device, self._dtype)
        backbone = self.network.vision_backbone
        if isinstance(backbone, FilmBackbone):
            features = backbone(images, torch.cat([text, end]).mean(0))
        else:
            features = backbone(images)
        return self.network.projector(features).flatten(0, 1)

    @torch.inference_mode()
    def embed_proprio(self, state: np.ndarray) -> Tensor:
        """Turn a normalised state, (P,), into its token, (1, hidden)."""
        assert self._modules.proprio is not None
        values = torch.from_numpy(state).to(torch.float32)
        return self._modules.proprio(values.to(self._device, self._dtype))[None]

    @torch.inference_mode()
    def hidden_states(self, visual: Tensor, text: Tensor, actions: Tensor | None,
                      end: Tensor) -> Tensor:
        """
        Run the language model over one sequence.

        :param visual: (V, hidden), images and whatever follows them.
        :param text: (N, hidden), the prompt from BOS to the lone space.
        :param actions: (T·D, hidden) what stands at the chunk's positions, None for zeros.
        :returns: (T·D, hidden), the outputs that predict the chunk.
        """
        if actions is None:
            actions = text.new_zeros(self.count, text.shape[1])
        sequence = torch.cat([text[:1], visual, text[1:], actions, end])
        hidden = self.network.language_model(sequence[None], self._rotary, self._cache, 0)
        first = len(visual) + len(text) - 1
        return hidden[0, first:first + self.count]

    @torch.inference_mode()
    def regress(self, hidden: Tensor) -> Tensor:
        """Turn (T·D, hidden) into (T, D) with the action head."""
        assert self._modules.head is not None
        return self._modules.head(hidden.reshape(self.chunk_shape[0], -1))

    @torch.inference_mode()
    def choose_tokens(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Pick the best token at each position, int64 (T·D,), and its margin, float32."""
        logits = self.network.language_model.logits(hidden)
        best = torch.topk(logits.float(), 2).values
        return logits.argmax(-1), best[:, 0] - best[:, 1]

    @torch.inference_mode()
    def diffuse(self, visual: Tensor, text: Tensor, end: Tensor) -> Tensor:
        """Sample a chunk, float32 (T, D): one pass of the language model for each step."""
        assert self._modules.noisy_action is not None
        projector = self._modules.noisy_action

        def predict_noise(noisy: Tensor, time: int) -> Tensor:
            token = encode_time(time, text.shape[1], self._device).to(self._dtype)[None]
            actions = projector(noisy.reshape(-1, 1).to(self._dtype))
            hidden = self.hidden_states(torch.cat([visual, token]), text, actions, end)
            return self.regress(hidden)

        return Ddim.cosine().sample(self._noise, predict_noise)
