# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Training runs that are killed at random moments, and started again.

The runs here repeat themselves exactly, so what is left in the end is compared
bit by bit with a run that nothing happened to.
"""

import functools
import random
import re
import signal
import time

import numpy as np
import pytest

import checkpoints
import experiment

SAVE_SECS = 1
# Beyond SAVE_SECS a checkpoint may be late by the time that it takes to write.
LATE_SECS = 3


def flags_of(shards, train_dir, num_steps):
  return (
    f"--train_data_pattern={shards.train}",
    f"--train_dir={train_dir}",
    f"--num_classes={shards.num_classes}",
    "--batch_size=16",
    "--num_epochs=30000",
    f"--max_steps={num_steps}",
    "--log_every_steps=20",
    f"--save_checkpoint_secs={SAVE_SECS}",
    "--max_to_keep=3",
    "--seed=1",
  )


@pytest.fixture(scope="module")
def undisturbed(start_program, video_shards, tmp_path_factory):
  """`undisturbed(1000)`: weights of a run that nothing happened to."""

  @functools.cache
  def train(num_steps):
    train_dir = tmp_path_factory.mktemp("undisturbed")
    flags = flags_of(video_shards, train_dir, num_steps)
    assert start_program("train", *flags).wait(timeout=600).returncode == 0
    return weights_of(train_dir)

  return train


def weights_of(train_dir, path=None) -> list[np.ndarray]:
  """The weights of a checkpoint, by default the latest."""
  config = experiment.ExperimentConfig.load(str(train_dir))
  model = experiment.build_model(config)
  path = path or checkpoints.latest_checkpoint(str(train_dir))
  checkpoints.restore_model(model, path)
  return model.get_weights()


class Victim:
  """A training run that is started again and again.

  Attributes:
    train_dir: its folder, a pathlib.Path.
    step_due: the step that the next start must have found at least.
  """

  def __init__(self, start_program, shards, train_dir, num_steps):
    self._start_program = start_program
    self._flags = flags_of(shards, train_dir, num_steps)
    self.train_dir = train_dir
    self.step_due = 0

  def run(self, signum=signal.SIGKILL, seconds: float = 1e9) -> int:
    """Runs for some time at most, ends with a signal; returns the exit code."""
    process = self._start_program("train", *self._flags)
    seen = [(time.monotonic(), 0)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
      seen.append((time.monotonic(), last_step(process.stderr.read_text())))
      time.sleep(0.01)
    process.signal(signum)
    result = process.wait()
    assert "Traceback" not in result.output
    resumed = resumed_step(result.stderr)
    if last_step(result.stderr) or resumed:
      assert resumed >= self.step_due
    self._note_what_is_due(result, seen, max(resumed, self.step_due))
    return result.returncode

  def _note_what_is_due(self, result, seen, resumed):
    saved = re.search(r"step (\d+) is saved", result.stderr)
    if saved:  # By SIGTERM or SIGINT: nothing at all may be lost.
      self.step_due = int(saved[1])
      assert int(saved[1]) >= last_step(result.stderr)
    else:
      latest = time.monotonic() - SAVE_SECS - LATE_SECS
      self.step_due = max([resumed, *(n for at, n in seen if at <= latest)])

  def check_checkpoints(self):
    """Every checkpoint that the folder names can be read."""
    if not (self.train_dir / "checkpoint").exists():
      return
    for path in checkpoints.all_checkpoints(str(self.train_dir)):
      assert all(np.isfinite(w).all() for w in weights_of(self.train_dir, path))


def last_step(log: str) -> int:
  return max(map(int, re.findall(r"training step (\d+)", log)), default=0)


def resumed_step(log: str) -> int:
  found = re.search(r"Resuming from \S+model\.ckpt-(\d+)\.", log)
  return int(found[1]) if found else 0


def kill_often(victim, num_kills, signals, seed, most_seconds):
  """Kills a run at random moments, then lets it end by itself."""
  rng = random.Random(seed)  # noqa: S311 Not for secrets.
  for _ in range(num_kills):
    signum = rng.choice(signals)
    code = victim.run(signum, rng.uniform(0, most_seconds))
    allowed = (-signum,) if signum == signal.SIGKILL else (128 + signum,)
    assert code in (*allowed, 0)
    victim.check_checkpoints()
  assert victim.run() == 0


def check_same(weights, others):
  for mine, other in zip(weights, others, strict=True):
    np.testing.assert_array_equal(mine, other)


def test_a_run_survives_kills(
  start_program, video_shards, undisturbed, tmp_path
):
  victim = Victim(start_program, video_shards, tmp_path / "model", 800)
  signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
  kill_often(victim, 3, signals, seed=4, most_seconds=1.5)
  check_same(weights_of(victim.train_dir), undisturbed(800))


@pytest.mark.soak
@pytest.mark.parametrize(
  ("num_kills", "signals"),
  [(30, [signal.SIGKILL]), (10, [signal.SIGTERM]), (10, [signal.SIGINT])],
  ids=["SIGKILL", "SIGTERM", "SIGINT"],
)
def test_a_run_survives_many_kills(
  num_kills, signals, start_program, video_shards, undisturbed, tmp_path
):
  num_steps = 1000 * num_kills
  victim = Victim(start_program, video_shards, tmp_path / "model", num_steps)
  kill_often(victim, num_kills, signals, seed=num_kills, most_seconds=5)
  check_same(weights_of(victim.train_dir), undisturbed(num_steps))
