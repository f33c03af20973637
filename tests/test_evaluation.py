# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""One pass over a data set."""

import json

from program import UserError

import numpy as np
import pytest
import tensorflow as tf

import cluster
import eval_util
import evaluation
import experiment
import losses
from config import ExperimentConfig

NUM_VIDEOS = 20
NUM_CLASSES = 6
CONFIG = ExperimentConfig(
  num_classes=NUM_CLASSES, feature_names=("mean_rgb",), feature_sizes=(3,)
)


@pytest.fixture(scope="module")
def model():
  model = experiment.build_model(CONFIG)
  rng = np.random.default_rng(0)
  model.set_weights([rng.normal(0, 2, w.shape) for w in model.get_weights()])
  return model


@pytest.fixture(scope="module")
def videos():
  """Features and labels; videos 0 and 7 have none, and nothing has class 5."""
  rng = np.random.default_rng(1)
  features = rng.normal(0, 1, (NUM_VIDEOS, 3)).astype(np.float32)
  labels = (rng.random((NUM_VIDEOS, NUM_CLASSES)) < 0.4).astype(np.float32)
  numbers = np.arange(NUM_VIDEOS)
  labels[numbers, numbers % 5] = 1
  labels[[0, 7]] = 0
  labels[:, 5] = 0
  return features, labels


def cut(videos, batch_size):
  """Batches as of readers.py; the rows of padding have features here."""
  batches = []
  for start in range(0, NUM_VIDEOS, batch_size):
    features, labels = (part[start : start + batch_size] for part in videos)
    missing = batch_size - len(features)
    filler = np.full((missing, 3), 7.0, np.float32)
    ids = [f"video{start + row}" for row in range(batch_size)]
    batch = {
      "video_ids": np.array(ids),
      "features": {"mean_rgb": np.concatenate([features, filler])},
      "num_frames": np.ones(batch_size, np.int32),
      "labels": np.pad(labels, [(0, missing), (0, 0)]),
      "weights": np.pad(np.ones(len(features), np.float32), (0, missing)),
    }
    batches.append(tf.nest.map_structure(tf.constant, batch))
  return batches


def evaluate(model, batches, top_k=3, jit_compile=False, **kwargs):
  predictor = evaluation.Predictor(
    model, losses.CrossEntropyLoss(), jit_compile=jit_compile
  )
  run = experiment.Run(None, cluster.alone(), None)
  return evaluation.evaluate(
    predictor, batches, NUM_CLASSES, top_k, run, **kwargs
  )


def expected_results(model, videos, top_k):
  """The same figures from numpy, all videos at once."""
  features, labels = videos
  inputs = {
    "features": {"mean_rgb": features},
    "num_frames": np.ones(NUM_VIDEOS, np.int32),
  }
  outputs = model(inputs)
  predictions = outputs["predictions"].numpy()
  probabilities = predictions.astype(np.float64)
  likelihoods = np.where(labels > 0, probabilities, 1 - probabilities)
  metrics = eval_util.EvaluationMetrics(NUM_CLASSES, top_k)
  metrics.accumulate(predictions, labels, 0.0)
  return {
    "hit_at_one": eval_util.calculate_hit_at_one(predictions, labels),
    "perr": eval_util.calculate_precision_at_equal_recall_rate(
      predictions, labels
    ),
    "map": metrics.get()["aps"].mean(),
    "gap": eval_util.calculate_gap(predictions, labels, top_k),
    "loss": -np.log(likelihoods).sum(axis=1).mean(),
    "num_videos": NUM_VIDEOS,
    "num_unlabeled_videos": 2,
    "num_classes_with_labels": 5,
  }


@pytest.mark.parametrize(
  ("batch_size", "top_k", "jit_compile"),
  [
    *((1, 3, False), (3, 1, True), (19, 3, False), (20, 6, False)),
    *((21, 20, False), (50, 3, True)),
  ],
)
def test_results_are_those_of_all_videos_at_once(
  model, videos, batch_size, top_k, jit_compile
):
  results = evaluate(model, cut(videos, batch_size), top_k, jit_compile)
  assert results.pop("videos_per_second") > 0
  assert results == pytest.approx(
    expected_results(model, videos, top_k), rel=1e-5
  )
  # As numbers that JSON can hold.
  assert json.loads(json.dumps(results)) == results


def test_progress_of_each_batch(model, videos):
  lines = []

  class Display:
    def show(self, position, line, examples_per_sec):
      assert float(examples_per_sec) > 0
      lines.append((position, line))

  evaluate(model, cut(videos, 8), display=Display())
  # Videos so far, without the padding of the last batch.
  assert [position for position, _ in lines] == [8, 16, 20]
  for (position, line), start in zip(lines, (0, 8, 16), strict=True):
    alone = cut(tuple(part[start : start + 8] for part in videos), NUM_VIDEOS)
    results = evaluate(model, alone[:1])
    assert line.startswith(f"examples processed: {position} | Examples/sec: ")
    assert line.endswith(
      f"| Hit@1: {results['hit_at_one']:.3f} PERR: {results['perr']:.3f} "
      f"Loss: {results['loss']:.3f}"
    )


def test_no_videos_are_refused(model):
  with pytest.raises(UserError, match="There is no video to evaluate on"):
    evaluate(model, [])


def test_predictions_that_are_not_finite_name_their_video(model, videos):
  features, labels = videos
  features = features.copy()
  features[13] = np.nan
  with pytest.raises(UserError, match="video 'video13' are not finite"):
    evaluate(model, cut((features, labels), 8))


def test_evaluation_can_be_stopped(model, videos):
  answers = iter([False, True])
  assert (
    evaluate(model, cut(videos, 8), should_stop=lambda: next(answers)) is None
  )


def test_predictions_carry_what_was_asked_for(model, videos):
  features, labels = videos
  predictor = evaluation.Predictor(model, outputs=["logits"])
  items = list(predictor.predictions(cut(videos, 8)))
  assert [len(item.video_ids) for item in items] == [8, 8, 4]
  ids = [video_id for item in items for video_id in item.video_ids]
  assert ids == [b"video%d" % number for number in range(NUM_VIDEOS)]
  inputs = {
    "features": {"mean_rgb": features},
    "num_frames": np.ones(NUM_VIDEOS, np.int32),
  }
  for name, parts in (
    ("predictions", [item.predictions for item in items]),
    ("logits", [item.outputs["logits"] for item in items]),
  ):
    expected = model(inputs)[name].numpy()
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-5)
  given = np.concatenate([item.labels for item in items])
  np.testing.assert_array_equal(given, labels)
  # Without a loss, labels need not be there.
  assert all(item.losses is None for item in items)


def test_videos_without_any_label(model, videos):
  features, labels = videos
  with pytest.raises(UserError, match="None of the 20 videos has a label: "):
    evaluate(model, cut((features, np.zeros_like(labels)), 20))
