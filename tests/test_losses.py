# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The label losses: hand-worked values, extremes, gradients and weights."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import losses

ALL_LOSSES = [
  *(losses.CrossEntropyLoss, losses.FocalLoss),
  *(losses.HingeLoss, losses.SoftmaxLoss),
]

# Odds of 3 to 1 and of 1 to 1: probabilities of 3/4 and 1/2.
LOGITS = np.array([[math.log(3.0), 0.0]], np.float32)
PROBABILITIES = np.array([[0.75, 0.5]], np.float32)


def random_batch(num_videos=6, num_classes=5, seed=0):
  """Logits and labels; the last video has no label."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(0, 3, (num_videos, num_classes)).astype(np.float32)
  labels = (rng.random(logits.shape) < 0.4).astype(np.float32)
  labels[0, 0], labels[-1] = 1, 0
  return logits, labels


def per_example(loss_class, logits, labels):
  """The losses from logits, with probabilities that would give others."""
  nonsense = np.full_like(logits, 0.123)
  return loss_class().per_example_loss(nonsense, labels, logits).numpy()


@pytest.mark.parametrize(
  ("loss_class", "labels", "expected"),
  [
    # -ln(3/4) - ln(1 - 1/2), and both labels the other way round.
    (losses.CrossEntropyLoss, [1, 0], math.log(4 / 3) + math.log(2)),
    (losses.CrossEntropyLoss, [0, 1], math.log(4) + math.log(2)),
    # The same terms, of probabilities 3/4 and 1/2, times a quarter for a label
    # and three quarters for none, and times (1/4)^2 and (1/2)^2.
    (
      losses.FocalLoss,
      [1, 0],
      math.log(4 / 3) / 4 / 16 + math.log(2) * 3 / 4 / 4,
    ),
    (losses.FocalLoss, [0, 1], math.log(4) * 27 / 64 + math.log(2) / 16),
    # max(0, 1 - ln 3) = 0, as ln 3 = 1.0986; 1 for a logit of 0.
    (losses.HingeLoss, [1, 0], 1.0),
    (losses.HingeLoss, [0, 1], 1 + math.log(3) + 1),
    # softmax(ln 3, 0) is (3/4, 1/4); two labels are 1/2 each.
    (losses.SoftmaxLoss, [1, 0], math.log(4 / 3)),
    (losses.SoftmaxLoss, [0, 1], math.log(4)),
    (losses.SoftmaxLoss, [1, 1], (math.log(4 / 3) + math.log(4)) / 2),
    (losses.SoftmaxLoss, [0, 0], 0.0),
  ],
)
def test_hand_worked(loss_class, labels, expected):
  labels = np.array([labels], np.float32)
  assert per_example(loss_class, LOGITS, labels) == pytest.approx(
    [expected], rel=1e-6
  )
  # The log-odds of the probabilities are the same logits.
  from_probabilities = loss_class().per_example_loss(PROBABILITIES, labels)
  assert from_probabilities.numpy() == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize(
  ("loss", "expected"),
  [
    # Targets of 0.9 and 0.1 for probabilities of 3/4 and 1/2.
    (
      losses.CrossEntropyLoss(label_smoothing=0.2),
      0.9 * math.log(4 / 3) + 0.1 * math.log(4) + math.log(2),
    ),
    # Without focus: cross entropies, with weights of 0.9 and 0.1.
    (
      losses.FocalLoss(alpha=0.9, gamma=0),
      0.9 * math.log(4 / 3) + 0.1 * math.log(2),
    ),
    # (1/4)^3 ln(4/3) of the label. With alpha = 1, negatives have no weight.
    (losses.FocalLoss(alpha=1, gamma=3), math.log(4 / 3) / 64),
  ],
)
def test_arguments_hand_worked(loss, expected):
  labels = np.array([[1, 0]], np.float32)
  actual = loss.per_example_loss(None, labels, LOGITS).numpy()
  assert actual == pytest.approx([expected], rel=1e-6)


@pytest.mark.parametrize(
  ("loss_class", "arguments"),
  [
    *((losses.CrossEntropyLoss, {"label_smoothing": s}) for s in (-0.1, 1.0)),
    *((losses.FocalLoss, {"alpha": alpha}) for alpha in (-0.1, 1.1, math.nan)),
    *((losses.FocalLoss, {"gamma": gamma}) for gamma in (-1, math.inf)),
  ],
)
def test_arguments_out_of_range(loss_class, arguments):
  ((name, value),) = arguments.items()
  with pytest.raises(ValueError, match=f"^{name}={value} should be "):
    loss_class(**arguments)


def test_losses_equal_those_of_keras():
  logits, labels = random_batch()
  num_classes = logits.shape[1]
  oracle = keras.losses.BinaryCrossentropy(from_logits=True, reduction=None)
  # Keras gives the mean over the classes, this suite the sum.
  expected = oracle(labels, logits).numpy() * num_classes
  actual = per_example(losses.CrossEntropyLoss, logits, labels)
  np.testing.assert_allclose(actual, expected, rtol=1e-6)

  smoothed = losses.CrossEntropyLoss(label_smoothing=0.3)
  oracle = keras.losses.BinaryCrossentropy(
    from_logits=True, label_smoothing=0.3, reduction=None
  )
  actual = smoothed.per_example_loss(None, labels, logits)
  expected = oracle(labels, logits).numpy() * num_classes
  np.testing.assert_allclose(actual, expected, rtol=1e-6)

  oracle = keras.losses.BinaryFocalCrossentropy(
    apply_class_balancing=True, from_logits=True, reduction=None
  )
  expected = oracle(labels, logits).numpy() * num_classes
  actual = per_example(losses.FocalLoss, logits, labels)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)

  oracle = keras.losses.Hinge(reduction=None)
  expected = oracle(labels, logits).numpy() * num_classes
  actual = per_example(losses.HingeLoss, logits, labels)
  np.testing.assert_allclose(actual, expected, rtol=1e-6)

  targets = labels / np.maximum(labels.sum(axis=1, keepdims=True), 1)
  oracle = keras.losses.CategoricalCrossentropy(
    from_logits=True, reduction=None
  )
  actual = per_example(losses.SoftmaxLoss, logits, labels)
  np.testing.assert_allclose(actual, oracle(targets, logits), rtol=1e-5)
  assert actual[-1] == 0


def test_labels_that_were_not_rated_hand_worked():
  # 2 ln 2; the third class would add -ln(1 - 0.9).
  value = losses.CrossEntropyLoss().per_example_loss(
    np.array([[0.5, 0.5, 0.9]], np.float32),
    np.array([[1, 0, 0]], np.float32),
    label_weights=np.array([[1, 1, 0]], np.float32),
  )
  assert value.numpy() == pytest.approx([1.3863], abs=1e-4)


@pytest.mark.parametrize("loss_class", ALL_LOSSES)
def test_labels_that_were_not_rated_take_no_part(loss_class):
  logits, labels = random_batch()
  logits[0, 3], labels[1, 4] = 1e9, 1
  weights = np.ones_like(labels)
  weights[:, 3:], weights[2] = 0, 0
  logits = tf.constant(logits)
  with tf.GradientTape() as tape:
    tape.watch(logits)
    actual = loss_class().per_example_loss(None, labels, logits, weights)
  gradient = tape.gradient(actual, logits).numpy()
  expected = per_example(loss_class, logits.numpy()[:, :3], labels[:, :3])
  expected[2] = 0  # Nothing of it was rated.
  np.testing.assert_allclose(actual, expected, rtol=1e-6)
  assert np.isfinite(gradient).all()
  assert not gradient[:, 3:].any()
  assert not gradient[2].any()


@pytest.mark.parametrize("loss_class", ALL_LOSSES)
def test_extreme_logits_are_exact(loss_class):
  logits = tf.constant([[1e9, -1e9], [-1e9, 1e9]])
  labels = tf.constant([[1.0, 0.0], [1.0, 0.0]])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    values = loss_class().per_example_loss(None, labels, logits)
  # Right on both, wrong on both. In float32, 1 + 1e9 is 1e9. The focal loss
  # gives the two a weight of 1/4 and one of 3/4.
  is_focal = loss_class is losses.FocalLoss
  assert values.numpy().tolist() == [0, 1e9 if is_focal else 2e9]
  assert np.isfinite(tape.gradient(values, logits)).all()


def test_certain_probabilities_have_gradients():
  predictions = tf.constant([[p, 0.5] for p in (0.0, 1.0, 0.0, 1.0)])
  labels = tf.constant([[label, 1.0] for label in (0.0, 0.0, 1.0, 1.0)])
  with tf.GradientTape() as tape:
    tape.watch(predictions)
    value = losses.CrossEntropyLoss().per_example_loss(predictions, labels)
  assert np.isfinite(value).all()
  assert np.isfinite(tape.gradient(value, predictions)).all()


def test_clipping_of_certain_probabilities():
  # -ln(1e-7) for a certain mistake; 1e-7 itself is not exact in float32.
  value = losses.CrossEntropyLoss().per_example_loss(
    np.array([[0.0]]), np.array([[1.0]], np.float32)
  )
  assert value.numpy() == pytest.approx([-math.log(1e-7)], rel=1e-4)


@pytest.mark.parametrize("loss_class", ALL_LOSSES)
def test_gradients_are_finite_differences(loss_class):
  logits, labels = random_batch(num_videos=3, num_classes=4)
  # Away from the hinge's kinks at -1 and 1, where it has no derivative.
  distance = np.abs(np.abs(logits) - 1)
  assert distance.min() > 0.05
  with tf.GradientTape() as tape:
    variable = tf.Variable(logits)
    value = tf.reduce_sum(loss_class().per_example_loss(None, labels, variable))
  gradient = tape.gradient(value, variable).numpy()
  step = 0.02
  for place in np.ndindex(logits.shape):
    nudge = np.zeros_like(logits)
    nudge[place] = step
    high, low = (
      per_example(loss_class, moved, labels).sum()
      for moved in (logits + nudge, logits - nudge)
    )
    # Third derivatives are below 0.2, so the formula is good to 1e-4; the
    # sums of about 20 are good to 1e-6, which the step makes 1e-4.
    assert gradient[place] == pytest.approx((high - low) / (2 * step), abs=5e-4)


def test_weights_mask_rows():
  logits, labels = random_batch()
  loss = losses.SoftmaxLoss()
  each = per_example(losses.SoftmaxLoss, logits, labels).astype(np.float64)
  weights = np.array([1, 0, 1, 1, 0, 0], np.float32)
  unweighted = loss.calculate_loss(None, labels, logits)
  assert unweighted.shape == ()
  assert float(unweighted) == pytest.approx(each.mean(), rel=1e-6)
  masked = loss.calculate_loss(None, labels, logits, weights)
  assert float(masked) == pytest.approx(each[weights > 0].mean(), rel=1e-6)


def test_weights_weigh():
  # Losses of ln 2 and ln 4 with weights 1 and 3.
  logits = np.array([[0.0], [-math.log(3)]], np.float32)
  value = losses.CrossEntropyLoss().calculate_loss(
    None, np.ones((2, 1), np.float32), logits, np.array([1, 3], np.float32)
  )
  assert float(value) == pytest.approx(math.log(2) * (1 + 2 * 3) / 4)


def test_weights_of_zero_give_zero():
  logits, labels = (tf.constant(values) for values in random_batch())
  with tf.GradientTape() as tape:
    tape.watch(logits)
    value = losses.HingeLoss().calculate_loss(
      None, labels, logits, tf.zeros(len(labels))
    )
  assert float(value) == 0
  assert not tape.gradient(value, logits).numpy().any()


def test_half_precision_logits_give_float32_losses():
  logits, labels = random_batch(num_classes=200)
  half = tf.cast(logits, tf.bfloat16)
  value = losses.CrossEntropyLoss().per_example_loss(None, labels, half)
  assert value.dtype == tf.float32
  exact = tf.cast(half, tf.float32).numpy()
  expected = per_example(losses.CrossEntropyLoss, exact, labels)
  np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_the_base_class_has_no_loss():
  with pytest.raises(NotImplementedError):
    losses.BaseLoss().calculate_loss(PROBABILITIES, np.ones((1, 2)))
