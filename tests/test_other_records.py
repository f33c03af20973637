# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Records that others made: extractors, MediaPipe, several releases mixed.

All are made here from the descriptions of their formats, and go through the
programs' functions from the shards to results.
"""

import csv

from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from test_readers import integers, make_record, write_shard

import config as configs
import eval as eval_program
import inference
import models
import readers
import records
import train
from config import ExperimentConfig
from model_layers import logistic_layer

NUM_CLASSES, SIZE = 6, 3
FAST = {"batch_size": 8, "num_epochs": 1, "seed": 1, "num_classes": NUM_CLASSES}


def labels_of(number: int) -> list[int]:
  return [number % NUM_CLASSES]


def codes(number: int, num_frames: int) -> list:
  return [[bytes([number % 256, t % 256, 7])] for t in range(num_frames)]


def extractor_record(number: int, **context) -> bytes:
  """What the starter code's extractor writes: means beside the frames."""
  return make_record(
    {
      "id": [b"v%03d" % number],
      "labels": integers(labels_of(number)),
      "mean_rgb": [float(number % 5), 1.0, -1.0],
      "mean_audio": [0.5, float(number % 3)],
      **context,
    },
    {"rgb": codes(number, 2 + number % 3)},
  )


def mediapipe_record(number: int, num_frames: int = 3) -> bytes:
  """What MediaPipe's YouTube-8M feature extraction writes."""
  rng = np.random.default_rng(number)

  def floats(size):
    return rng.normal(size=(num_frames, size)).astype(np.float32).tolist()

  return make_record(
    {
      "clip/data_path": [b"videos/%03d.mp4" % number],
      "clip/label/index": integers(labels_of(number)),
      "clip/label/string": [b"a name"],
    },
    {
      "RGB/feature/floats": floats(SIZE),
      "RGB/feature/timestamp": [[t] for t in range(num_frames)],
      "AUDIO/feature/floats": floats(2),
    },
  )


def write(folder, make, count=24, name="data.tfrecord") -> str:
  return write_shard(folder / name, [make(number) for number in range(count)])


def train_on(pattern, folder, **given) -> ExperimentConfig:
  settings = configs.TrainSettings(
    train_data_pattern=pattern, train_dir=str(folder), jit_compile=False
  )
  assert train.train({**FAST, **given}, settings) == 0
  return ExperimentConfig.load(str(folder))


def evaluate_on(pattern, folder) -> dict:
  return eval_program.evaluate(
    configs.EvalSettings(
      eval_data_pattern=pattern,
      train_dir=str(folder),
      run_once=True,
      jit_compile=False,
    )
  )


def predict_on(pattern, folder) -> list[dict]:
  output = folder / "predictions.csv"
  inference.infer(
    configs.InferenceSettings(
      input_data_pattern=pattern,
      train_dir=str(folder),
      output_file=str(output),
      jit_compile=False,
    )
  )
  with output.open(newline="") as file:
    return list(csv.DictReader(file))


@pytest.mark.parametrize(
  ("given", "names"),
  [
    ({"feature_names": ("mean_rgb",)}, ("mean_rgb",)),
    ({"frame_features": False}, ("mean_rgb", "mean_audio")),
    ({"model": "FrameLevelLogisticModel"}, ("rgb",)),
  ],
)
def test_an_extractors_shards_serve_both_levels(tmp_path, given, names):
  shard = write(tmp_path, extractor_record)
  config = train_on(shard, tmp_path / "model", **given)
  assert config.feature_names == names
  assert config.frame_features == ("model" in given)
  assert evaluate_on(shard, tmp_path / "model")["num_videos"] == 24
  # Read as numpy has it, and without protobuf once the lists are known.
  reader = readers.YT8MAggregatedFeatureReader(
    NUM_CLASSES, (SIZE, 2), ("mean_rgb", "mean_audio")
  )
  batch, is_bad = reader.decode([extractor_record(4), extractor_record(5)])
  assert not is_bad.any()
  assert batch["features"]["mean_rgb"].tolist() == [[4, 1, -1], [0, 1, -1]]


class TitleModel(models.BaseModel):
  """Takes frames and a vector of the whole video, each by its name."""

  frame_features = True
  takes_features = True

  def create_model(self, model_input, vocab_size, num_frames):
    """See `BaseModel`."""
    assert set(model_input) == {"rgb", "title"}
    frames = ops.sum(model_input["rgb"], axis=1)
    joined = keras.layers.Concatenate()([frames, model_input["title"]])
    return logistic_layer(joined, vocab_size)


def test_vectors_beside_frames(tmp_path, monkeypatch):
  monkeypatch.setattr(models, "TitleModel", TitleModel, raising=False)
  shard = write(
    tmp_path, lambda n: extractor_record(n, title=[float(n), 1.0, 2.0, 3.0])
  )
  asked = {"feature_names": ("rgb", "title")}
  config = train_on(shard, tmp_path / "model", model="TitleModel", **asked)
  assert config.feature_kinds == ("codes", "vector")
  assert config.feature_sizes == (SIZE, 4)
  assert evaluate_on(shard, tmp_path / "model")["num_videos"] == 24
  with pytest.raises(
    UserError, match=r"takes one tensor, but there are vectors \(title\)"
  ):
    train_on(shard, tmp_path / "b", model="FrameLevelLogisticModel", **asked)


def n_hot(number: int) -> list[int]:
  return [int(c in labels_of(number)) for c in range(NUM_CLASSES)]


