# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which attention kernel runs, why, and one function for each."""

from collections.abc import Callable
from dataclasses import dataclass
import importlib.util

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.errors import UnsupportedError

#: (query (B, T, H, d), key (B, S, K, d), value (B, S, K, d), causal) -> (B, T, H, d).
#: Causal means aligned at the end: the last query sees every key. K divides H.
Attend = Callable[[Tensor, Tensor, Tensor, bool], Tensor]


@dataclass(frozen=True)
class Attention:
    """
    A chosen attention implementation.

    :param name: ``flash_attention_2``, ``sdpa`` or ``eager``.
    :param reason: one sentence on why, for logs and tools.
    """

    name: str
    reason: str
    attend: Attend


def choose_attention(requested: str, device: torch.device, dtype: torch.dtype) -> Attention:
    """
    Pick the best attention of a device, or the one asked for.

    :param requested: one of ``vla_ros.policy.ATTENTIONS``.
    :raises UnsupportedError: flash-attn was asked for by name and cannot run.
    """
    if requested == 'eager':
        return Attention('eager', 'asked for', attend_eager)
    if requested == 'sdpa':
        return Attention('sdpa', f'asked for; {describe_sdpa(device, dtype)}', attend_sdpa)
    obstacle = flash_attn_obstacle(device, dtype)
    if requested == 'flash_attention_2':
        if obstacle:
            raise UnsupportedError('attention flash_attention_2', obstacle,
                                   'use auto, sdpa or eager, or install requirements-gpu.txt')
        return Attention('flash_attention_2', 'asked for', attend_flash)
    if obstacle:
        reason = f'{obstacle}; {describe_sdpa(device, dtype)}'
        return Attention('sdpa', reason, attend_sdpa)
    return Attention('flash_attention_2', 'flash-attn is installed and the GPU can run it',
                     attend_flash)


def flash_attn_obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Say what keeps the flash-attn package from running here, None if nothing does."""
    if device.type != 'cuda':
        return 'flash-attn needs a CUDA device'
    if torch.cuda.get_device_capability(device) < (8, 0):
        return 'flash-attn needs compute capability 8.0'
    if dtype not in (torch.bfloat16, torch.float16):
        return f'flash-attn cannot compute in {dtype}'
    if importlib.util.find_spec('flash_attn') is None:
        return 'flash-attn is not installed'
    return None


def describe_sdpa(device: torch.device, dtype: torch.dtype) -> str:
    """Name the kernel that PyTorch's scaled_dot_product_attention takes here."""
    if device.type == 'cpu':
        return "PyTorch's CPU flash attention kernel through scaled_dot_product_attention"
    flash = (dtype in (torch.bfloat16, torch.float16)
             and torch.cuda.get_device_capability(device) >= (8, 0)
             and torch.backends.cuda.is_flash_attention_available())
    kernel = 'own FlashAttention-2 kernel' if flash else 'memory-efficient kernel'
    return f"PyTorch's {kernel} through scaled_dot_product_attention"


def attend_flash(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Run flash-attn's FlashAttention-2."""
    from flash_attn import flash_attn_func  # a large CUDA extension, loaded only when chosen
    return flash_attn_func(query, key, value, causal=causal)


def attend_sdpa(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Run the kernel that PyTorch picks for the device."""
    mask = _end_aligned_mask(query, key) if causal and _needs_mask(query, key) else None
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask,
        is_causal=causal and query.shape[1] == key.shape[1],
        enable_gqa=query.shape[2] != key.shape[2])
    return out.transpose(1, 2)


def attend_biased(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """
    Attend with the kernel that PyTorch picks.

    :param bias: (T, S), added to the scores: minus infinity hides a key from a query.
    """
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=bias,
        enable_gqa=query.shape[2] != key.shape[2])
    return out.transpose(1, 2)


def attend_eager(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Attend in plain operations, the softmax in float32: the reference for the others."""
    repeat = query.shape[2] // key.shape[2]
    key, value = (t.repeat_interleave(repeat, dim=2) for t in (key, value))
    scores = torch.einsum('bthd,bshd->bhts', query, key) * query.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(~_end_aligned_mask(query, key), float('-inf'))
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    return torch.einsum('bhts,bshd->bthd', weights, value)


def _needs_mask(query: Tensor, key: Tensor) -> bool:
    # One query sees everything; as many queries as keys is the kernels' own causal case.
    return 1 < query.shape[1] < key.shape[1]


def _end_aligned_mask(query: Tensor, key: Tensor) -> Tensor:
    count, total = query.shape[1], key.shape[1]
    full = torch.ones(count, total, dtype=torch.bool, device=query.device)
    return full.tril(diagonal=total - count)
