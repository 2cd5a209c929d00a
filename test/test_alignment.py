# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""Samples of a stream are chosen by their stamps, although they arrive out of order."""

import numpy as np
import pytest
from vla_ros.data.alignment import SampleBuffer
from vla_ros.data.alignment import Stamped

MS = 1_000_000


def linear_scan(samples, align, stamp, arrived):
    """Compare all samples, as the definition of the rule says."""
    if align == 'hold':
        fitting = [one for one in samples if one.stamp <= stamp]
        return max(fitting, key=lambda one: one.stamp, default=None)
    if align == 'next':
        fitting = [one for one in samples if one.stamp >= stamp]
        return min(fitting, key=lambda one: one.stamp, default=None)
    fitting = [one for one in samples if one.arrived <= arrived] or samples
    return min(fitting, key=lambda one: abs(one.stamp - stamp))


@pytest.mark.parametrize('align', ['hold', 'nearest', 'next'])
def test_the_search_finds_the_same_sample_as_a_linear_scan(align):
    random = np.random.default_rng(4)
    for _ in range(300):
        buffer = SampleBuffer(100.0)
        # Stamps in steps of 10 ms repeat, and lie up to 0.1 s before the newest one.
        arrivals = 1_000_000 * MS + 10 * MS * np.cumsum(random.integers(1, 6, 40))
        samples = [Stamped(int(arrived) - 10 * MS * int(random.integers(0, 11)), int(arrived),
                           number) for number, arrived in enumerate(arrivals)]
        for one in samples:
            buffer.push(one)
        stamp = int(arrivals[random.integers(40)]) - 10 * MS * int(random.integers(-3, 12))
        arrived = stamp + int(random.integers(-500, 100)) * MS
        found = buffer.pick(align, stamp, arrived)
        assert found is linear_scan(samples, align, stamp, arrived)


class Counting(Stamped):
    """A sample that counts how often a stamp is read."""

    reads = 0

    def __getattribute__(self, name):
        if name == 'stamp':
            Counting.reads += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize('align', ['hold', 'nearest', 'next'])
def test_the_search_reads_only_the_newest_samples(align):
    buffer = SampleBuffer(100.0)
    for number in range(2048):
        buffer.push(Counting(number * 10 * MS + MS, number * 10 * MS + MS, number))
    Counting.reads = 0
    found = buffer.pick(align, 20_400 * MS, 20_500 * MS)
    assert found.value == {'hold': 2039, 'nearest': 2040, 'next': 2040}[align]
    assert Counting.reads < 200
