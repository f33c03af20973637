# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of eval.py: its figures, and how it follows a trainer."""

import csv
import json
import os
import pathlib
import re
import shutil
import signal
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

import checkpoints
import cluster
import config
import eval as eval_program
import eval_util
import experiment

FINAL_LINE = re.compile(
  r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO epoch/eval number (?P<step>\d+) \| "
  r"Avg_Hit@1: (?P<hit_at_one>\d\.\d{3}) \| Avg_PERR: (?P<perr>\d\.\d{3}) \| "
  r"MAP: (?P<map>\d\.\d{3}) \| GAP: (?P<gap>\d\.\d{3}) \| "
  r"Avg_Loss: (?P<loss>\d+\.\d{3}) \| num_classes: (?P<num_classes>\d+)$",
  re.MULTILINE,
)
METRICS = ("hit_at_one", "perr", "map", "gap", "loss")


def files(folder: pathlib.Path) -> dict[pathlib.Path, bytes]:
  return {
    path.relative_to(folder): path.read_bytes()
    for path in folder.rglob("*")
    if path.is_file()
  }


def scalars(folder: pathlib.Path) -> dict[tuple[str, int], float]:
  """(tag, step) -> value of all the TensorBoard events in a folder."""
  values = {}
  for path in folder.glob("events.out.tfevents.*"):
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      event = event_pb2.Event.FromString(record)
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == "scalars":
          values[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
  return values


def expected_metrics(scores, is_label) -> dict[str, float]:
  """Metrics of all videos at once."""
  metrics = eval_util.EvaluationMetrics(is_label.shape[1], top_k=20)
  of_labels = np.where(is_label, scores, 1 - scores)
  metrics.accumulate(scores, is_label, -np.log(of_labels).sum(axis=1))
  values = metrics.get()
  return {
    "hit_at_one": values["avg_hit_at_one"],
    "perr": values["avg_perr"],
    "map": values["aps"].mean(),
    "gap": values["gap"],
    "loss": values["avg_loss"],
  }


@pytest.mark.parametrize("level", ["video", "frame"])
class TestRunOnce:
  @pytest.fixture
  def trained(self, level, request):
    return request.getfixturevalue(f"trained_{level}")

  @pytest.fixture
  def evaluated(self, level, request):
    return request.getfixturevalue(f"evaluated_{level}")

  def test_output(self, trained, evaluated):
    assert evaluated.result.stdout == ""
    devices, progress, final = evaluated.result.stderr.splitlines()
    assert re.search(r"INFO Evaluating on ", devices)
    assert re.search(
      r"INFO examples processed: 61 \| Examples/sec: [\d.]+ \| "
      r"Hit@1: [\d.]+ PERR: [\d.]+ Loss: [\d.]+$",
      progress,
    )
    line = FINAL_LINE.match(final)
    assert int(line["step"]) == trained.num_steps
    assert int(line["num_classes"]) == trained.shards.num_classes
    for name in METRICS:
      assert line[name] == f"{evaluated.results[name]:.3f}"

  def test_results_file(self, trained, evaluated):
    counts = {
      "step": trained.num_steps,
      "checkpoint": f"model.ckpt-{trained.num_steps}",
      "num_videos": 61,
      "num_unlabeled_videos": 0,
      "num_classes_with_labels": len(
        set.union(*trained.shards.labels("validate").values())
      ),
    }
    assert {name: evaluated.results[name] for name in counts} == counts
    assert evaluated.results["videos_per_second"] > 0
    assert set(evaluated.results) == {*counts, *METRICS, "videos_per_second"}

  def test_results_equal_those_of_the_predictions_that_inference_writes(
    self, trained, evaluated, fork_program, tmp_path
  ):
    output = tmp_path / "all_classes.csv"
    fork_program(
      "inference",
      f"--train_dir={trained.train_dir}",
      f"--input_data_pattern={trained.shards.validate}",
      f"--output_file={output}",
      "--top_k=1000",
    )
    labels = trained.shards.labels("validate")
    shape = (len(labels), trained.shards.num_classes)
    scores, is_label = np.full(shape, np.nan), np.zeros(shape, bool)
    with output.open(newline="") as file:
      for row, record in enumerate(csv.DictReader(file)):
        pairs = record["LabelConfidencePairs"].split(" ")
        scores[row, list(map(int, pairs[::2]))] = pairs[1::2]
        is_label[row, list(labels.pop(record["VideoId"]))] = True
    assert not labels
    assert not np.isnan(scores).any()

    # Six decimals hide which of two confidences is the higher one.
    rounding = np.where(is_label, 5.01e-7, -5.01e-7)
    worst, best = (
      expected_metrics(np.clip(scores + change, 1e-9, 1 - 1e-9), is_label)
      for change in (-rounding, rounding)
    )
    for name in METRICS:
      lowest, highest = sorted([worst[name], best[name]])
      assert highest - lowest < 1e-3
      assert lowest - 1e-6 <= evaluated.results[name] <= highest + 1e-6

  def test_model_has_learnt_more_than_which_labels_are_frequent(
    self, trained, evaluated
  ):
    counts = np.zeros(trained.shards.num_classes)
    for labels in trained.shards.labels("train").values():
      counts[list(labels)] += 1
    labels = trained.shards.labels("validate").values()
    is_label = np.array(
      [[i in row for i in range(len(counts))] for row in labels]
    )
    scores = np.tile(counts, (len(is_label), 1))
    chance = expected_metrics(scores / 121, is_label)["gap"]
    assert evaluated.results["gap"] > chance + 0.1

  def test_results_do_not_depend_on_the_batch_size(
    self, trained, evaluated, tmp_path
  ):
    for batch_size in (7, 61):
      results = evaluate_in_process(
        trained, trained.shards, tmp_path, batch_size
      )
      assert results["num_videos"] == 61
      for name in METRICS:
        assert results[name] == pytest.approx(evaluated.results[name], abs=1e-6)

  def test_events(self, trained, evaluated):
    step = trained.num_steps
    tags = {
      "hit_at_one": "Epoch/Eval_Avg_Hit@1",
      "perr": "Epoch/Eval_Avg_Perr",
      "map": "Epoch/Eval_MAP",
      "gap": "Epoch/Eval_GAP",
      "loss": "Epoch/Eval_Avg_Loss",
      "videos_per_second": "Epoch/Eval_Examples/Second",
    }
    assert scalars(trained.train_dir / "eval") == {
      (tag, step): pytest.approx(evaluated.results[name], rel=1e-6)
      for name, tag in tags.items()
    }


def evaluate_in_process(trained, shards, eval_folder, batch_size=1024):
  """Results for shards, written below `eval_folder`."""
  settings = config.EvalSettings(
    train_dir=str(eval_folder),
    eval_data_pattern=shards.validate,
    batch_size=batch_size,
    jit_compile=False,
  )
  evaluator = eval_program.Evaluator(
    config.ExperimentConfig.load(str(trained.train_dir)),
    experiment.Run(settings, cluster.alone(), None),
  )
  path = checkpoints.latest_checkpoint(str(trained.train_dir))
  checkpoints.restore_model(evaluator.model, path)
  return evaluator.evaluate(path)


def test_writes_to_its_own_folder_only(trained_video, fork_program, tmp_path):
  train_dir = pathlib.Path(
    shutil.copytree(
      trained_video.train_dir,
      tmp_path / "copy",
      ignore=shutil.ignore_patterns("eval"),
    )
  )
  before = files(train_dir)
  fork_program(
    "eval",
    f"--train_dir={train_dir}",
    f"--eval_data_pattern={trained_video.shards.validate}",
    "--run_once",
    "--batch_size=7",
  )
  after = files(train_dir)
  assert {path: after.pop(path) for path in before} == before
  results, events = sorted(after)
  assert re.match(r"eval/events\.out\.tfevents\.", str(events))
  assert str(results) == "eval/eval_results.json"
  assert json.loads(after[results])["num_videos"] == 61


def test_videos_without_labels_are_counted_and_reported(
  trained_video, evaluated_video, tmp_path, caplog
):
  shard = sorted(trained_video.shards.folder.glob("validate*"))[0]
  records = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
  path = str(tmp_path / "validate.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    for number, record in enumerate(records):
      example = tf.train.Example.FromString(record)
      if number in (2, 5):
        example.features.feature["labels"].int64_list.Clear()
      writer.write(example.SerializeToString())
  shards = type(trained_video.shards)(tmp_path, 25, {}, {})

  with caplog.at_level("INFO"):
    results = evaluate_in_process(trained_video, shards, tmp_path)
  assert results["num_videos"] == len(records)
  assert results["num_unlabeled_videos"] == 2
  assert caplog.messages[-1] == (
    f"2 of {len(records)} videos have no label; their PERR counts as 0."
  )


class TestFollow:
  def test_each_checkpoint_of_a_live_trainer_is_evaluated_once(
    self, trained_video, start_program, tmp_path
  ):
    trainer = start_program(
      "train",
      f"--train_dir={tmp_path}",
      *trained_video.flags,
      "--num_epochs=30000",
      "--save_checkpoint_secs=1",
      "--max_to_keep=1",
      "--log_every_steps=1000",
    )
    trainer.wait_until((tmp_path / "model_flags.json").exists)
    follower = start_program(
      "eval",
      f"--train_dir={tmp_path}",
      f"--eval_data_pattern={trained_video.shards.validate}",
    )
    follower.wait_until(lambda: len(self.evaluated_steps(follower)) >= 2)
    trainer.signal(signal.SIGTERM)
    trained = trainer.wait()
    assert trained.returncode == 143
    step = int(re.search(r"step (\d+) is saved", trained.stderr)[1])
    follower.wait_for_line(rf"epoch/eval number {step} ")
    time.sleep(2.5)  # It looks every second.
    # Written at once: it may wait for the next checkpoint for hours.
    written = scalars(tmp_path / "eval")
    follower.signal(signal.SIGTERM)
    result = follower.wait()

    assert result.returncode == 0
    assert "Traceback" not in result.output
    assert result.stderr.rstrip().endswith("Stopped by a signal.")
    steps = self.evaluated_steps(follower)
    assert steps == sorted(set(steps))
    assert steps[-1] == step
    with_gap = [key for key in written if "GAP" in key[0]]
    assert with_gap == [("Epoch/Eval_GAP", step) for step in steps]
    # Those in the train dir are the trainer's.
    assert not any(tag.startswith("Epoch") for tag, _ in scalars(tmp_path))
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1

  @staticmethod
  def evaluated_steps(follower) -> list[int]:
    text = follower.stderr.read_text()
    return [int(match["step"]) for match in FINAL_LINE.finditer(text)]

  def test_checkpoint_deleted_by_the_trainer_is_skipped(
    self, monkeypatch, caplog
  ):
    # At first there is none. Of the two that were there before, only the later
    # one is of interest. While c-1 is evaluated, c-2 and c-3 appear, and c-2
    # is gone when it is read.
    states = [[], ["c-0", "c-1"], ["c-0", "c-1"], ["c-1", "c-2", "c-3"]]
    states += [["c-2", "c-3"], ["c-2", "c-3"], []]
    seen = iter(states)
    sleeps = []

    def all_checkpoints(train_dir):
      assert train_dir == "dir"
      try:
        return next(seen)
      except StopIteration:
        raise KeyboardInterrupt from None

    monkeypatch.setattr(checkpoints, "all_checkpoints", all_checkpoints)
    monkeypatch.setattr(time, "sleep", sleeps.append)
    evaluator = FakeEvaluator(deleted={"c-2"})
    with caplog.at_level("INFO"):
      eval_program.follow("dir", evaluator, cluster.alone())
    assert evaluator.evaluated == ["c-1", "c-3"]
    assert caplog.messages == ["Skipped: c-2 is gone", "Stopped by a signal."]
    assert len(sleeps) == 4  # Whenever there was nothing new.
    assert min(sleeps) >= 0.5

  def test_new_model_at_the_same_step_is_evaluated(self, monkeypatch, tmp_path):
    path = tmp_path / "model.ckpt-7"
    index = tmp_path / "model.ckpt-7.index"
    index.touch()
    evaluator = FakeEvaluator()

    def sleep(seconds):
      if len(evaluator.evaluated) == 2:
        raise KeyboardInterrupt
      os.utime(index, (1, 1))

    monkeypatch.setattr(checkpoints, "all_checkpoints", lambda _: [str(path)])
    monkeypatch.setattr(time, "sleep", sleep)
    eval_program.follow("dir", evaluator, cluster.alone())
    assert evaluator.evaluated == [str(path)] * 2

  def test_an_older_one_in_place_of_a_damaged_one(self, monkeypatch):
    listings = iter([["c-1", "c-2"]] * 3)
    evaluator = FakeEvaluator(deleted={"c-2"})

    def sleep(seconds):
      raise KeyboardInterrupt

    monkeypatch.setattr(
      checkpoints, "all_checkpoints", lambda _: next(listings)
    )
    monkeypatch.setattr(time, "sleep", sleep)
    eval_program.follow("dir", evaluator, cluster.alone())
    assert evaluator.evaluated == ["c-1"]


class FakeEvaluator:
  """Evaluates in no time, and cannot restore what was deleted."""

  def __init__(self, deleted=()):
    self.deleted = deleted
    self.evaluated = []

  def restore(self, path):
    if path in self.deleted:
      raise checkpoints.UnreadableError(f"{path} is gone")

  def evaluate(self, path):
    self.evaluated.append(path)
