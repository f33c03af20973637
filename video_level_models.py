# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Models of the video level beyond the logistic one, and layers they share.

Each is a head, too: a model of the frame level names one of them in
`video_level_classifier_model`, and gives it one vector for each video.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any

from program import UserError

import keras
import tensorflow as tf
from keras import ops

import losses
import models
import utils
from model_layers import XlaLayer, log_odds_initializer
from models import BaseModel


class MaskedBatchNormalization(XlaLayer):
  """Batch normalisation over the valid rows or frames of all replicas.

  Ioffe and Szegedy 2015, arXiv:1502.03167. Padding reaches no statistic: Keras'
  own layer ignores `synchronized` once it has a mask, and takes a batch without
  a valid row for one of zeros. One all-reduce adds up the sums of all replicas.

  The moving statistics begin as those of the first batch, and move the less the
  more batches there were: a short run is evaluated with its own statistics.

  Args:
    momentum: largest weight of the moving statistics before a batch, in [0, 1).
    epsilon: what is added to the variance.

  Call arguments:
    inputs: [batch, size] or [batch, T, size] float.
    num_frames: [batch] int32; rows with 0, and frames from there on, are
      padding.
    training: whether to normalise with the batch's statistics.

  Returns:
    As `inputs`, float32.
  """

  def __init__(self, momentum=0.999, epsilon=1e-3, **kwargs):
    super().__init__(**kwargs)
    self.momentum = momentum
    self.epsilon = epsilon

  def build(self, inputs_shape, num_frames_shape=None):
    """Makes scale, centre and moving statistics."""
    del num_frames_shape
    size = (inputs_shape[-1],)
    self.gamma = self.add_weight(size, "ones", name="gamma")
    self.beta = self.add_weight(size, "zeros", name="beta")

    def statistic(name, shape, initializer):
      return self.add_weight(
        shape,
        initializer,
        trainable=False,
        # All replicas have the same sums.
        aggregation="only_first_replica",
        name=name,
      )

    self.moving_mean = statistic("moving_mean", size, "zeros")
    self.moving_variance = statistic("moving_variance", size, "ones")
    self.num_batches = statistic("num_batches", (), "zeros")

  def call(self, inputs, num_frames, training=False):
    """Normalises a batch; see the class."""
    inputs = ops.cast(inputs, "float32")
    if training and self.trainable:
      mean, variance = self._batch_statistics(inputs, num_frames)
    else:
      mean, variance = self.moving_mean, self.moving_variance
    scale = self.gamma * ops.rsqrt(variance + self.epsilon)
    return self._scaled(inputs, scale, self.beta - mean * scale)

  def _batch_statistics(self, inputs, num_frames):
    valid = ops.cast(num_frames[:, None] > 0, "float32")
    if len(inputs.shape) == 3:
      valid = ops.cast(frame_mask(inputs, num_frames), "float32")[..., None]
    sums = [ops.sum(valid), *self._moments(inputs, valid)]
    context = tf.distribute.get_replica_context()
    if context and context.num_replicas_in_sync > 1:
      sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    count = ops.maximum(sums[0], 1.0)
    mean = sums[1] / count
    variance = ops.maximum(sums[2] / count - ops.square(mean), 0.0)
    self._update(sums[0] > 0, mean, variance)
    return mean, variance

  # The gradients are written by hand: those that TensorFlow derives keep
  # several arrays as large as the inputs.

  def _scaled(self, inputs, scale, offset):
    @tf.custom_gradient
    def scaled(inputs, scale, offset):
      def gradient(upstream):
        ones = ops.ones_like(upstream[..., 0])
        return (
          self.run(ops.multiply, upstream, scale),
          _column_sums(ones, upstream * inputs),
          _column_sums(ones, upstream),
        )

      return self.run(_affine, inputs, scale, offset), gradient

    return scaled(inputs, scale, offset)

  def _moments(self, inputs, valid):
    """Sums of the valid rows or frames, and of their squares."""

    @tf.custom_gradient
    def moments(inputs):
      def gradient(of_sums, of_squares):
        slopes = self.run(_affine, inputs, 2.0 * of_squares, of_sums)
        return slopes * valid

      sums = _column_sums(valid, inputs)
      return (sums, _column_sums(valid, ops.square(inputs))), gradient

    return moments(inputs)

  def _update(self, has_rows, mean, variance):
    """Moves the moving statistics.

    They stay if no row of the batch is valid, or its statistics are infinite,
    as in a step with float16 that overflows.
    """
    num_batches = self.num_batches
    momentum = ops.minimum(self.momentum, num_batches / (num_batches + 10.0))
    # Numbers beyond float16 would never leave the moving statistics again.
    is_sound = has_rows & ops.all(ops.isfinite(mean) & ops.isfinite(variance))
    for moving, value in (
      (self.moving_mean, mean),
      (self.moving_variance, variance),
    ):
      change = (1.0 - momentum) * (ops.stop_gradient(value) - moving)
      moving.assign(moving + ops.where(is_sound, change, 0.0))
    num_batches.assign(num_batches + ops.cast(is_sound, "float32"))


