# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Hit@1, PERR, GAP and mAP, of a batch and of a data set."""

import json
import math
import pathlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import average_precision_calculator as ap_module
import eval_util

GOLDEN = json.loads(
  (pathlib.Path(__file__).parent / "data/golden_metrics.json").read_text()
)

# No deadline: a first call may be slow on a busy machine.
quick = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)
sizes = st.integers(0, 12)
class_counts = st.integers(1, 9)
top_ks = st.sampled_from([1, 2, 3, 20])
tie_levels = st.sampled_from([None, 1, 3])  # How many positive scores differ.


def random_videos(seed, num_videos, num_classes, levels=None):
  """Predictions of both signs, labels (some videos have none), losses."""
  rng = np.random.default_rng(seed)
  scores = rng.standard_normal((num_videos, num_classes)).astype(np.float32)
  if levels:
    scores = np.round(scores * levels) / np.float32(levels)
  labels = rng.random(scores.shape) < rng.choice([0.1, 0.3, 0.8])
  return scores, labels.astype(np.float32), rng.standard_normal(num_videos)


def metrics_of(*batches, top_k=3, top_n=None, num_classes=None):
  """EvaluationMetrics.get() of batches of (predictions, labels, loss)."""
  num_classes = num_classes or batches[0][0].shape[1]
  metrics = eval_util.EvaluationMetrics(num_classes, top_k, top_n)
  for batch in batches:
    metrics.accumulate(*batch)
  return metrics.get()


def assert_same(first, second):
  """Equal to the last bit."""
  assert first["aps"].tolist() == second["aps"].tolist()
  for name in first.keys() - {"aps"}:
    assert first[name] == second[name], name


def slow_ranking(scores, size):
  """The best classes of one video, the lower one first among equals."""
  return sorted(range(len(scores)), key=lambda c: (-scores[c], c))[:size]


def slow_metrics(predictions, labels, top_k, top_n=None):
  """The definitions, video by video."""
  num_classes = predictions.shape[1]
  hits, perrs, pairs = [], [], []
  for scores, truth in zip(predictions, labels > 0, strict=True):
    hits.append(truth[slow_ranking(scores, 1)[0]])
    found = [truth[c] for c in slow_ranking(scores, truth.sum())]
    perrs.append(sum(found) / len(found) if found else 0)
    best = slow_ranking(scores, top_k)
    pairs += [(-scores[c], truth[c], c) for c in best]
  pairs.sort()
  by_class = [[p for p in pairs if p[2] == c] for c in range(num_classes)]
  positives = (labels > 0).sum(axis=0)
  return {
    "avg_hit_at_one": math.fsum(hits) / len(hits),
    "avg_perr": math.fsum(perrs) / len(perrs),
    "gap": slow_average_precision(pairs, positives.sum()),
    "aps": [
      slow_average_precision(class_pairs[:top_n], min(count, top_n or count))
      for class_pairs, count in zip(by_class, positives, strict=True)
      if count
    ],
  }


def slow_average_precision(pairs, num_positives):
  found, terms = 0, []
  for rank, (_, is_correct, _) in enumerate(pairs, start=1):
    found += is_correct
    terms.append(found / rank * is_correct)
  return math.fsum(terms) / num_positives if num_positives else 0


# Three videos, four classes. Best classes first, the right ones in brackets:
# a: [0] 2 [1] 3      b: 1 3 2 0, no labels      c: 3 [2] 0 1
PREDICTIONS = np.array(
  [[0.9, 0.5, 0.6, 0.1], [0.1, 0.8, 0.2, 0.3], [0.25, 0.2, 0.4, 0.7]],
  np.float32,
)
LABELS = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], np.float32)
# With 2 pairs of each video, the pool is, by score: [a0 .9] b1 .8, c3 .7,
# a2 .6, [c2 .4] b3 .3; one of the 3 positives, a1, is not in it.
GAP_AT_2 = (1 / 1 + 2 / 5) / 3
# Class 0: a0 is at rank 1: 1. Class 1: b1 is wrong, and its positive is not
# among the pairs: 0. Class 2: wrong a2, then c2: 1/2. Class 3: no positive.
APS_AT_2 = [1, 0, 1 / 2]


