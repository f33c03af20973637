# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""One pass over a labelled data set, for eval.py and for train.py.

While numpy adds a batch to the metrics, the model predicts the next one.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from program import UserError

import numpy as np
import tensorflow as tf

import cluster
import eval_util
import experiment
import utils

EVAL_DIR = "eval"
RESULTS_FILE = "eval_results.json"


def make_evaluation_step(config, model, loss, jit_compile: bool):
  """A function that evaluates one batch.

  Args:
    config: `experiment.ExperimentConfig`.
    model: from `experiment.build_model`.
    loss: the label loss.
    jit_compile: whether to compile with XLA.

  Returns:
    A function from a batch to predictions, [batch, num_classes] float32, and
    the label losses, [batch] float32.
  """
  forward = make_forward(config, model, jit_compile)

  @tf.function(jit_compile=jit_compile, autograph=False)
  def losses_of(outputs, labels):
    return experiment.label_losses(loss, outputs, labels)

  @tf.function(autograph=False)
  def evaluation_step(batch):
    outputs = forward(batch)
    return outputs["predictions"], losses_of(outputs, batch["labels"])

  return evaluation_step


def make_forward(config, model, jit_compile: bool):
  """A function from a batch to the model's outputs, outside of training.

  Args:
    config: `experiment.ExperimentConfig`.
    model: from `experiment.build_model`.
    jit_compile: whether XLA may compile it.
  """

  @tf.function(
    jit_compile=jit_compile and experiment.compiles_well(config),
    autograph=False,
  )
  def forward(inputs):
    return model(inputs, training=False)

  return lambda batch: forward(
    {key: batch[key] for key in ("features", "num_frames")}
  )


def refuse_not_finite(predictions: np.ndarray, video_ids: np.ndarray):
  """Raises a UserError if predictions are not finite.

  Args:
    predictions: [N, num_classes] float.
    video_ids: [N] bytes; the error names the first with such a prediction.
  """
  is_finite = np.isfinite(predictions).all(axis=1)
  if not is_finite.all():
    video_id = video_ids[int(np.argmin(is_finite))].decode(errors="replace")
    raise UserError(
      f"The model's predictions for video {video_id!r} are not finite. Does "
      "the model divide by the number of frames, which may be 0, or take the "
      "logarithm of 0?"
    )


def evaluate(
  evaluation_step,
  batches,
  num_classes: int,
  top_k: int,
  on_batch: Callable[[int, float, dict[str, float]], None] | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  workers: cluster.Workers | None = None,
) -> dict[str, Any] | None:
  """Metrics over all the batches; every video counts once.

  Args:
    evaluation_step: made by `make_evaluation_step`.
    batches: an iterable of batches (readers.py); of several workers, each has
      those of its part of the videos.
    num_classes: number of classes.
    top_k: classes of each video that count for GAP and mAP.
    on_batch: called after each batch with the number of videos so far, videos
      per second, and the batch's metrics.
    should_stop: asked before each batch is counted whether to give up.
    workers: those that evaluate together; None where this one is alone.

  Returns:
    "hit_at_one", "perr", "map", "gap", "loss", and the counts "num_videos",
    "num_unlabeled_videos", "num_classes_with_labels", "videos_per_second";
    None if it was stopped, and for workers other than the chief.

  Raises:
    UserError: a prediction is not finite, or there is no video.
  """
  metrics = eval_util.EvaluationMetrics(num_classes, top_k)
  num_videos, start = 0, time.monotonic()
  with utils.one_ahead(_evaluated(evaluation_step, batches)) as evaluated:
    ranked_batches = _ranked(evaluated, min(top_k, num_classes))
    if workers:
      ranked_batches = workers.collect(ranked_batches)
    for *ranked, label_losses in ranked_batches:
      if should_stop():
        return None
      batch_metrics = metrics.accumulate_ranked(ranked, label_losses)
      num_videos += len(label_losses)
      if on_batch:
        rate = num_videos / (time.monotonic() - start)
        on_batch(num_videos, rate, batch_metrics)
  if workers and not workers.is_chief:
    return None
  if not num_videos:
    raise UserError("There is no video to evaluate on: the shards are empty.")
  rate = num_videos / (time.monotonic() - start)
  return _results(metrics.get(), rate)