def _affine(inputs, scale, offset):
  return inputs * scale + offset


def _column_sums(weights, inputs):
  """[size] sum of [..., size], each row times its weight.

  A matrix product reads the inputs once, which XLA's sums of products do not.
  """
  rows = ops.reshape(inputs, (-1, inputs.shape[-1]))
  return ops.matmul(ops.reshape(weights, (1, -1)), rows)[0]


def frame_mask(frames, num_frames):
  """[batch, T] bool, True for the frames of [batch, T, size] that are valid."""
  steps = ops.arange(ops.shape(frames)[1], dtype="int32")
  return steps[None, :] < num_frames[:, None]


def scaled_normal(fan_in: int) -> keras.initializers.Initializer:
  """Normal with a standard deviation of 1 / sqrt(fan_in)."""
  return keras.initializers.RandomNormal(stddev=fan_in**-0.5)


def context_gate(inputs, num_frames, name="gate"):
  """Context gating, y = x * sigmoid(BN(x W)).

  Miech, Laptev and Sivic 2017, arXiv:1706.06905, equation 8.

  Args:
    inputs: [batch, size] float.
    num_frames: [batch] int32, 0 for padding.
    name: begins the layers' names.

  Returns:
    [batch, size] float32.
  """
  size = inputs.shape[-1]
  scores = keras.layers.Dense(
    size,
    use_bias=False,
    kernel_initializer=scaled_normal(size),
    name=f"{name}_scores",
  )(inputs)
  scores = MaskedBatchNormalization(name=f"{name}_norm")(scores, num_frames)
  gates = keras.layers.Activation("sigmoid", dtype="float32")(scores)
  return keras.layers.Multiply(dtype="float32")([inputs, gates])


