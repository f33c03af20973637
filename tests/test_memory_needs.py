# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The estimate of the memory that a program needs, and what becomes of it."""

import os
import re
import subprocess
import sys

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from test_all_models import make_config
from test_trained_model import evaluate_on, train_on

import cluster
import devices
import experiment
import memory
import train
from tools import sample_data

SPEC = {
  "video_ids": tf.TensorSpec([None], tf.string),
  "features": {
    "rgb": tf.TensorSpec([None, 3, 6], tf.uint8),
    "audio": tf.TensorSpec([None, 3, 4], tf.uint8),
  },
}
GIGABYTE = 10**9


# What there is to need


@pytest.mark.parametrize(
  ("name", "changes", "jit_compile", "num_bytes"),
  [
    # Mean of the frames, twice as the next layer hands it on, 10 float32;
    # logits and predictions, 5 each. XLA stores no frame.
    ("FrameLevelLogisticModel", {}, True, 40 + 40 + 20 + 20),
    # The three frames, too.
    ("FrameLevelLogisticModel", {}, False, 120 + 40 + 40 + 20 + 20),
    # Logits of two bytes.
    (
      "FrameLevelLogisticModel",
      {"mixed_precision": "float16"},
      True,
      *[40 + 20 + 10 + 20],
    ),
    # Frames, and their mask of three bytes; a sequence and a vector of 4 cells,
    # which is handed on; at each of 3 frames, 4 gates of both layers.
    (
      "LstmModel",
      {
        "model_kwargs": {
          "lstm_cells": 4,
          "video_level_classifier_model": "LogisticModel",
        }
      },
      True,
      120 + 3 + 48 + 16 + 16 + 2 * (3 * 4 * 4 * 4) + 20 + 20,
    ),
  ],
)
def test_layers_hand_worked(name, changes, jit_compile, num_bytes):
  config = make_config(name, **changes)
  assert (config.num_classes, config.feature_sizes) == (5, (6, 4))
  model = experiment.build_model(config, config.mixed_precision, jit_compile)
  # Twice, with the gradients.
  need = memory.of_layers(model, SPEC["features"])
  assert need.num_bytes(7) == 7 * 2 * num_bytes


def test_heads_that_become_rows_count():
  def num_bytes(heads):
    kwargs = {
      "attention_heads": heads,
      "hidden_size": 1000,
      "video_level_classifier_model": "LogisticModel",
    }
    config = make_config("AttentionPoolingModel", model_kwargs=kwargs)
    model = experiment.build_model(config)
    return memory.of_layers(model, SPEC["features"]).num_bytes(1)

  # Of each head at least: the hidden layer, normalised, its gate in four parts.
  assert num_bytes(3) - num_bytes(1) > 2 * (2 * 6 * 4000)


def test_weights_hand_worked():
  config = make_config("FrameLevelLogisticModel", optimizer="Adam", seed=1)
  state = train.build_train_state(config, cluster.alone())
  need = memory.of_weights(state.variables, state.model.trainable_variables)
  # 55 weights, two moments and three gradients of each, four bytes; Adam's
  # step of eight or four, and its rate; the position's eight counters.
  most = 55 * 6 * 4 + 8 + 4 + 8 * 8
  assert need.num_bytes(1) == need.num_bytes(100)
  assert need.num_bytes(1) == pytest.approx(most, abs=8)


def test_batches_hand_worked(monkeypatch):
  monkeypatch.setattr(devices, "available_cpus", lambda: 2)
  # 30 codes and an id; five batches, and those that are decoded.
  row = 30 + 64
  need = memory.of_batches(SPEC)
  assert need.num_bytes(100) == 7 * 100 * row
  # Decoders hold up to 128 MB together, or one batch.
  assert need.num_bytes(10**6) == pytest.approx(6 * 10**6 * row)


# What there is


@pytest.fixture
def machine(monkeypatch):
  """A function that sets the gigabytes of memory, and those of two GPUs."""

  def set_sizes(size, gpu_size=None):
    monkeypatch.setattr(devices, "memory_bytes", lambda: size * GIGABYTE)
    if gpu_size is not None:
      monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: [1, 2])
      monkeypatch.setattr(
        devices, "gpu_memory_bytes", lambda: gpu_size * GIGABYTE
      )

  return set_sizes


NEEDS = [
  memory.Need("program", lambda _: GIGABYTE),
  memory.Need("layers", lambda rows: rows * GIGABYTE / 100, is_on_gpu=True),
]


