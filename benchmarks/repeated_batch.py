# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""train.py with the first batch of its shards again and again.

  python -m benchmarks.repeated_batch --max_steps=N, and train.py's other flags

The rest is as in train.py: the difference in speed is what reading costs.
"""

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import readers
import train

_training_batches = readers.BaseReader.training_batches


def _repeated_batch(self, *args, **kwargs) -> readers.Batches:
  batches = _training_batches(self, *args, **kwargs)
  batches.dataset = batches.dataset.take(1).cache().repeat()
  return batches


if __name__ == "__main__":
  readers.BaseReader.training_batches = _repeated_batch
  train.run()