class Mixture(XlaLayer):
  """The probability of each class, from the scores of its gates and experts.

  Args:
    num_mixtures: experts of each class.

  Call arguments:
    scores: two tensors: of the gates, [batch, (num_mixtures + 1) * C] float,
      those of all classes for one expert after another, the gate of no expert
      last; and of the experts, [batch, num_mixtures * C], in the same order.

  Returns:
    [batch, C] float32 in [0, 1].
  """

  def __init__(self, num_mixtures, **kwargs):
    super().__init__(**kwargs)
    self.num_mixtures = num_mixtures

  def call(self, scores):
    """Mixes a batch; see the class."""
    return self.run(self._mixed, *scores)

  def _mixed(self, *scores):
    # Whole rows of classes: XLA computes them with vector instructions, which
    # it cannot do along the few experts of a class.
    gates, experts = (
      ops.unstack(
        ops.reshape(
          ops.cast(part, "float32"), (-1, count, part.shape[-1] // count)
        ),
        axis=1,
      )
      for part, count in zip(
        scores, (self.num_mixtures + 1, self.num_mixtures), strict=True
      )
    )
    highest = ops.stop_gradient(functools.reduce(ops.maximum, gates))
    shares = [ops.exp(gate - highest) for gate in gates]
    chosen = [
      share * ops.sigmoid(expert)
      for share, expert in zip(shares, experts, strict=False)
    ]
    return sum(chosen) / sum(shares)


def moe_layer(
  features,
  vocab_size,
  num_mixtures=2,
  l2_penalty=1e-8,
  labels_per_video=3.0,
):
  """A mixture of logistic experts for each class.

  Jordan and Jacobs 1994, "Hierarchical Mixtures of Experts and the EM
  Algorithm"; as in Abu-El-Haija et al. 2016, arXiv:1609.08675, section 5.1.2,
  with a gate of no expert, whose prediction is 0.

  Args:
    features: [batch, feature_size] float.
    vocab_size: number of classes.
    num_mixtures: experts of each class, at least 1.
    l2_penalty: the weights' L2 penalty, l2_penalty * sum(w^2) / 2.
    labels_per_video: where the experts' biases start; see `logistic_layer`.

  Returns:
    {"predictions": [batch, vocab_size] float32, "embedding": the features}.

  Raises:
    ValueError: `num_mixtures` is below 1, or `labels_per_video` not above 0.
  """
  models.check_at_least("moe_num_mixtures", num_mixtures, 1)
  regularizer = keras.regularizers.L2(l2_penalty / 2.0)
  gates = keras.layers.Dense(
    vocab_size * (num_mixtures + 1),
    use_bias=False,
    kernel_regularizer=regularizer,
    name="gates",
  )(features)
  experts = keras.layers.Dense(
    vocab_size * num_mixtures,
    kernel_regularizer=regularizer,
    bias_initializer=log_odds_initializer(labels_per_video, vocab_size),
    name="experts",
  )(features)
  predictions = Mixture(num_mixtures, name="predictions")([gates, experts])
  return {"predictions": predictions, "embedding": features}


class MoeModel(BaseModel):
  """A mixture of logistic experts for each class; see `moe_layer`."""

  frame_features = False

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames=None,
    moe_num_mixtures=2,
    l2_penalty=1e-8,
    labels_per_video=3.0,
  ):
    """See `BaseModel`, and `moe_layer` for the further arguments."""
    return moe_layer(
      model_input, vocab_size, moe_num_mixtures, l2_penalty, labels_per_video
    )


class GatedMoeModel(BaseModel):
  """A mixture of experts between two context gates: features and labels.

  Miech, Laptev and Sivic 2017, arXiv:1706.06905, section 3.2.
  """

  frame_features = False

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames=None,
    moe_num_mixtures=2,
    l2_penalty=1e-8,
    labels_per_video=3.0,
  ):
    """See `BaseModel`, and `moe_layer` for the further arguments."""
    features = context_gate(model_input, num_frames, "feature_gate")
    outputs = moe_layer(
      features, vocab_size, moe_num_mixtures, l2_penalty, labels_per_video
    )
    gated = context_gate(outputs["predictions"], num_frames, "label_gate")
    return {**outputs, "predictions": gated}


