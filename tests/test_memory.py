# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Memory of evaluation and inference over a million videos."""

import pathlib
import re

import numpy as np
import pytest

from tools import sample_data

pytestmark = pytest.mark.soak

NUM_VIDEOS, NUM_COPIES = 20_000, 50
# What the metrics keep of a video: 20 classes with scores and hits, and room
# to grow.
METRICS_BYTES = 250
# An inference that kept as much as the ids, Python objects of 37 bytes, would
# grow by more. Buffers that come and go make the slope uncertain by some bytes.
SMALL_BYTES = 30


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
  """A million videos of the usual sizes: shards, and many links to each."""
  folder = tmp_path_factory.mktemp("million")
  shards = sample_data.write_shards(
    str(folder / "shards"), "v2_video", num_videos=NUM_VIDEOS, seed=1
  )
  links = folder / "links"
  links.mkdir()
  for copy in range(NUM_COPIES):
    for shard in map(pathlib.Path, shards):
      (links / f"{copy:02d}-{shard.name}").symlink_to(shard)
  return f"{links}/*.tfrecord"


@pytest.fixture(scope="module")
def train_dir(fork_program, pattern, tmp_path_factory):
  path = tmp_path_factory.mktemp("model")
  fork_program(
    "train",
    f"--train_data_pattern={pattern}",
    f"--train_dir={path}",
    "--max_steps=2",
  )
  return path


def watch(process):
  """(videos so far, resident bytes) while a program runs, and its peak."""
  memory, peak = [], 0
  status = pathlib.Path(f"/proc/{process.pid}/status")

  def look():
    nonlocal peak
    found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
    shown = re.findall(r"processed: (\d+)", process.stderr.read_text())
    if found:
      peak = max(peak, int(found[1]) * 1024)
      if shown:
        memory.append((int(shown[-1]), int(found[1]) * 1024))
    return process.poll() is not None

  process.wait_until(look, timeout=600)
  result = process.wait()
  assert result.returncode == 0, result.output
  return np.array(memory, float), peak


def slope_of(memory) -> float:
  """Bytes by which a program grows with a video, once it is warm."""
  videos, resident = memory[memory[:, 0] > 0.2 * NUM_VIDEOS * NUM_COPIES].T
  return float(np.polyfit(videos, resident, 1)[0])


def test_inference_does_not_grow(
  start_program, pattern, train_dir, tmp_path, capsys
):
  memory, peak = watch(
    start_program(
      "inference",
      f"--input_data_pattern={pattern}",
      f"--train_dir={train_dir}",
      f"--output_file={tmp_path / 'predictions.csv'}",
    )
  )
  slope = slope_of(memory)
  with capsys.disabled():
    print(f"inference: peak {peak / 1e6:.0f} MB, {slope:.1f} bytes a video")
  assert slope < SMALL_BYTES


def test_evaluation_grows_with_its_metrics_only(
  start_program, pattern, train_dir, capsys
):
  memory, peak = watch(
    start_program(
      "eval",
      f"--eval_data_pattern={pattern}",
      f"--train_dir={train_dir}",
      "--run_once",
    )
  )
  slope = slope_of(memory)
  with capsys.disabled():
    print(f"evaluation: peak {peak / 1e6:.0f} MB, {slope:.1f} bytes a video")
  assert slope < METRICS_BYTES
