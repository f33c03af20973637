# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Average precision of one list and of every class."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import average_precision_calculator as ap_module
import mean_average_precision_calculator as map_module
from average_precision_calculator import AveragePrecisionCalculator
from mean_average_precision_calculator import MeanAveragePrecisionCalculator

# No deadline: a first call may be slow on a busy machine.
quick = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def slow_average_precision(scores, correct, num_positives=None, top_n=None):
  """The definition, pair by pair."""
  # Best score first; False sorts before True, so wrong ones lead a tie.
  pairs = sorted(zip(-np.asarray(scores), correct, strict=True))
  positives = sum(correct) if num_positives is None else num_positives
  if top_n is not None:
    pairs, positives = pairs[:top_n], min(positives, top_n)
  found, terms = 0, []
  for rank, (_, is_correct) in enumerate(pairs, start=1):
    if is_correct:
      found += 1
      terms.append(found / rank)
  return math.fsum(terms) / positives if positives else 0.0


def random_pairs(seed, size, levels=None, dtype=np.float32):
  """Scores of both signs, with many ties if they take few levels."""
  rng = np.random.default_rng(seed)
  scores = rng.standard_normal(size).astype(dtype)
  if levels:
    # Adding 0.0 does not change -0.0, which must tie with 0.0.
    scores = np.round(scores * levels) / dtype(levels)
  return scores, rng.random(size) < 0.3


def cut(seed, *arrays):
  """The same rows in another order, in batches of any size, some empty."""
  rng = np.random.default_rng(seed)
  size = len(arrays[0])
  order = rng.permutation(size)
  edges = np.sort(rng.integers(0, size + 1, rng.integers(0, 8)))
  return zip(*(np.split(array[order], edges) for array in arrays), strict=True)


class TestOneList:
  def test_hand_worked(self):
    # By score: right, wrong, right. (1/1 + 2/3) / 2.
    ap = AveragePrecisionCalculator.ap([0.7, 0.9, 0.8], [1, 1, 0])
    assert ap == pytest.approx(5 / 6, abs=1e-15)

  def test_wrong_ranks_first_among_equals(self):
    # Whatever the order given: wrong, wrong, right, right; (1/3 + 2/4) / 2.
    for actuals in ([1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 1, 1]):
      ap = AveragePrecisionCalculator.ap([0.5] * 4, actuals)
      assert ap == pytest.approx(5 / 12, abs=1e-15)

  def test_at_n_looks_at_20_by_default(self):
    # 21 pairs, only the last is right: out of sight for the default.
    scores, actuals = -np.arange(21.0), np.arange(21) == 20
    assert AveragePrecisionCalculator.ap_at_n(scores, actuals) == 0
    assert AveragePrecisionCalculator.ap(scores, actuals) == 1 / 21

  def test_any_number_above_0_is_right(self):
    ap = AveragePrecisionCalculator.ap([4, 3, 2, 1], [0.1, -1, 7, 0])
    assert ap == pytest.approx((1 / 1 + 2 / 3) / 2, abs=1e-15)

  @pytest.mark.parametrize("actuals", [[], [0, 0, 0]])
  def test_nothing_right(self, actuals):
    assert AveragePrecisionCalculator.ap(range(len(actuals)), actuals) == 0
    assert AveragePrecisionCalculator().peek_ap_at_n() == 0

  @pytest.mark.parametrize("size", [1, 1000, 70_000])  # The last, in chunks.
  def test_equals_scikit_learn_without_ties(self, size):
    rng = np.random.default_rng(size)
    scores = rng.permutation(size) / size
    correct = rng.random(size) < 0.2
    correct[0] = True
    ap = AveragePrecisionCalculator.ap(scores, correct)
    expected = average_precision_score(correct, scores)
    assert ap == pytest.approx(expected, abs=1e-12)

  @quick
  @given(
    seeds,
    st.integers(0, 40),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 1, 2, 7, 100]),
    st.sampled_from([np.float32, np.float64]),
  )
  def test_equals_the_definition(self, seed, size, levels, n, dtype):
    scores, correct = random_pairs(seed, size, levels, dtype)
    positives = int(correct.sum()) + seed % 3
    ap = AveragePrecisionCalculator.ap_at_n(scores, correct, n, positives)
    expected = slow_average_precision(scores, correct, positives, n)
    assert ap == pytest.approx(expected, abs=1e-14)
    assert 0 <= ap <= 1

  @quick
  @given(seeds, st.integers(0, 40), st.sampled_from([None, 1, 2, 7, 100]))
  def test_batches_do_not_matter(self, seed, size, top_n):
    pairs = random_pairs(seed, size, levels=seed % 4)
    with pytest.MonkeyPatch.context() as patch:
      # So that these few pairs fill chunks, and top_n drops some of them.
      patch.setattr(ap_module, "_CHUNK_PAIRS", 4)
      expected = AveragePrecisionCalculator.ap_at_n(*pairs, top_n)
      calculator = AveragePrecisionCalculator(top_n)
      for scores, correct in cut(seed, *pairs):
        calculator.accumulate(scores, correct)
        calculator.peek_ap_at_n()  # To look must not change anything.
      assert calculator.peek_ap_at_n() == expected

  def test_top_n_bounds_the_memory(self):
    calculator = AveragePrecisionCalculator(top_n=100)
    scores, correct = random_pairs(0, 100_000)
    calculator.accumulate(scores, correct)
    tracemalloc.start()
    for _ in range(20):  # 2 million pairs; they would take 10 MB.
      calculator.accumulate(scores, correct)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e6

  def test_arrays_stay_the_callers(self):
    scores, correct = np.array([0.1, 0.9]), np.array([False, True])
    calculator = AveragePrecisionCalculator()
    calculator.accumulate(scores[::-1], correct[::-1])
    assert calculator.peek_ap_at_n() == 1
    assert AveragePrecisionCalculator.ap(scores[::-1], correct[::-1]) == 1
    assert scores.tolist() == [0.1, 0.9]
    scores[:] = [0.9, 0.1]
    assert calculator.peek_ap_at_n() == 1

  def test_clear(self):
    calculator = AveragePrecisionCalculator()
    calculator.accumulate([0.5, 0.6], [1, 0], num_positives=7)
    calculator.clear()
    assert calculator.num_accumulated_positives == 0
    calculator.accumulate([0.5], [1])
    assert calculator.peek_ap_at_n() == 1

  @pytest.mark.parametrize("n", [0, 2.0, "3", True])
  def test_refuses_n(self, n):
    with pytest.raises(ValueError, match="n must be a positive integer"):
      AveragePrecisionCalculator.ap_at_n([1], [1], n=n)
    with pytest.raises(ValueError, match="top_n must be a positive integer"):
      AveragePrecisionCalculator(top_n=n)

  @pytest.mark.parametrize(
    ("predictions", "actuals", "num_positives", "message"),
    [
      ([1, 2], [1], None, r"shapes \(2,\) and \(1,\)"),
      ([[1, 2]], [[1, 0]], None, "must be 1-D"),
      ([1, math.nan], [1, 0], None, "received NaN"),
      ([1, 2, 3], [1, 1, 0], 1, r"correct pairs \(2\), received 1"),
      ([1], [0], 2.5, "received 2.5"),
      ([1], [0], math.nan, "received nan"),
      ([1], [0], math.inf, "received inf"),
    ],
  )
  def test_refuses_pairs(self, predictions, actuals, num_positives, message):
    calculator = AveragePrecisionCalculator()
    with pytest.raises(ValueError, match=message):
      calculator.accumulate(predictions, actuals, num_positives)
    with pytest.raises(ValueError, match=message):
      AveragePrecisionCalculator.ap_at_n(
        predictions, actuals, total_num_positives=num_positives
      )
    assert calculator.num_accumulated_positives == 0


