# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Several workers: their part in a job, their parts of the data, training."""

import collections
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf
from worker_processes import free_addresses, tf_config

import checkpoints
import cluster
import experiment
import models
import readers
import train
from sources import Part

HOSTS = ["a:1", "b:2", "c:3"]


class TestTask:
  @pytest.mark.parametrize(
    ("config", "expected"),
    [
      (None, cluster.Task()),
      ("", cluster.Task()),
      ("{}", cluster.Task()),
      # What platforms leave over, and no other process in it.
      ("null", cluster.Task()),
      (" [] ", cluster.Task()),
      ('{"cluster": null, "task": null}', cluster.Task()),
      ('{"cluster": {"worker": null}}', cluster.Task()),
      ('{"environment": "cloud", "task": {"type": "cloud"}}', cluster.Task()),
      (tf_config({"worker": HOSTS[:1]}, "ps"), cluster.Task()),
      # What a gcloud job of one process gets.
      (tf_config(), cluster.Task()),
      (tf_config({"chief": HOSTS[:1]}, "chief"), cluster.Task()),
      (tf_config({"master": HOSTS[:1], "ps": []}, "master"), cluster.Task()),
      (
        tf_config({"worker": HOSTS}, "worker", 2),
        cluster.Task("worker", 2, tuple(HOSTS)),
      ),
      (
        tf_config({"chief": HOSTS[:1], "worker": HOSTS[1:]}, "chief"),
        cluster.Task("worker", 0, tuple(HOSTS)),
      ),
      (
        tf_config({"worker": HOSTS[1:], "master": HOSTS[:1]}, "worker", 1),
        cluster.Task("worker", 2, tuple(HOSTS)),
      ),
      (
        tf_config({"worker": HOSTS[:2], "ps": HOSTS[2:]}, "worker", 1),
        cluster.Task("worker", 1, tuple(HOSTS[:2])),
      ),
      # One worker beside parameter servers works alone.
      (
        tf_config({"master": HOSTS[:1], "ps": HOSTS[1:]}, "master"),
        cluster.Task(),
      ),
      (
        tf_config({"worker": HOSTS[:2], "ps": HOSTS[2:]}, "ps"),
        cluster.Task("ps", 0),
      ),
      (
        tf_config({"worker": HOSTS[:2]}, "evaluator"),
        cluster.Task("evaluator", 0),
      ),
    ],
  )
  def test_what_it_is(self, config, expected, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
      monkeypatch.setenv("TF_CONFIG", config)
    assert cluster.read_task() == expected

  @pytest.mark.parametrize(
    ("config", "message"),
    [
      ("{", "TF_CONFIG='{' is not as expected"),
      ("[1]", "is not as expected"),
      ('{"cluster": 3}', "is not as expected"),
      ('{"task": {"type": "worker", "index": "x"}}', "is not as expected"),
      (tf_config({"wroker": HOSTS}, "worker"), "names 'wroker'; the roles are"),
      ('{"cluster": {"worker": "a:1,b:2"}}', "should be a list of addresses"),
      (tf_config({"worker": HOSTS}, "boss"), "names 'boss'; the roles are"),
      (
        tf_config({"worker": HOSTS}, "worker", 3),
        "worker 3, counted from 0, but its cluster has 3",
      ),
      (tf_config({"worker": HOSTS}, "worker", -1), "this is worker -1"),
      # They would be the chief, the chief too, and another worker too.
      (
        tf_config({"chief": HOSTS[:1], "worker": HOSTS[1:]}, "worker", -1),
        "this is worker -1",
      ),
      (tf_config({"worker": HOSTS}, "chief"), "chief 0, .* has 0 of that role"),
      (
        tf_config({"chief": HOSTS[:1], "worker": HOSTS[1:]}, "chief", 1),
        "chief 1, .* has 1 of that role",
      ),
      (tf_config({"worker": HOSTS}), "has no task"),
      (tf_config({"worker": "a:1"}, "worker"), "'a:1' should be a list"),
      (tf_config({"worker": ["a", "b"]}, "worker"), "list of addresses, host"),
      (tf_config({"worker": HOSTS}, ["worker"]), "names \"\\['worker'\\]\""),
      (tf_config({"worker": HOSTS}, "worker", 0.5), "'0.5'"),
      (tf_config({"chief": HOSTS[:2]}, "chief"), "names 2 chiefs"),
      (
        tf_config({"worker": ["a:1", "a:1"]}, "worker"),
        "each address is of one worker",
      ),
    ],
  )
  def test_what_makes_no_sense(self, config, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match=message):
      cluster.read_task()


def test_any_name_of_this_machine_is_listened_at():
  (address,) = free_addresses(1)
  port = address.rpartition(":")[2]
  with cluster._listening(f"gateway.invalid:{port}"):
    assert cluster._is_listening(f"127.0.0.1:{port}")
  with (
    cluster._listening(address),
    pytest.raises(UserError, match=f"'{address}', cannot be .*: Address al"),
    cluster._listening(address),
  ):
    pass


def video_ids(batches) -> list[bytes]:
  return [
    video_id
    for batch in batches
    for video_id, weight in zip(
      batch["video_ids"].numpy(), batch["weights"].numpy(), strict=True
    )
    if weight
  ]


class TestParts:
  # 3 shards of 41, 40 and 40 videos are divided by records; 40 by shards.
  @pytest.mark.parametrize(
    ("count", "num_shards"),
    [(1, 33), (2, 1), (2, 33), (2, 40), (3, 3), (3, 40), (5, 33)],
  )
  def test_every_video_once_in_each_epoch(self, tmp_path, count, num_shards):
    shards = write_shards(tmp_path, num_shards)
    reader, schema = open_shards(shards)
    ids, sizes = collections.Counter(), []
    for index in range(count):
      passes = reader.training_passes(
        shards, 4, 1, schema.record_bytes, part=Part(index, count)
      )
      batches = itertools.chain.from_iterable(
        passes.batches(number) for number in range(3 * passes.per_epoch)
      )
      found = video_ids(batches)
      ids.update(found)
      sizes.append(len(found))
    assert len(ids) == 121
    assert set(ids.values()) == {3}
    # By shards of 3 or 4 videos, of which in 3 epochs each has 3 more or less.
    assert max(sizes) - min(sizes) <= (12 if num_shards > 32 else count)

  @pytest.mark.parametrize("count", [1, 2, 4])
  def test_every_video_once_in_an_evaluation(self, video_shards, count):
    shards = sorted(tf.io.gfile.glob(video_shards.validate))
    reader, _ = open_shards(shards)
    ids = [
      video_id
      for index in range(count)
      for video_id in video_ids(
        reader.evaluation_batches(shards, 7, part=Part(index, count))
      )
    ]
    assert len(ids) == len(set(ids)) == 61

  def test_more_workers_than_videos(self, tmp_path):
    shards = write_shards(tmp_path, 1, num_videos=2)
    reader, _ = open_shards(shards)
    found = [
      len(video_ids(reader.evaluation_batches(shards, 3, part=Part(n, 5))))
      for n in range(5)
    ]
    assert sorted(found) == [0, 0, 0, 1, 1]


def write_shards(folder, num_shards, num_videos=121):
  from tools import sample_data

  sample_data.write_shards(
    str(folder), "v2_video", num_videos=num_videos, num_shards=num_shards,
    num_classes=5, feature_sizes=(4, 2), seed=1,
  )  # fmt: skip
  return sorted(map(str, folder.glob("*.tfrecord")))


def open_shards(shards):
  schema = readers.detect_schema(shards)
  reader = readers.YT8MAggregatedFeatureReader(
    25, schema.feature_sizes, schema.feature_names
  )
  return reader, schema


class TestAlone:
  def test_agreement(self):
    workers = cluster.Workers(tf.distribute.get_strategy())
    assert workers.is_chief
    assert workers.agree([1, 2.5]).tolist() == [[1, 2.5]]
    assert workers.share("text, \u00e9") == "text, \u00e9"


# Batches that cannot be divided equally.
VIDEO_FLAGS = ("--batch_size=15", "--num_epochs=3", "--log_every_steps=1")


@pytest.fixture(scope="module")
def two_workers(start_workers, video_shards, tmp_path_factory):
  """The train dir of two workers, and what they said."""
  folder = tmp_path_factory.mktemp("two_workers")
  flags = training_flags(video_shards, folder / "model")
  # Only the chief's folder counts.
  other = {1: [f"--train_dir={folder / 'other'}"]}
  started = start_workers(2, "train", *flags, changes=other)
  results = [process.wait() for process in started]
  return folder, results


class TestTraining:
  def test_all_end_well_and_only_the_chief_writes(self, two_workers):
    folder, results = two_workers
    for result in results:
      assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["model"]
    assert "Finished training at step" in results[0].stderr
    assert "Worker 1 has finished." in results[1].stderr

  def test_loss_of_each_step_is_that_of_one_process(
    self, two_workers, video_shards
  ):
    folder, _ = two_workers
    assert_same_training(folder / "model", video_shards, 2)

  def test_every_video_counts_once_in_each_epoch(self, two_workers):
    folder, _ = two_workers
    path = checkpoints.latest_checkpoint(str(folder / "model"))
    position = checkpoints.Position()
    tf.train.Checkpoint(position=position).restore(path).expect_partial()
    assert position.num_examples.numpy() == 3 * 121
    assert position.passes.numpy() == 3

  def test_one_process_goes_on_where_two_stopped(
    self, two_workers, fork_program, video_shards
  ):
    folder, _ = two_workers
    path = checkpoints.latest_checkpoint(str(folder / "model"))
    result = fork_program(
      "train",
      f"--train_data_pattern={video_shards.train}",
      f"--train_dir={folder / 'model'}",
      "--num_epochs=4",
    )
    assert f"Resuming from {path}." in result.stderr
    step = checkpoints.step_of(path)
    # 121 videos in batches of 15.
    assert f"Finished training at step {step + 9}." in result.stderr


def losses_of_one_process(config, video_shards, count) -> list[float]:
  """Trains on what the workers had, in this process."""
  shards = sorted(tf.io.gfile.glob(video_shards.train))
  schema = readers.detect_schema(shards)
  reader = experiment.build_reader(config)
  alone = cluster.alone()
  state = train.build_train_state(config, alone)
  step = train.make_train_step(config, state, alone, jit_compile=True)
  rest = config.batch_size % count
  parts = [
    reader.training_passes(
      shards, config.batch_size // count + (index < rest), config.seed,
      schema.record_bytes, part=Part(index, count),
    )
    for index in range(count)
  ]  # fmt: skip
  losses = []
  for number in range(config.num_epochs * parts[0].per_epoch):
    for batches in itertools.zip_longest(
      *(part.batches(number) for part in parts)
    ):
      batches = [
        batch or part.blank()
        for batch, part in zip(batches, parts, strict=True)
      ]
      whole = tf.nest.map_structure(lambda *rows: tf.concat(rows, 0), *batches)
      outcome = step(whole, np.zeros(2, np.float32))
      losses.append(float(outcome.losses["loss"]))
  return losses


def event_values(folder, tag) -> dict[int, float]:
  """Step -> value of a scalar that TensorBoard shows."""
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(folder), {event_accumulator.TENSORS: 0}
  )
  events.Reload()
  return {
    event.step: float(tf.make_ndarray(event.tensor_proto))
    for event in events.Tensors(tag)
  }


