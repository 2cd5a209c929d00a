# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The language model's matrices in 8 or 4 bits: half or a quarter of the memory.

Vision towers, projector, embeddings, norms, the output layer and OFT's parts keep their precision:
they are a seventh of a 7B model, and the choice of a token is decided in the output layer.

On a GPU int8 and int4 are bitsandbytes' kernels, fp8 is PyTorch's own. On a CPU int8 and int4 are
plain PyTorch: a matrix is widened when it is used, which saves memory, not time.
"""

from collections.abc import Callable
import importlib.util

import torch
from torch import nn
from torch import Tensor
from torch.nn import functional

from vla_ros.errors import UnsupportedError
from vla_ros.model.network import OpenVlaNetwork
from vla_ros.util.packages import missing_package

# Weights that share a scale in 4 bits, largest first; it must divide the row.
_GROUPS = (64, 32, 16, 8, 4, 2)
_FP8 = torch.float8_e4m3fn
_FP8_MAX = torch.finfo(_FP8).max
# Rows of a matrix that are converted at a time, which bounds the memory in between.
_FP8_ROWS = 4096
_FP8_ROWS_OF_INPUT = 16


def check_quantization(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """
    Refuse what this machine cannot run, before anything is loaded.

    :param name: one of ``vla_ros.policy.choices.QUANTIZATIONS``.
    :raises UnsupportedError: hardware, library or precision is missing.
    """
    what = f'quantization {name}'
    if name == 'none':
        return
    if name == 'fp8':
        if device.type != 'cuda':
            raise UnsupportedError(what, 'it needs a GPU with 8-bit floating point',
                                   'use int8 or int4 on a CPU')
        capability = torch.cuda.get_device_capability(device)
        if capability < (8, 9):
            raise UnsupportedError(
                what, f'{torch.cuda.get_device_name(device)} has no 8-bit floating point '
                '(compute capability 8.9 or later)', 'use int8 or int4')
        if capability < (9, 0) and torch.__version__ < '2.7':
            raise UnsupportedError(
                what, f'PyTorch {torch.__version__} scales rows on compute capability 9.0 and '
                f'later only, {torch.cuda.get_device_name(device)} has 8.9',
                'install torch 2.7 or later, or use int8 or int4')
        if dtype != torch.bfloat16:
            raise UnsupportedError(what, f'its kernels give bfloat16, not {dtype}',
                                   'use dtype bfloat16')
    elif device.type == 'cuda' and importlib.util.find_spec('bitsandbytes') is None:
        raise missing_package(f'{what} (fp8 and none need nothing more)', 'bitsandbytes')


def capture_obstacle(network: OpenVlaNetwork) -> str | None:
    """Return what keeps the passes of a network from being captured as CUDA graphs."""
    # A threshold above zero makes bitsandbytes search outlier columns on the host at each call.
    if any(getattr(getattr(module, 'state', None), 'threshold', 0.0) > 0.0
           for module in network.modules()):
        return 'int8 of bitsandbytes waits for the host in every layer; use fp8 or int4'
    return None


def loading_device(name: str, device: torch.device) -> torch.device:
    """Return where full weights are loaded: those of a quantised model need not fit on the GPU."""
    return device if name == 'none' else torch.device('cpu')


@torch.no_grad()
def quantize(network: OpenVlaNetwork, name: str, device: torch.device) -> None:
    """
    Replace the language model's matrices, one at a time, and bring the network to its device.

    :param network: loaded on :func:`loading_device`, or on the device where it fits.
    """
    if name == 'none':
        return
    convert = _converter(name, device)
    layers = network.language_model.layers
    for path in [path for path, module in layers.named_modules()
                 if isinstance(module, nn.Linear)]:
        linear = layers.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        # Each wide matrix is let go of before the next one is made narrow.
        layers.set_submodule(path, convert(linear))
    network.to(device)


def _converter(name: str, device: torch.device) -> Callable[[nn.Linear], nn.Module]:
    if name == 'fp8':
        # Each matrix moves first: a GPU converts it in a fraction of the host's time.
        return lambda linear: Fp8Linear(linear.to(device))
    if device.type == 'cuda':
        return _to_bitsandbytes8 if name == 'int8' else _to_bitsandbytes4
    return Int8Linear if name == 'int8' else Int4Linear


class Int8Linear(nn.Module):
    """A matrix of signed bytes with a scale for each row."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        wide = linear.weight.float()
        scale = wide.abs().amax(1).clamp(min=1e-12) / 127.0
        self.register_buffer('weight', (wide / scale[:, None]).round().to(torch.int8))
        self.register_buffer('scale', scale.to(linear.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        # The scale is a row's, so it can wait until after the product.
        return functional.linear(x, self.weight.to(x.dtype)) * self.scale


class Int4Linear(nn.Module):
    """A matrix of 4-bit numbers, two to a byte, with a scale for each group of a row."""

    packed: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        wide = linear.weight.float()
        rows, columns = wide.shape
        group = next(size for size in _GROUPS if columns % size == 0)
        groups = wide.view(rows, columns // group, group)
        scale = groups.abs().amax(2, keepdim=True).clamp(min=1e-12) / 7.0
        levels = ((groups / scale).round() + 8).to(torch.uint8).view(rows, columns)
        self.register_buffer('packed', levels[:, ::2] | levels[:, 1::2] << 4)
        self.register_buffer('scale', scale.to(linear.weight.dtype))

    def widen(self) -> Tensor:
        """Return the matrix that the stored numbers stand for, (out, in)."""
        levels = torch.stack([self.packed & 15, self.packed >> 4], dim=2)
        groups = levels.view(*self.scale.shape[:2], -1).to(self.scale.dtype) - 8
        return (groups * self.scale).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.widen())


class Fp8Linear(nn.Module):
    """
    A matrix of 8-bit floats with a scale for each row; the input is scaled and rounded by row.

    :ivar weight: float8_e4m3fn (out, in).
    :ivar scale: float32 (out,).
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight
        # No float32 copy of the matrix: the largest value has an exact scale in any dtype.
        scale = weight.abs().amax(1).float().clamp(min=1e-12) / _FP8_MAX
        self.register_buffer('weight', torch.cat([
            (rows.float() / scales[:, None]).to(_FP8)
            for rows, scales in zip(weight.split(_FP8_ROWS), scale.split(_FP8_ROWS))]))
        self.register_buffer('scale', scale)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        count = len(flat)
        scale = torch.linalg.vector_norm(flat, float('inf'), 1, keepdim=True, dtype=torch.float32)
        scale = scale.clamp(min=1e-12) / _FP8_MAX
        rounded = (flat / scale).to(_FP8)
        if count % _FP8_ROWS_OF_INPUT:
            # The fast 8-bit kernels take multiples of 16 rows only.
            padding = (0, 0, 0, -count % _FP8_ROWS_OF_INPUT)
            rounded = functional.pad(rounded.view(torch.uint8), padding).view(_FP8)
            scale = functional.pad(scale, padding)
        out = torch._scaled_mm(rounded, self.weight.t(), scale_a=scale,
                               scale_b=self.scale[None], out_dtype=x.dtype, use_fast_accum=True)
        return out[:count].view(*x.shape[:-1], -1)


def _to_bitsandbytes8(linear: nn.Linear) -> nn.Module:
    import bitsandbytes  # a CUDA library, loaded only when it is asked for
    # 6.0 is the threshold of the LLM.int8() paper above which an input column stays wide.
    layer = bitsandbytes.nn.Linear8bitLt(linear.in_features, linear.out_features, bias=False,
                                         has_fp16_weights=False, threshold=6.0)
    layer.weight = bitsandbytes.nn.Int8Params(linear.weight.data.cpu(), requires_grad=False,
                                              has_fp16_weights=False)
    return layer.cuda()  # the move from host to device is what quantises


def _to_bitsandbytes4(linear: nn.Linear) -> nn.Module:
    import bitsandbytes
    layer = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, bias=False,
                                       compute_dtype=linear.weight.dtype, quant_type='nf4')
    layer.weight = bitsandbytes.nn.Params4bit(linear.weight.data.cpu(), requires_grad=False,
                                              quant_type='nf4')
    return layer.cuda()