class ResidualMlpModel(BaseModel):
  """Residual layers with layer normalisation and dropout, then any head.

  He et al. 2016, arXiv:1603.05027, with fully connected layers; Ba, Kiros and
  Hinton 2016, arXiv:1607.06450.
  """

  frame_features = False

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames=None,
    hidden_size=1024,
    num_layers=2,
    dropout=0.2,
    video_level_classifier_model="MoeModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      hidden_size: size of each layer.
      num_layers: number of residual layers.
      dropout: the part of a layer's numbers that is dropped in training.
      video_level_classifier_model: the head, a model of the video level.
      classifier_kwargs: the head's arguments.
    """
    models.check_at_least("num_layers", num_layers, 0)
    if not 0 <= dropout < 1:
      raise ValueError(f"dropout={dropout} should be from 0 to below 1.")
    hidden = keras.layers.Dense(hidden_size, name="projection")(model_input)
    for number in range(num_layers):
      layer = keras.layers.LayerNormalization(
        dtype="float32", name=f"norm_{number}"
      )(hidden)
      layer = keras.layers.Dense(
        hidden_size, activation="relu", name=f"residual_{number}"
      )(layer)
      layer = keras.layers.Dropout(dropout)(layer)
      hidden = keras.layers.Add()([hidden, layer])
    return classify(
      hidden,
      vocab_size,
      num_frames,
      video_level_classifier_model,
      classifier_kwargs,
    )


class BranchesModel(BaseModel):
  """Models of the video level side by side, each with a loss of its own.

  The prediction is that of the mean of their logits: an ensemble, which is
  trained in one run and is one model to everything else. The branches differ in
  their first weights and in what they drop. They are trained together: the loss
  is that of the mean plus those of all branches. A deep ensemble
  (Lakshminarayanan et al. 2017, arXiv:1612.01474) is the mean of the
  probabilities of models that are trained each by itself.
  """

  frame_features = False

  def create_model(
    self,
    model_input,
    vocab_size,
    num_frames=None,
    num_branches=4,
    video_level_classifier_model="ResidualMlpModel",
    classifier_kwargs=None,
  ):
    """See `BaseModel`.

    Args:
      model_input: as in `BaseModel`.
      vocab_size: as in `BaseModel`.
      num_frames: as in `BaseModel`.
      num_branches: number of branches.
      video_level_classifier_model: what each is, a model of the video level.
      classifier_kwargs: its arguments.
    """
    models.check_at_least("num_branches", num_branches, 1)
    logits, embeddings = [], []
    for number in range(num_branches):
      # A model and a scope of its own: layers of all branches have one name.
      name = f"branch_{number}"
      inputs = [
        keras.Input(model_input.shape[1:]),
        keras.Input((), dtype="int32"),
      ]
      with keras.name_scope(name):
        outputs = classify(
          inputs[0],
          vocab_size,
          inputs[1],
          video_level_classifier_model,
          classifier_kwargs,
        )
      refuse_losses(outputs, video_level_classifier_model)
      scores = losses.logits_of(outputs["predictions"], outputs.get("logits"))
      results = [scores, outputs["embedding"]]
      # Not all versions of Keras allow an input without a use.
      used = {id(part) for part in keras.utils.get_source_inputs(scores)}
      places = [n for n, part in enumerate(inputs) if id(part) in used]
      branch = keras.Model([inputs[n] for n in places], results, name=name)
      given = model_input, num_frames
      scores, embedding = branch([given[n] for n in places])
      logits.append(scores)
      embeddings.append(embedding)
    mean = sum(logits) / num_branches
    return {
      "predictions": ops.sigmoid(mean),
      "logits": mean,
      "embedding": ops.concatenate(embeddings, axis=-1),
      "auxiliary": [{"logits": part, "weight": 1.0} for part in logits],
    }


def refuse_losses(outputs: Mapping[str, Any], name: str):
  """Raises a ValueError if a head has a loss of its own, which would be lost.

  Args:
    outputs: of `classify`.
    name: the head's class.
  """
  if lost := {"loss", "auxiliary", "regularization_loss"} & {*outputs}:
    raise ValueError(
      f"video_level_classifier_model={name!r} has losses of its own "
      f"({', '.join(sorted(lost))}), which this model cannot use. Choose "
      "another."
    )


def classify(
  features,
  vocab_size: int,
  num_frames,
  name: str,
  kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """The outputs of a model of the video level, as another model's head.

  They have an embedding: the features, where the head gives no other.

  Args:
    features: [batch, feature_size] float.
    vocab_size: number of classes.
    num_frames: [batch] int32, 0 for padding.
    name: the head's class.
    kwargs: arguments of its `create_model`.

  Raises:
    UserError: there is no such model of the video level.
  """
  head = utils.find_class_by_name(
    name,
    [models, sys.modules[__name__]],
    BaseModel,
    "video_level_classifier_model",
  )
  if head.frame_features:
    raise UserError(
      f"--video_level_classifier_model={name} takes frames; a model of the "
      "video level is needed."
    )
  defaults = models.defaults_of(head.create_model)
  given = {} if kwargs is None else kwargs
  models.check_arguments("classifier_kwargs", given, name, defaults)
  outputs = head().create_model(
    features, vocab_size, num_frames=num_frames, **given
  )
  return {"embedding": features, **outputs}