@pytest.fixture
def long_training(start_workers, video_shards, tmp_path):
  """Starts two workers, and returns them when they train."""
  train_dir = str(tmp_path / "model")

  def start(*flags):
    started = start_workers(
      2,
      "train",
      f"--train_data_pattern={video_shards.train}",
      f"--num_classes={video_shards.num_classes}",
      f"--train_dir={train_dir}",
      "--batch_size=16",
      "--num_epochs=30000",
      "--save_checkpoint_secs=1",
      *flags,
    )
    started[0].wait_for_line("training step [0-9]+0 ")
    started[0].wait_until(lambda: checkpoints.latest_checkpoint(train_dir))
    return started

  return start


class TestLostWorkers:
  @pytest.mark.parametrize("victim", [0, 1])
  def test_the_others_stop(self, long_training, tmp_path, victim):
    started = long_training()
    started[victim].signal(signal.SIGKILL)
    result = started[1 - victim].wait(timeout=30)
    assert result.returncode == 1
    assert result.stderr.count("train.py: error:") == 1
    assert "train.py: error: Another worker has ended" in result.stderr
    assert "Start all workers again" in result.stderr
    assert "Traceback" not in result.stderr
    resumed = long_training()
    resumed[1].signal(signal.SIGTERM)
    assert "Resuming from" in resumed[0].wait().stderr

  @pytest.mark.parametrize(
    ("told", "signum"), [(0, signal.SIGINT), (1, signal.SIGTERM)]
  )
  def test_a_signal_to_one_stops_all(
    self, long_training, tmp_path, told, signum
  ):
    started = long_training()
    started[told].signal(signum)
    results = [process.wait(timeout=30) for process in started]
    assert [result.returncode for result in results] == [128 + signum] * 2
    path = checkpoints.latest_checkpoint(str(tmp_path / "model"))
    step = checkpoints.step_of(path)
    stopped = f"Stopped by signal {signum:d}; step {step} is saved."
    assert stopped in results[0].stderr

  def test_signals_to_all_stop_all(self, long_training, tmp_path):
    started = long_training()
    for process in reversed(started):
      process.signal(signal.SIGTERM)
      time.sleep(0.1)  # The chief has heard of the first by then.
    results = [process.wait(timeout=30) for process in started]
    assert [result.returncode for result in results] == [143, 143]
    assert "is saved." in results[0].stderr

  def test_one_that_does_not_come_is_given_up(self, start_program, tmp_path):
    addresses = free_addresses(2)
    result = start_program(
      "train",
      f"--train_dir={tmp_path}",
      "--train_data_pattern=any",
      "--worker_timeout_secs=2",
      env={"TF_CONFIG": tf_config({"worker": addresses}, "worker", 0)},
    ).wait(timeout=30)
    assert result.returncode == 1
    assert (
      "train.py: error: After 2 s (--worker_timeout_secs), these workers of "
      f"TF_CONFIG have not come up: {addresses[1]}. "
    ) in result.stderr

  def test_a_chief_that_cannot_start_stops_all(self, start_workers, tmp_path):
    started = start_workers(
      2, "train", "--train_data_pattern=/none*", f"--train_dir={tmp_path}/model"
    )
    results = [process.wait(timeout=30) for process in started]
    for result in results:
      assert result.returncode == 1
      assert "no file matches '/none*'" in result.stderr

  def test_batches_that_are_too_small(
    self, start_workers, video_shards, tmp_path
  ):
    started = start_workers(
      2,
      "train",
      f"--train_data_pattern={video_shards.train}",
      f"--num_classes={video_shards.num_classes}",
      f"--train_dir={tmp_path}/model",
      "--batch_size=1",
    )
    chief, other = [process.wait(timeout=30) for process in started]
    assert "--batch_size=1 is of all workers together; the 2" in chief.stderr
    assert "Another worker has ended" in other.stderr
    assert (chief.returncode, other.returncode) == (1, 1)


