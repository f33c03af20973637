# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""eval.py beside a trainer that saves all the time and keeps one checkpoint."""

import contextlib
import os
import re
import signal
import time

import pytest

import checkpoints
import cluster
import evaluation
import experiment
from config import EvalSettings

SECONDS = 600


def flags_of(shards, train_dir):
  return (
    f"--train_data_pattern={shards.train}",
    f"--train_dir={train_dir}",
    f"--num_classes={shards.num_classes}",
    "--batch_size=16",
    "--num_epochs=30000",
    "--log_every_steps=1000",
    "--save_checkpoint_secs=1",
    "--max_to_keep=1",
  )


def keep(train_dir, kept):
  """Links every complete checkpoint, so that it outlives the trainer's own."""
  for index in train_dir.glob("model.ckpt-*.index"):
    data = index.with_suffix(".data-00000-of-00001")
    with contextlib.suppress(FileNotFoundError, FileExistsError):
      os.link(data, kept / data.name)
      os.link(index, kept / index.name)


def summary_of(config, shards, path) -> str:
  """The line that eval.py should have logged for a checkpoint."""
  model = experiment.build_model(config)
  checkpoints.restore_model(model, str(path))
  settings = EvalSettings(eval_data_pattern=shards.validate)
  run = experiment.Run(settings, cluster.alone(), None)
  results = evaluation.evaluate(
    # In the batches of eval.py: others would round in another way.
    evaluation.Predictor(model, experiment.build_loss(config)),
    experiment.open_batches(config, run, "eval_data_pattern", 1024),
    config.num_classes,
    20,
    run,
  )
  number = checkpoints.step_of(str(path))
  return evaluation.summary_line(number, results, config.num_classes)


@pytest.mark.soak
def test_every_evaluation_is_of_one_checkpoint(
  start_program, video_shards, tmp_path
):
  train_dir, kept = tmp_path / "model", tmp_path / "kept"
  kept.mkdir()
  trainer = start_program("train", *flags_of(video_shards, train_dir))
  evaluator = start_program(
    "eval",
    f"--eval_data_pattern={video_shards.validate}",
    f"--train_dir={train_dir}",
  )
  deadline = time.monotonic() + SECONDS
  while time.monotonic() < deadline:
    keep(train_dir, kept)
    assert trainer.poll() is None
    assert evaluator.poll() is None
    time.sleep(0.02)
  trainer.signal(signal.SIGTERM)
  assert trainer.wait().returncode == 128 + signal.SIGTERM
  keep(train_dir, kept)
  evaluator.signal(signal.SIGTERM)
  log = evaluator.wait().stderr
  assert "Traceback" not in log

  lines = dict(re.findall(r"(epoch/eval number (\d+) .*)", log))
  lines = {int(step): line for line, step in lines.items()}
  assert list(lines) == sorted(lines)
  assert len(lines) == log.count("epoch/eval number")
  assert len(lines) > SECONDS / 10
  config = experiment.ExperimentConfig.load(str(train_dir))
  found = {
    step: summary_of(config, video_shards, kept / f"model.ckpt-{step}")
    for step in list(lines)[:: max(1, len(lines) // 50)]
  }
  assert found == {step: lines[step] for step in found}
