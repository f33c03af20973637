# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""One pass over a labelled data set, for eval.py and for train.py.

The ranking is done in the graph: only each video's best classes leave it.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from program import UserError

import numpy as np
import tensorflow as tf

import eval_util
import experiment
import utils

EVAL_DIR = "eval"
RESULTS_FILE = "eval_results.json"


def rank(predictions, labels, top_k: int):
  """`eval_util.rank_predictions`, as TensorFlow ops.

  Args:
    predictions: [batch, num_classes] float32.
    labels: [batch, num_classes] float32 in {0, 1}.
    top_k: classes kept of each video; more where a video has more labels,
      since PERR needs as many.

  Returns:
    A tuple of tensors in the order of `eval_util.RankedPredictions`.
  """
  num_labels = tf.cast(tf.reduce_sum(labels, axis=1), tf.int32)
  depth = tf.maximum(top_k, tf.reduce_max(num_labels))
  depth = tf.minimum(depth, predictions.shape[1])
  scores, classes = tf.math.top_k(predictions, depth)
  correct = tf.gather(labels, classes, batch_dims=1) > 0
  positives = tf.cast(tf.reduce_sum(labels, axis=0), tf.int64)
  return scores, classes, correct, num_labels, positives


def to_ranked(tensors, num_videos: int) -> eval_util.RankedPredictions:
  """The tensors of `rank` as numpy, without the rows of padding."""
  *rows, positives = (tensor.numpy() for tensor in tensors)
  return eval_util.RankedPredictions(
    *(row[:num_videos] for row in rows), positives
  )


def make_evaluation_step(model, loss, top_k: int, jit_compile: bool):
  """A function that evaluates one batch.

  Args:
    model: from `experiment.build_model`.
    loss: the label loss.
    top_k: as in `rank`.
    jit_compile: whether to compile the model and the loss with XLA.

  Returns:
    A function from a batch to the tensors of `rank`, the label losses, [batch]
    float32, and whether a row's predictions are all finite, [batch] bool.
  """

  @tf.function(jit_compile=jit_compile, autograph=False)
  def forward(inputs, labels):
    outputs = model(inputs, training=False)
    label_losses = experiment.label_losses(loss, outputs, labels)
    return outputs["predictions"], label_losses

  @tf.function(autograph=False)
  def evaluation_step(batch):
    inputs = {key: batch[key] for key in ("features", "num_frames")}
    predictions, label_losses = forward(inputs, batch["labels"])
    ranked = rank(predictions, batch["labels"], top_k)
    return ranked, label_losses, finite_rows(predictions)

  return evaluation_step


def finite_rows(predictions):
  """[batch] bool: whether all of a row of [batch, num_classes] are finite."""
  return tf.reduce_all(tf.math.is_finite(predictions), axis=1)


def refuse_not_finite(is_finite: np.ndarray, video_ids: np.ndarray):
  """Raises a UserError that names the first video whose row is not finite."""
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
) -> dict[str, Any] | None:
  """Metrics over all the batches; every video counts once.

  Args:
    evaluation_step: made by `make_evaluation_step`.
    batches: an iterable of batches (readers.py).
    num_classes: number of classes.
    top_k: classes of each video that count for GAP and mAP.
    on_batch: called after each batch with the number of videos so far, videos
      per second, and the batch's metrics.
    should_stop: asked before each batch whether to give up.

  Returns:
    "hit_at_one", "perr", "map", "gap", "loss", and the counts "num_videos",
    "num_unlabeled_videos", "num_classes_with_labels", "videos_per_second";
    None if it was stopped.

  Raises:
    UserError: a prediction is not finite, or there is no video.
  """
  metrics = eval_util.EvaluationMetrics(num_classes, top_k)
  num_videos, start = 0, time.monotonic()
  for batch in batches:
    if should_stop():
      return None
    ranked, label_losses, is_finite = evaluation_step(batch)
    num_real = int(np.count_nonzero(batch["weights"].numpy()))
    refuse_not_finite(is_finite.numpy()[:num_real], batch["video_ids"].numpy())
    batch_metrics = metrics.accumulate_ranked(
      to_ranked(ranked, num_real), label_losses.numpy()[:num_real]
    )
    num_videos += num_real
    if on_batch:
      rate = num_videos / (time.monotonic() - start)
      on_batch(num_videos, rate, batch_metrics)
  if not num_videos:
    raise UserError("There is no video to evaluate on: the shards are empty.")
  rate = num_videos / (time.monotonic() - start)
  return _results(metrics.get(), rate)


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
  try:
    return tf.summary.create_file_writer(eval_dir)
  except tf.errors.OpError as error:
    raise UserError(
      f"{eval_dir!r} cannot be written: {utils.error_text(error)}"
    ) from error


def write_results(
  eval_dir: str, writer: tf.summary.SummaryWriter, step: int, results
):
  """Writes the results to TensorBoard and to `eval_results.json`."""
  with writer.as_default(step=step):
    for name, tag in (
      ("hit_at_one", "Epoch/Eval_Avg_Hit@1"),
      ("perr", "Epoch/Eval_Avg_Perr"),
      ("map", "Epoch/Eval_MAP"),
      ("gap", "Epoch/Eval_GAP"),
      ("loss", "Epoch/Eval_Avg_Loss"),
      ("videos_per_second", "Epoch/Eval_Examples/Second"),
    ):
      tf.summary.scalar(tag, results[name])
  writer.flush()
  path = os.path.join(eval_dir, RESULTS_FILE)
  utils.write_json(path, {"step": step, **results})