def test_a_parameter_server_has_nothing_to_do(fork_program, tmp_path):
  cluster = {"worker": HOSTS[:2], "ps": HOSTS[2:]}
  result = fork_program(
    "train",
    "--train_data_pattern=any",
    f"--train_dir={tmp_path}/model",
    env={"TF_CONFIG": tf_config(cluster, "ps")},
  )
  assert "This is a parameter server, which has nothing to do" in result.stderr
  assert not (tmp_path / "model").exists()


class TestEvaluator:
  ENV = {"TF_CONFIG": tf_config({"worker": HOSTS[:2]}, "evaluator")}

  def test_it_evaluates_what_the_workers_train(
    self, trained_video, checkout, tmp_path
  ):
    # A process of its own, as it becomes another program.
    train_dir = tmp_path / "model"
    shutil.copytree(trained_video.train_dir, train_dir)
    with tf.io.TFRecordWriter(str(tmp_path / "bad.tfrecord")) as writer:
      writer.write(b"bad")
    process = subprocess.Popen(
      [
        sys.executable,
        checkout / "train.py",
        "--train_data_pattern=any",
        f"--job-dir={train_dir}",  # As gcloud gives it.
        f"--eval_data_pattern={trained_video.shards.validate},"
        f"{tmp_path}/bad.tfrecord",
        "--on_bad_record=skip",
        "--max_bad_fraction=0.1",
      ],
      env={**os.environ, **self.ENV},
      stderr=subprocess.PIPE,
      text=True,
    )
    with process:
      try:
        lines = iter(process.stderr.readline, "")
        assert any("it runs eval.py" in line for line in lines)
        assert any("GAP: " in line for line in lines)
      finally:
        process.terminate()
        process.stderr.read()  # Up to its end: it must be able to write.
    # As eval.py ends where it follows a trainer.
    assert process.returncode == 0

  def test_it_needs_data(self, fork_program, tmp_path):
    result = fork_program(
      "train",
      "--train_data_pattern=any",
      f"--train_dir={tmp_path}/model",
      env=self.ENV,
      check=False,
    )
    assert result.returncode == 1
    assert "error: TF_CONFIG makes this the evaluator: give" in result.stderr


