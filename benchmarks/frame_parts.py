# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The limit of frame-level training: reading records.

  python -m benchmarks.frame_parts --shards='/path/to/train*.tfrecord'

Prints one line of JSON: "raw_rate", videos/s.
"""

import argparse
import json
import statistics
import time

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

import devices
import utils


def read_raw(shards) -> int:
  """Reads all records and looks at none; returns how many there were."""
  dataset = tf.data.TFRecordDataset(
    shards, num_parallel_reads=devices.available_cpus()
  )
  return sum(1 for _ in dataset)


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args(argv)
  shards = utils.list_shards(options.shards, "shards")
  read_raw(shards)  # From now on they are in the page cache.
  rates = []
  for _ in range(options.repeats):
    start = time.perf_counter()
    num_videos = read_raw(shards)
    rates.append(num_videos / (time.perf_counter() - start))
  print(json.dumps({"raw_rate": statistics.median(rates)}))


if __name__ == "__main__":
  main()