class TestHandWorked:
  def test_evaluation_metrics(self):
    # PERR of a: of 2 labels, 1 is among the best 2. b: none. c: 0 of the best.
    metrics = eval_util.EvaluationMetrics(4, top_k=2)
    batch = metrics.accumulate(PREDICTIONS, LABELS, [1, 2, 6])
    assert batch == pytest.approx(
      {"hit_at_one": 1 / 3, "perr": 1 / 6, "loss": 3}, abs=1e-15
    )
    result = metrics.get()
    assert result.pop("aps") == pytest.approx(APS_AT_2, abs=1e-15)
    assert result == pytest.approx(
      {
        "avg_hit_at_one": 1 / 3,
        "avg_perr": 1 / 6,
        "avg_loss": 3,
        "gap": GAP_AT_2,
        "num_videos": 3,
        "num_unlabeled_videos": 1,
      },
      abs=1e-15,
    )

  def test_top_n_caps_aps_and_not_gap(self):
    result = metrics_of((PREDICTIONS, LABELS, 0), top_k=2, top_n=1)
    assert result["aps"].tolist() == [1, 0, 0]  # c2 has rank 2 in its class.
    assert result["gap"] == pytest.approx(GAP_AT_2, abs=1e-15)

  def test_rank_predictions(self):
    ranked = eval_util.rank_predictions(PREDICTIONS, LABELS, top_k=1)
    # 2 classes: as many as the most labels of one video.
    assert ranked.classes.tolist() == [[0, 2], [1, 3], [3, 2]]
    assert ranked.scores == pytest.approx(
      np.array([[0.9, 0.6], [0.8, 0.3], [0.7, 0.4]]), abs=1e-7
    )
    assert ranked.correct.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert ranked.num_labels.tolist() == [2, 0, 1]
    assert ranked.positives_per_class.tolist() == [1, 1, 1, 0]
    assert [field.dtype for field in ranked] == [
      np.float32,
      np.int32,
      bool,
      np.int32,
      np.int64,
    ]


# The origin of the numbers, and how to rebuild the arrays, are in the file. The
# reference adds up in float32, hence the tolerance.
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["seed"])
def test_golden_numbers_of_the_starter_code(case):
  rng = np.random.default_rng(case["seed"])
  size, num_classes = case["n"], case["c"]
  metrics = eval_util.EvaluationMetrics(num_classes, 20)
  for expected in case["per_batch"]:
    labels = rng.random((size, num_classes)) < case["density"]
    labels = labels.astype(np.float32)
    labels[np.arange(size), rng.integers(0, num_classes, size)] = 1
    noise = rng.random((size, num_classes)) * 0.65
    predictions = (0.35 * labels + noise).astype(np.float32)
    batch = metrics.accumulate(predictions, labels, rng.random(size))
    actual = [
      eval_util.calculate_hit_at_one(predictions, labels),
      eval_util.calculate_precision_at_equal_recall_rate(predictions, labels),
      eval_util.calculate_gap(predictions, labels),
    ]
    assert actual == pytest.approx(expected, abs=1e-5)
    assert actual[:2] == [batch["hit_at_one"], batch["perr"]]
  result = metrics.get()
  for name in ("avg_hit_at_one", "avg_perr", "avg_loss", "gap"):
    assert result[name] == pytest.approx(case[name], abs=1e-5)
  assert result["aps"].mean() == pytest.approx(case["map"], abs=1e-5)
  assert len(result["aps"]) == case["num_aps"]


