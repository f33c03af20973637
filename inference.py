# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Writes what a trained model predicts for each video.

  python inference.py --input_data_pattern='/path/to/test*.tfrecord' \
    --train_dir=/path/to/model --output_file=predictions.csv

One row a video: its id, then "class confidence" pairs by falling confidence.
--predictions_file=predictions.npz writes the logits of all classes, and
--embeddings_file=embeddings.npz what goes into the classifier. The model is
rebuilt from the train dir; shards need no labels. With --segment_labels the CSV
has a row for each class, with the segments that show it best.
"""

import collections
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import numpy as np
from absl import logging

import checkpoints
import cluster
import config
import devices
import evaluation
import experiment
import prediction_files
import segments
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
    run_config = experiment.load_config(settings.train_dir, given, workers)
    batches = experiment.open_batches(
      run_config,
      run,
      "input_data_pattern",
      settings.batch_size,
      # Records of embeddings have labels, where the shards' have some.
      with_labels=None if settings.writes_records else False,
      fold=experiment.fold_of(settings),
      of_segments=settings.segment_labels,
    )
    inputs = settings.vocabulary_file, settings.segment_classes
    utils.refuse_overwriting(settings.written_paths, [*batches.shards, *inputs])
    outputs = _requested_outputs(settings, batches.has_labels)
    model = experiment.build_model(run_config, jit_compile=settings.jit_compile)
    further = [prediction_files.EMBEDDING] if settings.embeddings_file else []
    if not {*further} <= {*model.output}:
      raise UserError(
        f"--embeddings_file: {run_config.model} does not return 'embedding', "
        f"but {', '.join(model.output)}."
      )
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
    items = evaluation.Predictor(model, outputs=further).predictions(batches)
    if settings.segment_labels:
      _write_segments(items, run_config.num_classes, settings, run)
    else:
      prediction_files.write(outputs, items, run)


def _requested_outputs(
  settings: InferenceSettings, has_labels: bool
) -> list[prediction_files.Output]:
  """The files with a row for each video."""
  if settings.segment_labels:
    return []
  outputs = prediction_files.requested_outputs(settings)
  if path := settings.embeddings_file:
    outputs.append(prediction_files.embeddings_output(path, has_labels))
  return outputs


def _write_segments(
  items: Iterable[evaluation.Predictions],
  num_classes: int,
  settings: InferenceSettings,
  run: experiment.Run,
):
  """Writes the CSV of 2019: the best segments of each class, of all videos.

  Each worker ranks its own segments (memory: see `segments.TopSegments`). Only
  these rankings go to the chief, class by class, which merges them.

  Args:
    items: this worker's predictions, a row a segment.
    num_classes: number of the model's classes.
    settings: those of the program.
    run: the program's.

  Raises:
    UserError: the classes or the names cannot be read, or a file cannot be
      written; or what making the items raises.
  """
  classes = np.arange(num_classes)
  if settings.segment_classes:
    classes = _chosen_classes(num_classes, run)
  names_path, names = prediction_files.file_of_names(settings)
  count = 0

  def rankings() -> Iterator[segments.Ranking]:
    nonlocal count
    best = segments.TopSegments(classes)
    with program.ProgressDisplay("segment", every_secs=2.0) as display:
      for item in items:
        best.add(item.video_ids, item.segment_starts, item.predictions)
        count += len(item.video_ids)
        display.show(count, f"num segments processed: {count}")
    yield from best.rankings()

  parts = evaluation.collect(rankings(), run)
  if not run.workers.is_chief:
    collections.deque(parts, maxlen=0)  # There are none; it takes part.
  else:
    with segments.open_submission(
      settings.output_file, names_path, names
    ) as write:
      # As many as there are workers are of the same class.
      for same_class in zip(*[parts] * run.workers.count, strict=True):
        write(segments.merged(same_class))
  total = int(run.workers.agree([count])[:, 0].sum())
  if run.workers.is_chief:
    paths = ", ".join(filter(None, [settings.output_file, names_path]))
    logging.info("Wrote the best of %d segments to %s.", total, paths)


def _chosen_classes(num_classes: int, run: experiment.Run) -> np.ndarray:
  """As `choose_classes`; the chief's choice, so that all workers have one."""
  text = error = None
  if run.workers.is_chief:
    try:
      text = json.dumps(choose_classes(num_classes, run).tolist())
    except UserError as caught:
      error = caught
  run.workers.agree(error=error)
  return np.array(json.loads(run.workers.share(text)), np.int64)


def choose_classes(num_classes: int, run: experiment.Run) -> np.ndarray:
  """[C] int64, rising: classes of a CSV, or those that shards have ratings of.

  Raises:
    UserError: it is neither, or a class is outside [0, num_classes).
  """
  source = run.settings.segment_classes
  if source.endswith(".csv"):
    return segments.read_segment_classes(source, num_classes)
  classes = np.unique(experiment.read_truth(run, "segment_classes").classes)
  if classes[-1] >= num_classes:
    raise UserError(
      f"--segment_classes={source!r}: class {classes[-1]} was rated, but the "
      f"model has {num_classes} classes."
    )
  return classes


def _report_path(settings: InferenceSettings) -> str | None:
  """Where to list bad records: beside the first file that is written."""
  for path in settings.output_paths:
    if not utils.is_stream(path):
      return utils.beside(path, train_dir.BAD_RECORDS_FILE)
  return None


if __name__ == "__main__":
  run()
