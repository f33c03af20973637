# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Frame-level training as the starter code does it, without this suite.

  python -m benchmarks.frame_reference --shards='/path/to/train*.tfrecord'

Prints one line of JSON, in videos/s: "float32_rate", a pipeline that parses one
video at a time and dequantises it to float32, pads it and makes batches;
"reference_rate", training on what that pipeline gives.

It imports nothing of the suite, whose settings would speed it up.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import tensorflow as tf  # noqa: E402

_SCALE, _OFFSET = 4.0 / 255.0, 4.0 / 512.0 - 2.0


def float32_pipeline(
  shards, feature_sizes, max_frames: int, batch_size: int, num_classes: int
) -> tf.data.Dataset:
  """Batches of (ids, features, labels, numbers of frames), one by one.

  Args:
    shards: frame-level shards of the 2018 release's layout.
    feature_sizes: feature name -> bytes of a frame.
    max_frames: videos are padded to it.
    batch_size: videos in a batch.
    num_classes: number of classes.

  Returns:
    A dataset of batches: [B] string, [B, max_frames, size] float32, zero after
    a video's last frame, [B, num_classes] float32 and [B] int32.
  """

  def dequantized(frames, size):
    codes = tf.reshape(tf.io.decode_raw(frames, tf.uint8), [-1, size])
    values = tf.cast(codes[:max_frames], tf.float32) * _SCALE + _OFFSET
    missing = max_frames - tf.shape(values)[0]
    return tf.pad(values, [[0, missing], [0, 0]])

  def parse(record):
    context, frames = tf.io.parse_single_sequence_example(
      record,
      {
        "id": tf.io.FixedLenFeature([], tf.string),
        "labels": tf.io.VarLenFeature(tf.int64),
      },
      {
        name: tf.io.FixedLenSequenceFeature([], tf.string)
        for name in feature_sizes
      },
    )
    labels = context["labels"].values
    dense = tf.scatter_nd(
      labels[:, None], tf.ones_like(labels, tf.float32), [num_classes]
    )
    parts = [
      dequantized(frames[name], size) for name, size in feature_sizes.items()
    ]
    num_frames = tf.shape(frames[next(iter(feature_sizes))])[0]
    return context["id"], tf.concat(parts, 1), dense, num_frames

  num_cpus = len(os.sched_getaffinity(0))
  dataset = tf.data.TFRecordDataset(shards, num_parallel_reads=num_cpus)
  dataset = dataset.map(parse, num_parallel_calls=num_cpus)
  return dataset.batch(batch_size, drop_remainder=True).prefetch(1)


def make_reference_step(feature_size: int, num_classes: int):
  """A training step of FrameLevelLogisticModel, as one would write it.

  Not jit-compiled, on float32 frames; the same maths as train.py's defaults.

  Returns:
    A function of a batch of `float32_pipeline`; it gives the loss.
  """
  dense = keras.layers.Dense(
    num_classes, kernel_regularizer=keras.regularizers.L2(0.5e-8)
  )
  dense.build([None, feature_size])
  optimizer = keras.optimizers.Adam(0.01, clipnorm=1.0)

  @tf.function
  def step(_, frames, labels, num_frames):
    frames = tf.math.l2_normalize(frames, axis=2)
    totals = tf.reduce_sum(frames, axis=1)
    means = totals / tf.cast(num_frames, tf.float32)[:, None]
    with tf.GradientTape() as tape:
      logits = dense(means)
      losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
      loss = tf.reduce_mean(tf.reduce_sum(losses, axis=1))
      objective = loss + tf.add_n(dense.losses)
    gradients = tape.gradient(objective, dense.trainable_variables)
    optimizer.apply(gradients, dense.trainable_variables)
    return loss

  return step


def rate(batches, step=None) -> float:
  """Videos per second of some batches, each given to `step` if there is one."""
  start = time.perf_counter()
  num_videos = 0
  for batch in batches:
    num_videos += len(batch[0])
    if step:
      step(*batch).numpy()
  return num_videos / (time.perf_counter() - start)


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--rgb_size", type=int, default=1024)
  parser.add_argument("--audio_size", type=int, default=128)
  parser.add_argument("--max_frames", type=int, default=300)
  parser.add_argument("--batch_size", type=int, default=256)
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--batches", type=int, default=5)
  options = parser.parse_args(argv)
  sizes = {"rgb": options.rgb_size, "audio": options.audio_size}
  pipeline = float32_pipeline(
    tf.io.gfile.glob(options.shards),
    sizes,
    options.max_frames,
    options.batch_size,
    options.num_classes,
  )
  batches = pipeline.repeat().take(options.batches)
  step = make_reference_step(sum(sizes.values()), options.num_classes)
  rate(pipeline.take(1), step)  # Traces it; reads a shard into the cache.
  rates = {"float32_rate": [], "reference_rate": []}
  for _ in range(options.repeats):
    rates["float32_rate"].append(rate(batches))
    rates["reference_rate"].append(rate(batches, step))
  medians = {name: statistics.median(values) for name, values in rates.items()}
  print(json.dumps(medians))


if __name__ == "__main__":
  main()
