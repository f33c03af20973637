# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Writes what a trained model predicts for each video.

  python inference.py --input_data_pattern='/path/to/test*.tfrecord' \
    --train_dir=/path/to/model --output_file=predictions.csv

One row a video: its id, then "class confidence" pairs by falling confidence.
--predictions_file=predictions.npz writes the logits of all classes. The model
is rebuilt from the train dir; shards need no labels.
"""

from collections.abc import Mapping
from typing import Any

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

from absl import logging

import checkpoints
import cluster
import config
import devices
import evaluation
import experiment
import prediction_files
import train_dir
import utils
from config import ExperimentConfig, InferenceSettings


def define_flags():
  """Defines the flags of inference."""
  config.define_flags(InferenceSettings)
  config.define_model_flags()


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Predicts as the flags say; returns the exit code."""
  settings = config.from_flags(InferenceSettings)
  given = config.given_values(ExperimentConfig, config.MODEL_SETTINGS)
  task = cluster.read_task()
  if not cluster.has_work(task, [cluster.WORKER]):
    return 0
  devices.choose()
  with cluster.join(task, settings.worker_timeout_secs) as workers:
    infer(settings, given, workers)
  if not workers.is_chief:
    logging.info("Worker %d has finished.", workers.index)
  return 0


def infer(
  settings: InferenceSettings,
  given: Mapping[str, Any] | None = None,
  workers: cluster.Workers | None = None,
):
  """Predicts with a trained model: the whole program, without its flags.

  The chief alone reads the train dir and writes files.

  Args:
    settings: how the program is run.
    given: values of `ExperimentConfig` that the train dir's must agree with.
    workers: those that predict together; None for this process alone.

  Raises:
    UserError: there is no model, it does not suit what is given or the data, or
      a file cannot be written.
  """
  workers, given = workers or cluster.alone(), given or {}
  report_path = _report_path(settings)
  with experiment.start(settings, given, workers, report_path) as run:
    outputs = prediction_files.requested_outputs(settings)
    run_config = experiment.load_config(settings.train_dir, given, workers)
    batches = experiment.open_batches(
      run_config,
      run,
      "input_data_pattern",
      settings.batch_size,
      with_labels=False,
      fold=experiment.fold_of(settings),
    )
    for path in settings.output_paths:
      if path in batches.shards:
        raise UserError(
          f"{path!r} is one of the shards to read. Write to another file."
        )
    model = experiment.build_model(run_config, jit_compile=settings.jit_compile)
    if workers.is_chief:
      checkpoints.restore_chosen_model(
        model,
        settings.train_dir,
        settings.checkpoint_step,
        settings.use_ema,
        settings.average_checkpoints,
      )
    workers.copy_from_chief(model.variables)
    devices.log("Predicting")
    items = evaluation.Predictor(model).predictions(batches)
    prediction_files.write(outputs, items, run)


def _report_path(settings: InferenceSettings) -> str | None:
  """Where to list bad records: beside the first file that is written."""
  for path in settings.output_paths:
    if not utils.is_stream(path):
      return prediction_files.beside(path, train_dir.BAD_RECORDS_FILE)
  return None


if __name__ == "__main__":
  run()