class TestRanking:
  @quick
  @given(
    seeds,
    sizes,
    st.sampled_from([1, 2, 7, 40, 1000]),  # From 9 on, in groups.
    top_ks,
    tie_levels,
    st.booleans(),
  )
  def test_equals_a_full_stable_sort(
    self, seed, num_videos, num_classes, top_k, levels, as_float64
  ):
    predictions, labels, _ = random_videos(
      seed, num_videos, num_classes, levels
    )
    if as_float64:  # Differences that float32 would round away.
      predictions = predictions.astype(np.float64) + labels * 1e-12
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(eval_util, "_BLOCK_SCORES", 3 * num_classes)
      ranked = eval_util.rank_predictions(predictions, labels, top_k)
    most_labels = int(labels.sum(axis=1).max(initial=0))
    size = min(num_classes, max(top_k, most_labels))
    expected = [slow_ranking(scores, size) for scores in predictions]
    assert ranked.classes.tolist() == expected
    rows = np.arange(num_videos)[:, np.newaxis]
    assert (ranked.scores == predictions[rows, ranked.classes]).all()
    assert (ranked.correct == labels[rows, ranked.classes]).all()
    assert (ranked.num_labels == labels.sum(axis=1)).all()
    assert (ranked.positives_per_class == labels.sum(axis=0)).all()

  def test_minus_infinity_is_a_score(self):
    predictions = np.full((2, 50), -np.inf)
    predictions[1, [3, 40]] = [-5, np.inf]
    ranked = eval_util.rank_predictions(predictions, predictions > 0, 3)
    assert ranked.classes.tolist() == [[0, 1, 2], [40, 3, 0]]

  @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
  def test_labels_of_any_type_are_true_above_0(self, dtype):
    labels = (LABELS * 3).astype(dtype)
    if dtype is np.int64:
      labels[LABELS == 0] = -1
    ranked = eval_util.rank_predictions(PREDICTIONS.tolist(), labels, 2)
    expected = eval_util.rank_predictions(PREDICTIONS, LABELS, 2)
    for actual, wanted in zip(ranked, expected, strict=True):
      assert (actual == wanted).all()

  def test_memory_order_does_not_matter(self):
    predictions, labels, _ = random_videos(3, 90, 3862, levels=3)
    expected = eval_util.rank_predictions(predictions, labels, 4)
    ranked = eval_util.rank_predictions(
      np.asfortranarray(predictions), np.asfortranarray(labels), 4
    )
    assert (ranked.classes == expected.classes).all()


class TestDefinitions:
  @quick
  @given(seeds, st.integers(1, 12), class_counts, top_ks, tie_levels)
  def test_equal_the_slow_way(
    self, seed, num_videos, num_classes, top_k, levels
  ):
    predictions, labels, loss = random_videos(
      seed, num_videos, num_classes, levels
    )
    top_n = [None, 1, 2][seed % 3]
    expected = slow_metrics(predictions, labels, top_k, top_n)
    result = metrics_of((predictions, labels, loss), top_k=top_k, top_n=top_n)
    assert result["aps"] == pytest.approx(expected["aps"], abs=1e-14)
    for name in ("avg_hit_at_one", "avg_perr", "gap"):
      assert result[name] == pytest.approx(expected[name], abs=1e-14)
    assert result["avg_loss"] == pytest.approx(loss.mean(), abs=1e-14)
    assert eval_util.calculate_gap(predictions, labels, top_k) == result["gap"]
    assert (
      eval_util.calculate_hit_at_one(predictions, labels)
      == result["avg_hit_at_one"]
    )
    assert (
      eval_util.calculate_precision_at_equal_recall_rate(predictions, labels)
      == result["avg_perr"]
    )


class TestInvariants:
  @quick
  @given(seeds, st.integers(1, 14), class_counts, tie_levels, st.data())
  def test_batches_and_order_do_not_matter(
    self, seed, num_videos, num_classes, levels, data
  ):
    videos = random_videos(seed, num_videos, num_classes, levels)
    order = data.draw(st.permutations(range(num_videos)))
    edges = sorted(data.draw(st.lists(st.integers(0, num_videos), max_size=6)))
    parts = [np.split(array[order], edges) for array in videos]
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(ap_module, "_CHUNK_PAIRS", 8)
      in_parts = metrics_of(*zip(*parts, strict=True))
      whole = metrics_of(videos)
    assert_same(in_parts, whole)

  def test_get_changes_nothing_and_clear_all(self):
    first, second = random_videos(1, 9, 4), random_videos(2, 7, 4)
    metrics = eval_util.EvaluationMetrics(4, 2)
    metrics.accumulate(*second)
    metrics.clear()
    metrics.accumulate(*first)
    assert_same(metrics.get(), metrics.get())
    metrics.accumulate(*second)
    assert_same(metrics.get(), metrics_of(first, second, top_k=2))

  def test_keeps_no_reference_to_the_callers_arrays(self):
    videos = random_videos(1, 9, 4)
    metrics = eval_util.EvaluationMetrics(4, 4)
    ranked = eval_util.rank_predictions(*videos[:2], 4)
    metrics.accumulate_ranked(ranked, videos[2])
    for field in ranked:
      field[:] = 0
    assert_same(metrics.get(), metrics_of(videos, top_k=4))


