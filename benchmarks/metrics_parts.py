# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""EvaluationMetrics against numpy.argpartition, in a process of their own.

  python -m benchmarks.metrics_parts --videos=100000

Both are given the same prediction matrices, in turn. Prints one line of JSON:
"metrics_us" and "argpartition_us", microseconds a video; "seconds", of the
metrics in all; "bytes_per_video", the most memory that the metrics added,
accumulating or while computing, where Linux tells.
"""

import argparse
import contextlib
import json
import time

import numpy as np

import eval_util

_TOP_K = 20
# Made once and varied for each batch: making them costs more than ranking.
_NUM_MATRICES = 8
_LABELS_PER_VIDEO = 3


def make_batch(rng: np.random.Generator, batch_size: int, num_classes: int):
  """Predictions and labels of a model that has learned something.

  Returns:
    Two [batch_size, num_classes] float32 arrays: probabilities, and 0 or 1.
  """
  labels = np.zeros((batch_size, num_classes), np.float32)
  # Cubed, so that some classes are far more frequent than others.
  classes = num_classes * rng.random((batch_size, _LABELS_PER_VIDEO)) ** 3
  np.put_along_axis(labels, classes.astype(np.int64), 1.0, axis=1)
  logits = 1.5 * rng.standard_normal(labels.shape, dtype=np.float32) - 7.0
  logits += 6.0 * labels * rng.random(labels.shape, dtype=np.float32)
  return 1.0 / (1.0 + np.exp(-logits)), labels


def measure(num_videos: int, num_classes: int, batch_size: int):
  """See the module; returns the dict that is printed."""
  rng = np.random.default_rng(0)
  matrices = [
    make_batch(rng, batch_size, num_classes) for _ in range(_NUM_MATRICES)
  ]
  scratch = np.empty_like(matrices[0][0])
  num_batches = max(1, round(num_videos / batch_size))

  def run(num_batches):
    metrics = eval_util.EvaluationMetrics(num_classes, _TOP_K)
    seconds = {"metrics": 0.0, "argpartition": 0.0}
    for number in range(num_batches):
      predictions, labels = matrices[number % _NUM_MATRICES]
      np.multiply(
        predictions, np.float32(1 - 1e-4 * number / num_batches), out=scratch
      )
      with _timed(seconds, "argpartition"):
        np.argpartition(scratch, -_TOP_K, axis=1)
      with _timed(seconds, "metrics"):
        metrics.accumulate(scratch, labels, 1.0)
    accumulated = _resident_bytes("VmRSS")
    _reset_peak()
    with _timed(seconds, "metrics"):
      metrics.get()
    return seconds, accumulated

  run(2)
  before = _resident_bytes("VmRSS")
  seconds, accumulated = run(num_batches)
  num_videos = num_batches * batch_size
  results = {
    "seconds": seconds["metrics"],
    "metrics_us": 1e6 * seconds["metrics"] / num_videos,
    "argpartition_us": 1e6 * seconds["argpartition"] / num_videos,
  }
  if before is not None:
    most = max(accumulated, _resident_bytes("VmHWM"))
    results["bytes_per_video"] = (most - before) / num_videos
  return results


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str):
  start = time.perf_counter()
  yield
  seconds[name] += time.perf_counter() - start


def _resident_bytes(key: str) -> int | None:
  """VmRSS, now, or VmHWM, the most since `_reset_peak`; None if unknown."""
  try:
    with open("/proc/self/status") as file:
      fields = dict(line.split(":", 1) for line in file)
  except OSError:
    return None
  return 1024 * int(fields[key].split()[0])


def _reset_peak():
  with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # See clear_refs in the kernel's documentation of /proc.


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--videos", type=int, default=100_000)
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--batch_size", type=int, default=1024)
  options = parser.parse_args(argv)
  results = measure(options.videos, options.num_classes, options.batch_size)
  print(json.dumps(results))


if __name__ == "__main__":
  main()
