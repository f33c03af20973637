# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Evaluation and inference on several workers: the results are one's.

Up to rounding: the workers' batches have other videos in other rows, and a
matrix product may add up each row in an order of its own.
"""

import csv
import json
import pathlib
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf
from worker_processes import tf_config

import checkpoints
from tools import sample_data


@pytest.fixture(scope="module")
def bad_shards(video_shards, tmp_path_factory) -> str:
  """A glob: shards of the videos to evaluate on, each with a bad record."""
  folder = tmp_path_factory.mktemp("bad_shards")
  records = tf.data.TFRecordDataset(tf.io.gfile.glob(video_shards.validate))
  for number in range(3):
    with tf.io.TFRecordWriter(f"{folder}/{number}.tfrecord") as writer:
      # The first of all shards: each worker's part has one of them.
      for record in [b"bad", *records.shard(3, number).as_numpy_iterator()]:
        writer.write(record)
  return f"{folder}/*.tfrecord"


@pytest.fixture
def model_dir(trained_video, tmp_path) -> pathlib.Path:
  """A copy of a train dir, to evaluate in."""
  shutil.copytree(trained_video.train_dir, tmp_path / "model")
  return tmp_path / "model"


def wait_for_all(started):
  for process in started:
    result = process.wait()
    assert result.returncode == 0, result.output


def entries(report: pathlib.Path) -> list[tuple[str, int]]:
  """Shard and record of what a report lists, in order."""
  left_out = json.loads(report.read_text())["left_out"]
  return sorted((entry["shard"], entry["record"]) for entry in left_out)


def scores_of_rows(folder: pathlib.Path) -> dict[tuple, float]:
  """(video, class) -> score, as p.csv has them: one row for each video."""
  header, *rows = csv.reader((folder / "p.csv").read_text().splitlines())
  assert header == ["VideoId", "LabelConfidencePairs"]
  assert len(rows) == len({video_id for video_id, _ in rows}) == 61
  scores = {}
  for video_id, pairs in rows:
    classes, values = pairs.split()[::2], pairs.split()[1::2]
    assert sorted(values, reverse=True) == values
    scores |= {
      (video_id, number): float(value)
      for number, value in zip(classes, values, strict=True)
    }
  return scores


def logits_of_arrays(folder):
  """Video id -> logits of all classes."""
  with np.load(folder / "p.npz") as file:
    return dict(zip(file["ids"].tolist(), file["logits"], strict=True))


def scores_of_names(folder: pathlib.Path) -> dict[tuple, float]:
  """(video, class, name) -> score, as p.names.csv has them."""
  header, *rows = csv.reader((folder / "p.names.csv").read_text().splitlines())
  assert header == ["VideoId", "Index", "Name", "Confidence"]
  return {tuple(names): float(value) for *names, value in rows}


SKIP = ("--on_bad_record=skip", "--max_bad_fraction=0.06", "--batch_size=7")


@pytest.mark.parametrize(
  "count", [3, *(pytest.param(n, marks=pytest.mark.soak) for n in (2, 4, 8))]
)
class TestMerging:
  def test_metrics(
    self, count, start_workers, fork_program, model_dir, bad_shards
  ):
    flags = [
      f"--train_dir={model_dir}",
      f"--eval_data_pattern={bad_shards}",
      "--run_once",
      *SKIP,
    ]
    fork_program("eval", *flags)
    eval_dir = (model_dir / "eval").rename(model_dir / "eval_of_one")
    # Only the chief looks at the folder.
    others = {n: ["--train_dir=/none"] for n in range(1, count)}
    wait_for_all(start_workers(count, "eval", *flags, changes=others))
    expected, found = (
      json.loads((folder / "eval_results.json").read_text())
      for folder in (eval_dir, model_dir / "eval")
    )
    del expected["videos_per_second"], found["videos_per_second"]
    assert found["num_videos"] == 61
    assert found.pop("checkpoint") == expected.pop("checkpoint")
    assert found == pytest.approx(expected, rel=1e-5)
    left_out = entries(model_dir / "eval" / "bad_records.json")
    assert left_out == entries(eval_dir / "bad_records.json")
    assert len(left_out) == 3

  def test_predictions(
    self, count, start_workers, fork_program, trained_video, bad_shards,
    tmp_path,
  ):  # fmt: skip
    vocabulary = tmp_path / "vocabulary.csv"
    sample_data.write_vocabulary(
      str(vocabulary), trained_video.shards.num_classes
    )
    flags = [
      f"--train_dir={trained_video.train_dir}",
      f"--input_data_pattern={bad_shards}",
      f"--vocabulary_file={vocabulary}",
      *SKIP,
    ]
    for folder in ("one", "all"):
      (tmp_path / folder).mkdir()
    one, every = (
      [f"--output_file={folder}/p.csv", f"--predictions_file={folder}/p.npz"]
      for folder in (tmp_path / "one", tmp_path / "all")
    )
    fork_program("inference", *one, *flags)
    others = {n: [f"--output_file=/none/{n}.csv"] for n in range(1, count)}
    wait_for_all(
      start_workers(count, "inference", *every, *flags, changes=others)
    )
    expected, found = map(
      logits_of_arrays, (tmp_path / "one", tmp_path / "all")
    )
    assert expected.keys() == found.keys()
    for video_id, logits in expected.items():
      # Logits are stored as float16, so rounding may change their last digit.
      assert found[video_id] == pytest.approx(logits, rel=2e-3)
    for scores in (scores_of_rows, scores_of_names):
      found, expected = (scores(tmp_path / name) for name in ("all", "one"))
      assert len(expected) == 61 * 20
      # They are written with six decimals.
      assert found == pytest.approx(expected, abs=2.1e-6)
    left_out = entries(tmp_path / "all" / "p.bad_records.json")
    assert left_out == entries(tmp_path / "one" / "p.bad_records.json")
    assert len(left_out) == 3


def test_bad_records_of_all_workers_count_together(
  start_workers, trained_video, bad_shards, tmp_path
):
  # 2 of 64 records are allowed, and no worker has more than one.
  started = start_workers(
    3,
    "inference",
    f"--train_dir={trained_video.train_dir}",
    f"--input_data_pattern={bad_shards}",
    f"--output_file={tmp_path}/p.csv",
    "--on_bad_record=skip",
    "--max_bad_fraction=0.04",
  )
  for process in started:
    result = process.wait()
    assert result.returncode == 1
    assert "More cannot be used than --max_bad_fraction=0.04" in result.stderr
  assert [path.name for path in tmp_path.iterdir()] == ["p.bad_records.json"]


@pytest.mark.parametrize(
  ("own", "message"),
  [
    ("--top_k=7", "they differ in --top_k. Give each"),
    ("--vocabulary_file=v.csv", "they differ in --vocabulary_file. Give each"),
    (
      "--input_data_pattern={folder}/0*,{folder}/1*",
      "--input_data_pattern: the workers see different shards; this one has",
    ),
  ],
)
def test_workers_that_were_not_started_alike(
  own, message, start_workers, trained_video, bad_shards, tmp_path
):
  own = own.format(folder=pathlib.Path(bad_shards).parent)
  started = start_workers(
    2,
    "inference",
    f"--train_dir={trained_video.train_dir}",
    f"--input_data_pattern={bad_shards}",
    f"--output_file={tmp_path}/p.csv",
    "--on_bad_record=skip",
    "--max_bad_fraction=0.5",
    changes={1: [own]},
  )
  for process in started:
    result = process.wait()
    assert result.returncode == 1
    *_, error = result.stderr.splitlines()
    assert error.startswith("inference.py: error: ")
    assert message in error
  assert not (tmp_path / "p.csv").exists()


@pytest.fixture
def following(start_workers, model_dir, video_shards):
  """Two workers that have evaluated a checkpoint and wait for the next."""
  started = start_workers(
    2,
    "eval",
    f"--train_dir={model_dir}",
    f"--eval_data_pattern={video_shards.validate}",
  )
  started[0].wait_for_line("epoch/eval number")
  return started


def test_following_a_trainer(following, model_dir):
  path = pathlib.Path(checkpoints.latest_checkpoint(str(model_dir)))
  step = checkpoints.step_of(str(path))
  for part in sorted(path.parent.glob(f"{path.name}.*")):  # The index is last.
    later = f"model.ckpt-{step + 1}{part.suffix}"
    shutil.copy(part, path.with_name(later))
  following[0].wait_for_line(f"epoch/eval number {step + 1} ")
  following[1].signal(signal.SIGTERM)
  for process in following:
    result = process.wait(timeout=30)
    assert result.returncode == 0
    assert "Stopped by a signal." in result.stderr


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_worker_stops_the_other(following, victim):
  following[victim].signal(signal.SIGKILL)
  result = following[1 - victim].wait(timeout=30)
  assert result.returncode == 1
  assert "eval.py: error: Another worker has ended" in result.stderr
  assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["eval", "inference"])
def test_a_parameter_server_has_nothing_to_do(name, fork_program, tmp_path):
  pattern = {"eval": "eval_data_pattern", "inference": "input_data_pattern"}
  result = fork_program(
    name,
    f"--{pattern[name]}=any",
    f"--train_dir={tmp_path}/none",
    *([f"--output_file={tmp_path}/p.csv"] if name == "inference" else []),
    env={"TF_CONFIG": tf_config({"worker": ["a:1", "b:2"]}, "ps")},
  )
  assert "This is a parameter server, which has nothing to do" in result.stderr