def random_class_pairs(seed, size, num_class, levels=None, dtype=np.float32):
  """classes, scores, correct, num_positives; class 0 has no positives."""
  scores, correct = random_pairs(seed, size, levels, dtype)
  rng = np.random.default_rng(seed)
  classes = rng.integers(0, num_class, size)
  correct &= classes != 0
  num_positives = np.bincount(classes[correct], minlength=num_class)
  num_positives[1:] += rng.integers(0, 3, num_class - 1)
  return classes, scores, correct, num_positives


class TestEveryClass:
  def test_hand_worked(self):
    # Class 0: wrong, right: 1/2. Class 1: right, and one positive was lost:
    # (1/1) / 2. Class 2: a positive, but no pairs: 0. Class 3: no positive.
    predictions = [[0.9, 0.4], [0.3], [], [0.8]]
    actuals = [[0, 1], [1], [], [0]]
    calculator = MeanAveragePrecisionCalculator(4)
    calculator.accumulate(predictions, actuals, num_positives=[1, 2, 1, 0])
    assert calculator.peek_map_at_n().tolist() == [0.5, 0.5, 0]
    unfiltered = MeanAveragePrecisionCalculator(4, filter_empty_classes=False)
    # By default, the positives are those among the pairs.
    unfiltered.accumulate(predictions, actuals)
    assert unfiltered.peek_map_at_n().tolist() == [0.5, 1, 0, 0]

  @quick
  @given(
    seeds,
    st.integers(0, 60),
    st.integers(1, 6),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([np.float16, np.float32, np.float64]),
  )
  def test_equals_one_calculator_per_class(
    self, seed, size, num_class, levels, top_n, dtype
  ):
    classes, scores, correct, num_positives = random_class_pairs(
      seed, size, num_class, levels, dtype
    )
    aps = map_module.average_precisions_by_class(
      classes, scores, correct, num_positives, top_n
    )
    for i, ap in enumerate(aps):
      expected = AveragePrecisionCalculator.ap_at_n(
        scores[classes == i], correct[classes == i], top_n, num_positives[i]
      )
      assert ap == pytest.approx(expected, abs=1e-14)

  @quick
  @given(seeds, st.integers(0, 60), st.integers(1, 6), st.booleans())
  def test_batches_and_groups_do_not_matter(self, seed, size, num_class, top_n):
    *pairs, num_positives = random_class_pairs(
      seed, size, num_class, levels=seed % 3
    )
    top_n = 2 if top_n else None
    whole = MeanAveragePrecisionCalculator(num_class, top_n=top_n)
    whole.accumulate_pairs(*pairs, num_positives)
    parts = MeanAveragePrecisionCalculator(num_class, top_n=top_n)
    classes, _, correct = pairs
    lost = num_positives - np.bincount(classes[correct], minlength=num_class)
    parts.accumulate([[]] * num_class, [[]] * num_class, lost)
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(ap_module, "_CHUNK_PAIRS", 4)
      patch.setattr(map_module, "_MIN_GROUP_PAIRS", 1)
      for classes, scores, correct in cut(seed, *pairs):
        hits = np.bincount(classes[correct], minlength=num_class)
        parts.accumulate_pairs(classes, scores, correct, hits)
      assert (parts.peek_map_at_n() == whole.peek_map_at_n()).all()

  @pytest.mark.parametrize("dtype", [np.float32, np.float64])
  def test_extreme_scores_rank_as_numbers(self, dtype):
    # Right and wrong take turns, so every pair in the wrong place would show.
    tiny = np.finfo(dtype).smallest_subnormal
    rising = [-np.inf, -2, -1, -tiny, 0, tiny, 1, 2, 1e30, np.inf]
    scores = np.array(rising, dtype)
    correct = np.arange(10) % 2 == 0
    ap = map_module.average_precisions_by_class(
      np.zeros(10, np.uint8), scores, correct, [5]
    )
    # The right ones have the ranks 2, 4, 6, 8, 10.
    assert ap == pytest.approx([1 / 2], abs=1e-15)

  @pytest.mark.parametrize("num_class", [1, 256, 257, 70_000])
  def test_first_and_last_class(self, num_class):
    calculator = MeanAveragePrecisionCalculator(num_class)
    classes = np.array([0, num_class - 1, num_class - 1])
    correct = np.array([False, True, False])
    positives = np.bincount(classes[correct], minlength=num_class)
    calculator.accumulate_pairs(classes, [0.9, 0.1, 0.2], correct, positives)
    rank = 3 if num_class == 1 else 2
    assert calculator.peek_map_at_n().tolist() == [1 / rank]

  def test_empty_and_clear(self):
    calculator = MeanAveragePrecisionCalculator(2)
    assert calculator.is_empty()
    assert calculator.peek_map_at_n().size == 0
    assert calculator.peek_pooled_ap() == 0
    calculator.accumulate([[1], []], [[1], []])
    assert not calculator.is_empty()
    calculator.clear()
    assert calculator.is_empty()
    assert calculator.peek_map_at_n().size == 0

  def test_refuses_sizes(self):
    with pytest.raises(ValueError, match="num_class must be a positive"):
      MeanAveragePrecisionCalculator(0)
    with pytest.raises(ValueError, match="top_n must be a positive"):
      MeanAveragePrecisionCalculator(2, top_n=0)

  @pytest.mark.parametrize(
    ("classes", "scores", "correct", "num_positives", "message"),
    [
      ([0], [1, 2], [1, 0], [1, 0], r"\(2,\), received int64 of shape \(1,\)"),
      ([0.5], [1], [1], [1, 0], "must be integers"),
      ([0, 2], [1, 2], [1, 0], [1, 0], r"\[0, 2\), received some from 0 to 2"),
      ([0, -1], [1, 2], [1, 0], [1, 0], "received some from -1"),
      ([0, 1], [1, math.nan], [1, 0], [1, 0], "received NaN"),
      ([0, 1], [1, 2], [1], [1, 0], r"shapes \(2,\) and \(1,\)"),
      ([0, 1], [1, 2], [1, 0], [1], r"of shape \(2,\), received \(1,\)"),
      ([0, 1], [1, 2], [1, 1], [1, 0], "1 of class 1, received 0"),
    ],
  )
  def test_refuses_pairs(
    self, classes, scores, correct, num_positives, message
  ):
    calculator = MeanAveragePrecisionCalculator(2)
    with pytest.raises(ValueError, match=message):
      calculator.accumulate_pairs(classes, scores, correct, num_positives)
    assert calculator.is_empty()
    assert calculator.peek_map_at_n().size == 0

  def test_refuses_lists(self):
    calculator = MeanAveragePrecisionCalculator(2)
    with pytest.raises(ValueError, match="2 classes, received 1 and 2"):
      calculator.accumulate([[1]], [[1], [0]])
    with pytest.raises(ValueError, match="same length"):
      calculator.accumulate([[1], [1, 2]], [[1], [0]])
