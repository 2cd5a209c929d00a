# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""
Compares requests in mixed batches with single inferences; ``python batch_requests.py 1000``.

Prints one JSON object: requests, batches, differing tokens, and the time of both ways.
"""

import json
from pathlib import Path
import sys
import tempfile
import time

import numpy as np

from vla_ros.policy.base import ActionChunk
from vla_ros.policy.base import Observation
from vla_ros.policy.config import PolicyConfig
from vla_ros.policy.load import load_policy
from vla_ros.util.demo_checkpoint import ensure_checkpoint

WORDS = ('pick', 'up', 'the', 'red', 'cup', 'and', 'put', 'it', 'behind', 'a', 'blue', 'bowl')
SIZES = ((120, 160), (96, 128), (224, 224), (240, 135))


def draw(random):
    """Draw a request: an observation of mixed size and length."""
    shape = SIZES[random.integers(len(SIZES))]
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    words = random.choice(WORDS, random.integers(1, 40))
    return Observation((image,), ' '.join(words))


def compare(policy, requests, random, most=8):
    """
    Infer from requests in batches of 1 to ``most``, a third of them with a draft, and alone.

    :returns: for each request whether its tokens are the same; the numbers of batches and of
        accepted tokens; seconds in batches and alone.
    """
    begin = time.monotonic()
    alone = []
    for request in requests:
        policy.reset()
        alone.append(policy.infer(request))
    alone_s, same, batches, accepted = time.monotonic() - begin, [], 0, 0
    begin = time.monotonic()
    while len(same) < len(requests):
        batch = requests[len(same):len(same) + random.integers(1, most + 1)]
        expected = alone[len(same):len(same) + len(batch)]
        drafts = [(chunk.token_ids if random.random() < 0.5 else expected[0].token_ids)
                  if random.random() < 0.33 else () for chunk in expected]
        for chunk, one in zip(policy.infer_batch(batch, drafts), expected):
            assert isinstance(chunk, ActionChunk), chunk
            same.append(chunk.token_ids == one.token_ids and chunk.input_ids == one.input_ids
                        and np.array_equal(chunk.actions, one.actions))
            accepted += chunk.accepted
        batches += 1
    return same, batches, accepted, alone_s, time.monotonic() - begin


def main():
    """Load the demo's checkpoint, and compare."""
    count, random = int(sys.argv[1]), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = ensure_checkpoint(Path(folder) / 'checkpoint')
        policy = load_policy(PolicyConfig(str(checkpoint), device='cpu'))
        requests = [draw(random) for _ in range(count)]
        same, batches, accepted, alone_s, batch_s = compare(policy, requests, random)
    print(json.dumps({'requests': count, 'batches': batches, 'differ': same.count(False),
                      'accepted': accepted, 'alone_s': round(alone_s, 2),
                      'batched_s': round(batch_s, 2)}))
    return 1 if False in same else 0


if __name__ == '__main__':
    sys.exit(main())
