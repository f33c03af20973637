# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The limit of verify_shards.py: reading the records and looking at none.

  python -m benchmarks.raw_reading --shards='/path/to/train*.tfrecord'

Prints one line of JSON: "raw_rate", records/s.
"""

import argparse
import json
import statistics
import time

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

import devices
import readers
import utils

# Handed over one by one, small records would take longer than reading them.
_BATCH_BYTES = 2**20


def read_raw(shards, batch_size: int) -> int:
  """Reads all records and looks at none; returns how many there were."""
  dataset = tf.data.TFRecordDataset(
    shards, num_parallel_reads=devices.available_cpus()
  )
  return sum(len(batch) for batch in dataset.batch(batch_size))


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--repeats", type=int, default=3)
  options = parser.parse_args(argv)
  shards = utils.list_shards(options.shards, "shards")
  record_bytes = readers.detect_schema(shards).record_bytes
  batch_size = max(1, _BATCH_BYTES // record_bytes)
  read_raw(shards[:1], batch_size)  # TensorFlow's threads start.
  rates = []
  for _ in range(options.repeats):
    start = time.perf_counter()
    num_records = read_raw(shards, batch_size)
    rates.append(num_records / (time.perf_counter() - start))
  print(json.dumps({"raw_rate": statistics.median(rates)}))


if __name__ == "__main__":
  main()