def warnings(caplog):
  return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


def test_what_fits(machine, caplog):
  machine(7.4)
  assert memory.check(NEEDS, 640) == (
    "Batch: 640 videos, about 7.4 GB of memory (program 1.0, layers 6.4)."
  )
  assert warnings(caplog) == []


def test_what_may_not_fit(machine, caplog):
  # An estimate may be too high: what fits must not be refused.
  machine(7.3)
  assert memory.check(NEEDS, 640).startswith("Batch: 640 videos, about 7.4 GB")
  assert warnings(caplog) == [
    "--batch_size=640 needs about 7.4 GB of memory (program 1.0, layers 6.4), "
    "but there are 7.3 GB. --batch_size=512 will fit."
  ]


@pytest.mark.parametrize(
  ("size", "num_workers", "advice"),
  [
    (4.0, 1, "--batch_size=256 will fit."),
    (2.28, 1, "--batch_size=128 will fit."),
    (2.27, 1, "--batch_size=64 will fit."),
    # Each has a third, rounded up.
    (2.28, 3, "--batch_size=256 will fit."),
    (
      1.0,
      1,
      "Not even --batch_size=1 fits: lower --max_frames or --num_classes, ",
    ),
  ],
)
def test_what_does_not_fit(machine, size, num_workers, advice):
  machine(size)
  with pytest.raises(UserError) as caught:
    memory.check(NEEDS, 1024 * num_workers, num_workers)
  assert str(caught.value).startswith(
    f"--batch_size={1024 * num_workers} needs about 11.2 GB of memory (program "
    f"1.0, layers 10.2), but there are {size:.1f} GB. {advice}"
  )


def test_gpus_have_a_memory_of_their_own(machine):
  machine(1.2, 6)
  assert memory.check(NEEDS, 1024) == (
    "Batch: 1,024 videos, about 1.0 GB of memory (program 1.0), and about 5.1 "
    "GB of a GPU's memory (layers 5.1)."
  )
  machine(1.2, 3)
  with pytest.raises(UserError, match=r"5\.1\), but there are 3\.0 GB. --b"):
    memory.check(NEEDS, 1024)


# The programs


def test_nothing_is_deleted_for_what_will_not_fit(
  machine, video_shards, tmp_path
):
  given = {"model": "LogisticModel", "num_classes": 25, "max_steps": 1}
  assert train_on(video_shards.train, tmp_path, given) == 0
  before = sorted(os.listdir(tmp_path))
  machine(0.1)
  message = (
    r"^--batch_size=16 needs about 0\.8 GB .* Not even --batch_size=1 fits"
  )
  with pytest.raises(UserError, match=message):
    train_on(video_shards.train, tmp_path, given, start_new_model=True)
  assert sorted(os.listdir(tmp_path)) == before
  with pytest.raises(UserError, match="^--batch_size=1024 needs about"):
    evaluate_on(video_shards.validate, tmp_path)


MEASURED = {
  "MoeModel": (1024, "v2_video"),
  "FrameLevelLogisticModel": (1024, "v2_frame"),
  "DbofModel": (128, "v2_frame"),
  "LstmModel": (256, "v2_frame"),
}


@pytest.mark.soak
@pytest.mark.parametrize("model", MEASURED)
def test_estimate_is_near_the_peak(model, checkout, tmp_path, capsys):
  batch_size, dialect = MEASURED[model]
  frames = {} if "video" in dialect else {"min_frames": 10, "max_frames": 10}
  sample_data.write_shards(
    str(tmp_path), dialect, num_videos=2 * batch_size, num_shards=2, **frames
  )
  command = [
    *(sys.executable, checkout / "train.py", f"--model={model}"),
    *(f"--train_data_pattern={tmp_path}/*.tfrecord", "--max_steps=4"),
    *(f"--train_dir={tmp_path}/model", f"--batch_size={batch_size}"),
    *("--num_epochs=4", "--iterations=0" if model == "DbofModel" else ""),
    *(["--max_frames=10"] if frames else []),
  ]
  command = [str(part) for part in command if part]
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    lines = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
  assert process.returncode == 0, lines
  estimate = float(re.search(r"about ([\d.]+) GB of memory", lines)[1])
  ratio = estimate * GIGABYTE / (usage.ru_maxrss * 1024)
  with capsys.disabled():
    print(f"{model}: {estimate} GB, {ratio:.2f} times the peak")
  assert np.isfinite(ratio)
  assert 0.5 < ratio < 2
