# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Frames that are drawn for training: which they are, and that others stay."""

import functools
import zlib

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from test_trained_model import weights_in

import config as configs
import experiment
import models
import readers
import shard_files
import sources
import train
import utils
from config import ExperimentConfig
from readers import FrameSample
from records import CODES, FLOATS, Decoder, Form


def slow_draws(seed, number, video_id, size) -> list[int]:
  """SplitMix64 in Python's integers, without numpy's overflow."""
  mask = 2**64 - 1
  start = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)
  state = (zlib.crc32(video_id) * 0xD1342543DE82EF95 + int(start[0])) & mask
  draws = []
  for _ in range(size):
    state = (state + 0x9E3779B97F4A7C15) & mask
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & mask
    draws.append((mixed ^ (mixed >> 31)) >> 32)
  return draws


@given(
  st.lists(st.binary(min_size=1, max_size=12), min_size=1, max_size=4),
  st.integers(0, 400),
  st.integers(1, 40),
  st.integers(0, 2**31 - 1),
  st.integers(0, 1000),
)
def test_frames_are_those_that_a_slow_version_draws(
  video_ids, num_frames, size, seed, number
):
  counts = np.full(len(video_ids), num_frames)
  ids = np.array(video_ids, object)
  drawn = FrameSample(size, True, seed).choose(number, ids, counts)
  run = FrameSample(size, False, seed).choose(number, ids, counts)
  for row, video_id in enumerate(video_ids):
    draws = slow_draws(seed, number, video_id, size)
    expected = sorted(draw * num_frames >> 32 for draw in draws)
    assert drawn[row].tolist() == (expected if num_frames else [-1] * size)
    first = draws[0] * (max(num_frames - size, 0) + 1) >> 32
    adjacent = [first + place for place in range(size)]
    padded = [frame if frame < num_frames else -1 for frame in adjacent]
    assert run[row].tolist() == padded


def test_every_frame_is_drawn_about_as_often():
  ids = np.array([b"%d" % number for number in range(4000)], object)
  drawn = FrameSample(5, True, 1).choose(0, ids, np.full(4000, 10))
  # 2,000 of each are expected, with a standard deviation of 42.
  assert abs(np.bincount(drawn.ravel(), minlength=10) - 2000).max() < 200
  # Frames of two passes are not correlated, nor are two draws for one video:
  # the standard deviation of a correlation of 4,000 pairs is 0.016.
  others = FrameSample(5, True, 1).choose(1, ids, np.full(4000, 10))
  assert abs(np.corrcoef(drawn[:, 0], others[:, 0])[0, 1]) < 0.08
  draws = FrameSample(5, True, 1)._draws(0, ids)
  correlations = np.corrcoef(draws.T) - np.eye(5)
  assert abs(correlations).max() < 0.08


SIZES = {"rgb": 6, "audio": 2}


def make_record(number, num_frames, beside=None, kind=CODES) -> bytes:
  """A frame's numbers tell the video and the frame."""

  def frame(place, size):
    if kind == FLOATS:
      values = np.full(size, 100 * number + place, np.float32)
      return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    code = bytes([10 * number + place]) * size
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[code]))

  example = tf.train.SequenceExample()
  context = example.context.feature
  context["id"].bytes_list.value.append(b"v%d" % number)
  context["labels"].int64_list.value.append(number % 3)
  if beside:
    context[beside].int64_list.value.append(1)
  for name, size in SIZES.items():
    frames = example.feature_lists.feature_list[name].feature
    frames.extend(frame(place, size) for place in range(num_frames))
  return example.SerializeToString()


