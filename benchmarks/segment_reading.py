# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Batches of rated segments against batches of videos, from the same shards.

  python -m benchmarks.segment_reading --shards='/path/to/segments*.tfrecord'

Prints one line of JSON: "segments_rate" and "videos_rate", megabytes of the
shards a second, from the page cache to batches. Both take turns; the medians
count.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import readers
import segment_reader
import utils


def read_all(reader: readers.BaseReader, shards: Sequence[str], batch_size):
  """Returns the seconds that reading all shards as batches takes."""
  start = time.perf_counter()
  for _ in reader.evaluation_batches(shards, batch_size):
    pass
  return time.perf_counter() - start


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--batch_size", type=int, default=256)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args(argv)
  shards = utils.list_shards(options.shards, "shards")
  schema = readers.detect_schema(shards)
  classes = {
    "segments_rate": segment_reader.YT8MSegmentReader,
    "videos_rate": readers.YT8MFrameFeatureReader,
  }
  seconds = {name: [] for name in classes}
  for _ in range(options.repeats + 1):
    for name, reader_class in classes.items():
      reader = reader_class(
        num_classes=options.num_classes,
        feature_sizes=schema.feature_sizes,
        feature_names=schema.feature_names,
        feature_kinds=schema.feature_kinds,
      )
      seconds[name].append(read_all(reader, shards, options.batch_size))
  megabytes = sum(map(os.path.getsize, shards)) / 1e6
  # The first round fills the page cache.
  rates = {
    name: megabytes / statistics.median(values[1:])
    for name, values in seconds.items()
  }
  print(json.dumps(rates))


if __name__ == "__main__":
  main()