class TestBoundaries:
  def test_no_videos(self):
    empty = np.zeros((0, 4), np.float32)
    assert eval_util.calculate_hit_at_one(empty, empty) == 0
    assert eval_util.calculate_precision_at_equal_recall_rate(empty, empty) == 0
    assert eval_util.calculate_gap(empty, empty) == 0
    metrics = eval_util.EvaluationMetrics(4, 20)
    # The mean loss of no videos is likely to be NaN; it must not count.
    batch = metrics.accumulate(empty, empty, math.nan)
    assert batch == {"hit_at_one": 0, "perr": 0, "loss": 0}
    with pytest.raises(ValueError, match="at least one video, received none"):
      metrics.get()
    videos = random_videos(1, 9, 4)
    metrics.accumulate(*videos)
    metrics.accumulate(empty, empty, [])
    assert_same(metrics.get(), metrics_of(videos, top_k=20))

  def test_no_positives(self):
    predictions, labels, loss = random_videos(1, 6, 3)
    result = metrics_of((predictions, labels * 0, loss))
    assert [result[n] for n in ("avg_hit_at_one", "avg_perr", "gap")] == [0] * 3
    assert result["aps"].size == 0
    assert result["num_unlabeled_videos"] == 6

  def test_a_score_of_0_counts_like_any_other(self):
    perr = eval_util.calculate_precision_at_equal_recall_rate(
      [[0.0, 0.5]], [[1, 1]]
    )
    assert perr == 1


class TestLoss:
  def test_a_number_is_the_mean_of_its_batch(self):
    predictions, labels, _ = random_videos(0, 4, 2)
    result = metrics_of(
      (predictions, labels, 1.0), (predictions[:1], labels[:1], 11.0)
    )
    assert result["avg_loss"] == (4 * 1 + 1 * 11) / 5

  def test_no_rounding_on_the_way(self):
    # Added up in floats one by one, the ones would vanish.
    predictions, labels, _ = random_videos(0, 4, 2)
    result = metrics_of(
      (predictions, labels, [1e16, 1, 1, 1]),
      (predictions, labels, [1, 0, 1e-30, -1e16]),
    )
    assert result["avg_loss"] == 4 / 8

  @pytest.mark.parametrize("loss", [math.inf, math.nan])
  def test_not_finite(self, loss):
    predictions, labels, _ = random_videos(0, 4, 2)
    metrics = eval_util.EvaluationMetrics(2, 2)
    metrics.accumulate(predictions, labels, 1.0)
    metrics.accumulate(predictions, labels, loss)
    metrics.accumulate(predictions, labels, 1.0)
    assert str(metrics.get()["avg_loss"]) == str(loss)

  @pytest.mark.parametrize("loss", [[[1.0] * 4], [1.0] * 5])
  def test_shape(self, loss):
    metrics = eval_util.EvaluationMetrics(2, 2)
    with pytest.raises(ValueError, match=r"shape \(\) or \(4,\), received"):
      metrics.accumulate(np.zeros((4, 2)), np.zeros((4, 2)), loss)


