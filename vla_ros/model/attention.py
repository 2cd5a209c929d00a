# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Which attention kernel runs, why, and one function for each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
import logging

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import sdpa_kernel
from torch.nn.attention import SDPBackend

from vla_ros.errors import UnsupportedError

_logger = logging.getLogger(__name__)

#: In the order in which they are tried on a GPU; the first takes no mask.
_BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
#: Head size of the published language model, for which the kernel is reported at load.
_HEAD_SIZE = 128

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

    :param requested: one of ``vla_ros.policy.choices.ATTENTIONS``.
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
    """Return what keeps the flash-attn package from running here, None if nothing does."""
    if device.type != 'cuda':
        return 'flash-attn needs a CUDA device'
    if torch.cuda.get_device_capability(device) < (8, 0):
        return 'flash-attn needs compute capability 8.0'
    if dtype not in (torch.bfloat16, torch.float16):
        return f'flash-attn cannot compute in {dtype}'
    return try_flash_attn(device, dtype)


def try_flash_attn(device: torch.device, dtype: torch.dtype) -> str | None:
    """Run a small flash-attn call: a build for another CUDA or torch fails only then."""
    try:
        query, key, value = torch.zeros(3, 1, 8, 1, 64, device=device, dtype=dtype)
        attend_flash(query, key, value, True)
    except ModuleNotFoundError as error:
        if error.name == 'flash_attn':
            return 'flash-attn is not installed'
        return f'flash-attn cannot be imported: {error}'
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f'flash-attn is installed but fails: {reason}'
    return None


def describe_sdpa(device: torch.device, dtype: torch.dtype) -> str:
    """Name the kernels that PyTorch's scaled_dot_product_attention runs here."""
    if device.type == 'cpu':
        return "PyTorch's CPU flash attention kernel through scaled_dot_product_attention"
    causal, masked = (choose_backend(device, dtype, _HEAD_SIZE, is_masked).name
                      for is_masked in (False, True))
    return (f"PyTorch's {causal} kernel, for queries with a mask {masked}, through "
            'scaled_dot_product_attention')


@lru_cache(maxsize=None)
def choose_backend(device: torch.device, dtype: torch.dtype, head_size: int,
                   is_masked: bool) -> SDPBackend:
    """
    Return the first backend that runs on a device, found by a small call of each.

    Without a choice PyTorch selects one at each call, and may select another for other lengths.
    """
    # Odd lengths, as prompts have.
    query = torch.zeros(1, 1, 7, head_size, device=device, dtype=dtype)
    mask = torch.zeros(7, 7, device=device, dtype=dtype) if is_masked else None
    for backend in _BACKENDS:
        try:
            with sdpa_kernel(backend):
                functional.scaled_dot_product_attention(query, query, query, attn_mask=mask,
                                                        is_causal=not is_masked)
        except RuntimeError as error:
            _logger.debug('attention backend %s: %s', backend.name, error)
            continue
        return backend
    raise UnsupportedError('attention sdpa', f'no kernel runs in {dtype} on {device}',
                           'use attention eager')


def attend_flash(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Run flash-attn's FlashAttention-2."""
    from flash_attn import flash_attn_func  # a large CUDA extension, loaded only when chosen
    return flash_attn_func(query, key, value, causal=causal)


def attend_sdpa(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
    """Run the kernel that PyTorch picks for the device."""
    mask = _end_aligned_mask(query, key) if causal and _needs_mask(query, key) else None
    with _pinned(query, mask is not None):
        out = _attend_with(query, key, value, mask, causal and query.shape[1] == key.shape[1])
    return out.transpose(1, 2)


def attend_biased(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """
    Attend with the kernel that PyTorch picks.

    :param bias: (T, S) or (B, 1, T, S), added to the scores: minus infinity hides a key from a
        query.
    """
    with _pinned(query, True):
        out = _attend_with(query, key, value, bias, False)
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


def _attend_with(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
                 is_causal: bool) -> Tensor:
    return functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask,
        is_causal=is_causal, enable_gqa=query.shape[2] != key.shape[2])


def _pinned(query: Tensor, is_masked: bool) -> AbstractContextManager:
    if query.device.type != 'cuda':
        return nullcontext()
    backend = choose_backend(query.device, query.dtype, query.shape[-1], is_masked)
    # The last one takes whatever shape the chosen one refuses.
    return sdpa_kernel([backend, _BACKENDS[-1]])


def _needs_mask(query: Tensor, key: Tensor) -> bool:
    # One query sees everything; as many queries as keys is the kernels' own causal case.
    return 1 < query.shape[1] < key.shape[1]


def _end_aligned_mask(query: Tensor, key: Tensor) -> Tensor:
    count, total = query.shape[1], key.shape[1]
    full = torch.ones(count, total, dtype=torch.bool, device=query.device)
    return full.tril(diagonal=total - count)
