# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Limits of the video level on ready batches, in a process of their own.

  python -m benchmarks.video_parts

Prints one line of JSON: "matmul_ms", the two matrix products of a training
step; "keras_rate", examples/s of a plain Keras training loop; "forward_rate",
examples/s of the matrix product and sigmoid of a prediction.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import keras
import tensorflow as tf

_LABELS_PER_VIDEO = 3.0


def make_matmuls(batch_size: int, feature_size: int, num_classes: int):
  """The float32 products of LogisticModel's step: forward, and of the weights.

  Returns:
    A function without arguments that computes both with `tf.matmul`, and
    returns scalars, since copying all of them would be measured too.
  """
  features = tf.random.normal([batch_size, feature_size])
  weights = tf.random.normal([feature_size, num_classes])
  gradients = tf.random.normal([batch_size, num_classes])

  @tf.function
  def matmuls():
    logits = tf.matmul(features, weights)
    # One after the other, as in a step, where the second needs the first.
    with tf.control_dependencies([logits]):
      products = tf.matmul(features, gradients, transpose_a=True)
    return logits[0, 0], products[0, 0]

  return matmuls


def make_forward(batch_size: int, feature_size: int, num_classes: int):
  """As `make_matmuls`, the least that predicting has to compute."""
  features = tf.random.normal([batch_size, feature_size])
  weights = tf.random.normal([feature_size, num_classes])
  biases = tf.zeros([num_classes])

  @tf.function
  def forward():
    return tf.sigmoid(tf.matmul(features, weights) + biases)[0, 0]

  return forward


def make_keras_step(batch_size: int, feature_size: int, num_classes: int):
  """A training step as one would write it with Keras, not jit-compiled.

  The same maths as train.py's defaults: normalised features, cross entropy
  summed over the classes, L2 penalty, clipping per variable, Adam.

  Returns:
    A function without arguments that trains on one ready batch.
  """
  features = tf.random.normal([batch_size, feature_size])
  is_label = tf.random.uniform([batch_size, num_classes])
  labels = tf.cast(is_label < _LABELS_PER_VIDEO / num_classes, tf.float32)
  model = keras.Sequential(
    [
      keras.Input([feature_size]),
      keras.layers.UnitNormalization(),
      keras.layers.Dense(
        num_classes, kernel_regularizer=keras.regularizers.L2(0.5e-8)
      ),
    ]
  )
  optimizer = keras.optimizers.Adam(0.01, clipnorm=1.0)

  @tf.function
  def step():
    with tf.GradientTape() as tape:
      logits = model(features, training=True)
      losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
      loss = tf.reduce_mean(tf.reduce_sum(losses, axis=1))
      objective = loss + tf.add_n(model.losses)
    gradients = tape.gradient(objective, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss

  return step


def median_seconds(
  functions: Mapping[str, Callable], repeats: int
) -> dict[str, float]:
  """The median time of each function, run in turn after a warm-up."""
  seconds = {name: [] for name in functions}
  for repeat in range(repeats + 2):
    for name, function in functions.items():
      start = time.perf_counter()
      tf.nest.map_structure(lambda value: value.numpy(), function())
      if repeat >= 2:
        seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in seconds.items()}


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--batch_size", type=int, default=1024)
  parser.add_argument("--feature_size", type=int, default=1152)
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--repeats", type=int, default=20)
  options = parser.parse_args(argv)
  shape = (options.batch_size, options.feature_size, options.num_classes)
  seconds = median_seconds(
    {
      "matmuls": make_matmuls(*shape),
      "keras": make_keras_step(*shape),
      "forward": make_forward(*shape),
    },
    options.repeats,
  )
  results = {
    "matmul_ms": 1e3 * seconds["matmuls"],
    "keras_rate": options.batch_size / seconds["keras"],
    "forward_rate": options.batch_size / seconds["forward"],
  }
  print(json.dumps(results))


if __name__ == "__main__":
  main()
