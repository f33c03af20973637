# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Evaluates a trained model: Hit@1, PERR, mAP, GAP.

  python eval.py --eval_data_pattern='/path/to/validate*.tfrecord' \
    --train_dir=/path/to/model --run_once

Without --run_once it follows the train dir and evaluates new checkpoints as
they appear, until it is stopped. The model is rebuilt from the train dir.

A file of predictions, or of segments, needs no model.

  python eval.py --eval_data_pattern='/path/to/validate*.tfrecord' \
    --predictions=predictions.csv
  python eval.py --eval_data_pattern='/path/to/validate*.tfrecord' \
    --segment_predictions=segments.csv
"""

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import tensorflow as tf
from absl import flags, logging

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
from config import EvalSettings, ExperimentConfig

_POLL_SECS = 1.0
_PATIENCE_SECS = 30.0


def define_flags():
  """Defines the evaluator's flags."""
  config.define_flags(EvalSettings)
  config.define_model_flags()


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Evaluates as the flags say; returns the exit code."""
  settings = config.from_flags(EvalSettings)
  given = config.given_values(ExperimentConfig, config.MODEL_SETTINGS)
  task = cluster.read_task()
  if not cluster.has_work(task):
    return 0
  devices.choose()
  with cluster.join(task, settings.worker_timeout_secs) as workers:
    # A trainer that is given time for its workers takes longer to begin.
    patience = _PATIENCE_SECS
    if flags.FLAGS["worker_timeout_secs"].present:
      patience = max(patience, settings.worker_timeout_secs)
    evaluate(settings, given, workers, patience)
  if not workers.is_chief:
    logging.info("Worker %d has finished.", workers.index)
  return 0


def evaluate(
  settings: EvalSettings,
  given: Mapping[str, Any] | None = None,
  workers: cluster.Workers | None = None,
  patience_secs: float = _PATIENCE_SECS,
) -> dict[str, Any] | None:
  """Evaluates a trained model: the whole program, without its flags.

  The chief alone reads and writes the train dir.

  Args:
    settings: how the program is run.
    given: values of `ExperimentConfig` that the train dir's must agree with.
    workers: those that evaluate together; None for this process alone.
    patience_secs: how long to wait for a trainer that has not begun.

  Returns:
    At the chief, where it does not follow a trainer: as `evaluation.evaluate`,
    or as `evaluate_submission` or `evaluate_file` if that is asked for. Else
    None.

  Raises:
    UserError: there is no model, or it does not suit what is given or the data.
  """
  workers, given = workers or cluster.alone(), given or {}
  if settings.segment_predictions:
    return evaluate_submission(settings) if workers.is_chief else None
  if settings.predictions:
    return evaluate_file(settings, given) if workers.is_chief else None
  folder = results_folder(settings)
  report_path = os.path.join(folder, train_dir.BAD_RECORDS_FILE)
  with experiment.start(settings, given, workers, report_path) as run:
    follows = not settings.run_once and settings.checkpoint_step is None
    if workers.is_chief and follows:
      wait_for_model(settings.train_dir, patience_secs)
    run_config = experiment.load_config(settings.train_dir, given, workers)
    evaluator = Evaluator(run_config, run)
    devices.log("Evaluating")
    if follows:
      return follow(settings.train_dir, evaluator, workers)
    path = None
    if workers.is_chief:
      path = checkpoints.restore_chosen_model(
        evaluator.model,
        settings.train_dir,
        settings.checkpoint_step,
        settings.use_ema,
        settings.average_checkpoints,
      )
    return evaluator.evaluate(path)


def evaluate_file(
  settings: EvalSettings, given: Mapping[str, Any]
) -> dict[str, Any]:
  """Metrics of a file of predictions; there need not be a model.

  Args:
    settings: how the program is run.
    given: "num_classes" of a CSV, if it is not that of the data set.

  Returns:
    As `evaluation.evaluate`, with the loss as `CrossEntropyLoss` has it.

  Raises:
    UserError: the file or a shard cannot be read, or they share no video.
  """
  path, folder = settings.predictions, settings.eval_dir
  if folder:
    utils.make_writable_folder(folder, "eval_dir")
  with contextlib.ExitStack() as stack:
    run = stack.enter_context(
      experiment.start(settings, given, cluster.alone(), None)
    )
    (file,) = stack.enter_context(
      prediction_files.open_files(
        [path], given.get("num_classes"), "predictions"
      )
    )
    predictor = prediction_files.FilePredictor(file)
    batches = experiment.open_labels(
      run,
      "eval_data_pattern",
      file.num_classes,
      settings.batch_size,
      experiment.fold_of(settings),
    )
    display = stack.enter_context(
      program.ProgressDisplay("video", every_secs=1.0)
    )
    results = evaluation.evaluate(
      predictor, batches, file.num_classes, settings.top_k, run, display
    )
  predictor.check()
  if folder:
    results_path = os.path.join(folder, train_dir.PREDICTIONS_RESULTS_FILE)
    utils.write_json(results_path, {"predictions": path, **results})
  logging.info(
    "%s | %s", path, evaluation.figures_of(results, file.num_classes)
  )
  return results


def evaluate_submission(settings: EvalSettings) -> dict[str, Any]:
  """MAP@K of a CSV of segments; there need not be a model.

  Returns:
    As `segments.score_rankings`.

  Raises:
    UserError: the CSV or a shard cannot be read, or no segment was rated.
  """
  path, folder = settings.segment_predictions, settings.eval_dir
  # Checked first: to read the shards may take long.
  if not utils.is_file(path):
    raise UserError(f"--segment_predictions={path!r}: there is no such file.")
  if folder:
    utils.make_writable_folder(folder, "eval_dir")
  with (
    experiment.start(settings, {}, cluster.alone(), None) as run,
    program.ProgressDisplay("shard", every_secs=2.0) as display,
  ):
    ratings = experiment.read_truth(
      run,
      "eval_data_pattern",
      lambda shards: _shown(shards, display),
      experiment.fold_of(settings),
    )
  rankings = segments.read_submission(path, "segment_predictions")
  results = segments.score_rankings(rankings, ratings)
  if folder:
    results_path = os.path.join(folder, train_dir.SEGMENT_RESULTS_FILE)
    utils.write_json(results_path, {"segment_predictions": path, **results})
  logging.info(
    "MAP@%d: %.5f | classes: %d, %d of them not in the file | segments: %d, %d "
    "of them unrated",
    *(segments.MOST_SEGMENTS, *results.values()),
  )
  return results


def _shown(shards, display: program.ProgressDisplay) -> Iterator[str]:
  """Yields shards, and shows how far their reader has come."""
  for number, shard in enumerate(shards):
    display.show(number, f"shard {number} of {len(shards)}")
    yield shard


def results_folder(settings: EvalSettings) -> str:
  """The folder for results and events."""
  return settings.eval_dir or os.path.join(
    settings.train_dir, train_dir.EVAL_DIR
  )


def open_events(settings: EvalSettings) -> evaluation.Events | None:
  """The events of the results' folder.

  Returns:
    None where one evaluation is to be shown and the folder cannot be written,
    as that of a model on read-only storage.

  Raises:
    UserError: the folder cannot be written, and `run_once` is not set.
  """
  folder = results_folder(settings)
  try:
    utils.make_writable_folder(folder, "eval_dir")
    return evaluation.Events(folder)
  except UserError as error:
    if not settings.run_once:
      raise
    logging.warning(
      "%s The results are only shown; --eval_dir puts them elsewhere.",
      error,
    )
    return None


def wait_for_model(folder: str, patience_secs: float):
  """Waits for a trainer that was started at the same time, but not for ever.

  A train dir that is mistyped shows when the time is over.
  """
  if train_dir.has_model(folder):
    return
  logging.info("Waiting for a trainer to begin in %s ...", folder)
  deadline = time.monotonic() + patience_secs
  while not train_dir.has_model(folder) and time.monotonic() < deadline:
    time.sleep(_POLL_SECS)


def follow(folder: str, evaluator: "Evaluator", workers: cluster.Workers):
  """Evaluates the latest checkpoint and then each new one, until stopped."""
  paths = itertools.repeat(None)  # The chief says what there is.
  if workers.is_chief:
    paths = restored_paths(folder, evaluator)
  try:
    for path in paths:
      if workers.agree([path is not None])[0, 0]:
        evaluator.evaluate(path)
      else:
        time.sleep(_POLL_SECS)
  except (KeyboardInterrupt, SystemExit):
    logging.info("Stopped by a signal.")


def restored_paths(folder: str, evaluator: "Evaluator") -> Iterator[str | None]:
  """Loads checkpoints as they appear, and yields their paths.

  Each is loaded once, in the order in which they were saved; those that the
  trainer has deleted before their turn came are passed over with a note. Yields
  None where there is no other yet.
  """
  seen: set[tuple[str, int]] = set()
  has_begun = False
  while True:
    paths = checkpoints.all_checkpoints(folder)
    new = [key for key in map(_checkpoint_key, paths) if key not in seen]
    if not new:
      yield None
      continue
    # At first only the latest checkpoint, or an older one if it is damaged.
    key = new[0] if has_begun else new[-1]
    seen.add(key)
    try:
      evaluator.restore(key[0])
    except checkpoints.UnreadableError as error:
      logging.warning("Skipped: %s", error)
      continue
    if not has_begun:
      seen.update(new)
      has_begun = True
    yield key[0]


def _checkpoint_key(path: str) -> tuple[str, int]:
  """Tells checkpoints apart, also those of a new model at the same step."""
  try:
    return path, tf.io.gfile.stat(f"{path}.index").mtime_nsec
  except tf.errors.OpError:
    return path, 0  # Deleted meanwhile; restoring it will say so.


class Evaluator:
  """Evaluates checkpoints of one train dir on one data set.

  Args:
    run_config: the train dir's configuration.
    run: the program's.

  Attributes:
    model: to be loaded with a checkpoint, by the chief.
  """

  def __init__(self, run_config: ExperimentConfig, run: experiment.Run):
    settings = run.settings
    self._run = run
    self._num_classes = run_config.num_classes
    self._batches = experiment.open_batches(
      run_config,
      run,
      "eval_data_pattern",
      settings.batch_size,
      fold=experiment.fold_of(settings),
      of_segments=settings.segment_labels,
    )
    jit_compile = settings.jit_compile
    self.model = experiment.build_model(run_config, jit_compile=jit_compile)
    self._predictor = evaluation.Predictor(
      self.model, experiment.build_loss(run_config), jit_compile=jit_compile
    )
    if run.workers.is_chief:
      self._events = open_events(settings)

  def restore(self, path: str):
    """Loads a checkpoint, at the chief.

    Raises:
      UnreadableError, UserError: as `checkpoints.restore_model`.
    """
    settings = self._run.settings
    checkpoints.restore_model(self.model, path, settings.use_ema)
    checkpoints.add_earlier_weights(
      self.model, path, settings.average_checkpoints, settings.use_ema
    )

  def evaluate(self, path: str | None) -> dict[str, Any] | None:
    """Evaluates what the chief has loaded; it shows and writes the results.

    Args:
      path: the checkpoint's; None for workers other than the chief.

    Returns:
      As `evaluation.evaluate`.
    """
    self._run.workers.copy_from_chief(self.model.variables)
    with program.ProgressDisplay("video", every_secs=1.0) as display:
      results = evaluation.evaluate(
        self._predictor,
        self._batches,
        self._num_classes,
        self._run.settings.top_k,
        self._run,
        display,
      )
    if results is None:
      return None
    step = checkpoints.step_of(path)
    if self._events:
      # Within the train dir, which may be moved.
      folder = self._run.settings.train_dir
      name = path.removeprefix(folder).lstrip("/")
      evaluation.write_results(
        self._events, step, {"checkpoint": name, **results}
      )
    logging.info(evaluation.summary_line(step, results, self._num_classes))
    if results["num_unlabeled_videos"]:
      logging.info(
        "%d of %d %s have no label; their PERR counts as 0.",
        results["num_unlabeled_videos"],
        results["num_videos"],
        "segments" if "map_at_k" in results else "videos",
      )
    return results


if __name__ == "__main__":
  run()