class TestErrors:
  @pytest.mark.parametrize(
    "function",
    [
      eval_util.calculate_hit_at_one,
      eval_util.calculate_precision_at_equal_recall_rate,
      eval_util.calculate_gap,
      lambda *batch: eval_util.EvaluationMetrics(3, 2).accumulate(*batch, 0.0),
    ],
  )
  def test_matrices(self, function):
    for shapes in (
      *(((2, 3), (3, 2)), ((3,), (3,))),
      *(((2, 3), (2, 1)), ((2, 0), (2, 0))),
    ):
      with pytest.raises(ValueError, match="of the same shape .* received"):
        function(*map(np.zeros, shapes))
    for place in (0, 5):
      predictions = np.arange(6.0).reshape(2, 3)
      predictions.flat[place] = math.nan
      with pytest.raises(ValueError, match="received NaN"):
        function(predictions, np.ones((2, 3)))

  def test_nan_among_many_classes(self):
    for place in [*range(0, 3862, 97), 3861]:
      predictions = np.zeros((2, 3862), np.float32)
      predictions[1, place] = math.nan
      with pytest.raises(ValueError, match="received NaN"):
        eval_util.rank_predictions(predictions, predictions > 0, 20)

  @pytest.mark.parametrize("number", [0, 2.0, None])
  def test_sizes(self, number):
    with pytest.raises(ValueError, match="top_k must be a positive integer"):
      eval_util.EvaluationMetrics(3, number)
    with pytest.raises(ValueError, match="num_class must be a positive"):
      eval_util.EvaluationMetrics(number, 3)
    with pytest.raises(ValueError, match="top_k must be a positive integer"):
      eval_util.calculate_gap([[1]], [[1]], number)
    if number is not None:
      with pytest.raises(ValueError, match="top_n must be .* received"):
        eval_util.EvaluationMetrics(3, 3, top_n=number)

  def test_another_number_of_classes(self):
    metrics = eval_util.EvaluationMetrics(5, 2)
    with pytest.raises(ValueError, match=r"positives_per_class \[5\]"):
      metrics.accumulate(PREDICTIONS, LABELS, 0)

  @pytest.mark.parametrize(
    ("changes", "message"),
    [
      ({"scores": [[1, 2], [2, 1]]}, "received a rise"),
      ({"scores": [[math.nan, 2], [2, 1]]}, "received NaN"),
      ({"scores": [2, 1]}, "received shapes"),
      ({"num_labels": [1]}, "received shapes"),
      ({"positives_per_class": [1, 0]}, "received shapes"),
      ({"classes": [[0, 1], [2, 3]]}, r"in \[0, 3\), received"),
      ({"positives_per_class": [1, 1, 0]}, "sums of 1 and 2"),
      ({"positives_per_class": [0, 1, 0]}, "1 of class 0, received 0"),
      (
        {"num_labels": [3, 0], "positives_per_class": [1, 1, 1]},
        "at least 3 classes of each video .* received 2",
      ),
    ],
  )
  def test_ranked(self, changes, message):
    good = eval_util.RankedPredictions(
      scores=[[2, 1], [2, 1]],
      classes=[[0, 1], [2, 0]],
      correct=[[True, False], [False, False]],
      num_labels=[1, 0],
      positives_per_class=[1, 0, 0],
    )
    metrics = eval_util.EvaluationMetrics(3, 2)
    metrics.accumulate_ranked(good, 0.0)
    before = metrics.get()
    with pytest.raises(ValueError, match=message):
      metrics.accumulate_ranked(good._replace(**changes), 0.0)
    assert_same(metrics.get(), before)  # A refused batch leaves no trace.


def ranked_batch(rng, num_videos, num_classes, top_k):
  """A made-up batch, quicker than ranking predictions."""
  scores = -np.sort(-rng.random((num_videos, top_k), dtype=np.float32))
  classes = rng.integers(0, num_classes, scores.shape, dtype=np.int32)
  correct = rng.random(scores.shape) < 0.15
  return eval_util.RankedPredictions(
    scores=scores,
    classes=classes,
    correct=correct,
    num_labels=correct.sum(axis=1, dtype=np.int32),
    positives_per_class=np.bincount(classes[correct], minlength=num_classes),
  )


def test_memory_per_video():
  # 20 pairs of 4 + 2 + 1 bytes, and what `get` needs on top. A fifth of a
  # million videos: enough for the fixed part to be small.
  rng = np.random.default_rng(0)
  metrics = eval_util.EvaluationMetrics(3862, 20)
  num_batches, num_videos = 50, 4096
  tracemalloc.start()
  for _ in range(num_batches):
    metrics.accumulate_ranked(ranked_batch(rng, num_videos, 3862, 20), 0.0)
  kept, _ = tracemalloc.get_traced_memory()
  metrics.get()
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert kept / (num_batches * num_videos) < 150
  assert peak / (num_batches * num_videos) < 250
