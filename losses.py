# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Label losses: one value per example; `BaseLoss` has their weighted mean.

To add a loss, subclass `BaseLoss`, give it `per_example_loss`, and name the
class in `--label_loss`. The arguments of its constructor need defaults; they
are set by flags of the same names, or by `--label_loss_kwargs`.
"""

import math

from keras import ops

# Keeps log(p) finite for probabilities of exactly 0 or 1.
EPSILON = 1e-7

# A score that leaves a class without a share in a softmax, and finite.
_LOWEST = -3e38


class BaseLoss:
  """A loss between a model's output and the labels."""

  def per_example_loss(
    self, predictions, labels, logits=None, label_weights=None
  ):
    """The loss of each example.

    Args:
      predictions: [batch, num_classes] float probabilities in [0, 1]; None
        where only logits are known.
      labels: [batch, num_classes] float32 in {0, 1}.
      logits: [batch, num_classes] float scores before the sigmoid, or None
        where a model has none.
      label_weights: [batch, num_classes] float32, 1 where a label was rated
        and 0 where it is not known; None where all are known.

    Returns:
      [batch] float32.
    """
    raise NotImplementedError

  def calculate_loss(
    self, predictions, labels, logits=None, weights=None, label_weights=None
  ):
    """The weighted mean of the examples' losses, a float32 scalar.

    Args:
      predictions: as in `per_example_loss`.
      labels: as in `per_example_loss`.
      logits: as in `per_example_loss`.
      weights: [batch] float32, 0 for rows that only pad a batch; None means
        that every row counts. If all are 0, so is the loss.
      label_weights: as in `per_example_loss`.
    """
    losses = self.per_example_loss(predictions, labels, logits, label_weights)
    if weights is None:
      return ops.mean(losses)
    return ops.divide_no_nan(ops.sum(losses * weights), ops.sum(weights))


class CrossEntropyLoss(BaseLoss):
  """Sigmoid cross entropy, summed over the classes.

  Computed from logits where the model gives them, which is exact however far
  from 0 they are; else from probabilities clipped to [1e-7, 1 - 1e-7].

  Args:
    label_smoothing: how far the targets lie from 0 and 1, in [0, 1): a label y
      becomes (1 - label_smoothing) y + label_smoothing / 2 (Szegedy et al.
      2016, arXiv:1512.00567, section 7, with the two values of a label in place
      of the classes). 0 leaves them.

  Raises:
    ValueError: `label_smoothing` is out of range.
  """

  def __init__(self, label_smoothing=0.0):
    if not 0 <= label_smoothing < 1:
      raise ValueError(
        f"label_smoothing={label_smoothing} should be at least 0 and below 1."
      )
    self.label_smoothing = label_smoothing

  def per_example_loss(
    self, predictions, labels, logits=None, label_weights=None
  ):
    """See `BaseLoss`."""
    if self.label_smoothing:
      labels = labels + self.label_smoothing * (0.5 - labels)
    if logits is None:
      # Not by way of log-odds, which have two logarithms more.
      clipped = _clipped(predictions)
      losses = -labels * ops.log(clipped) - (1 - labels) * ops.log1p(-clipped)
      return _sum_of_classes(losses, label_weights)
    logits = ops.cast(logits, "float32")
    # max(x, 0) - x * y + log(1 + exp(-|x|)) never takes exp of a large number.
    losses = ops.maximum(logits, 0.0) - logits * labels
    losses = losses + ops.log1p(ops.exp(-ops.abs(logits)))
    return _sum_of_classes(losses, label_weights)


class FocalLoss(BaseLoss):
  """Cross entropy in which what is predicted well weighs less.

  -alpha_t (1 - p_t)^gamma log(p_t), summed over the classes: p_t is the
  probability given to what is true, alpha_t is `alpha` for labels and
  1 - `alpha` for their absence. Lin et al. 2017, "Focal Loss for Dense Object
  Detection", arXiv:1708.02002, equation 5.

  Args:
    alpha: weight of labels, in [0, 1].
    gamma: how fast the weight falls with p_t, at least 0; with 0 it is a
      weighted cross entropy.

  Raises:
    ValueError: an argument is out of range.
  """

  def __init__(self, alpha=0.25, gamma=2.0):
    if not 0 <= alpha <= 1:
      raise ValueError(f"alpha={alpha} should be from 0 to 1.")
    if not 0 <= gamma < math.inf:
      raise ValueError(f"gamma={gamma} should be at least 0, and finite.")
    self.alpha = alpha
    self.gamma = gamma

  def per_example_loss(
    self, predictions, labels, logits=None, label_weights=None
  ):
    """See `BaseLoss`."""
    signs = 2.0 * labels - 1.0
    margins = signs * logits_of(predictions, logits)
    weights = 0.5 + signs * (self.alpha - 0.5)
    # log(p_t) is -softplus(-margin) and log(1 - p_t) is -softplus(margin):
    # neither takes the logarithm of a probability that was rounded to 0.
    weights = weights * ops.exp(-self.gamma * ops.softplus(margins))
    return _sum_of_classes(weights * ops.softplus(-margins), label_weights)


class HingeLoss(BaseLoss):
  """max(0, 1 - y * score), y in {-1, 1}, summed over the classes.

  The score is the logit: a margin needs scores on both sides of 0, which
  probabilities are not. Where a model has no logits, the probabilities'
  log-odds are used.
  """

  def per_example_loss(
    self, predictions, labels, logits=None, label_weights=None
  ):
    """See `BaseLoss`."""
    signs = 2.0 * labels - 1.0
    losses = ops.relu(1.0 - signs * logits_of(predictions, logits))
    return _sum_of_classes(losses, label_weights)


class SoftmaxLoss(BaseLoss):
  """Cross entropy between softmax(logits) and the labels spread evenly.

  A video with n labels has a target of 1/n for each; one without labels has a
  loss of 0. The softmax is taken over logits (log-odds where a model has
  none), never over probabilities, whose softmax is nearly flat. Labels that
  were not rated take no part in it.
  """

  def per_example_loss(
    self, predictions, labels, logits=None, label_weights=None
  ):
    """See `BaseLoss`."""
    logits = logits_of(predictions, logits)
    if label_weights is not None:
      labels = labels * label_weights
      logits = ops.where(label_weights > 0, logits, _LOWEST)
    num_labels = ops.sum(labels, axis=-1, keepdims=True)
    targets = ops.divide_no_nan(labels, num_labels)
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def logits_of(probabilities, logits):
  """Logits in float32: those given, else log-odds of clipped probabilities."""
  if logits is not None:
    return ops.cast(logits, "float32")
  clipped = _clipped(probabilities)
  return ops.log(clipped) - ops.log1p(-clipped)


def _clipped(probabilities):
  return ops.clip(ops.cast(probabilities, "float32"), EPSILON, 1.0 - EPSILON)


def _sum_of_classes(losses, label_weights):
  if label_weights is not None:
    losses = losses * label_weights
  return ops.sum(losses, axis=-1)