def _evaluated(evaluation_step, batches):
  """Yields (ids, predictions, labels, losses), without rows of padding."""
  for batch in batches:
    num_real = int(np.count_nonzero(batch["weights"].numpy()))
    predictions, label_losses = evaluation_step(batch)
    tensors = batch["video_ids"], predictions, batch["labels"], label_losses
    yield tuple(tensor.numpy()[:num_real] for tensor in tensors)


def _ranked(evaluated, top_k: int):
  """Yields the fields of `RankedPredictions`, and losses, of each batch."""
  for video_ids, predictions, labels, label_losses in evaluated:
    if not np.isfinite(label_losses).all():
      refuse_not_finite(predictions, video_ids)
    try:
      ranked = eval_util.rank_predictions(predictions, labels, top_k)
    except ValueError:
      refuse_not_finite(predictions, video_ids)
      raise
    yield *ranked, label_losses


def _results(values: dict[str, Any], videos_per_second: float):
  aps = np.asarray(values["aps"])
  return {
    "hit_at_one": float(values["avg_hit_at_one"]),
    "perr": float(values["avg_perr"]),
    "map": float(aps.mean()) if aps.size else 0.0,
    "gap": float(values["gap"]),
    "loss": float(values["avg_loss"]),
    "num_videos": int(values["num_videos"]),
    "num_unlabeled_videos": int(values["num_unlabeled_videos"]),
    "num_classes_with_labels": int(aps.size),
    "videos_per_second": videos_per_second,
  }


def summary_line(step: int, results: dict[str, Any], num_classes: int) -> str:
  """The line that users of the starter code know."""
  return (
    f"epoch/eval number {step} | Avg_Hit@1: {results['hit_at_one']:.3f} | "
    f"Avg_PERR: {results['perr']:.3f} | MAP: {results['map']:.3f} | "
    f"GAP: {results['gap']:.3f} | Avg_Loss: {results['loss']:.3f} | "
    f"num_classes: {num_classes}"
  )


def make_writer(eval_dir: str) -> tf.summary.SummaryWriter:
  """A writer of TensorBoard events.

  Raises:
    UserError: the folder cannot be written.
  """
  utils.make_folder(eval_dir, "train_dir")
  with clear_event_errors(eval_dir):
    return tf.summary.create_file_writer(eval_dir)


@contextlib.contextmanager
def clear_event_errors(folder: str) -> Iterator[None]:
  """Context that writes TensorBoard events to a folder.

  Raises:
    UserError: they cannot be written.
  """
  try:
    yield
  except tf.errors.OpError as error:
    # There may be several lines, of which each names the file.
    cause = utils.error_text(error).splitlines()[0]
    raise UserError(
      f"Events cannot be written to {folder!r}: {cause}"
    ) from error


def write_results(
  eval_dir: str, writer: tf.summary.SummaryWriter, step: int, results
):
  """Writes the results to `eval_results.json` and to TensorBoard.

  Raises:
    UserError: they cannot be written.
  """
  path = os.path.join(eval_dir, RESULTS_FILE)
  utils.write_json(path, {"step": step, **results})
  with clear_event_errors(eval_dir), writer.as_default(step=step):
    for name, tag in (
      ("hit_at_one", "Epoch/Eval_Avg_Hit@1"),
      ("perr", "Epoch/Eval_Avg_Perr"),
      ("map", "Epoch/Eval_MAP"),
      ("gap", "Epoch/Eval_GAP"),
      ("loss", "Epoch/Eval_Avg_Loss"),
      ("videos_per_second", "Epoch/Eval_Examples/Second"),
    ):
      tf.summary.scalar(tag, results[name])
