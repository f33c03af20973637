# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Segments as rows: their frames and ratings, and training on them."""

import csv
import dataclasses

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from test_trained_model import evaluate_on

import bad_records
import config as configs
import eval_util
import experiment
import inference
import segment_reader
import train
from config import ExperimentConfig
from losses import CrossEntropyLoss
from records import Problem
from segment_reader import YT8MSegmentReader

NUM_CLASSES, SIZE = 4, 3


def make_record(video_id, num_frames, ratings=(), **changes) -> bytes:
  """A video whose frame t has the codes t; (start, class, score) ratings."""
  example = tf.train.SequenceExample()
  context = example.context.feature
  context["id"].bytes_list.value.append(video_id)
  context["labels"].int64_list.value.append(0)
  lists = {
    "segment_labels": [label for _, label, _ in ratings],
    "segment_start_times": [start for start, _, _ in ratings],
    "segment_end_times": [start + 5 for start, _, _ in ratings],
    "segment_scores": [score for _, _, score in ratings],
    **changes,
  }
  for key, values in lists.items():
    is_float = key == "segment_scores"
    kind = context[key].float_list if is_float else context[key].int64_list
    kind.value.extend(values)
  frames = example.feature_lists.feature_list["rgb"].feature
  for place in range(num_frames):
    frames.add().bytes_list.value.append(bytes([place]) * SIZE)
  return example.SerializeToString()


def write(path, records) -> str:
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


def make_reader(**arguments) -> YT8MSegmentReader:
  return YT8MSegmentReader(NUM_CLASSES, (SIZE,), ("rgb",), **arguments)


RATED = [(0, 1, 1.0), (5, 2, 0.0), (5, 3, 1.0), (9, 0, 0.0)]


def read_rows(path, batch_size=8, with_labels=True, **arguments) -> list[dict]:
  batches = make_reader(**arguments).evaluation_batches(
    [path], batch_size, with_labels
  )
  rows = []
  for batch in batches:
    batch = tf.nest.map_structure(lambda value: value.numpy(), batch)
    for row in np.flatnonzero(batch["weights"]):
      rows.append(tf.nest.map_structure(lambda v, row=row: v[row], batch))
  return rows


def frames_of(row) -> list[int]:
  frames = row["features"]["rgb"]
  assert (frames == frames[:, :1]).all()
  assert not frames[row["num_frames"] :].any()
  return frames[: row["num_frames"], 0].tolist()


