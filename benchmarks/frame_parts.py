# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The limits of frame-level training: reading records, and decoding them.

  python -m benchmarks.frame_parts --shards='/path/to/train*.tfrecord'

Prints one line of JSON: "raw_rate", videos/s; "decode_us", microseconds of a
processor to decode a video, and "sample_us", those for 30 of its frames.
"""

import argparse
import functools
import itertools
import json
import math
import statistics
import time

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

import devices
import readers
import shard_files
import utils

_DECODED_VIDEOS, _SAMPLED_FRAMES = 256, 30


def read_raw(shards) -> int:
  """Reads all records and looks at none; returns how many there were."""
  dataset = tf.data.TFRecordDataset(
    shards, num_parallel_reads=devices.available_cpus()
  )
  return sum(1 for _ in dataset)


def decoding_times(shard: str, repeats: int) -> list[float]:
  """Microseconds a video to decode all frames, and to decode a few of them."""
  schema = readers.detect_schema([shard])
  reader = readers.YT8MFrameFeatureReader(
    feature_sizes=schema.feature_sizes, feature_names=schema.feature_names
  )
  items = itertools.islice(shard_files.read_shard(shard), _DECODED_VIDEOS)
  records = list(items)
  sample = readers.FrameSample(_SAMPLED_FRAMES, is_random=True, seed=1)
  choose = functools.partial(sample.choose, 0)
  best = [math.inf, math.inf]
  for _ in range(repeats):
    for number, choice in enumerate((None, choose)):
      start = time.process_time()
      reader.decode(records, choose_frames=choice)
      best[number] = min(best[number], time.process_time() - start)
  return [seconds / len(records) * 1e6 for seconds in best]


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
  decode_us, sample_us = decoding_times(shards[0], 4 * options.repeats)
  figures = {"decode_us": decode_us, "sample_us": sample_us}
  print(json.dumps({"raw_rate": statistics.median(rates), **figures}))


if __name__ == "__main__":
  main()
