# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py with the first batch of its shards again and again.

  python -m benchmarks.repeated_batch --max_steps=N, and train.py's other flags

The rest is as in train.py: the difference in speed is what reading costs.
"""

import itertools

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import sources
import train

_batches = sources.Passes.batches


def _repeated_batch(self, number, *unused_limits):
  return itertools.repeat(next(_batches(self, number)))


if __name__ == "__main__":
  sources.Passes.batches = _repeated_batch
  train.run()
