# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Hit@1, PERR, GAP and mAP of predictions, for a batch or a whole data set.

Numpy in, numpy out. `predictions` [N, C] are the scores of N videos for C
classes, of any range; `labels` (or `actuals`) [N, C] are true where above 0.

- Hit@1: the share of videos whose best class is one of their labels.
- PERR (precision at equal recall rate): of a video with n labels, the share of
  true ones among its n best classes; the mean over all videos, where a video
  without labels has 0. A class counts whatever its score: the starter code
  leaves out scores of 0.
- GAP (global average precision): the `top_k` best (score, is-correct) pairs of
  every video in one list, by falling score, and of that list
  sum_i precision(i) * correct(i) / total_positives. The total counts all
  labels, also those that are not in a top_k.
- AP of a class: the same sum over the pairs of that class, over its own number
  of positives. mAP is the unweighted mean over the classes with positives.

Ties: within a video the lower class index ranks first, as in numpy.argmax and
tf.math.top_k. In a pooled list (GAP, AP) the wrong ones among equal scores rank
first, which makes it a lower bound for any order of the videos.

Repeatable: counts are integers, and sums are exact or over sorted terms, so
`EvaluationMetrics.get` returns the very same floats for the same scores in any
order and any batches. The one exception is `avg_loss` if the loss comes as one
number per batch: that number was rounded before it came here.

`RankedPredictions`, a few best classes of each video, is all that the metrics
need, far less than [N, C] for workers to hand over.

References:
  Abu-El-Haija et al. 2016, "YouTube-8M: A Large-Scale Video Classification
  Benchmark", https://arxiv.org/abs/1609.08675 (Hit@k, PERR).
  "Google Cloud & YouTube-8M Video Understanding Challenge", Kaggle 2017,
  https://www.kaggle.com/c/youtube8m (GAP, with 20 pairs of each video).
