# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""LoRA adapters in the folder format of Hugging Face's PEFT."""

from torch import Tensor


def merge_pair(base: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """
    Merge one pair of low-rank matrices into the matrix they were trained on.

    The product is made in float32 whatever the storage: bfloat16 would lose the small update.

    :param base: (out, in).
    :param down: (r, in), PEFT's A.
    :param up: (out, r), PEFT's B.
    :param scale: alpha / r.
    :returns: base + scale·up·down, of base's type.
    """
    update = scale * (up.float() @ down.float())
    return (base.float() + update).to(base.dtype)
