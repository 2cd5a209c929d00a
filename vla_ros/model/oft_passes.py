# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The passes of OpenVLA-OFT's parallel decoding, each a function of buffers with fixed addresses.

The sequence is BOS, the patches of every image, the state's token, [the diffusion time's token],
the prompt, one placeholder for each number of the chunk, the end token; every position sees every
other. As everywhere in a language model, the output at a position predicts the next one, so the
hidden states of the numbers begin at the last token of the prompt.

Source: predict_action of prismatic/extern/hf/modeling_prismatic.py, moojink/openvla-oft.
"""

from dataclasses import dataclass
from dataclasses import replace

import torch
from torch import Tensor

from vla_ros.model.film import FilmBackbone
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.model.oft_modules import OftModules

# Longest prompt to keep room for, in tokens.
_MAX_TEXT = 512


@dataclass(frozen=True)
class OftBuffers:
    """
    All memory that a pass reads or writes besides the weights.

    T is the number of actions of a chunk, D that of their dimensions, N that of positions.

    :param pixels: (images, 3·towers, S, S).
    :param state: (P,), the normalised state of the robot; empty without a projector for it.
    :param text: (N, hidden), the embedded prompt.
    :param end: (1, hidden), the embedded end token.
    :param language: (hidden,), mean embedding of prompt and end token.
    :param visual: (V, hidden), the tokens of images and state.
    :param noisy: float32 (T, D), the noisy chunk of a diffusion step.
    :param time: (1, hidden), the encoded time of a diffusion step.
    :param rotary: the rotary table.
    :param layer_cache: keys and values of one layer: nothing is kept from one pass to the next,
        so all layers share it.
    :param hidden: (T·D, hidden), the outputs that predict the chunk.
    :param values: (T, D), what the head makes of them: actions, or the noise of a step.
    :param tokens: int64 (T·D,), the best tokens without a head.
    :param margins: float32 (T·D,), the distance of their logits from the next best.
    """

    pixels: Tensor
    state: Tensor
    text: Tensor
    end: Tensor
    language: Tensor
    visual: Tensor
    noisy: Tensor
    time: Tensor
    rotary: Tensor
    layer_cache: Tensor
    hidden: Tensor
    values: Tensor
    tokens: Tensor
    margins: Tensor

    @classmethod
    @torch.inference_mode()
    def allocate(cls, network: OpenVlaNetwork, modules: OftModules, chunk_shape: tuple[int, int],
                 image_count: int) -> 'OftBuffers':
        """Allocate buffers on the device of a network, for the longest prompt that fits."""
        config, llama = network.config.language_model, network.language_model
        side, count = network.config.towers[0].image_size, chunk_shape[0] * chunk_shape[1]
        visual = network.patch_count * image_count + (modules.proprio is not None)
        fixed = visual + (modules.kind == 'diffusion') + count + 1
        text = min(_MAX_TEXT, config.max_position_embeddings - fixed)
        length, hidden = fixed + text, config.hidden_size
        zeros = llama.embed_tokens.weight.new_zeros
        state = modules.proprio.fc1.in_features if modules.proprio is not None else 0
        end = torch.tensor([config.eos_token_id], device=network.device)
        return cls(
            pixels=zeros(image_count, 3 * len(network.config.towers), side, side),
            state=zeros(state), text=zeros(text, hidden), end=llama.embed_tokens(end),
            language=zeros(hidden), visual=zeros(visual, hidden),
            noisy=zeros(chunk_shape, dtype=torch.float32), time=zeros(1, hidden),
            rotary=llama.rotary_table(length),
            layer_cache=zeros(2, 1, length, config.kv_heads, config.head_size),
            hidden=zeros(count, hidden), values=zeros(chunk_shape),
            tokens=zeros(count, dtype=torch.int64), margins=zeros(count, dtype=torch.float32))

    def scratch(self) -> 'OftBuffers':
        """Allocate buffers like these, with contents on which every pass can run."""
        names = ('pixels', 'state', 'text', 'language', 'visual', 'noisy', 'time', 'layer_cache',
                 'hidden', 'values', 'tokens', 'margins')
        return replace(self, **{name: torch.zeros_like(getattr(self, name)) for name in names})


def embed_observation(network: OpenVlaNetwork, modules: OftModules, buffers: OftBuffers) -> None:
    """Convert images and state to tokens."""
    backbone = network.vision_backbone
    features = (backbone(buffers.pixels, buffers.language) if isinstance(backbone, FilmBackbone)
                else backbone(buffers.pixels))
    patches = network.projector(features).flatten(0, 1)
    buffers.visual[:len(patches)] = patches
    if modules.proprio is not None:
        buffers.visual[len(patches)] = modules.proprio(buffers.state)


def predict(network: OpenVlaNetwork, modules: OftModules, buffers: OftBuffers,
            text_length: int) -> None:
    """
    Run the language model over one sequence, and the head over its outputs.

    :param text_length: of the prompt, from BOS to the lone space.
    """
    text, llama = buffers.text[:text_length], network.language_model
    context = [text[:1], buffers.visual]
    if modules.noisy_action is not None:
        context.append(buffers.time)
        actions = modules.noisy_action(buffers.noisy.reshape(-1, 1).to(text.dtype))
    else:
        actions = torch.zeros_like(buffers.hidden)
    context.append(text[1:])
    sequence = torch.cat([*context, actions, buffers.end])
    first = len(sequence) - len(actions) - 2
    cache = buffers.layer_cache.expand(len(llama.layers), *buffers.layer_cache.shape)
    hidden = llama(sequence[None], buffers.rotary, cache, 0)[0, first:first + len(actions)]
    buffers.hidden.copy_(hidden)
    if modules.head is not None:
        buffers.values.copy_(modules.head(hidden.reshape(len(buffers.values), -1)))
        return
    logits = llama.logits(hidden)
    best = torch.topk(logits.float(), 2).values
    buffers.tokens.copy_(logits.argmax(-1))
    buffers.margins.copy_(best[:, 0] - best[:, 1])
