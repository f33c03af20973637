# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
r"""Evaluates a trained model: Hit@1, PERR, mAP, GAP.

  python eval.py --eval_data_pattern='/path/to/validate*.tfrecord' \
    --train_dir=/path/to/model --run_once

Without --run_once it follows the train dir and evaluates new checkpoints as
they appear, until it is stopped. The model is rebuilt from the train dir.
"""

import os
import time

import program  # Sets up the environment; before TensorFlow and Keras.
from program import UserError

import tensorflow as tf
from absl import flags, logging

import checkpoints
import evaluation
import experiment
import utils

FLAGS = flags.FLAGS

_POLL_SECS = 1.0
# How often --run_once takes a newer checkpoint when the trainer deletes the
# one it was about to read.
_MAX_TRIES = 10


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
    "batch_size", 1024, "Videos per step.", lower_bound=1, module_name="Data"
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


def run():
  """Entry point of the console script."""
  program.run(main, define_flags)


def main() -> int:
  """Evaluates as the flags say; returns the exit code."""
  config = experiment.load_config(FLAGS.train_dir)
  shards, reader = experiment.open_shards(
    config, FLAGS.eval_data_pattern, "eval_data_pattern", FLAGS.num_readers
  )
  evaluator = Evaluator(
    config,
    FLAGS.train_dir,
    reader.evaluation_batches(shards, FLAGS.batch_size),
    min(FLAGS.top_k, config.num_classes),
    FLAGS.jit_compile,
  )
  if FLAGS.run_once:
    evaluate_latest(FLAGS.train_dir, evaluator)
  else:
    follow(FLAGS.train_dir, evaluator)
  return 0


def evaluate_latest(train_dir: str, evaluator: "Evaluator"):
  """Evaluates the latest checkpoint.

  Raises:
    UserError: there is none that can be read.
  """
  for attempt in range(_MAX_TRIES):
    path = checkpoints.latest_checkpoint(train_dir)
    if not path:
      raise UserError(
        f"--train_dir={train_dir!r} has no checkpoint yet. Train a model there "
        "first: python train.py --train_dir=... --train_data_pattern=..."
      )
    try:
      evaluator.restore(path)
      break
    except tf.errors.OpError as error:
      if attempt == _MAX_TRIES - 1:
        raise UserError(
          f"{path!r} cannot be read: {utils.error_text(error)}"
        ) from error
  evaluator.evaluate()


def follow(train_dir: str, evaluator: "Evaluator"):
  """Evaluates each new checkpoint once, until a signal stops it."""
  seen = None
  try:
    while True:
      path = checkpoints.latest_checkpoint(train_dir)
      if not path or path == seen:
        time.sleep(_POLL_SECS)
        continue
      seen = path
      try:
        evaluator.restore(path)
      except tf.errors.OpError as error:
        # The trainer keeps only the latest few; there is a newer one then.
        logging.warning("Skipped %s: %s", path, utils.error_text(error))
        continue
      evaluator.evaluate()
  except (KeyboardInterrupt, SystemExit):
    logging.info("Stopped by a signal.")


class Evaluator:
  """Evaluates checkpoints of one train dir on one data set.

  Args:
    config: the train dir's configuration.
    train_dir: results go to its folder `eval`.
    batches: the batches to evaluate on.
    top_k: classes of each video that count for GAP and mAP.
    jit_compile: whether to compile with XLA.
  """

  def __init__(self, config, train_dir, batches, top_k, jit_compile):
    self._num_classes = config.num_classes
    self._top_k = top_k
    self._batches = batches
    self._model = experiment.build_model(config)
    self._evaluation_step = evaluation.make_evaluation_step(
      self._model, experiment.build_loss(config), top_k, jit_compile
    )
    self._eval_dir = os.path.join(train_dir, evaluation.EVAL_DIR)
    self._writer = tf.summary.create_file_writer(self._eval_dir)
    self._step = None

  def restore(self, path: str):
    """Loads a checkpoint; raises as `checkpoints.restore_model`."""
    checkpoints.restore_model(self._model, path)
    self._step = checkpoints.step_of(path)

  def evaluate(self) -> dict:
    """Evaluates the checkpoint that was loaded, shows and writes results."""
    with program.ProgressDisplay("video") as display:

      def show(num_videos, rate, metrics):
        line = (
          f"examples processed: {num_videos} | Examples/sec: {rate:.1f} | "
          f"Hit@1: {metrics['hit_at_one']:.3f} PERR: {metrics['perr']:.3f} "
          f"Loss: {metrics['loss']:.3f}"
        )
        display.show(num_videos, line, examples_per_sec=f"{rate:.0f}")

      results = evaluation.evaluate(
        self._evaluation_step,
        self._batches,
        self._num_classes,
        self._top_k,
        show,
      )
    evaluation.write_results(self._eval_dir, self._writer, self._step, results)
    logging.info(
      evaluation.summary_line(self._step, results, self._num_classes)
    )
    if results["num_unlabeled_videos"]:
      logging.info(
        "%d of %d videos have no label; their PERR counts as 0.",
        results["num_unlabeled_videos"],
        results["num_videos"],
      )
    return results


if __name__ == "__main__":
  run()
