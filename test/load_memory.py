# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Measure the peak memory of loading a checkpoint, in a process of its own.

    python3 test/load_memory.py GIGABYTES [float32|bfloat16]

writes a checkpoint of about that size, loads it in the precision in which it is stored, and
prints one JSON object; ``ratio`` is the growth of the process by loading, over the weights' size.
"""

import copy
import json
from pathlib import Path
import resource
import subprocess
import sys
import tempfile

from goldens import SPEC

from vla_ros.util.tiny_checkpoint import write_checkpoint
from vla_ros.util.tiny_tokenizer import write_tokenizer

HIDDEN, INTERMEDIATE = 1024, 2816
# query, key, value and output, and three matrices of the feed-forward layer
LAYER_BYTES = 4 * (4 * HIDDEN * HIDDEN + 3 * HIDDEN * INTERMEDIATE)


def write_large(folder, gigabytes, dtype):
    """Write the golden architecture with as many wide layers as it takes."""
    spec = copy.deepcopy(SPEC)
    width = 1 if dtype == 'float32' else 0.5
    spec['config']['text_config'].update(
        vocab_size=4096 + 64, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE,
        num_attention_heads=16, num_key_value_heads=16,
        num_hidden_layers=max(1, round(gigabytes * 1e9 / (LAYER_BYTES * width))))
    write_checkpoint(spec, folder, dtype, shards=2)
    write_tokenizer(folder, spec['config']['n_action_bins'])


def peak_bytes():
    """Return the most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def load_and_report(folder, dtype):
    """Load in this process and describe its memory."""
    import vla_ros.model.openvla  # noqa: F401  the libraries are not the checkpoint's memory
    from vla_ros.policy.config import PolicyConfig
    from vla_ros.policy.load import load_policy
    before = peak_bytes()
    policy = load_policy(PolicyConfig(str(folder), 'golden_bridge', device='cpu', dtype=dtype,
                                      warmup=False))
    size = sum(weight.numel() * weight.element_size()
               for weight in policy.engine.network.parameters())
    return {'weights_mb': round(size / 1e6), 'libraries_mb': round(before / 1e6),
            'peak_mb': round(peak_bytes() / 1e6),
            'ratio': round((peak_bytes() - before) / size, 3)}


def measure(gigabytes, dtype):
    """Measure in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        write_large(Path(folder), gigabytes, dtype)
        done = subprocess.run([sys.executable, __file__, '--load', folder, dtype], check=True,
                              capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == '__main__':
    if sys.argv[1] == '--load':
        print(json.dumps(load_and_report(*sys.argv[2:4])))
    else:
        print(json.dumps(measure(float(sys.argv[1]), (sys.argv[2:] or ['float32'])[0])))