"""

import math
from typing import NamedTuple

import numpy as np

import average_precision_calculator as ap_calculator
import mean_average_precision_calculator as map_calculator

# Videos are ranked in blocks of about so many scores (2 MB of float32): small
# enough to stay in a processor's cache from one pass over them to the next.
_BLOCK_SCORES = 1 << 19


class RankedPredictions(NamedTuple):
  """The best classes of N videos, best first: all that the metrics need.

  K is at least min(C, max(top_k, most labels of one video)).

  Attributes:
    scores: [N, K] float32 (float64 if the predictions were), falling.
    classes: [N, K] int32; among equal scores of a video, the lower one first.
    correct: [N, K] bool, whether the class is a label of the video.
    num_labels: [N] int32, all labels of the video, also those not in the K.
    positives_per_class: [C] int64, how many of the N videos have the class.
  """

  scores: np.ndarray
  classes: np.ndarray
  correct: np.ndarray
  num_labels: np.ndarray
  positives_per_class: np.ndarray


def best_classes(predictions, top_k) -> tuple[np.ndarray, np.ndarray]:
  """The best classes of each video, best first.

  Args:
    predictions: [N, C] float scores, of any range.
    top_k: number of classes wanted; more than C means all.

  Returns:
    Scores [N, K], of the type of the predictions, and classes [N, K] int64,
    with K = min(top_k, C). Among equal scores the lower class comes first.

  Raises:
    ValueError: a prediction is NaN.
  """
  num_videos, num_classes = predictions.shape
  size = min(top_k, num_classes)
  classes = np.empty((num_videos, size), np.int64)
  videos_per_block = max(1, _BLOCK_SCORES // num_classes)
  for start in range(0, num_videos, videos_per_block):
    block = slice(start, start + videos_per_block)
    classes[block] = _best_classes_of_block(predictions[block], size)
  return np.take_along_axis(predictions, classes, axis=1), classes


def of_rated_classes(predictions, label_weights) -> np.ndarray:
  """[N, C] predictions, the lowest number for classes that were not rated.

  Args:
    predictions: [N, C] float scores, of any range.
    label_weights: [N, C] float, 1 where a class was rated, else below.
  """
  lowest = np.finfo(predictions.dtype).min
  return np.where(label_weights >= 1, predictions, lowest)


def rank_predictions(predictions, labels, top_k) -> RankedPredictions:
  """Picks the best classes of each video.

  Args:
    predictions: [N, C] scores, of any range.
    labels: [N, C]; true where above 0.
    top_k: number of classes wanted; more than C means all.

  Raises:
    ValueError: top_k is not a positive integer, the shapes are not the same
      [N, C], or a prediction is NaN.
  """
  ap_calculator.check_positive_integer("top_k", top_k)
  predictions, labels = _as_matrices(predictions, labels)
  num_videos, num_classes = predictions.shape
  label_places = np.flatnonzero(labels)
  num_labels = np.bincount(label_places // num_classes, minlength=num_videos)
  size = max(top_k, num_labels.max(initial=0))
  scores, classes = best_classes(predictions, size)
  return RankedPredictions(
    scores=scores,
    classes=classes.astype(np.int32),
    correct=np.take_along_axis(labels, classes, axis=1),
    num_labels=num_labels.astype(np.int32),
    positives_per_class=np.bincount(
      label_places % num_classes, minlength=num_classes
    ),
  )


def calculate_hit_at_one(predictions, actuals) -> float:
  """Share of videos whose best class is one of their labels; 0.0 of none.

  Raises:
    ValueError: the shapes are not the same [N, C], or a prediction is NaN.
  """
  predictions, actuals = _as_matrices(predictions, actuals)
  best_classes = predictions.argmax(axis=1)[:, np.newaxis]
  # For numpy.argmax, a NaN is the highest of a row.
  ap_calculator.refuse_nan(np.take_along_axis(predictions, best_classes, 1))
  hits = np.take_along_axis(actuals, best_classes, axis=1)
  return _mean(np.count_nonzero(hits), len(hits))


def calculate_precision_at_equal_recall_rate(predictions, actuals) -> float:
  """PERR, the mean over videos; 0.0 if there are none.

  Raises:
    ValueError: the shapes are not the same [N, C], or a prediction is NaN.
  """
  ranked = rank_predictions(predictions, actuals, top_k=1)
  return _mean(_sum_of_precisions(_found_by_labels(ranked)), len(ranked.scores))


def calculate_gap(predictions, actuals, top_k=20) -> float:
  """GAP of the top_k pairs of all videos; 0.0 if there are no labels.

  Raises:
    ValueError: top_k is not a positive integer, the shapes are not the same
      [N, C], or a prediction is NaN.
  """
  ranked = rank_predictions(predictions, actuals, top_k)
  return ap_calculator.AveragePrecisionCalculator.ap_at_n(
    ranked.scores[:, :top_k].ravel(),
    ranked.correct[:, :top_k].ravel(),
    n=None,
    total_num_positives=int(ranked.num_labels.sum()),
  )


class EvaluationMetrics:
  """Accumulates batches and gives the metrics of all their videos.

  Memory: 7 bytes for each of a video's top_k pairs, which is 140 bytes a video
  for 20 pairs of float32 scores and up to 65,536 classes, and about 90 bytes a
  video more while `get` runs.
  """

  def __init__(self, num_class, top_k, top_n=None):
    """Creates the metrics of no videos yet.

    Args:
      num_class: number of classes C.
      top_k: number of pairs of each video that count for GAP and AP; more than
        num_class means all.
      top_n: consider the top_n best pairs of each class only, for its AP (GAP
        is not changed by it); None for all.

    Raises:
      ValueError: one of them is not a positive integer.
    """
    ap_calculator.check_positive_integer("top_k", top_k)
    self._map_calculator = map_calculator.MeanAveragePrecisionCalculator(
      num_class, top_n=top_n
    )
    self._num_class = num_class
    self._top_k = min(top_k, num_class)
    self.clear()

  def clear(self):
    """Forgets everything accumulated."""
    self._map_calculator.clear()
    self._num_videos = 0
    self._num_unlabeled_videos = 0
    self._num_hits = 0
    self._found_by_labels = np.zeros(self._num_class + 1, np.int64)
    self._loss_terms = []

  def accumulate(self, predictions, labels, loss) -> dict[str, float]:
    """Adds a batch.

    Args:
      predictions: [N, num_class] scores, of any range; N may be 0.
      labels: [N, num_class]; true where above 0.
      loss: the mean loss of the batch, or [N], the loss of each video.

    Returns:
      The batch's own "hit_at_one", "perr" and "loss": means over its videos, or
      0.0 if it has none.

    Raises:
      ValueError: shapes that disagree, or a prediction is NaN.
    """
    ranked = rank_predictions(predictions, labels, self._top_k)
    return self.accumulate_ranked(ranked, loss)

  def accumulate_ranked(self, ranked, loss) -> dict[str, float]:
    """Adds a batch whose best classes were picked already.

    Args:
      ranked: the `RankedPredictions` of N videos for num_class classes.
      loss: the mean loss of the batch, or [N], the loss of each video.

    Returns:
      As `accumulate`.

    Raises:
      ValueError: shapes that disagree, NaN, too few classes, scores that rise,
        or counts of labels that contradict each other.
    """
    ranked = RankedPredictions(*map(np.asarray, ranked))
    self._check_shapes(ranked)
    _check_values(ranked)
    num_videos = len(ranked.scores)
    num_hits = int(np.count_nonzero(ranked.correct[:, 0]))
    found_by_labels = _found_by_labels(ranked)
    losses = _loss_terms(loss, num_videos)
    loss_terms = _exact_sum(self._loss_terms + losses)
    # The last that may raise: a refused batch leaves no trace.
    self._map_calculator.accumulate_pairs(
      ranked.classes[:, : self._top_k].ravel(),
      ranked.scores[:, : self._top_k].ravel(),
      ranked.correct[:, : self._top_k].ravel(),
      ranked.positives_per_class,
    )
    self._num_videos += num_videos
    self._num_unlabeled_videos += int(np.count_nonzero(ranked.num_labels == 0))
    self._num_hits += num_hits
    self._found_by_labels += found_by_labels
    self._loss_terms = loss_terms
    return {
      "hit_at_one": _mean(num_hits, num_videos),
      "perr": _mean(_sum_of_precisions(found_by_labels), num_videos),
      "loss": _mean(math.fsum(losses), num_videos),
    }

  def get(self) -> dict:
    """Computes the metrics of all videos so far; accumulating may go on.

    Returns:
      A dict with
        avg_hit_at_one, avg_perr, avg_loss: means over the videos;
        aps: float64 array, the AP of every class that has a positive, by class
          index; the mean of it is the mAP;
        gap: the GAP, 0.0 if there are no labels;
        num_videos, num_unlabeled_videos: how many there were. PERR over the
          videos with labels is avg_perr * num_videos / (num_videos -
          num_unlabeled_videos).

    Raises:
      ValueError: no video was accumulated.
    """
    if not self._num_videos:
      raise ValueError("Metrics need at least one video, received none.")
    perr_sum = _sum_of_precisions(self._found_by_labels)
    return {
      "avg_hit_at_one": _mean(self._num_hits, self._num_videos),
      "avg_perr": _mean(perr_sum, self._num_videos),
      "avg_loss": _mean(math.fsum(self._loss_terms), self._num_videos),
      "aps": self._map_calculator.peek_map_at_n(),
      "gap": self._map_calculator.peek_pooled_ap(),
      "num_videos": self._num_videos,
      "num_unlabeled_videos": self._num_unlabeled_videos,
    }

  def _check_shapes(self, ranked):
    shapes = tuple(field.shape for field in ranked)
    matrix = shapes[0]
    expected = (matrix, matrix, matrix, matrix[:1], (self._num_class,))
    if len(matrix) != 2 or shapes != expected:
      raise ValueError(
        "Expected scores, classes and correct of the same shape [N, K], "
        f"num_labels [N] and positives_per_class [{self._num_class}], received "
        f"shapes {shapes}."
      )
    most_labels = ranked.num_labels.max(initial=0)
    needed = max(self._top_k, most_labels)
    if matrix[1] < needed:
      raise ValueError(
        f"Expected at least {needed} classes of each video (top_k is "
        f"{self._top_k}, the most labels are {most_labels}), received "
        f"{matrix[1]}."
      )


def _check_values(ranked):
  ap_calculator.refuse_nan(ranked.scores)
  if (ranked.scores[:, 1:] > ranked.scores[:, :-1]).any():
    raise ValueError("Expected falling scores of each video, received a rise.")
  num_labels, num_positives = map(np.sum, ranked[3:])
  if num_labels != num_positives:
    raise ValueError(
      "Expected num_labels and positives_per_class to count the same labels, "
      f"received sums of {num_labels} and {num_positives}."
    )


def _as_matrices(predictions, labels):
  """Both as checked [N, C] arrays: predictions floating point, labels bool."""
  predictions, labels = np.asarray(predictions), np.asarray(labels)
  shape = predictions.shape
  if len(shape) != 2 or shape[1] == 0 or labels.shape != shape:
    raise ValueError(
      "Expected predictions and labels of the same shape [num_videos, "
      f"num_classes], received {shape} and {labels.shape}."
    )
  if labels.dtype != bool:
    labels = labels > 0
  dtype = np.result_type(predictions.dtype, np.float32)
  return predictions.astype(dtype, copy=False), labels


def _best_classes_of_block(predictions, size):
  num_videos, num_classes = predictions.shape
  # Looking up who reaches a bound is quicker than numpy.argpartition, which
  # also leaves open who wins a tie for the last place.
  members = np.flatnonzero(predictions >= _lower_bound(predictions, size))
  videos, classes = np.divmod(members, num_classes)
  # A few more than `size` members of each video, in a row that is filled up.
  num_members = np.bincount(videos, minlength=num_videos)
  first_members = np.cumsum(num_members) - num_members
  columns = np.arange(members.size) - first_members[videos]
  shape = (num_videos, num_members.max())
  negative_scores = np.full(shape, np.inf, predictions.dtype)
  negative_scores[videos, columns] = -predictions[videos, classes]
  rising_classes = np.zeros(shape, np.int64)
  rising_classes[videos, columns] = classes
  best = np.argsort(negative_scores, axis=1, kind="stable")[:, :size]
  return np.take_along_axis(rising_classes, best, axis=1)


def _lower_bound(predictions, size):
  """[N, 1] a score that at least `size` classes of each video reach.

  The classes are put into groups, and the size-th best of the groups' maxima is
  taken: `size` groups reach it. With many more groups than `size`, it is close
  to the size-th best score of all, and there are far fewer values to partition.
  """
  num_classes = predictions.shape[1]
  num_groups = min(num_classes, max(8 * size, num_classes // 16))
  maxima = predictions[:, :num_groups].copy()
  for start in range(num_groups, num_classes, num_groups):
    others = predictions[:, start : start + num_groups]
    groups = maxima[:, : others.shape[1]]
    np.maximum(groups, others, out=groups)
  maxima.partition(num_groups - size, axis=1)
  best_maxima = maxima[:, num_groups - size :]
  # NaN is the maximum of its group, and sorts after all numbers.
  ap_calculator.refuse_nan(best_maxima)
  return best_maxima[:, :1]


def _found_by_labels(ranked):
  """Counts the labels that PERR finds, in groups that make its sum exact.

  Returns:
    [C + 1] int64; entry n is the number of labels that were found among the n
    best classes of their video, over the videos with n labels.
  """
  places = np.arange(ranked.correct.shape[1])
  is_found = ranked.correct & (places < ranked.num_labels[:, np.newaxis])
  num_found = np.count_nonzero(is_found, axis=1)
  size = len(ranked.positives_per_class) + 1
  # Float64 weights, but whole numbers far below 2**53: nothing is rounded.
  return np.bincount(ranked.num_labels, num_found, size).astype(np.int64)


def _sum_of_precisions(found_by_labels):
  """PERR summed over videos: the same counts give the very same sum."""
  return (found_by_labels[1:] / np.arange(1, len(found_by_labels))).sum()


def _mean(total, count):
  return float(total / count) if count else 0.0


def _loss_terms(loss, num_videos):
  """List of floats that add up to the loss of all videos of a batch."""
  loss = np.asarray(loss, np.float64)
  if loss.shape not in ((), (num_videos,)):
    raise ValueError(
      f"Expected a loss of shape () or ({num_videos},), received {loss.shape}."
    )
  if loss.ndim == 0:
    return [float(loss) * num_videos] if num_videos else []
  return loss.tolist()


def _exact_sum(terms):
  """The few floats whose sum is exactly that of the terms.

  Each is what the ones before it leave to be added, rounded to a float. So a
  running sum loses nothing, and does not depend on what was added first.
  """
  parts = []
  while rest := math.fsum([*terms, *(-part for part in parts)]):
    parts.append(rest)
    if not math.isfinite(rest):
      break
  return parts