@pytest.mark.parametrize(
  ("context", "message"),
  [
    (
      lambda n: {"labels": integers(n_hot(n))},
      r"record \d+ .*its 'labels' are 6 zeros and ones; the numbers of its "
      r"classes are expected, such as \[0, 7\]",
    ),
    (
      lambda n: {"labels": list(map(float, n_hot(n)))},
      "its 'labels' are of type float_list; the numbers of its classes",
    ),
    (
      lambda n: {"labels": [bytes(n_hot(n))]},
      "its 'labels' are of type bytes_list; the numbers of its classes",
    ),
    (
      lambda n: {"label": integers(n_hot(n))},
      r"has no labels; .* under 'labels' \(int64_list\); here is id, label, m",
    ),
  ],
)
def test_labels_that_are_written_otherwise(tmp_path, context, message):
  def make(number):
    values = {"id": [b"v%03d" % number], "mean_rgb": [1.0, 2.0, float(number)]}
    return make_record({**values, **context(number)})

  with pytest.raises(UserError, match=message):
    train_on(write(tmp_path, make), tmp_path / "model")


def test_mediapipes_records(tmp_path):
  shard = write(tmp_path, mediapipe_record)
  config = train_on(shard, tmp_path / "model", model="FrameLevelLogisticModel")
  assert config.feature_names == ("RGB/feature/floats", "AUDIO/feature/floats")
  assert config.feature_kinds == ("floats", "floats")
  assert config.feature_sizes == (SIZE, 2)
  assert evaluate_on(shard, tmp_path / "model")["num_videos"] == 24
  rows = predict_on(shard, tmp_path / "model")
  assert [row["VideoId"] for row in rows[:2]] == [
    "videos/000.mp4",
    "videos/001.mp4",
  ]


@pytest.mark.parametrize("num_frames", [0, 1, 5])
def test_floats_of_frames_are_what_protobuf_reads(num_frames):
  forms = {"RGB/feature/floats": records.Form(records.FLOATS, SIZE)}
  decoder = records.Decoder(NUM_CLASSES, forms, max_frames=4)
  record = mediapipe_record(3, num_frames)
  lists = tf.train.SequenceExample.FromString(record).feature_lists
  frames = lists.feature_list["RGB/feature/floats"].feature
  expected = np.zeros((4, SIZE), np.float32)
  for row, frame in zip(expected, frames, strict=False):
    row[:] = frame.float_list.value
  for _ in range(2):  # The second time, it knows the lists that are not read.
    batch, is_bad = decoder.decode([record, mediapipe_record(4)])
    assert not is_bad.any()
    assert batch["num_frames"].tolist() == [num_frames, 3]
    np.testing.assert_array_equal(
      batch["features"]["RGB/feature/floats"][0], expected
    )
    assert np.flatnonzero(batch["labels"][0]).tolist() == labels_of(3)


def test_floats_of_frames_that_are_not_finite():
  forms = {"rgb": records.Form(records.FLOATS, 2)}
  decoder = records.Decoder(NUM_CLASSES, forms, max_frames=4)
  context = {"id": [b"a"], "labels": integers([1])}
  record = make_record(context, {"rgb": [[1.0, 2.0], [np.nan, 1.0]]})
  short = make_record(context, {"rgb": [[1.0, 2.0], [1.0]]})
  assert decoder.decode([record, short])[1].tolist() == [True, True]
  assert decoder.describe(record).cause == "feature not finite"
  assert decoder.describe(short).detail == (
    "frame 1 of its 'rgb' has 1 floats, 2 were expected"
  )


def video_of(key: str, number: int, **context) -> bytes:
  return make_record(
    {
      key: [b"v%03d" % number],
      "labels": integers(labels_of(number)),
      "mean_rgb": [1.0, 2.0, float(number)],
      **context,
    }
  )


@pytest.mark.parametrize("order", [["id", "video_id"], ["video_id", "id"]])
def test_shards_of_two_releases_in_one_pattern(tmp_path, order):
  for number, key in enumerate(order):
    write_shard(
      tmp_path / f"{number}.tfrecord",
      [video_of(key, 10 * number + i) for i in range(4)],
    )
  pattern = str(tmp_path / "*.tfrecord")
  train_on(pattern, tmp_path / "model")
  rows = predict_on(pattern, tmp_path / "model")
  ids = sorted(row["VideoId"] for row in rows)
  assert ids == [f"v{10 * shard + i:03d}" for shard in (0, 1) for i in range(4)]


def frameless(number: int) -> bytes:
  context = {"id": [b"e%03d" % number], "labels": integers(labels_of(number))}
  return make_record(context, {"rgb": []})


def test_legal_records_are_legal_in_every_position(tmp_path):
  # Videos without frames, and without labels: first of a shard, alone in one,
  # in all shards that a trained model reads.
  def unlabelled(number):
    return extractor_record(number, labels=integers([]))

  shards = {
    "first": [frameless(0), unlabelled(1), *map(extractor_record, range(2, 9))],
    "alone": [frameless(10)],
    "alone too": [unlabelled(11)],
  }
  for name, content in shards.items():
    write_shard(tmp_path / f"{name}.tfrecord", content)
  pattern = str(tmp_path / "*.tfrecord")
  folder = tmp_path / "model"
  train_on(pattern, folder, model="FrameLevelLogisticModel")
  assert evaluate_on(pattern, folder)["num_videos"] == 11
  alone = write_shard(tmp_path / "no_frames", [frameless(1), frameless(2)])
  assert len(predict_on(alone, folder)) == 2
  assert evaluate_on(alone, folder)["num_videos"] == 2
  # Only where nothing is trained yet does the size of a frame have to show.
  with pytest.raises(UserError, match="No video that was looked at has frames"):
    train_on(alone, tmp_path / "new", model="FrameLevelLogisticModel")
  train_on(
    alone,
    tmp_path / "new",
    model="FrameLevelLogisticModel",
    feature_sizes=(SIZE,),
  )
