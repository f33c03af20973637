# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Average precision (AP) of one ranked list of (score, is-correct) pairs.

    AP = sum_i precision(i) * correct(i) / total_positives

where i runs over the pairs by falling score and precision(i) is the share of
correct pairs among the first i: TREC's non-interpolated average precision
(https://trec.nist.gov/pubs/trec15/appendices/CE.MEASURES06.pdf). Positives that
never entered the list are part of `total_positives`: they were not found. "AP
at n" looks at the first n pairs only and divides by min(total_positives, n), so
that a perfect list still gets 1.

Ties: among equal scores the wrong pairs rank before the correct ones. The value
is then a lower bound over all orders of the tied pairs, and depends neither on
the order of the pairs nor on how they were cut into batches.

How: the scores of the correct pairs and those of the wrong pairs are sorted
apart. The j-th best correct pair has rank j plus the number of wrong pairs that
score at least as much. Plain scores sort many times faster than pairs do, and
the rule for ties is in the words "at least".

Numpy only. Example, with 3 positives of which one is not in the list:

    calculator = AveragePrecisionCalculator()
    calculator.accumulate([0.9, 0.2], [1, 0], num_positives=2)
    calculator.accumulate([0.5], [1])
    calculator.peek_ap_at_n()  # (1/1 + 2/2) / 3
"""

import numbers

import numpy as np

# Pairs that are worked on at once: enough to make numpy's overhead small, few
# enough for temporaries of a megabyte or so.
_CHUNK_PAIRS = 1 << 15


def check_positive_integer(name, value):
  """Raises ValueError unless `value` is an integer of at least 1."""
  is_integer = isinstance(value, numbers.Integral) and value is not True
  if not is_integer or value < 1:
    raise ValueError(f"{name} must be a positive integer, received {value!r}.")


def as_pairs(predictions, actuals):
  """One list of pairs as scores, floating point, and correct, bool.

  Raises:
    ValueError: the two are not 1-D and of one length, or a score is NaN.
  """
  scores, actuals = np.asarray(predictions), np.asarray(actuals)
  if scores.ndim != 1 or scores.shape != actuals.shape:
    raise ValueError(
      "predictions and actuals must be 1-D and of the same length, received "
      f"shapes {scores.shape} and {actuals.shape}."
    )
  if not np.issubdtype(scores.dtype, np.floating):
    scores = scores.astype(np.float64)
  refuse_nan(scores)
  return scores, actuals > 0


def refuse_nan(scores):
  """Raises ValueError if one of the scores is NaN, which has no rank."""
  if np.isnan(scores).any():
    raise ValueError("Scores must be numbers, received NaN among them.")


def average_precision(right, wrong, num_positives, top_n=None) -> float:
  """Average precision of a list, given as the scores of its two kinds of pairs.

  Args:
    right: [num_right] scores of the correct pairs, in any order. Both arrays
      are sorted in place: they may be the largest of an evaluation.
    wrong: [num_wrong] scores of the wrong pairs, in any order.
    num_positives: number of positives, at least num_right.
    top_n: look at so many pairs only; None for all.

  Returns:
    Float in [0, 1]; 0.0 if there are no positives.
  """
  if num_positives == 0:
    return 0.0
  right.sort()
  wrong.sort()
  best_first = right[::-1]
  total = 0.0
  for start in range(0, right.size, _CHUNK_PAIRS):
    scores = best_first[start : start + _CHUNK_PAIRS]
    nth_right = np.arange(start + 1, start + 1 + scores.size)
    ranks = nth_right + wrong.size - np.searchsorted(wrong, scores)
    precisions = nth_right / ranks
    if top_n is not None:
      precisions = precisions[ranks <= top_n]
    total += float(precisions.sum())
  return total / (num_positives if top_n is None else min(num_positives, top_n))


def join_columns(batches):
  """Concatenates batches, each a list of columns, column by column."""
  return [np.concatenate(column) for column in zip(*batches, strict=True)]


class PairStore:
  """Columns of pairs that grow batch by batch: scores, correct, and any more.

  Batches are copied, and merged into chunks of about `_CHUNK_PAIRS` pairs, so
  that the store takes little more than the columns' own bytes.
  """

  def __init__(self):
    self._chunks = []
    self._recent = []  # Batches that wait to be merged into the next chunk.
    self._num_recent = 0
    self._num_pairs = 0

  def __len__(self):
    return self._num_pairs

  def append(self, scores, correct, *more_columns):
    """Adds a batch: arrays of one length, always the same columns."""
    self._recent.append([c.copy() for c in (scores, correct, *more_columns)])
    self._num_recent += scores.size
    self._num_pairs += scores.size
    if self._num_recent >= _CHUNK_PAIRS:
      self._chunks.append(join_columns(self._recent))
      self._recent, self._num_recent = [], 0

  def chunks(self):
    """A list of chunks, each a list of the columns' arrays."""
    last = [join_columns(self._recent)] if self._recent else []
    return self._chunks + last

  def scores_where(self, is_correct):
    """A new array of the scores of all correct, or all wrong, pairs."""
    chunks = self.chunks()
    size = sum(np.count_nonzero(c == is_correct) for _, c, *_ in chunks)
    dtype = np.result_type(np.float16, *(scores.dtype for scores, *_ in chunks))
    # numpy.concatenate would hold all the pieces and the result at once.
    result = np.empty(size, dtype)
    start = 0
    for scores, correct, *_ in chunks:
      piece = scores[correct == is_correct]
      result[start : start + piece.size] = piece
      start += piece.size
    return result


class AveragePrecisionCalculator:
  """Accumulates one list of pairs, part by part, and gives its AP.

  Attributes:
    num_accumulated_positives: number of positives so far, as an int.
  """

  def __init__(self, top_n=None):
    """Creates an empty calculator.

    Args:
      top_n: look at so many of the best pairs only (AP at n), and keep not many
        more in memory; None for all.
    """
    if top_n is not None:
      check_positive_integer("top_n", top_n)
    self._top_n = top_n
    self.clear()

  def clear(self):
    """Forgets everything accumulated."""
    self._pairs = PairStore()
    self.num_accumulated_positives = 0

  def accumulate(self, predictions, actuals, num_positives=None):
    """Adds pairs to the list.

    Args:
      predictions: [num_pairs] scores, of any range.
      actuals: [num_pairs]; true where above 0.
      num_positives: number of positives that these pairs were picked from, when
        some of them may not be among the pairs; by default the correct pairs.

    Raises:
      ValueError: shapes that disagree, NaN scores, or a num_positives that is
        smaller than the number of correct pairs.
    """
    scores, correct = as_pairs(predictions, actuals)
    self.num_accumulated_positives += _count_positives(correct, num_positives)
    self._pairs.append(scores, correct)
    if self._top_n and len(self._pairs) > 2 * self._top_n + _CHUNK_PAIRS:
      self._keep_top_n()

  def peek_ap_at_n(self) -> float:
    """The AP of everything so far, in [0, 1]; 0.0 if there are no positives."""
    return average_precision(
      self._pairs.scores_where(True),
      self._pairs.scores_where(False),
      self.num_accumulated_positives,
      self._top_n,
    )

  @staticmethod
  def ap(predictions, actuals) -> float:
    """Average precision of a whole list; as `ap_at_n` without an n."""
    return AveragePrecisionCalculator.ap_at_n(predictions, actuals, n=None)

  @staticmethod
  def ap_at_n(predictions, actuals, n=20, total_num_positives=None) -> float:
    """Average precision of the n best pairs of a list.

    Args:
      predictions: [num_pairs] scores, of any range.
      actuals: [num_pairs]; true where above 0.
      n: number of pairs to look at; None for all.
      total_num_positives: number of positives, when some of them may not be in
        the list; by default the correct pairs.

    Returns:
      Float in [0, 1]; 0.0 if there are no positives.

    Raises:
      ValueError: shapes that disagree, NaN scores, an n that is not positive,
        or a total_num_positives smaller than the number of correct pairs.
    """
    if n is not None:
      check_positive_integer("n", n)
    scores, correct = as_pairs(predictions, actuals)
    num_positives = _count_positives(correct, total_num_positives)
    return average_precision(
      scores[correct], scores[~correct], num_positives, n
    )

  def _keep_top_n(self):
    """Drops pairs that rank below n others; they can never count again."""
    scores, correct = join_columns(self._pairs.chunks())
    best = np.lexsort((correct, -scores))[: self._top_n]
    self._pairs = PairStore()
    self._pairs.append(scores[best], correct[best])


def _count_positives(correct, num_positives):
  """The number of positives behind a list of pairs, checked, as an int."""
  num_right = int(np.count_nonzero(correct))
  if num_positives is None:
    return num_right
  in_range = num_right <= num_positives < float("inf")
  if not in_range or num_positives != int(num_positives):
    raise ValueError(
      "The number of positives must be a whole number, at least that of the "
      f"correct pairs ({num_right}), received {num_positives!r}."
    )
  return int(num_positives)