class Normalised(models.BaseModel):
  """With batch statistics, which its author did not think of sharing."""

  def create_model(self, model_input, vocab_size, num_frames=None):
    """See `BaseModel.create_model`."""
    hidden = keras.layers.Dense(8)(model_input)
    hidden = keras.layers.BatchNormalization(momentum=0.5)(hidden)
    # With a seed to be shared; it drops next to nothing.
    hidden = keras.layers.Dropout(1e-9)(hidden)
    logits = keras.layers.Dense(vocab_size)(hidden)
    return {"logits": logits, "predictions": keras.ops.sigmoid(logits)}


BATCH_STATISTICS_PROGRAM = """
import sys
sys.path[:0] = [{checkout!r}, {tests!r}]
import program
import models
import test_cluster
import train

models.Normalised = test_cluster.Normalised
train.run()
"""


@pytest.mark.soak
@pytest.mark.parametrize("count", [2, 4])
def test_batch_statistics_are_those_of_the_whole_batch(
  count, start_workers, video_shards, checkout, tmp_path, monkeypatch
):
  script = tmp_path / "normalised.py"
  script.write_text(
    BATCH_STATISTICS_PROGRAM.format(
      checkout=str(checkout), tests=str(checkout / "tests")
    )
  )
  monkeypatch.setattr(models, "Normalised", Normalised, raising=False)
  folder = tmp_path / "model"
  started = start_workers(
    count, script, "--model=Normalised", *training_flags(video_shards, folder)
  )
  for process in started:
    result = process.wait()
    assert result.returncode == 0, result.stderr
  assert_same_training(folder, video_shards, count)


