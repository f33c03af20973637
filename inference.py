# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Writes the most confident classes of each video to a CSV file.

  python inference.py --input_data_pattern='/path/to/test*.tfrecord' \
    --train_dir=/path/to/model --output_file=predictions.csv

One row a video: its id, then "class confidence" pairs by falling confidence.
The model is rebuilt from the train dir; shards need no labels.
"""

import collections
import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import numpy as np
from absl import logging

import checkpoints
import cluster
import config
import devices
import eval_util
import evaluation
import experiment
import train_dir
import utils
from config import ExperimentConfig, InferenceSettings
from vocabulary import read_vocabulary

HEADER = b"VideoId,LabelConfidencePairs\n"
NAMES_HEADER = b"VideoId,Index,Name,Confidence\n"


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
  output_file, report_path, names = settings.output_file, None, None
  if not utils.is_stream(output_file):
    report_path = _beside(output_file, train_dir.BAD_RECORDS_FILE)
  elif settings.vocabulary_file:
    raise UserError(
      f"--output_file={output_file!r} is no file beside which the CSV of names "
      "could lie. Name a file, or leave --vocabulary_file out."
    )
  with experiment.start(settings, given, workers, report_path) as run:
    run_config = experiment.load_config(settings.train_dir, given, workers)
    if settings.vocabulary_file:
      names = read_vocabulary(settings.vocabulary_file)
    batches = experiment.open_batches(
      run_config,
      run,
      "input_data_pattern",
      settings.batch_size,
      with_labels=False,
      fold=experiment.fold_of(settings),
    )
    if output_file in batches.shards:
      raise UserError(
        f"--output_file={output_file!r} is one of the shards to read. Name "
        "another file."
      )
    model = experiment.build_model(run_config, jit_compile=settings.jit_compile)
    if workers.is_chief:
      checkpoints.restore_chosen_model(
        model,
        settings.train_dir,
        settings.checkpoint_step,
        settings.use_ema,
      )
    workers.copy_from_chief(model.variables)
    devices.log("Predicting")
    items = evaluation.Predictor(model).predictions(batches)
    parts = evaluation.collect(_formatted(items, settings.top_k, names), run)
    if workers.is_chief:
      _write(parts, output_file, names is not None)
    else:
      collections.deque(parts, maxlen=0)  # There are none; it takes part.


def _beside(path: str, name: str) -> str:
  """predictions.csv -> predictions.NAME."""
  return f"{os.path.splitext(path)[0]}.{name}"


def _write(parts, output_file: str, with_names: bool):
  """Writes what `_formatted` yields."""
  num_videos, start = 0, time.monotonic()
  with contextlib.ExitStack() as stack:
    display = stack.enter_context(
      program.ProgressDisplay("video", every_secs=2.0)
    )

    def open_output(path: str, header: bytes):
      output = stack.enter_context(utils.replacing(path, follows_links=True))
      output.write(header)
      output.flush()  # A folder that cannot be written shows now.
      return output

    output = open_output(output_file, HEADER)
    if with_names:
      names_file = _beside(output_file, "names.csv")
      names_output = open_output(names_file, NAMES_HEADER)
    for count, rows, named_rows in parts:
      output.write(rows.tobytes())
      if with_names:
        names_output.write(named_rows.tobytes())
      num_videos += int(count)
      rate = num_videos / (time.monotonic() - start)
      line = f"num examples processed: {num_videos} | {rate:.1f} examples/sec"
      display.show(num_videos, line, examples_per_sec=f"{rate:.0f}")
  rate = num_videos / (time.monotonic() - start)
  logging.info(
    "Wrote %d videos to %s (%.1f examples/sec).", num_videos, output_file, rate
  )


def _formatted(
  items: Iterable[evaluation.Predictions],
  top_k: int,
  names: Mapping[int, str] | None,
):
  """Yields arrays: a batch's number of videos, rows, and rows with names."""
  for item in items:
    scores, classes = eval_util.best_classes(item.predictions, top_k)
    rows = format_rows(item.video_ids, scores, classes)
    named_rows = b""
    if names is not None:
      named_rows = format_named_rows(item.video_ids, scores, classes, names)
    yield (
      np.array(len(item.video_ids)),
      np.frombuffer(rows, np.uint8),
      np.frombuffer(named_rows, np.uint8),
    )


def format_rows(
  video_ids: Sequence[bytes], scores: np.ndarray, classes: np.ndarray
) -> bytes:
  """CSV rows "id,class score class score ...", scores with six decimals.

  Args:
    video_ids: [N] bytes; quoted as RFC 4180 has it where they need to be.
    scores: [N, K] float, falling.
    classes: [N, K] int.
  """
  num_videos, top_k = scores.shape
  pairs = np.empty((num_videos, 2 * top_k), object)
  pairs[:, 0::2] = classes
  pairs[:, 1::2] = scores
  # One format for a whole row is several times faster than one for each pair.
  row_format = b" ".join([b"%d %.6f"] * top_k)
  return b"".join(
    b"%s,%s\n" % (utils.csv_field(video_id), row_format % tuple(row))
    for video_id, row in zip(video_ids, pairs.tolist(), strict=True)
  )


def format_named_rows(
  video_ids: Sequence[bytes],
  scores: np.ndarray,
  classes: np.ndarray,
  names: Mapping[int, str],
) -> bytes:
  """CSV rows "id,class,name,score", one for each class of each video."""
  rows = []
  for video_id, row_scores, row_classes in zip(
    video_ids, scores, classes, strict=True
  ):
    field = utils.csv_field(video_id)
    for score, index in zip(row_scores, row_classes.tolist(), strict=True):
      name = utils.csv_field(names.get(index, f"class {index}").encode())
      rows.append(b"%s,%d,%s,%.6f\n" % (field, index, name, score))
  return b"".join(rows)


if __name__ == "__main__":
  run()
