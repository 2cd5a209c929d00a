# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
OpenVLA under the names of its official layout, to be trained.

The network that runs has fused matrices; adapters, and whoever reads them, expect the official
ones. So here the language model is the one of transformers, and every parameter has its key.
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

from vla_ros.actions import ActionTokenizer
from vla_ros.errors import CheckpointError
from vla_ros.model.attention import attend_sdpa
from vla_ros.model.config import OpenVlaConfig
from vla_ros.model.network import Projector
from vla_ros.model.network import VisionBackbone
from vla_ros.model.tokenizer import PromptTokenizer
from vla_ros.model.weights import weight_files
from vla_ros.prompts import build_prompt

#: Label of what is not to be learnt.
IGNORED = -100


class TunableVla(nn.Module):
    """Vision towers, projector and transformers' Llama, and the official loss."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        self.name_or_path = ''
        self.vision_backbone = VisionBackbone(config, attend_sdpa)
        self.projector = Projector(config)
        self.llama_config = _llama_config(config)
        self.language_model = transformers.LlamaForCausalLM(self.llama_config)

    def forward(self, pixels: Tensor, input_ids: Tensor, labels: Tensor) -> Tensor:
        """
        Give the mean cross-entropy of the tokens that have a label.

        Each token is predicted at the place before it; the picture stands behind the first token
        and has no labels.

        :param pixels: float32 (B, 3·towers, S, S).
        :param input_ids: int64 (B, L), padded at the end.
        :param labels: int64 (B, L), ``IGNORED`` where nothing is to be learnt.
        """
        llama = self.language_model
        text = llama.model.embed_tokens(input_ids)
        patches = self.projector(self.vision_backbone(pixels.to(text.dtype))).to(text.dtype)
        sequence = torch.cat([text[:, :1], patches, text[:, 1:]], 1)
        # What is padded stands behind all labels, so causality alone hides it.
        hidden = llama.model(inputs_embeds=sequence, use_cache=False).last_hidden_state
        hidden = torch.cat([hidden[:, :1], hidden[:, 1 + patches.shape[1]:]], 1)
        wanted = labels[:, 1:] != IGNORED
        logits = llama.lm_head(hidden[:, :-1][wanted])
        return functional.cross_entropy(logits.float(), labels[:, 1:][wanted])


def load_tunable(config: OpenVlaConfig, folder: Path, device: torch.device,
                 dtype: torch.dtype) -> TunableVla:
    """
    Load a checkpoint; no second copy of it exists at any time.

    :raises CheckpointError: weights are missing or have another shape.
    """
    with torch.device('meta'):
        model = TunableVla(config)
    files = weight_files(folder)
    wanted = dict(model.named_parameters())
    if config.language_model.tie_word_embeddings:
        wanted.pop('language_model.lm_head.weight', None)
    missing = sorted(set(wanted) - set(files))
    if missing:
        raise CheckpointError(folder, f'lacks {len(missing)} tensors: {missing[0]} …')
    for path in sorted({files[key] for key in wanted}):
        with safe_open(path, 'pt') as stored:
            part = {key: stored.get_tensor(key).to(device, dtype)
                    for key in wanted if files[key] == path}
        try:
            model.load_state_dict(part, strict=False, assign=True)
        except RuntimeError as error:
            raise CheckpointError(folder, str(error)) from None
    # Computed, not stored: it was made of nothing on the meta device.
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
class Lesson:
    """
    Turns a sentence and an action into what the model reads and what it is to say.

    Source: ``RLDSBatchTransform`` of openvla/openvla: the labels are the tokens of the action and
    the end of the sequence.
    """

    tokenizer: PromptTokenizer
    actions: ActionTokenizer
    template: str
    end: int

    def write(self, instruction: str, action: np.ndarray) -> tuple[list[int], list[int]]:
        """
        Give token ids and labels, of one length.

        :param action: float64 (D,), normalised.
        """
        prompt = self.tokenizer.close(self.tokenizer.encode(
            build_prompt(self.template, instruction)))
        answer = [*self.actions.encode(action).tolist(), self.end]
        return [*prompt, *answer], [IGNORED] * len(prompt) + answer


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Put rows of different length into one tensor, int64 (B, longest)."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