@pytest.mark.soak
@pytest.mark.parametrize(
  ("count", "precision"), [(2, "float16"), (2, "false"), (4, "false")]
)
def test_frame_level_training(
  count, precision, start_workers, frame_shards, tmp_path
):
  folder = tmp_path / "model"
  started = start_workers(
    count,
    "train",
    "--model=FrameLevelLogisticModel",
    f"--mixed_precision={precision}",
    *training_flags(frame_shards, folder),
  )
  for process in started:
    result = process.wait()
    assert result.returncode == 0, result.stderr
  # float16 has 11 bits.
  rtol = 1e-2 if precision == "float16" else 1e-4
  assert_same_training(folder, frame_shards, count, rtol)


def test_workers_go_on_in_the_pass_in_which_they_stopped(
  start_workers, tmp_path
):
  # 41 shards of uneven sizes, which two workers divide: 21 shards and 20.
  shards = write_shards(tmp_path, 41, num_videos=205)
  for path in shards[::3]:
    record, *_ = tf.data.TFRecordDataset(path).as_numpy_iterator()
    with tf.io.TFRecordWriter(path) as writer:
      writer.write(record)
  reader, schema = open_shards(shards)
  parts = [
    reader.training_passes(
      shards, size, 3, schema.record_bytes, part=Part(index, 2)
    )
    for index, size in enumerate([4, 4])
  ]
  sizes = [
    [len(video_ids([batch])) for batch in part.batches(0)] for part in parts
  ]
  steps = max(map(len, sizes))
  assert len(sizes[0]) != len(sizes[1])
  flags = [
    f"--train_data_pattern={tmp_path}/*.tfrecord",
    f"--train_dir={tmp_path}/model",
    "--num_classes=25",
    "--batch_size=8",
    "--num_epochs=1",
    "--seed=3",
  ]
  # The second run begins with the last step, when one worker's part has ended.
  for last in (steps - 1, steps):
    started = start_workers(2, "train", *flags, f"--max_steps={last}")
    for process in started:
      result = process.wait()
      assert result.returncode == 0, result.stderr
    position = saved_position(tmp_path / "model")
    assert int(position.num_examples) == sum(sum(part[:last]) for part in sizes)
  assert "Resuming from" in started[0].stderr.read_text()
  assert "anew" not in started[0].stderr.read_text()


