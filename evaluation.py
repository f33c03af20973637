# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""A model over batches: the one stream of predictions, and the metrics of it.

`Predictor` yields what a model says of each video, without padding. What
consumes that stream, as metrics here and the CSV of inference.py do, ranks and
reduces on its own worker before anything is gathered. While numpy works on one
batch, the model predicts the next.
"""

import contextlib
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import program
from program import UserError

import numpy as np
import tensorflow as tf
from absl import logging

import eval_util
import experiment
import segments
import train_dir as train_dirs
import utils

# TensorBoard's tag of each result.
_TAGS = {
  "hit_at_one": "Epoch/Eval_Avg_Hit@1",
  "perr": "Epoch/Eval_Avg_Perr",
  "map": "Epoch/Eval_MAP",
  "gap": "Epoch/Eval_GAP",
  "map_at_k": "Epoch/Eval_MAP@K",
  "loss": "Epoch/Eval_Avg_Loss",
  "videos_per_second": "Epoch/Eval_Examples/Second",
}


class Predictions(NamedTuple):
  """The predictions of a model for the N videos of a batch.

  Attributes:
    video_ids: [N] bytes.
    predictions: [N, num_classes] float32.
    labels: [N, num_classes] float32 in {0, 1}; None where they are not known.
    losses: [N] float32, the label losses; None without a loss.
    num_frames: [N] int32, each video's own frames; None of files.
    outputs: name -> [N, ...], the model's further outputs that were asked for.
    segment_starts: [N] int64 seconds, where a row is a segment; else None.
    label_weights: [N, num_classes] float32, 1 where a class was rated; None
      where all were.
  """

  video_ids: np.ndarray
  predictions: np.ndarray
  labels: np.ndarray | None
  losses: np.ndarray | None
  num_frames: np.ndarray | None
  outputs: dict[str, np.ndarray]
  segment_starts: np.ndarray | None = None
  label_weights: np.ndarray | None = None

  @property
  def rated_scores(self) -> np.ndarray:
    """The predictions, without those of classes that were not rated."""
    if self.label_weights is None:
      return self.predictions
    return eval_util.of_rated_classes(self.predictions, self.label_weights)


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
      UserError: a prediction is not finite; the message names the video.
    """
    with utils.one_ahead(map(self._of_batch, batches)) as predictions:
      for item in predictions:
        _check_finite(item)
        yield item

  def _of_batch(self, batch: dict) -> Predictions:
    num_rows = int(np.count_nonzero(batch["weights"].numpy()))
    predictions, losses, outputs = self._predict(batch)

    def without_padding(tensor):
      return tensor.numpy()[:num_rows]

    of_segments = {
      key: without_padding(batch[key])
      for key in ("segment_starts", "label_weights")
      if key in batch
    }
    return Predictions(
      video_ids=without_padding(batch["video_ids"]),
      predictions=without_padding(predictions),
      labels=without_padding(batch["labels"]),
      losses=None if losses is None else without_padding(losses),
      num_frames=without_padding(batch["num_frames"]),
      outputs={name: without_padding(outputs[name]) for name in outputs},
      **of_segments,
    )


def _make_prediction_step(model, loss, outputs: Sequence[str], jit_compile):
  """A function from a batch to predictions, losses and further outputs."""
  losses_of = tf.function(
    functools.partial(experiment.label_losses, loss),
    jit_compile=jit_compile,
    autograph=False,
  )

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


def _check_finite(item: Predictions):
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
  items: Iterable[Sequence[np.ndarray]], run: experiment.Run
) -> Iterator[Sequence[np.ndarray]]:
  """Yields the chief the items of all workers; then adds up bad records.

  Raises:
    UserError: all workers together had to leave out too much.
  """
  yield from run.workers.collect(items)
  experiment.gather_bad_records(run)


