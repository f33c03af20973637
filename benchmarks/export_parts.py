# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""An exported model against that of inference.py, in a process of its own.

  python -m benchmarks.export_parts --train_dir=MODEL --shards='test*.tfrecord'

Both are given the same batch, which lies ready, in turn. Prints one line of
JSON: "export_rate" and "model_rate", videos/s.
"""

import argparse
import functools
import json
import tempfile

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

import checkpoints
import cluster
import experiment
import exporting
from benchmarks import video_parts
from config import ExperimentConfig, ExportSettings, InferenceSettings


def measure(train_dir: str, shards: str, batch_size: int, repeats: int):
  """See the module; returns the dict that is printed."""
  config = ExperimentConfig.load(train_dir)
  settings = InferenceSettings(input_data_pattern=shards, output_file="-")
  run = experiment.Run(settings, cluster.alone(), None)
  batches = experiment.open_batches(
    config, run, "input_data_pattern", batch_size, with_labels=False
  )
  batch = next(iter(batches))
  model = experiment.build_model(config)
  checkpoints.restore_chosen_model(model, train_dir)
  compute = tf.function(
    functools.partial(model, training=False), autograph=False
  )
  with tempfile.TemporaryDirectory() as folder:
    exporting.export(ExportSettings(train_dir=train_dir, export_dir=folder))
    exported = exporting.load(folder)
  predict = exported.signatures["predict"]
  inputs = {
    exporting.input_name(name): feature
    for name, feature in batch["features"].items()
  }
  if config.frame_features:
    inputs["num_frames"] = batch["num_frames"]
  seconds = video_parts.median_seconds(
    {
      "model": lambda: compute(
        {key: batch[key] for key in ("features", "num_frames")}
      )["predictions"],
      "export": lambda: predict(**inputs)["predictions"],
    },
    repeats,
  )
  return {f"{name}_rate": batch_size / value for name, value in seconds.items()}


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--train_dir", required=True)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--batch_size", type=int, default=256)
  parser.add_argument("--repeats", type=int, default=20)
  print(json.dumps(measure(**vars(parser.parse_args(argv)))))


if __name__ == "__main__":
  main()
