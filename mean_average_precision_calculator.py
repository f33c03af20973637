# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Average precision (AP) of every class; its unweighted mean is the mAP.

The pairs of all classes are kept in one store of scores, correct and classes,
and ranked by sorting 64-bit keys, not class by class: YouTube-8M has 3,862
classes, most of them with few pairs. The definition of AP and the rule for ties
are those of `average_precision_calculator`. Numpy only.

    calculator = MeanAveragePrecisionCalculator(num_class=2)
    calculator.accumulate([[0.9, 0.4], [0.3]], [[0, 1], [1]])
    calculator.peek_map_at_n()  # [1/2, 1/1]
"""

import itertools

import numpy as np

import average_precision_calculator as ap_calculator

# `peek_map_at_n` ranks the classes in about so many groups, so that its
# temporaries are a fraction of the store; small stores are one group.
_NUM_GROUPS = 8
_MIN_GROUP_PAIRS = 1 << 14


def average_precisions_by_class(
  classes, scores, correct, num_positives, top_n=None
):
  """Average precision of each class, by one sort for all of them.

  Args:
    classes: [num_pairs] integers in [0, num_class).
    scores: [num_pairs] floating point, without NaN.
    correct: [num_pairs] bool.
    num_positives: [num_class] integers, at least the class's correct pairs.
    top_n: look at so many pairs of each class only; None for all.

  Returns:
    [num_class] float64 in [0, 1]; 0.0 for a class without positives.
  """
  num_class = len(num_positives)
  keys = _ranking_keys(classes, scores, correct)
  keys.sort()
  # From here on only the correct pairs matter: class by class, best first.
  hits = np.flatnonzero((keys & 1).astype(bool))
  hit_classes = (keys[hits] >> 33).astype(np.int64)
  first_keys = np.arange(num_class, dtype=np.uint64) << 33
  first_pairs = np.searchsorted(keys, first_keys)
  first_hits = np.searchsorted(hit_classes, np.arange(num_class))
  ranks = hits + 1 - first_pairs[hit_classes]
  nth_hit = np.arange(1, hits.size + 1) - first_hits[hit_classes]
  precisions = nth_hit / ranks
  denominators = np.asarray(num_positives)
  if top_n is not None:
    precisions[ranks > top_n] = 0
    denominators = np.minimum(denominators, top_n)
  sums = np.bincount(hit_classes, precisions, num_class)
  return sums / np.maximum(denominators, 1)


def _ranking_keys(classes, scores, correct):
  """[num_pairs] uint64 that sort by class, falling score, wrong before correct.

  Their bits, from the highest: class, 32 for the score, 1 for correct.
  """
  keys = classes.astype(np.uint64)
  keys <<= 32
  keys |= _falling_codes(scores)
  keys <<= 1
  keys |= correct
  return keys


def _falling_codes(scores):
  """[num_pairs] uint32, smaller for larger scores and equal for equal ones."""
  if scores.dtype != np.float32:
    places = np.unique(scores, return_inverse=True)[1]
    return (scores.size - 1 - places).astype(np.uint32)
  # Read as integers, the bits of positive floats rise with them; those of
  # negative floats have the highest bit set and fall. Adding 0 makes -0.0 0.0.
  bits = (scores + np.float32(0)).view(np.uint32)
  sign_bit = 1 << 31
  return np.where(bits < sign_bit, sign_bit - 1 - bits, bits)


class MeanAveragePrecisionCalculator:
  """Accumulates the pairs of all classes and gives the AP of each."""

  def __init__(self, num_class, filter_empty_classes=True, top_n=None):
    """Creates an empty calculator.

    Args:
      num_class: number of classes, at least 1.
      filter_empty_classes: whether to leave out classes without positives,
        instead of giving them an AP of 0.
      top_n: look at so many of a class's best pairs only; None for all.
    """
    ap_calculator.check_positive_integer("num_class", num_class)
    if top_n is not None:
      ap_calculator.check_positive_integer("top_n", top_n)
    self._num_class = num_class
    self._filter_empty_classes = filter_empty_classes
    self._top_n = top_n
    self._class_dtype = np.min_scalar_type(num_class - 1)
    self.clear()

  def clear(self):
    """Forgets everything accumulated."""
    self._pairs = ap_calculator.PairStore()
    self._num_positives = np.zeros(self._num_class, np.int64)

  def is_empty(self) -> bool:
    """Whether no pair has been accumulated."""
    return len(self._pairs) == 0

  def accumulate(self, predictions, actuals, num_positives=None):
    """Adds pairs given as one list per class, otherwise as `accumulate_pairs`.

    Args:
      predictions: num_class lists or arrays of scores, of any lengths.
      actuals: the truth in the same form; true where above 0.
      num_positives: as in `accumulate_pairs`; by default the correct pairs.
    """
    if not len(predictions) == len(actuals) == self._num_class:
      raise ValueError(
        f"predictions and actuals must be lists of {self._num_class} classes, "
        f"received {len(predictions)} and {len(actuals)}."
      )
    pairs = list(map(ap_calculator.as_pairs, predictions, actuals))
    scores, correct = ap_calculator.join_columns(pairs)
    sizes = [class_scores.size for class_scores, _ in pairs]
    classes = np.repeat(np.arange(self._num_class), sizes)
    if num_positives is None:
      num_positives = np.bincount(classes[correct], minlength=self._num_class)
    self.accumulate_pairs(classes, scores, correct, num_positives)

  def accumulate_pairs(self, classes, scores, correct, num_positives):
    """Adds pairs of all classes, in any order.

    Args:
      classes: [num_pairs] integers in [0, num_class).
      scores: [num_pairs] scores, of any range.
      correct: [num_pairs]; true where above 0.
      num_positives: [num_class] integers, the number of positives of each class
        that these pairs were picked from.

    Raises:
      ValueError: shapes that disagree, unknown classes, NaN scores, or fewer
        positives than correct pairs.
    """
    scores, correct = ap_calculator.as_pairs(scores, correct)
    classes, num_positives = np.asarray(classes), np.asarray(num_positives)
    self._check_classes(classes, scores)
    classes = classes.astype(self._class_dtype)
    self._check_num_positives(num_positives, classes[correct])
    self._num_positives += num_positives.astype(np.int64)
    self._pairs.append(scores, correct, classes)

  def peek_map_at_n(self):
    """Average precision of each class, over everything so far.

    Returns:
      float64 array in [0, 1], by class index: of the classes with positives, or
      of all num_class if filter_empty_classes is False.
    """
    aps = np.zeros(self._num_class)
    for first, end in self._class_groups():
      scores, correct, classes = self._pairs_of_classes(first, end)
      aps[first:end] = average_precisions_by_class(
        classes - self._class_dtype.type(first),
        scores,
        correct,
        self._num_positives[first:end],
        self._top_n,
      )
    return aps[self._num_positives > 0] if self._filter_empty_classes else aps

  def peek_pooled_ap(self) -> float:
    """Average precision of the pairs of all classes in one list.

    It ignores top_n. If the pairs are the best 20 of each video, it is the GAP.

    Returns:
      Float in [0, 1]; 0.0 if there are no positives.
    """
    return ap_calculator.average_precision(
      self._pairs.scores_where(True),
      self._pairs.scores_where(False),
      int(self._num_positives.sum()),
    )

  def _check_classes(self, classes, scores):
    if classes.shape != scores.shape or classes.dtype.kind not in "iu":
      raise ValueError(
        f"classes must be integers of the shape of scores, {scores.shape}, "
        f"received {classes.dtype} of shape {classes.shape}."
      )
    lowest, highest = classes.min(initial=0), classes.max(initial=0)
    if lowest < 0 or highest >= self._num_class:
      raise ValueError(
        f"Classes must be in [0, {self._num_class}), received some from "
        f"{lowest} to {highest}."
      )

  def _check_num_positives(self, num_positives, hit_classes):
    if num_positives.shape != (self._num_class,):
      raise ValueError(
        f"num_positives must be of shape ({self._num_class},), received "
        f"{num_positives.shape}."
      )
    num_right = np.bincount(hit_classes, minlength=self._num_class)
    if not (num_positives >= num_right).all():
      i = np.argmin(num_positives >= num_right)
      raise ValueError(
        f"num_positives must be at least the correct pairs, {num_right[i]} of "
        f"class {i}, received {num_positives[i]}."
      )

  def _class_groups(self):
    """Cuts the classes into [first, end) groups of about as many pairs each."""
    num_pairs = np.zeros(self._num_class, np.int64)
    for *_, classes in self._pairs.chunks():
      num_pairs += np.bincount(classes, minlength=self._num_class)
    group_pairs = max(_MIN_GROUP_PAIRS, len(self._pairs) // _NUM_GROUPS)
    starts = np.arange(0, len(self._pairs), group_pairs)
    edges = np.unique(np.searchsorted(np.cumsum(num_pairs), starts))
    return itertools.pairwise([*edges, self._num_class])

  def _pairs_of_classes(self, first, end):
    """Scores, correct and classes of the pairs of classes [first, end)."""
    selected = []
    for chunk in self._pairs.chunks():
      classes = chunk[-1]
      members = np.flatnonzero((classes >= first) & (classes < end))
      selected.append([column[members] for column in chunk])
    return ap_calculator.join_columns(selected)
