# Copyright 2026 The vla_ros Authors
# SPDX-License-Identifier: Apache-2.0

"""The model runtime: the only room of this package that imports torch."""

import os

# OpenMP's threads spin while they wait for each other. On a robot's computer the cores are shared
# with cameras and controllers, and the spinning keeps those away from what it waits for: on two
# busy cores an inference of the demo took 0.7 to 2.7 s with it and 0.05 to 0.12 s without
# (docs/log.md). OpenMP reads this once, when torch is loaded.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
