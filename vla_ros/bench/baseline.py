# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The plain way to run OpenVLA: what a script with Hugging Face's libraries does.

Every tower has its image from Pillow, the towers run as plain modules, and transformers'
``LlamaForCausalLM`` generates with a cache that grows. It shares its weights with the network
that it is compared with, so no second copy is needed, and the tokens must be the same.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
import torch
from torch import Tensor
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_ros.data.preprocess import ImageProcessor
from vla_ros.data.preprocess import letterbox
from vla_ros.model.network import OpenVlaNetwork


class PlainOpenVla:
    """OpenVLA as its public code runs it, on the weights of a loaded network."""

    def __init__(self, network: OpenVlaNetwork, processor: ImageProcessor) -> None:
        """Build the language model of transformers around the network's weights."""
        self.language_model = share_weights(network)
        self._network = network
        self._processor = processor

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, input_ids: Sequence[int], count: int) -> list[int]:
        """
        Generate greedily.

        :param image: uint8 (H, W, 3) RGB.
        :param input_ids: the prompt, as the model sees it.
        :param count: number of tokens; an end of sequence among them changes nothing.
        """
        ids = torch.tensor([input_ids], device=self._network.device)
        text = self.language_model.get_input_embeddings()(ids)
        pixels = self.preprocess(image).to(text.device, text.dtype)
        patches = self._network.projector(self._network.vision_backbone(pixels[None]))
        embeddings = torch.cat([text[:, :1], patches, text[:, 1:]], dim=1)
        mask = torch.ones(embeddings.shape[:2], dtype=torch.int64, device=text.device)
        return self.language_model.generate(
            inputs_embeds=embeddings, attention_mask=mask, max_new_tokens=count,
            do_sample=False)[0].tolist()

    def preprocess(self, image: np.ndarray) -> Tensor:
        """Do what torchvision's transforms do for each tower, (3·towers, S, S)."""
        pil = Image.fromarray(image)
        if self._processor.letterbox_fill is not None:
            pil = letterbox(pil, self._processor.letterbox_fill)
        channels = []
        for tower in self._processor.towers:
            shaped = torch.from_numpy(np.array(tower.shape_pixels(pil)))
            scaled = shaped.permute(2, 0, 1).contiguous().float().div(255)
            mean, std = (torch.tensor(values)[:, None, None]
                         for values in (tower.mean, tower.std))
            channels.append((scaled - mean) / std)
        return torch.cat(channels)


def share_weights(network: OpenVlaNetwork) -> transformers.LlamaForCausalLM:
    """Build transformers' Llama on views of a network's weights."""
    ours = network.config.language_model
    config = transformers.LlamaConfig(
        vocab_size=ours.vocab_size, hidden_size=ours.hidden_size,
        intermediate_size=ours.intermediate_size, num_hidden_layers=ours.num_hidden_layers,
        num_attention_heads=ours.num_attention_heads, num_key_value_heads=ours.kv_heads,
        head_dim=ours.head_size, rms_norm_eps=ours.rms_norm_eps,
        max_position_embeddings=ours.max_position_embeddings,
        rope_parameters={'rope_type': 'default', 'rope_theta': ours.rope_theta},
        tie_word_embeddings=ours.tie_word_embeddings)
    with torch.device('meta'):
        model = transformers.LlamaForCausalLM(config)
    model.load_state_dict(_official_state(network), assign=True)
    # The angles are no weights, so they are still on the meta device.
    model.model.rotary_emb = LlamaRotaryEmbedding(config=config).to(network.device)
    # As many tokens as are asked for: the time must not depend on what they say.
    model.generation_config.eos_token_id = None
    return model.requires_grad_(False).eval()


def _official_state(network: OpenVlaNetwork) -> dict[str, Tensor]:
    """Name the network's weights as transformers does; fused matrices become views of rows."""
    # Only the loader knows which rows of a fused matrix hold what.
    from vla_ros.model.weights import targets
    prefix = 'language_model.'
    state = {key.removeprefix(prefix): target.view() for key, target in targets(network).items()
             if key.startswith(prefix)}
    state.setdefault('lm_head.weight', state['model.embed_tokens.weight'])
    return state