def evaluate(
  predictor: Predictor,
  batches: Iterable[dict],
  num_classes: int,
  top_k: int,
  run: experiment.Run,
  display: program.ProgressDisplay | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
  """Metrics over all the batches; every video counts once.

  Args:
    predictor: with the label loss.
    batches: of this worker's part of the videos (readers.py).
    num_classes: number of classes.
    top_k: classes of each video that count for GAP and mAP.
    run: the program's.
    display: shows how far the evaluation has come.
    should_stop: asked before each batch is counted whether to give up.

  Returns:
    What `eval_results.json` holds, without the step; None if it was stopped,
    and for workers other than the chief.

  Raises:
    UserError: a prediction is not finite, there is no video, or none of them
      has a label.
  """
  metrics = eval_util.EvaluationMetrics(num_classes, top_k)
  map_at_k = None
  num_videos, start = 0, time.monotonic()
  ranked_batches = (
    (
      *eval_util.rank_predictions(item.rated_scores, item.labels, top_k),
      item.losses,
      *_rated_pairs(item),
    )
    for item in predictor.predictions(batches)
  )
  num_ranked = len(eval_util.RankedPredictions._fields)
  for parts in collect(ranked_batches, run):
    if should_stop():
      return None
    losses, pairs = parts[num_ranked], parts[num_ranked + 1 :]
    figures = metrics.accumulate_ranked(parts[:num_ranked], losses)
    if pairs:
      map_at_k = map_at_k or segments.MapAtK(num_classes)
      map_at_k.accumulate(segments.RatedPairs(*pairs))
    num_videos += len(losses)
    if display:
      rate = num_videos / (time.monotonic() - start)
      line = (
        f"examples processed: {num_videos} | Examples/sec: {rate:.1f} | "
        f"Hit@1: {figures['hit_at_one']:.3f} PERR: {figures['perr']:.3f} "
        f"Loss: {figures['loss']:.3f}"
      )
      display.show(num_videos, line, examples_per_sec=f"{rate:.0f}")
  if not run.workers.is_chief:
    return None
  if not num_videos:
    raise UserError(
      "There is no video to evaluate on: the shards, or the --fold of them, "
      "are empty."
    )
  rate = num_videos / (time.monotonic() - start)
  results = _results(metrics.get(), rate)
  if map_at_k:
    results |= map_at_k.get()
  if results["num_unlabeled_videos"] == num_videos:
    raise UserError(
      f"None of the {num_videos:,} videos has a label: there is nothing to "
      "evaluate, and no result is written. Test shards are only for "
      "inference.py."
    )
  return results


def _rated_pairs(item: Predictions) -> Sequence[np.ndarray]:
  """What MAP@K needs of a batch, where a row is a segment; else nothing."""
  if item.label_weights is None:
    return ()
  return segments.rated_pairs(item.predictions, item.labels, item.label_weights)


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
  return f"epoch/eval number {step} | {figures_of(results, num_classes)}"


def figures_of(results: dict[str, Any], num_classes: int) -> str:
  """The metrics of a line."""
  map_at_k = ""
  if "map_at_k" in results:
    map_at_k = f"MAP@{segments.MOST_SEGMENTS}: {results['map_at_k']:.3f} | "
  return (
    f"Avg_Hit@1: {results['hit_at_one']:.3f} | "
    f"Avg_PERR: {results['perr']:.3f} | MAP: {results['map']:.3f} | "
    f"GAP: {results['gap']:.3f} | Avg_Loss: {results['loss']:.3f} | "
    f"{map_at_k}num_classes: {num_classes}"
  )


class Events:
  """TensorBoard events of a folder.

  Events that cannot be written are lost, and one warning says so: a model and
  its results are worth more than their curves.

  Args:
    folder: an attribute, too; is made where it is not there.
    flush_secs: how long scalars may wait for later ones. On gs://, each flush
      uploads the whole file.

  Raises:
    UserError: the folder cannot be made.
  """

  def __init__(self, folder: str, flush_secs: float = 0.0):
    utils.make_folder(folder, "train_dir")
    self.folder = folder
    self._has_warned = False
    self._waiting = []  # Scalars: step, and tag -> value.
    self._flush_secs = flush_secs
    self._last_flush = -math.inf
    self._writer = tf.summary.create_noop_writer()
    with self._losing_events():
      self._writer = tf.summary.create_file_writer(
        folder, max_queue=10_000, flush_millis=3_600_000
      )

  @contextlib.contextmanager
  def of_step(self, step: int) -> Iterator[None]:
    """Context in which tf.summary writes events of a step."""
    with self._losing_events(), self._writer.as_default(step):
      yield
      for other_step, values in self._waiting:
        for tag, value in values.items():
          tf.summary.scalar(tag, value, other_step)
      self._waiting.clear()
      self._last_flush = time.monotonic()  # The end of the context flushes.

  def add_scalars(self, step: int, values: Mapping[str, float]):
    """Writes the value of each tag."""
    self._waiting.append((step, values))
    if time.monotonic() - self._last_flush >= self._flush_secs:
      self._flush()

  def close(self):
    """Writes what is left."""
    self._flush()
    with self._losing_events():
      self._writer.close()

  def _flush(self):
    with self.of_step(0):
      pass

  @contextlib.contextmanager
  def _losing_events(self) -> Iterator[None]:
    try:
      yield
    # A graph may be too large to be written, and memory may not suffice.
    except (tf.errors.OpError, OSError, MemoryError, ValueError) as error:
      # TensorFlow's message may have several lines that all name the file.
      text = utils.error_text(error) or type(error).__name__
      cause = text.splitlines()[0]
      if not self._has_warned:
        self._has_warned = True
        logging.warning(
          "Events cannot be written to %r: %s", self.folder, cause
        )


def write_results(events: Events, step: int, results: Mapping[str, Any]):
  """Writes results to `eval_results.json` and, beside it, to TensorBoard.

  Raises:
    UserError: the file cannot be written.
  """
  path = os.path.join(events.folder, train_dirs.EVAL_RESULTS_FILE)
  utils.write_json(path, {"step": step, **results})
  events.add_scalars(
    step, {tag: results[name] for name, tag in _TAGS.items() if name in results}
  )