def test_a_reader_that_fails_at_one_of_them_stops_all(
  start_workers, video_shards, tmp_path
):
  first, *_ = sorted(tf.io.gfile.glob(video_shards.train))
  record, *_ = tf.data.TFRecordDataset(first).as_numpy_iterator()
  with tf.io.TFRecordWriter(str(tmp_path / "bad.tfrecord")) as writer:
    writer.write(record)
    writer.write(b"not a record")
  flags = training_flags(video_shards, tmp_path / "model")
  flags[0] += f",{tmp_path}/bad.tfrecord"
  started = start_workers(2, "train", *flags)
  results = [process.wait() for process in started]
  errors = [result.stderr.splitlines()[-1] for result in results]
  assert [result.returncode for result in results] == [1, 1]
  (cause,) = [error for error in errors if "Another worker stops" not in error]
  assert "bad.tfrecord', record 1: " in cause


def saved_position(folder) -> checkpoints.Position:
  path = checkpoints.latest_checkpoint(str(folder))
  position = checkpoints.Position()
  tf.train.Checkpoint(position=position).restore(path).expect_partial()
  return position


@pytest.mark.soak
def test_any_number_of_workers_goes_on_where_others_stopped(
  start_workers, fork_program, video_shards, tmp_path
):
  folder = tmp_path / "model"
  flags = training_flags(video_shards, folder)
  num_examples = 0
  for epochs, count in enumerate([1, 2, 4, 3, 1], start=1):
    more = [f"--num_epochs={epochs}", "--batch_size=12"]
    started = start_workers(count, "train", *flags, *more)
    results = [process.wait() for process in started]
    assert [result.returncode for result in results] == [0] * count
    assert ("Resuming from" in results[0].stderr) == (epochs > 1)
    path = checkpoints.latest_checkpoint(str(folder))
    position = checkpoints.Position()
    tf.train.Checkpoint(position=position).restore(path).expect_partial()
    num_examples += 121
    assert position.num_examples.numpy() == num_examples
    assert position.passes.numpy() == epochs


def training_flags(shards, folder) -> list[str]:
  return [
    f"--train_data_pattern={shards.train}",
    f"--num_classes={shards.num_classes}",
    f"--train_dir={folder}",
    "--seed=5",
    *VIDEO_FLAGS,
  ]


def assert_same_training(folder, shards, count, rtol=1e-4):
  config = experiment.ExperimentConfig.load(str(folder))
  expected = losses_of_one_process(config, shards, count)
  losses = event_values(folder, "label_loss")
  assert list(losses) == list(range(1, len(expected) + 1))
  # float32, added up in another order.
  np.testing.assert_allclose(list(losses.values()), expected, rtol=rtol)


@pytest.mark.parametrize("has_train_dir", [False, True])
def test_job_dir_is_the_train_dir_where_that_is_not_given(
  has_train_dir, trained_video, fork_program, tmp_path
):
  flags = ["--job-dir", str(tmp_path / "job")]
  if has_train_dir:
    flags = [f"--train_dir={tmp_path / 'model'}", *flags]
  fork_program("train", *trained_video.flags, *flags, "--max_steps=2")
  name = "model" if has_train_dir else "job"
  assert [path.name for path in tmp_path.iterdir()] == [name]
  result = fork_program(
    "eval",
    "--run_once",
    f"--eval_data_pattern={trained_video.shards.validate}",
    f"--job-dir={tmp_path / name}",
  )
  assert "GAP: " in result.output
