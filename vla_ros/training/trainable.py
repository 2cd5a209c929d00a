# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
OpenVLA under the parameter names of its official layout, with the training loss.

The network of the runtime has fused matrices, and adapter files name the official ones. So here
the language model is the one of transformers, and every parameter has its official key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
import torch
from torch import nn
from torch import Tensor
from torch.nn import functional
import transformers
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_ros.data.actions import ActionTokenizer
from vla_ros.data.prompts import build_prompt
from vla_ros.errors import CheckpointError
from vla_ros.model.attention import attend_sdpa
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.network import Projector
from vla_ros.model.network import VisionBackbone
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.model.weights import weight_files

#: Label of a token that is no part of the loss.
IGNORED = -100


class TrainableVla(nn.Module):
    """Vision towers, projector and transformers' Llama, and the official loss."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        self.name_or_path = ''
        self.vision_backbone = VisionBackbone(config, attend_sdpa)
        self.projector = Projector(config)
        self.llama_config = _llama_config(config)
        self.language_model = transformers.LlamaForCausalLM(self.llama_config)

    def forward(self, pixels: Tensor, input_ids: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the labelled tokens; see :meth:`predict`."""
        logits, targets = self.predict(pixels, input_ids, labels)
        return functional.cross_entropy(logits.float(), targets)

    def predict(self, pixels: Tensor, input_ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """
        Return the logits (T, V) of the T labelled tokens, and their labels, int64 (T,).

        Each token is predicted at the position before it; the image stands behind the first token
        and has no labels.

        :param pixels: float32 (B, 3·towers, S, S).
        :param input_ids: int64 (B, L), padded at the end.
        :param labels: int64 (B, L), ``IGNORED`` for tokens that are no part of the loss.
        """
        llama = self.language_model
        text = llama.model.embed_tokens(input_ids)
        patches = self.projector(self.vision_backbone(pixels.to(text.dtype))).to(text.dtype)
        sequence = torch.cat([text[:, :1], patches, text[:, 1:]], 1)
        # The padding stands behind all labels, so the causal mask hides it.
        hidden = llama.model(inputs_embeds=sequence, use_cache=False).last_hidden_state
        hidden = torch.cat([hidden[:, :1], hidden[:, 1 + patches.shape[1]:]], 1)
        labelled = labels[:, 1:] != IGNORED
        return llama.lm_head(hidden[:, :-1][labelled]), labels[:, 1:][labelled]


def load_trainable(config: OpenVlaConfig, folder: Path, device: torch.device,
                   dtype: torch.dtype) -> TrainableVla:
    """
    Load a checkpoint; no second copy of it exists at any time.

    :raises CheckpointError: weights are missing or have another shape.
    """
    with torch.device('meta'):
        model = TrainableVla(config)
    files = weight_files(folder)
    expected = dict(model.named_parameters())
    if config.language_model.tie_word_embeddings:
        expected.pop('language_model.lm_head.weight', None)
    missing = sorted(set(expected) - set(files))
    if missing:
        raise CheckpointError(folder, f'lacks {len(missing)} tensors: {missing[0]} …')
    for path in sorted({files[key] for key in expected}):
        with safe_open(path, 'pt') as stored:
            part = {key: stored.get_tensor(key).to(device, dtype)
                    for key in expected if files[key] == path}
        try:
            model.load_state_dict(part, strict=False, assign=True)
        except RuntimeError as error:
            raise CheckpointError(folder, str(error)) from None
    # A table that is computed, not stored: it has no values on the meta device.
    model.language_model.model.rotary_emb = LlamaRotaryEmbedding(
        model.llama_config).to(device)
    model.language_model.tie_weights()
    return model.requires_grad_(False)


def _llama_config(config: OpenVlaConfig) -> transformers.LlamaConfig:
    llama = config.language_model
    return transformers.LlamaConfig(
        vocab_size=llama.vocab_size, hidden_size=llama.hidden_size,
        intermediate_size=llama.intermediate_size, num_hidden_layers=llama.num_hidden_layers,
        num_attention_heads=llama.num_attention_heads, num_key_value_heads=llama.kv_heads,
        head_dim=llama.head_size, rms_norm_eps=llama.rms_norm_eps, rope_theta=llama.rope_theta,
        max_position_embeddings=llama.max_position_embeddings,
        tie_word_embeddings=llama.tie_word_embeddings, attn_implementation='sdpa')


@dataclass(frozen=True)
class ExampleEncoder:
    """
    Turns an instruction and an action into a training example: token ids and labels.

    Source: ``RLDSBatchTransform`` of openvla/openvla: the labels are the tokens of the action and
    the end of the sequence.
    """

    tokenizer: PromptTokenizer
    actions: ActionTokenizer
    template: str
    end: int

    def prompt(self, instruction: str) -> tuple[int, ...]:
        """Return the token ids of a prompt, from BOS to the lone space before the action."""
        return self.tokenizer.close(self.tokenizer.encode(
            build_prompt(self.template, instruction)))

    def encode(self, instruction: str, action: np.ndarray) -> tuple[list[int], list[int]]:
        """
        Return token ids and labels of the same length.

        :param action: float64 (D,), normalised.
        """
        prompt = self.prompt(instruction)
        target = [*self.actions.encode(action).tolist(), self.end]
        return [*prompt, *target], [IGNORED] * len(prompt) + target


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Pad rows of different length to one tensor, int64 (B, longest)."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
