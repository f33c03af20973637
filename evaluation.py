# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""A model over batches: the one stream of predictions, and the metrics of it.

`Predictor` yields what a model says of each video, without padding. Metrics
here, the CSV of inference.py and whatever else looks at predictions consume
that stream; each ranks and reduces on its own worker before anything is
gathered. While numpy works on one batch, the model predicts the next.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from program import UserError

import numpy as np
import tensorflow as tf

import cluster
import eval_util
import experiment
import train_dir as train_dirs
import utils
from bad_records import BadRecords


class Predictions(NamedTuple):
  """What a model says of the N videos of a batch.

  Attributes:
    video_ids: [N] bytes.
    predictions: [N, num_classes] float32.
    labels: [N, num_classes] float32 in {0, 1}.
    losses: [N] float32, the label losses; None without a loss.
    num_frames: [N] int32, each video's own frames.
    outputs: name -> [N, ...], the model's further outputs that were asked for.
  """

  video_ids: np.ndarray
  predictions: np.ndarray
  labels: np.ndarray
  losses: np.ndarray | None
  num_frames: np.ndarray
  outputs: dict[str, np.ndarray]


class Predictor:
  """A model outside of training.

  Args:
    model: from `experiment.build_model`.
    loss: the label loss; None for batches without labels.
    outputs: names of further outputs of the model to give.
    jit_compile: whether XLA may compile the loss.
  """

  def __init__(
    self, model, loss=None, outputs: Sequence[str] = (), jit_compile=True
  ):
    self.model = model
    self._predict = _make_prediction_step(model, loss, outputs, jit_compile)

  def predictions(self, batches: Iterable[dict]) -> Iterator[Predictions]:
    """Yields what the model says of each batch (readers.py).

    Raises:
      UserError: a loss is not finite since a prediction is not.
    """
    with utils.one_ahead(self._predicted(batches)) as predicted:
      for item in predicted:
        if item.losses is not None and not np.isfinite(item.losses).all():
          refuse_not_finite(item)
        yield item

  def _predicted(self, batches) -> Iterator[Predictions]:
    for batch in batches:
      num_rows = int(np.count_nonzero(batch["weights"].numpy()))
      predictions, losses, outputs = self._predict(batch)
      tensors = Predictions(
        batch["video_ids"],
        predictions,
        batch["labels"],
        losses,
        batch["num_frames"],
        outputs,
      )
      yield tf.nest.map_structure(
        lambda tensor, num_rows=num_rows: (
          None if tensor is None else tensor.numpy()[:num_rows]
        ),
        tensors,
      )


def _make_prediction_step(model, loss, outputs: Sequence[str], jit_compile):
  """A function from a batch to predictions, losses and further outputs."""

  @tf.function(jit_compile=jit_compile, autograph=False)
  def losses_of(model_outputs, labels, label_weights):
    return experiment.label_losses(loss, model_outputs, labels, label_weights)

  @tf.function(autograph=False)
  def prediction_step(batch):
    inputs = {key: batch[key] for key in ("features", "num_frames")}
    model_outputs = model(inputs, training=False)
    losses = None
    if loss:
      losses = losses_of(
        model_outputs, batch["labels"], batch.get("label_weights")
      )
    further = {name: model_outputs[name] for name in outputs}
    return model_outputs["predictions"], losses, further

  return prediction_step


def refuse_not_finite(item: Predictions):
  """Raises a UserError that names the first video with a bad prediction."""
  is_finite = np.isfinite(item.predictions).all(axis=1)
  if not is_finite.all():
    video_id = item.video_ids[int(np.argmin(is_finite))]
    raise UserError(
      f"The model's predictions for video "
      f"{video_id.decode(errors='replace')!r} are not finite. Does "
      "the model divide by the number of frames, which may be 0, or take the "
      "logarithm of 0?"
    )


def collect(
  items: Iterable[Sequence[np.ndarray]],
  left_out: BadRecords | None,
  workers: cluster.Workers,
) -> Iterator[Sequence[np.ndarray]]:
  """Yields the chief the items of all workers; then adds up bad records.

  Raises:
    UserError: all workers together had to leave out too much.
  """
  yield from workers.collect(items)
  experiment.gather_bad_records(left_out, workers)


def evaluate(
  predictor: Predictor,
  batches: Iterable[dict],
  num_classes: int,
  top_k: int,
  on_batch: Callable[[int, float, dict[str, float]], None] | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  left_out: BadRecords | None = None,
  workers: cluster.Workers | None = None,
) -> dict[str, Any] | None:
  """Metrics over all the batches; every video counts once.

  Args:
    predictor: with the label loss.
    batches: an iterable of batches (readers.py); of several workers, each has
      those of its part of the videos.
    num_classes: number of classes.
    top_k: classes of each video that count for GAP and mAP.
    on_batch: called after each batch with the number of videos so far, videos
      per second, and the batch's metrics.
    should_stop: asked before each batch is counted whether to give up.
    left_out: has taken note of bad records; None where they are not left out.
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
  ranked_batches = _ranked(
    predictor.predictions(batches), min(top_k, num_classes)
  )
  if workers:
    ranked_batches = collect(ranked_batches, left_out, workers)
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


def _ranked(items: Iterable[Predictions], top_k: int):
  """Yields the fields of `RankedPredictions`, and losses, of each batch."""
  for item in items:
    try:
      ranked = eval_util.rank_predictions(item.predictions, item.labels, top_k)
    except ValueError:
      refuse_not_finite(item)
      raise
    yield *ranked, item.losses


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
  path = os.path.join(eval_dir, train_dirs.EVAL_RESULTS_FILE)
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