class TestDecoding:
  @pytest.mark.parametrize("kind", [CODES, FLOATS])
  @pytest.mark.parametrize("is_random", [True, False])
  def test_chosen_frames_are_those_of_the_whole_video(self, kind, is_random):
    forms = {name: Form(kind, size) for name, size in SIZES.items()}
    decoder = Decoder(3, forms, max_frames=8)
    # Frames after the eighth are never taken; one record is protobuf's.
    block = [
      make_record(0, 9, kind=kind),
      make_record(1, 0, kind=kind),
      make_record(2, 3, "segment", kind=kind),
    ]
    sample = FrameSample(4, is_random, 7)
    choose = functools.partial(sample.choose, 2)
    for _ in range(2):  # The second time, protobuf has met what is beside.
      whole, _ = decoder.decode(block)
      batch, is_bad = decoder.decode(block, choose_frames=choose)
      assert not is_bad.any()
      chosen = choose(whole["video_ids"], np.array([8, 0, 3]))
      counts = (chosen >= 0).sum(axis=1)
      assert counts.tolist() == [4, 0, 4 if is_random else 3]
      assert batch["num_frames"].tolist() == counts.tolist()
      for name in SIZES:
        expected = np.zeros((3, 4, SIZES[name]))
        for row, count in enumerate(counts):
          frames = chosen[row, :count]
          expected[row, :count] = whole["features"][name][row, frames]
        assert batch["features"][name].tolist() == expected.tolist()

  def test_a_frame_that_is_chosen_is_looked_at(self):
    decoder = Decoder(3, {"rgb": Form(CODES, 6)}, max_frames=8)
    record = tf.train.SequenceExample.FromString(make_record(1, 4))
    frames = record.feature_lists.feature_list["rgb"].feature
    # Together they are as long as two frames should be.
    frames[1].bytes_list.value[0] = b"12345"
    frames[2].bytes_list.value[0] = b"1234567"
    block = [record.SerializeToString(), make_record(2, 4)]
    decoder.decode(block[1:])  # From now on, protobuf has met the other list.
    for place, expected in ((0, False), (2, True), (3, False)):
      batch, is_bad = decoder.decode(
        block,
        choose_frames=lambda ids, _, at=place: np.full((len(ids), 1), at),
      )
      assert is_bad.tolist() == [expected, False]
      assert batch["features"]["rgb"][1].tolist() == [[20 + place] * 6]
    assert decoder.decode(block)[1].tolist() == [True, False]


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> str:
  path = str(tmp_path_factory.mktemp("frames") / "train0.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    for number in range(20):
      writer.write(make_record(number, 3 + number % 6))
  return path


def test_what_is_drawn_depends_on_nothing_but_seed_pass_and_id(shard):
  reader = readers.YT8MFrameFeatureReader(
    3, tuple(SIZES.values()), tuple(SIZES), max_frames=8
  )
  records = list(shard_files.read_shard(shard))
  sample = FrameSample(2, True, 5)

  def frames_of(number, batch_size, part) -> dict[bytes, list]:
    passes = reader.training_passes(
      [shard], batch_size, 9, 100, part=part, sample=sample
    )
    found = {}
    for batch in passes.batches(number):
      assert batch["features"]["rgb"].shape == (batch_size, 2, 6)
      for video_id, frames in zip(
        batch["video_ids"].numpy(),
        batch["features"]["rgb"].numpy(),
        strict=True,
      ):
        found[video_id] = frames.tolist()
    found.pop(b"", None)
    return found

  alone = frames_of(3, 7, sources.WHOLE)
  shared = [frames_of(3, 4, sources.Part(index, 2)) for index in range(2)]
  assert len(alone) == len(records) == 20
  assert shared[0] | shared[1] == alone
  assert frames_of(4, 7, sources.WHOLE) != alone
  # Elsewhere, all frames count.
  batches = reader.evaluation_batches([shard], 20)
  assert next(iter(batches))["features"]["rgb"].shape == (20, 8, 6)


class CountingModel(models.FrameModel):
  """The mean of the frames that it is given."""

  def create_model(self, model_input, vocab_size, num_frames):
    """See `BaseModel`."""
    return models.FrameLevelLogisticModel().create_model(
      model_input, vocab_size, num_frames
    )


def train_on(shard, folder, kwargs, model="CountingModel", **given):
  settings = configs.TrainSettings(
    train_data_pattern=shard, train_dir=str(folder), jit_compile=False
  )
  values = {
    **{"model": model, "model_kwargs": kwargs, "num_classes": 3},
    **{"batch_size": 8, "seed": 1, "base_learning_rate": 0.1},
    **given,
  }
  assert train.train(values, settings) == 0
  return weights_in(folder)


def test_training_draws_frames_and_resumes(shard, tmp_path, monkeypatch):
  monkeypatch.setattr(models, "CountingModel", CountingModel, raising=False)
  drawn = {"iterations": 2}
  whole = train_on(shard, tmp_path / "whole", {}, max_frames=8)
  once = train_on(shard, tmp_path / "once", drawn, max_frames=8)
  train_on(shard, tmp_path / "twice", drawn, max_frames=8, max_steps=4)
  twice = train_on(shard, tmp_path / "twice", drawn, num_epochs=5)
  for name, weight in once.items():
    assert weight.tolist() == twice[name].tolist()
    assert weight.tolist() != whole[name].tolist()
  saved = ExperimentConfig.load(str(tmp_path / "once")).model_kwargs
  assert saved == {"iterations": 2, "sample_random_frames": True}


def make_config(model, max_frames, **kwargs) -> ExperimentConfig:
  return ExperimentConfig(
    model=model,
    model_kwargs=kwargs,
    feature_names=("rgb",),
    feature_sizes=(6,),
    frame_features=True,
    max_frames=max_frames,
    seed=4,
  )


class TestParameters:
  def test_the_default_of_a_model_suits_short_clips_too(self):
    assert experiment.frame_sample(make_config("LstmModel", 300)) is None
    found = experiment.frame_sample(make_config("DbofModel", 300))
    assert found == FrameSample(30, True, 4)
    short = make_config("DbofModel", 10)
    assert experiment.frame_sample(short) is None
    assert experiment.complete_parameters(short)["iterations"] == 0
    asked = make_config("DbofModel", 10, iterations=10)
    assert experiment.frame_sample(asked) == FrameSample(10, True, 4)

  @pytest.mark.parametrize("iterations", [11, -1])
  def test_more_frames_than_there_are(self, iterations):
    config = make_config("GruModel", 10, iterations=iterations)
    with pytest.raises(UserError, match=rf"--iterations={iterations} should"):
      experiment.frame_sample(config)

  @pytest.mark.parametrize("iterations", ["30", 2.5, None, True])
  def test_no_whole_number(self, iterations):
    config = make_config("GruModel", 10, iterations=iterations)
    with pytest.raises(UserError, match="--iterations=.* a whole number"):
      experiment.frame_sample(config)

  def test_an_argument_of_that_name_of_another_model(self, monkeypatch):
    class IterativeModel(models.BaseModel):
      frame_features = True

      def create_model(self, model_input, vocab_size, num_frames, iterations=3):
        """See `BaseModel`."""

    class WholeModel(models.FrameLevelLogisticModel):
      def __init__(self, size=2):
        super().__init__()

    monkeypatch.setattr(models, "WholeModel", WholeModel, raising=False)
    assert experiment.frame_sample(make_config("WholeModel", 2)) is None
    monkeypatch.setattr(models, "IterativeModel", IterativeModel, raising=False)
    config = make_config("IterativeModel", 2)
    assert experiment.frame_sample(config) is None
    assert experiment.complete_parameters(config)["iterations"] == 3

  def test_the_base_class_is_no_model(self):
    with pytest.raises(UserError, match="unknown 'FrameModel'"):
      experiment.find_model("FrameModel")
    found = utils.concrete_classes([models], models.BaseModel)
    assert {*found} == {"LogisticModel", "FrameLevelLogisticModel"}
