# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""MAP@K of rankings against numpy.sort, in a process of their own.

  python -m benchmarks.segments_parts --pairs=10000000

Rankings and ratings are made up, with the numbers of the task of 2019: 1,000
classes, 1.1 million videos of 60 segments, 237,788 ratings. Prints one line of
JSON: "map_ms", milliseconds from rankings and ratings to the result, and
"sort_ms", those of numpy.sort of the same pairs as 64-bit numbers in any order.
Both take turns; the medians count.
"""

import argparse
import json
import statistics
import time

import numpy as np

import segments

_NUM_CLASSES, _NUM_VIDEOS, _NUM_RATINGS = 1000, 1_100_000, 237_788
_SEGMENTS_PER_VIDEO, _POSITIVE_SHARE = 60, 0.56


def make_inputs(rng: np.random.Generator, num_pairs: int):
  """Rankings and ratings, and the pairs of the rankings as numbers.

  Every rating is of a segment that is ranked.
  """
  size = max(1, num_pairs // _NUM_CLASSES)
  shape = _NUM_CLASSES, size
  videos = rng.integers(_NUM_VIDEOS, size=shape)
  starts = 5 * rng.integers(_SEGMENTS_PER_VIDEO, size=shape)
  # Four characters, as the data set's.
  video_ids = (videos * 2654435761 % 2**32).astype("<u4").view("S4")
  rankings = list(map(segments.Ranking, range(_NUM_CLASSES), video_ids, starts))
  classes = rng.integers(_NUM_CLASSES, size=_NUM_RATINGS)
  places = rng.integers(size, size=_NUM_RATINGS)
  ratings = segments.Ratings(
    video_ids=video_ids[classes, places],
    starts=starts[classes, places],
    classes=classes,
    are_positive=rng.random(_NUM_RATINGS) < _POSITIVE_SHARE,
  )
  pairs = np.arange(_NUM_CLASSES)[:, np.newaxis] * _NUM_VIDEOS + videos
  pairs = (pairs * 5 * _SEGMENTS_PER_VIDEO + starts).reshape(-1)
  rng.shuffle(pairs)
  return rankings, ratings, pairs


def measure(num_pairs: int, repeats: int) -> dict[str, float]:
  """See the module; returns the dict that is printed."""
  rankings, ratings, pairs = make_inputs(np.random.default_rng(0), num_pairs)
  functions = {
    "map_ms": lambda: segments.score_rankings(rankings, ratings),
    "sort_ms": lambda: np.sort(pairs),
  }
  milliseconds = {name: [] for name in functions}
  for _ in range(repeats):
    for name, function in functions.items():
      start = time.perf_counter()
      function()
      milliseconds[name].append(1e3 * (time.perf_counter() - start))
  return {name: statistics.median(ms) for name, ms in milliseconds.items()}


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--pairs", type=int, default=10_000_000)
  parser.add_argument("--repeats", type=int, default=5)
  options = parser.parse_args(argv)
  print(json.dumps(measure(options.pairs, options.repeats)))


if __name__ == "__main__":
  main()
