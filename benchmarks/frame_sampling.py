# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding all frames of videos, and a few of them.

  python -m benchmarks.frame_sampling --shards='/path/to/train*.tfrecord'

Prints one line of JSON: "decode_us", microseconds of a processor to decode a
video, and "sample_us", those for 30 of its frames.
"""

import argparse
import functools
import itertools
import json
import math
import time

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import readers
import shard_files
import utils

_VIDEOS, _SAMPLED_FRAMES = 256, 30


def decoding_times(shards: list[str], repeats: int) -> list[float]:
  """Microseconds a video to decode all frames, and to decode a few of them."""
  schema = readers.detect_schema(shards)
  reader = readers.YT8MFrameFeatureReader(
    feature_sizes=schema.feature_sizes, feature_names=schema.feature_names
  )
  items = itertools.chain.from_iterable(map(shard_files.read_shard, shards))
  records = list(itertools.islice(items, _VIDEOS))
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
  parser.add_argument("--repeats", type=int, default=20)
  options = parser.parse_args(argv)
  shards = utils.list_shards(options.shards, "shards")
  decode_us, sample_us = decoding_times(shards, options.repeats)
  print(json.dumps({"decode_us": decode_us, "sample_us": sample_us}))


if __name__ == "__main__":
  main()
