# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Every model in the programs, and with several workers."""

import csv
import json
import pathlib

import keras
import numpy as np
import pytest
import train_all_models
from test_all_models import ALL, FRAME_LEVEL, SMALL, make_config
from test_trained_model import evaluate_on
from train_all_models import run_steps

import cluster
import config as configs
import eval_util
import experiment
import inference
import train
from model_layers import Compiled

# Rounding is 1e-7 of sums over all rows.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def two_workers(start_workers, tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("workers")
  script = pathlib.Path(train_all_models.__file__)
  for process in start_workers(2, script, str(folder)):
    result = process.wait(timeout=240)
    assert result.returncode == 0, result.output
  return folder


@pytest.mark.parametrize("name", ALL)
def test_two_workers_equal_a_process_that_is_given_all(name, two_workers):
  expected = run_steps(name, cluster.alone(), slice(None))
  with np.load(two_workers / f"{name}.npz") as found:
    assert {*found} == {*expected}
    for key, values in expected.items():
      np.testing.assert_allclose(found[key], values, atol=TOLERANCE)


@pytest.mark.parametrize("name", FRAME_LEVEL)
def test_xla_compiles_no_recurrent_layer(name):
  # On GPUs these are cuDNN's, for which XLA has no kernel.
  model = experiment.build_model(make_config(name))
  parts = [
    layer
    for compiled in model._flatten_layers()
    if isinstance(compiled, Compiled)
    for layer in compiled.part._flatten_layers()
  ]
  assert parts
  assert not [layer for layer in parts if isinstance(layer, keras.layers.RNN)]


@pytest.mark.parametrize("name", ALL)
def test_all_programs_say_the_same(name, video_shards, frame_shards, tmp_path):
  shards = frame_shards if name in FRAME_LEVEL else video_shards
  given = {
    **{"model": name, "num_classes": shards.num_classes, "max_steps": 2},
    **{"model_kwargs": SMALL.get(name, {}), "batch_size": 16, "seed": 1},
    **{"base_learning_rate": 0.05},
  }
  settings = configs.TrainSettings(
    train_data_pattern=shards.train,
    eval_data_pattern=shards.validate,
    train_dir=str(tmp_path),
    jit_compile=False,
  )
  assert train.train(given, settings) == 0
  # In batches of 16 while training, then all videos at once, then each alone.
  in_training = json.loads((tmp_path / "eval/eval_results.json").read_text())
  evaluated = evaluate_on(shards.validate, tmp_path)
  output = str(tmp_path / "predictions.csv")
  inference.infer(
    configs.InferenceSettings(
      input_data_pattern=shards.validate,
      train_dir=str(tmp_path),
      output_file=output,
      batch_size=1,
      top_k=shards.num_classes,
      jit_compile=False,
    )
  )
  labels = shards.labels("validate")
  scores, actuals = np.zeros((2, len(labels), shards.num_classes))
  with open(output, newline="") as file:
    for row, cells in enumerate(csv.DictReader(file)):
      pairs = np.array(cells["LabelConfidencePairs"].split(), float)
      scores[row, pairs[::2].astype(int)] = pairs[1::2]
      actuals[row, list(labels[cells["VideoId"]])] = 1
  predicted = {
    "hit_at_one": eval_util.calculate_hit_at_one(scores, actuals),
    "gap": eval_util.calculate_gap(scores, actuals),
  }
  for key in ("loss", "hit_at_one", "gap"):
    assert evaluated[key] == pytest.approx(in_training[key], rel=TOLERANCE)
  for key, value in predicted.items():
    # The CSV has six decimals.
    assert value == pytest.approx(evaluated[key], rel=1e-3)
