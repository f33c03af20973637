# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Evaluates a trained model: Hit@1, PERR, mAP, GAP.

  python eval.py --eval_data_pattern='/path/to/validate*.tfrecord' \
    --train_dir=/path/to/model --run_once

Without --run_once it follows the train dir and evaluates new checkpoints as
they appear, until it is stopped. The model is rebuilt from the train dir.
"""

import itertools
import os
import time
from collections.abc import Iterator

import program  # Sets up the environment; before TensorFlow and Keras.

import tensorflow as tf
from absl import flags, logging

import bad_records
import checkpoints
import cluster
import evaluation
import experiment
import sources

FLAGS = flags.FLAGS

_POLL_SECS = 1.0
_PATIENCE_SECS = 30.0
_SHOW_EVERY_SECS = 1.0


def define_flags():
  """Defines the evaluator's flags."""
  flags.DEFINE_string(
    "eval_data_pattern",
    None,
    "Shards to evaluate on: a glob, or several separated by commas.",
    required=True,
    module_name="Data",
  )
  flags.DEFINE_integer(
    "batch_size",
    1024,
    "Videos per step; of several workers, of each.",
    lower_bound=1,
    upper_bound=experiment.MAX_BATCH_SIZE,
    module_name="Data",
  )
  experiment.define_train_dir_flags()
  flags.DEFINE_boolean(
    "run_once",
    False,
    "Evaluate the latest checkpoint and end, instead of following the trainer.",
    module_name="Evaluation",
  )
  flags.DEFINE_integer(
    "top_k",
    20,
    "Classes of each video that count for GAP and mAP.",
    lower_bound=1,
    module_name="Evaluation",
  )
  experiment.define_model_flags(defaults=None)
  cluster.define_flags()


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Evaluates as the flags say; returns the exit code."""
  experiment.use_job_dir()
  task = cluster.read_task()
  if not cluster.has_work(task):
    return 0
  with cluster.joined(task, FLAGS.worker_timeout_secs) as workers:
    experiment.check_same_flags(workers)
    evaluate_with(workers)
  return 0


def evaluate_with(workers: cluster.Workers):
  """Evaluates as the flags say, each worker a part of the videos.

  The chief alone reads and writes the train dir.
  """
  if workers.is_chief and not FLAGS.run_once:
    wait_for_model(FLAGS.train_dir)
  config = experiment.load_shared_config(FLAGS.train_dir, workers)
  report_path = os.path.join(
    FLAGS.train_dir, evaluation.EVAL_DIR, bad_records.REPORT_FILE
  )
  with experiment.noting_bad_records(report_path, workers) as left_out:
    shards, reader = experiment.open_shards(
      config,
      FLAGS.eval_data_pattern,
      "eval_data_pattern",
      FLAGS.num_readers,
      left_out=left_out,
    )
    experiment.check_same_shards(workers, shards, "eval_data_pattern")
    batches = reader.evaluation_batches(
      shards,
      FLAGS.batch_size,
      left_out=left_out,
      part=sources.Part(workers.index, workers.count),
    )
    top_k = min(FLAGS.top_k, config.num_classes)
    evaluator = Evaluator(
      config, FLAGS.train_dir, batches, top_k, FLAGS.jit_compile, workers
    )
    if FLAGS.run_once:
      evaluator.evaluate(evaluator.restore_latest() if workers.is_chief else 0)
    else:
      follow(FLAGS.train_dir, evaluator, workers)


def wait_for_model(train_dir: str):
  """Waits for a trainer that was started at the same time, but not for ever.

  A train dir that is mistyped shows after half a minute, or the time that is
  given to the trainer's workers.
  """
  patience = _PATIENCE_SECS
  if FLAGS["worker_timeout_secs"].present:
    patience = max(patience, FLAGS.worker_timeout_secs)
  deadline = time.monotonic() + patience
  while not experiment.has_model(train_dir) and time.monotonic() < deadline:
    if deadline - time.monotonic() > patience - _POLL_SECS:
      logging.info("Waiting for a trainer to begin in %s ...", train_dir)
    time.sleep(_POLL_SECS)


def follow(train_dir: str, evaluator: "Evaluator", workers: cluster.Workers):
  """Evaluates the latest checkpoint and then each new one, until stopped."""
  steps = itertools.repeat(None)  # The chief says what there is.
  if workers.is_chief:
    steps = restored_steps(train_dir, evaluator)
  try:
    for step in steps:
      is_new, step = workers.agree([step is not None, step or 0])[0]
      if is_new:
        evaluator.evaluate(int(step))
      else:
        time.sleep(_POLL_SECS)
  except (KeyboardInterrupt, SystemExit):
    logging.info("Stopped by a signal.")


def restored_steps(
  train_dir: str, evaluator: "Evaluator"
) -> Iterator[int | None]:
  """Loads checkpoints as they appear.

  Each is loaded once, in the order in which they were saved; those that the
  trainer has deleted before their turn came are passed over with a note.

  Yields:
    The step of the one that was loaded; None where there is no other yet.
  """
  seen: set[tuple[str, int]] = set()
  has_begun = False
  while True:
    paths = checkpoints.all_checkpoints(train_dir)
    new = [key for key in map(_checkpoint_key, paths) if key not in seen]
    if not new:
      yield None
      continue
    # At first only the latest: the older ones are of no interest any more,
    # unless it is damaged.
    key = new[0] if has_begun else new[-1]
    seen.add(key)
    try:
      step = evaluator.restore(key[0])
    except checkpoints.UnreadableError as error:
      logging.warning("Skipped: %s", error)
      continue
    if not has_begun:
      seen.update(new)
      has_begun = True
    yield step


def _checkpoint_key(path: str) -> tuple[str, int]:
  """Tells checkpoints apart, also those of a new model at the same step."""
  try:
    return path, tf.io.gfile.stat(f"{path}.index").mtime_nsec
  except tf.errors.OpError:
    return path, 0  # Deleted meanwhile; restoring it will say so.


class Evaluator:
  """Evaluates checkpoints of one train dir on one data set.

  Args:
    config: the train dir's configuration.
    train_dir: results go to its folder `eval`.
    batches: the batches to evaluate on; this worker's.
    top_k: classes of each video that count for GAP and mAP.
    jit_compile: whether to compile with XLA.
    workers: those that evaluate together.
  """

  def __init__(self, config, train_dir, batches, top_k, jit_compile, workers):
    self._train_dir = train_dir
    self._num_classes = config.num_classes
    self._top_k = top_k
    self._batches = batches
    self._workers = workers
    self._model = experiment.build_model(config)
    self._evaluation_step = evaluation.make_evaluation_step(
      config, self._model, experiment.build_loss(config), jit_compile
    )
    self._eval_dir = os.path.join(train_dir, evaluation.EVAL_DIR)
    if workers.is_chief:
      self._writer = evaluation.make_writer(self._eval_dir)

  def restore_latest(self) -> int:
    """Loads the latest checkpoint, as `checkpoints.restore_latest_model`."""
    return checkpoints.restore_latest_model(self._model, self._train_dir)

  def restore(self, path: str) -> int:
    """Loads a checkpoint, as `checkpoints.restore_model`; returns its step."""
    checkpoints.restore_model(self._model, path)
    return checkpoints.step_of(path)

  def evaluate(self, step: int) -> dict | None:
    """Evaluates what the chief has loaded; it shows and writes the results.

    Args:
      step: that of the checkpoint; only the chief's counts.

    Returns:
      As `evaluation.evaluate`.
    """
    self._workers.copy_from_chief(self._model.variables)
    results = self._evaluate()
    if results is None:
      return None
    evaluation.write_results(self._eval_dir, self._writer, step, results)
    logging.info(evaluation.summary_line(step, results, self._num_classes))
    if results["num_unlabeled_videos"]:
      logging.info(
        "%d of %d videos have no label; their PERR counts as 0.",
        results["num_unlabeled_videos"],
        results["num_videos"],
      )
    return results

  def _evaluate(self) -> dict | None:
    """`evaluation.evaluate`, with a progress display."""
    with program.ProgressDisplay("video") as display:
      shown = [0.0]

      def show(num_videos, rate, metrics):
        now = time.monotonic()
        if now - shown[0] < _SHOW_EVERY_SECS:
          return
        shown[0] = now
        line = (
          f"examples processed: {num_videos} | Examples/sec: {rate:.1f} | "
          f"Hit@1: {metrics['hit_at_one']:.3f} PERR: {metrics['perr']:.3f} "
          f"Loss: {metrics['loss']:.3f}"
        )
        display.show(num_videos, line, examples_per_sec=f"{rate:.0f}")

      return evaluation.evaluate(
        self._evaluation_step,
        self._batches,
        self._num_classes,
        self._top_k,
        show,
        workers=self._workers,
      )


if __name__ == "__main__":
  run()