class TestRows:
  def test_rated_segments(self, tmp_path):
    path = write(
      tmp_path / "a",
      [make_record(b"A", 12, RATED), make_record(b"none", 12)]
      + [make_record(b"B", 20, [(10, 1, 1.0)])],
    )
    rows = read_rows(path, batch_size=3)
    assert [row["video_ids"] for row in rows] == [b"A"] * 3 + [b"B"]
    assert [row["segment_starts"] for row in rows] == [0, 5, 9, 10]
    # The third is cut off by the end of the video.
    assert [frames_of(row) for row in rows] == [
      *([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [9, 10, 11]),
      [10, 11, 12, 13, 14],
    ]
    labels = [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert [row["labels"].tolist() for row in rows] == labels
    weights = [[0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert [row["label_weights"].tolist() for row in rows] == weights

  def test_context_and_unrated_weight(self, tmp_path):
    path = write(tmp_path / "a", [make_record(b"A", 12, RATED)])
    rows = read_rows(path, context_frames=2, unrated_weight=0.25)
    assert [frames_of(row) for row in rows] == [
      *([*range(7)], [*range(3, 12)], [*range(7, 12)])
    ]
    assert rows[0]["features"]["rgb"].shape == (9, SIZE)
    spec = make_reader(context_frames=2).row_spec()  # What memory is judged by.
    assert spec["features"]["rgb"].shape == (None, 9, SIZE)
    assert rows[0]["label_weights"].tolist() == [0.25, 1, 0.25, 0.25]

  def test_all_segments_of_a_video(self, tmp_path):
    records = [make_record(b"A", 12, RATED), make_record(b"none", 0)]
    path = write(tmp_path / "a", [*records, make_record(b"B", 5)])
    rows = read_rows(path, with_labels=False)
    assert [(row["video_ids"], row["segment_starts"]) for row in rows] == [
      *((b"A", 0), (b"A", 5), (b"A", 10), (b"B", 0))
    ]
    assert frames_of(rows[2]) == [10, 11]
    assert "label_weights" not in rows[0]

  @given(st.integers(0, 3), st.integers(1, 9), st.data())
  def test_frames_and_ratings_are_those_of_a_slow_version(
    self, context, num_videos, data
  ):
    reader = make_reader(context_frames=context, max_frames=30)
    records, expected = [], []
    for number in range(num_videos):
      num_frames = data.draw(st.integers(1, 33))
      most = min(num_frames, 30)
      starts = sorted(data.draw(st.lists(st.integers(0, most - 1), max_size=4)))
      ratings = [
        (
          start,
          data.draw(st.integers(0, 3)),
          data.draw(st.sampled_from([0, 1])),
        )
        for start in starts
      ]
      records.append(make_record(b"%d" % number, num_frames, ratings))
      for start in sorted({*starts}):
        first = max(0, start - context)
        frames = [*range(first, min(start + 5 + context, most))]
        # The first of several ratings for a class.
        scores = {label: s for at, label, s in ratings[::-1] if at == start}
        expected.append((b"%d" % number, start, frames, scores))
    batch, is_bad = reader.decode(records)
    assert not is_bad.any()
    rows = reader.rows_of(batch)
    assert len(rows["labels"]) == len(expected)
    for row, (video_id, start, frames, scores) in enumerate(expected):
      found = tf.nest.map_structure(lambda value, row=row: value[row], rows)
      assert found["video_ids"] == video_id
      assert found["segment_starts"] == start
      assert frames_of(found) == frames
      rated = {*np.flatnonzero(found["label_weights"])}
      assert {label: found["labels"][label] for label in rated} == scores


BAD = {
  "differ in number: 4 segment_labels": {"segment_scores": [1.0]},
  "should rise": {"segment_start_times": [5, 0, 5, 9]},
  "should rise, from 0": {"segment_start_times": [-1, 5, 5, 9]},
  "begins behind the 12 frames": {"segment_start_times": [0, 5, 5, 12]},
  "label 4 is outside": {"segment_labels": [1, 2, 4, 0]},
  "score nan is outside": {"segment_scores": [1, 0, float("nan"), 0]},
  "score 1.5 is outside": {"segment_scores": [1, 0, 1.5, 0]},
}


class TestBadRecords:
  @pytest.mark.parametrize("text", BAD)
  def test_ratings_that_make_no_sense(self, text):
    reader = make_reader()
    record = make_record(b"A", 12, RATED, **BAD[text])
    sound = make_record(b"B", 12, RATED)
    assert reader.decode([record, sound])[1].tolist() == [True, False]
    assert text in reader.describe_problem(record).detail
    assert reader.describe_problem(sound) is None
    # All segments of a video need no ratings.
    assert not reader.decode([record], with_labels=False)[1].any()
    assert reader.describe_problem(record, with_labels=False) is None

  def test_end_times_may_be_missing(self):
    record = tf.train.SequenceExample.FromString(
      make_record(b"A", 9, RATED[:2])
    )
    del record.context.feature["segment_end_times"]
    found = segment_reader.read_ratings(record.context.feature, 4, 9)
    assert not isinstance(found, Problem)
    assert found.starts.tolist() == [0, 5]

  def test_they_are_left_out_or_stop(self, tmp_path):
    bad = make_record(b"bad", 12, RATED, **BAD["should rise"])
    path = write(tmp_path / "a", [make_record(b"A", 12, RATED), bad])
    with pytest.raises(
      UserError, match=r"record 1 \(video 'bad'\).*should rise"
    ):
      read_rows(path)
    with bad_records.BadRecords(None, 0.9) as left_out:
      batches = make_reader().evaluation_batches([path], 8, True, left_out)
      (batch,) = batches
    assert batch["weights"].numpy().sum() == 3


def test_the_loss_counts_what_was_rated():
  # -2 ln(1/2) of the rated classes; all three make 3.6889.
  arguments = np.array([[0.5, 0.5, 0.9]]), np.array([[1.0, 0, 0]])
  loss = CrossEntropyLoss()
  assert float(loss.calculate_loss(*arguments)) == pytest.approx(3.6889, 1e-4)
  weights = np.array([[1.0, 1, 0]])
  rated = loss.calculate_loss(*arguments, label_weights=weights)
  assert float(rated) == pytest.approx(1.3863, 1e-4)


def test_metrics_are_of_the_rated_classes():
  scores = np.array([[0.9, 0.2, 0.1]], np.float32)
  rated = eval_util.of_rated_classes(scores, np.array([[0.5, 1, 1]]))
  assert rated.argmax() == 1


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> str:
  """Every video shows every class in two segments, of which three are rated."""
  rng = np.random.default_rng(0)
  path = tmp_path_factory.mktemp("segments") / "train0.tfrecord"
  with tf.io.TFRecordWriter(str(path)) as writer:
    for number in range(60):
      shown = rng.permutation([0, 0, 1, 1, 2, 2])
      codes = np.full((30, SIZE), 120, np.uint8)
      codes[np.arange(30), np.repeat(shown, 5)] = 250
      places = sorted(rng.choice(6, 3, replace=False))
      ratings = []
      for place in places:
        ratings += [
          (5 * place, shown[place], 1.0),
          (5 * place, (shown[place] + 1) % 3, 0.0),
        ]
      record = tf.train.SequenceExample.FromString(
        make_record(b"%d" % number, 0, ratings)
      )
      frames = record.feature_lists.feature_list["rgb"].feature
      for code in codes:
        frames.add().bytes_list.value.append(code.tobytes())
      labels = record.context.feature["labels"].int64_list
      labels.value[:] = sorted({int(shown[place]) for place in places})
      writer.write(record.SerializeToString())
  return str(path)


def train_on(shard, folder, settings=None, **given) -> dict:
  settings = configs.TrainSettings(
    train_data_pattern=shard,
    train_dir=str(folder),
    eval_data_pattern=shard,
    jit_compile=False,
    **(settings or {}),
  )
  values = {
    **{"model": "FrameLevelLogisticModel", "num_classes": 3, "batch_size": 16},
    **{"base_learning_rate": 0.1, "num_epochs": 3, "seed": 1},
    **given,
  }
  assert train.train(values, settings) == 0
  return evaluate_on(shard, folder, segment_labels=True)


def test_training_on_segments_finds_what_only_they_show(shard, tmp_path):
  of_segments = train_on(shard, tmp_path / "s", segment_labels=True)
  of_videos = train_on(shard, tmp_path / "v", num_epochs=9)
  assert of_segments["num_videos"] == of_videos["num_videos"] == 180
  # Of two rated classes, chance finds the right one in half of the segments.
  assert of_segments["hit_at_one"] > 0.98
  assert of_segments["map_at_k"] > 0.98
  assert of_segments["num_unrated_pairs"] == 180
  assert of_videos["map_at_k"] < 0.8
  assert of_videos["hit_at_one"] < 0.8
  saved = ExperimentConfig.load(str(tmp_path / "s"))
  assert saved.segment_labels
  assert saved.row_frames == 5
  # Without the flag, the same shards are videos.
  assert evaluate_on(shard, tmp_path / "s")["num_videos"] == 60


def infer(shard, train_dir, **settings):
  inference.infer(
    configs.InferenceSettings(
      input_data_pattern=shard,
      train_dir=str(train_dir),
      segment_labels=True,
      jit_compile=False,
      **settings,
    )
  )


def test_the_file_of_the_best_segments_scores_as_the_model(
  shard, start_workers, tmp_path
):
  model = tmp_path / "model"
  in_training = train_on(shard, model, segment_labels=True, num_epochs=1)
  output = tmp_path / "segments.csv"
  (tmp_path / "names.csv").write_text('Index,Name\n0,Cat\n1,"A, b"\n2,Dog\n')
  infer(
    shard,
    model,
    output_file=str(output),
    segment_classes=shard,
    vocabulary_file=str(tmp_path / "names.csv"),
  )
  found = evaluate_on(shard, model, segment_predictions=str(output))
  assert found["map_at_k"] == pytest.approx(in_training["map_at_k"], rel=1e-6)
  # All six segments of 60 videos for each of three classes.
  assert found["num_pairs"] == 3 * 360
  with (tmp_path / "segments.names.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 3 * 360
  assert {row["name"] for row in rows} == {"Cat", "A, b", "Dog"}
  assert {int(row["end"]) - int(row["start"]) for row in rows} == {5}
  # Each of two workers ranks its own segments.
  output.unlink()
  chief, *others = start_workers(
    2,
    "inference",
    f"--input_data_pattern={shard}",
    f"--train_dir={model}",
    f"--output_file={output}",
    "--segment_labels",
  )
  for process in (chief, *others):
    result = process.wait()
    assert result.returncode == 0, result.output
    line = f"Wrote the best of 360 segments to {output}."
    assert (line in result.stderr) == (process is chief)
  assert evaluate_on(shard, model, segment_predictions=str(output)) == found
  # The classes may be those of a list, too.
  (tmp_path / "two.csv").write_text("Index\n2\n0\n")
  two = {"segment_classes": str(tmp_path / "two.csv")}
  infer(shard, model, output_file=str(output), batch_size=7, **two)
  lines = output.read_text().splitlines()
  assert [line.split(",")[0] for line in lines] == ["Class", "0", "2"]
  (tmp_path / "two.csv").write_text("Index\n3\n")
  with pytest.raises(UserError, match=r"class 3 is outside \[0, 3\)"):
    infer(shard, model, output_file=str(output), **two)
  assert len(output.read_text().splitlines()) == 3
  # Beside standard output there is no place for names.
  with pytest.raises(UserError, match="--output_file='-' is no file beside wh"):
    infer(shard, model, output_file="-", vocabulary_file="v.csv")


class TestMistakes:
  @pytest.mark.parametrize(
    ("settings", "message"),
    [
      (
        {"predictions_file": "a.npz"},
        "--segment_labels makes one file, --output_file",
      ),
      (
        {"output_file": "a.csv", "predictions_file": "a.npz"},
        "--predictions_file is a file of videos",
      ),
    ],
  )
  def test_files_that_are_none_of_segments(self, settings, message):
    with pytest.raises(UserError, match=message):
      infer("a", "b", **settings)

  def test_classes_of_segments_alone(self):
    with pytest.raises(UserError, match="--segment_classes is for --segment_"):
      configs.InferenceSettings(
        input_data_pattern="a", output_file="b", segment_classes="c"
      )

  def test_the_metric_of_segments_is_none_of_videos(self, shard, tmp_path):
    with pytest.raises(UserError, match="--best_metric=MAP@K is a figure of"):
      train_on(shard, tmp_path / "s", {"best_metric": "MAP@K"})

  @pytest.mark.parametrize("name", ["segment_context", "unrated_weight"])
  def test_what_is_for_segments_alone(self, name):
    with pytest.raises(UserError, match=f"--{name} is for --segment_labels"):
      ExperimentConfig(**{name: 1})

  def test_shards_without_ratings(self, tmp_path):
    path = write(tmp_path / "a", [make_record(b"A", 12)] * 3)
    with pytest.raises(UserError, match="no ratings of segments"):
      train_on(path, tmp_path / "s", segment_labels=True)

  def test_video_level_features(self, tmp_path, video_shards):
    config = ExperimentConfig(segment_labels=True)
    with pytest.raises(UserError, match=r"--segment_labels: .* video-level"):
      experiment.build_reader(config, of_segments=True)

  def test_frames_are_not_sampled(self):
    config = ExperimentConfig(
      model="DbofModel",
      frame_features=True,
      max_frames=300,
      segment_labels=True,
      segment_context=1,
    )
    assert config.row_frames == 7
    assert experiment.frame_sample(config) is None
    wide = dataclasses.replace(config, segment_context=13)
    assert experiment.frame_sample(wide) is None
    config = ExperimentConfig(
      model="DbofModel",
      model_kwargs={"iterations": 3},
      frame_features=True,
      max_frames=300,
      segment_labels=True,
    )
    with pytest.raises(UserError, match="--iterations=3: the frames of seg"):
      experiment.frame_sample(config)
