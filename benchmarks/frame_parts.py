# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What frame-level training is compared with, in a process of its own.

  python -m benchmarks.frame_parts --shards='/path/to/train*.tfrecord'

Prints one line of JSON, in videos/s: "raw_rate", reading the records and
nothing else; "float32_rate", a pipeline that parses one video at a time and
dequantises it to float32, as the starter code does.
"""

import argparse
import json
import statistics
import time

import program  # noqa: F401 Sets up the environment; before TensorFlow.

import tensorflow as tf

import readers
import utils


def read_raw(shards) -> int:
  """Reads all records and looks at none; returns how many there were."""
  dataset = tf.data.TFRecordDataset(
    shards, num_parallel_reads=readers.available_cpus()
  )
  return sum(1 for _ in dataset)


def float32_pipeline(
  schema: readers.Schema, shards, batch_size: int, num_classes: int
) -> tf.data.Dataset:
  """Batches of (ids, features, labels, numbers of frames), one by one.

  Args:
    schema: how the shards are laid out.
    shards: frame-level shards.
    batch_size: videos in a batch.
    num_classes: number of classes.

  Returns:
    A dataset of batches: [B] string, [B, max_frames, size] float32, zero after
    a video's last frame, [B, num_classes] float32 and [B] int32.
  """

  def dequantized(frames, size):
    codes = tf.reshape(tf.io.decode_raw(frames, tf.uint8), [-1, size])
    codes = codes[: schema.max_frames]
    values = tf.cast(codes, tf.float32) * utils.DEQUANTIZE_SCALE
    values += utils.DEQUANTIZE_OFFSET
    missing = schema.max_frames - tf.shape(values)[0]
    return tf.pad(values, [[0, missing], [0, 0]])

  def parse(record):
    context, frames = tf.io.parse_single_sequence_example(
      record,
      {
        schema.id_key: tf.io.FixedLenFeature([], tf.string),
        readers.LABELS_KEY: tf.io.VarLenFeature(tf.int64),
      },
      {
        name: tf.io.FixedLenSequenceFeature([], tf.string)
        for name in schema.feature_names
      },
    )
    labels = context[readers.LABELS_KEY].values
    dense = tf.scatter_nd(
      labels[:, None], tf.ones_like(labels, tf.float32), [num_classes]
    )
    parts = [
      dequantized(frames[name], size)
      for name, size in zip(
        schema.feature_names, schema.feature_sizes, strict=True
      )
    ]
    num_frames = tf.shape(frames[schema.feature_names[0]])[0]
    return context[schema.id_key], tf.concat(parts, 1), dense, num_frames

  dataset = tf.data.TFRecordDataset(
    shards, num_parallel_reads=readers.available_cpus()
  )
  dataset = dataset.map(parse, num_parallel_calls=readers.available_cpus())
  return dataset.batch(batch_size).prefetch(1)


def main(argv=None):
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--shards", required=True)
  parser.add_argument("--batch_size", type=int, default=256)
  parser.add_argument("--num_classes", type=int, default=3862)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument(
    "--batches", type=int, default=3, help="of the float32 pipeline"
  )
  options = parser.parse_args(argv)
  shards = utils.list_shards(options.shards, "shards")
  pipeline = float32_pipeline(
    readers.detect_schema(shards),
    shards,
    options.batch_size,
    options.num_classes,
  ).take(options.batches)
  read_raw(shards)  # From now on they are in the page cache.
  rates = {"raw_rate": [], "float32_rate": []}
  for _ in range(options.repeats):
    start = time.perf_counter()
    num_videos = read_raw(shards)
    rates["raw_rate"].append(num_videos / (time.perf_counter() - start))
    start = time.perf_counter()
    num_videos = sum(len(ids) for ids, *_ in pipeline)
    rates["float32_rate"].append(num_videos / (time.perf_counter() - start))
  medians = {name: statistics.median(values) for name, values in rates.items()}
  print(json.dumps(medians))


if __name__ == "__main__":
  main()
