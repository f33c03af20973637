# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Cross-validation: which videos are trained on, and which are held out."""

import csv
import json
import zlib

from program import UserError

import pytest
import tensorflow as tf
from test_readers import (
  RECORD_BYTES,
  flat,
  ids_of,
  numbered_shards,
  video_reader,
  write_shard,
)
from test_trained_model import evaluate_on, train_on

import config as configs
import inference
import readers
import sources
import train
from bad_records import BadRecords
from config import EvalSettings, ExperimentConfig

VIDEOS = [b"%03d" % number for number in range(40)]


def fold_of(video_id: bytes, count: int) -> int:
  return zlib.crc32(video_id) % count


def test_hand_worked():
  # CRC-32's published check value: that of "123456789" is 0xCBF43926, which is
  # 3,421,780,262 and 2 modulo 5.
  ids = [b"123456789", b""]  # That of no bytes is 0.
  for index, expected in ((2, [True, False]), (0, [False, True])):
    fold = sources.Fold(index, 5, is_left_out=False)
    assert fold.keeps(ids).tolist() == expected
    others = fold._replace(is_left_out=True).keeps(ids)
    assert others.tolist() == [not kept for kept in expected]


def test_each_video_is_trained_on_or_held_out(tmp_path):
  shards = numbered_shards(tmp_path, [17, 1, 22])
  seen = []
  for index in range(3):
    fold = sources.Fold(index, 3, is_left_out=False)
    batches = ids_of(video_reader().evaluation_batches(shards, 4, fold=fold))
    held_out = flat(batches)
    assert {fold_of(video_id, 3) for video_id in held_out} == {index}
    # What is left is batched anew: only the last batch is padded.
    assert all(len(batch) == 4 for batch in batches[:-1])
    # Two workers, each of which reads its part of the shards.
    trained_on = [
      flat(ids_of(passes.batches(number)))
      for worker in range(2)
      for passes in [
        video_reader().training_passes(
          shards,
          4,
          seed=1,
          record_bytes=RECORD_BYTES,
          part=sources.Part(worker, 2),
          fold=fold._replace(is_left_out=True),
        )
      ]
      for number in (0, 1)
    ]
    assert all(trained_on)
    assert sorted(flat(trained_on) + 2 * held_out) == sorted(2 * VIDEOS)
    seen += held_out
  assert sorted(seen) == VIDEOS


def test_bad_records_are_of_no_fold(tmp_path):
  (shard,) = numbered_shards(tmp_path, [9])
  records = [record.numpy() for record in tf.data.TFRecordDataset(shard)]
  shard = write_shard(tmp_path / "bad", [b"", *records, b"\xff"])
  found = []
  for index in range(2):
    with BadRecords(None, 1.0) as left_out:
      found += ids_of(
        video_reader().evaluation_batches(
          [shard], 20, left_out=left_out, fold=sources.Fold(index, 2, False)
        )
      )
  assert sorted(flat(found)) == VIDEOS[:9]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, video_shards):
  """A model that has not seen fold 1 of 3, and was evaluated on it."""
  folder = tmp_path_factory.mktemp("folds")
  train_on(
    video_shards.train,
    folder,
    {
      "model": "LogisticModel",
      "num_classes": 25,
      "num_epochs": 2,
      "folds": 3,
      "fold": 1,
    },
    eval_data_pattern=video_shards.train,
  )
  return folder


class TestPrograms:
  @pytest.fixture
  def held_out(self, video_shards):
    return {
      video_id
      for video_id in video_shards.labels("train")
      if fold_of(video_id.encode(), 3) == 1
    }

  def test_training_leaves_the_fold_out(self, trained, held_out):
    results = json.loads((trained / "train_results.json").read_text())
    assert results["num_examples"] == 2 * (121 - len(held_out))
    results = json.loads((trained / "eval" / "eval_results.json").read_text())
    assert results["num_videos"] == len(held_out)

  def test_evaluation_takes_it_alone(self, trained, held_out, video_shards):
    in_training = json.loads((trained / "best/eval_results.json").read_text())
    results = evaluate_on(video_shards.train, trained, folds=3, fold=1)
    assert results["num_videos"] == len(held_out)
    assert results["gap"] == in_training["gap"]
    # Without the flags, all of the shards: others, in most cases.
    assert evaluate_on(video_shards.train, trained)["num_videos"] == 121

  def test_a_model_without_folds_may_have_seen_them(
    self, trained_video, video_shards, caplog
  ):
    evaluate_on(video_shards.train, trained_video.train_dir, folds=3, fold=1)
    message = "--folds=3 --fold=1: the model was trained without folds. If"
    assert message in caplog.text

  def test_inference_takes_it_alone(
    self, trained, held_out, video_shards, tmp_path
  ):
    output = tmp_path / "predictions.csv"
    inference.infer(
      configs.InferenceSettings(
        input_data_pattern=video_shards.train,
        train_dir=str(trained),
        output_file=str(output),
        jit_compile=False,
        folds=3,
        fold=1,
      )
    )
    with output.open(newline="") as file:
      assert {row["VideoId"] for row in csv.DictReader(file)} == held_out

  def test_a_fold_that_was_trained_on_is_refused(self, trained, video_shards):
    message = "^--fold=2 contradicts the train dir, whose model has fold=1"
    with pytest.raises(UserError, match=message):
      evaluate_on(video_shards.train, trained, folds=3, fold=2)
    # A run that goes on would learn what it is evaluated on.
    with pytest.raises(UserError, match=message):
      train_on(
        video_shards.train, trained, {"model": "LogisticModel", "fold": 2}
      )


def test_the_estimate_of_steps_leaves_it_out(video_shards):
  shards = sorted(tf.io.gfile.glob(video_shards.train))
  record_bytes = readers.detect_schema(shards).record_bytes
  values = {"num_epochs": 100, "batch_size": 16}
  whole, two_thirds = (
    train.estimate_steps(
      ExperimentConfig(**values, **fold), shards, record_bytes
    )
    for fold in ({}, {"folds": 3, "fold": 0})
  )
  assert two_thirds == pytest.approx(whole * 2 / 3, abs=1)


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"folds": 5}, "^--folds=5 and --fold=None: give both, for instance"),
    ({"fold": 2}, "^--folds=None and --fold=2: give both"),
    ({"folds": 5, "fold": 5}, "^--fold=5 should be from 0 to 4, below --fol"),
    ({"folds": 1, "fold": 0}, "^--folds=1 should be from 2 to "),
    ({"folds": 5, "fold": -1}, "^--fold=-1 should be from 0 to "),
  ],
)
def test_folds_that_there_are_not(values, message):
  with pytest.raises(UserError, match=message):
    ExperimentConfig(**values)
  with pytest.raises(UserError, match=message):
    EvalSettings(eval_data_pattern="a*", **values)
