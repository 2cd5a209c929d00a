# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
The closed sets of a policy's settings.

Launch files read them, under a Python that may have nothing but the standard library and launch.
"""

DEVICES = ('auto', 'cpu', 'cuda')
DTYPES = ('auto', 'float32', 'bfloat16')
ATTENTIONS = ('auto', 'flash_attention_2', 'sdpa', 'eager')
QUANTIZATIONS = ('none', 'int8', 'int4', 'fp8')
PROMPTS = ('auto', 'openvla', 'openvla-v01', 'raw')
#: Protocols of a remote policy: this project's own, openpi's, GR00T's, or LeRobot's.
PROTOCOLS = ('vla', 'openpi', 'gr00t', 'lerobot')
#: Protocols of vla_serve.
SERVED_PROTOCOLS = ('vla', 'openpi')
#: How the action leaves the network: token by token, or (OpenVLA-OFT) a whole chunk at once, as
#: tokens, by regression or by diffusion. ``auto`` reads it from the checkpoint folder.
HEADS = ('auto', 'tokens', 'discrete', 'l1', 'diffusion')
