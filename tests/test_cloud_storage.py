# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The programs with all their files on gs://, and what may go wrong there.

TensorFlow's own gs:// talks to a stand-in on loopback, see cloud_server.py.
"""

import collections
import itertools
import json
import re

import numpy as np
import pytest
import tensorflow as tf
from cloud_server import CloudServer

import readers

BUCKET = "bucket"
TOKEN = "GOOGLE_AUTH_TOKEN_FOR_TESTING"  # noqa: S105


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
  with CloudServer() as server:
    yield server


@pytest.fixture(scope="module")
def start_cloud_program(cloud, program_starter, tmp_path_factory):
  """As `start_program`, in an environment whose gs:// is the stand-in's."""
  folder = tmp_path_factory.mktemp("cloud")
  environment = cloud.proxy_environment(folder)
  token = environment.pop(TOKEN)
  environment |= {
    # Where the user's own credentials might be.
    "CLOUDSDK_CONFIG": str(folder),
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    # By default a second, which doubles each time.
    "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "20000",
  }
  with program_starter(folder, environment) as start:
    yield lambda *command, public=False: start(
      *command, env={} if public else {TOKEN: token}
    )


@pytest.fixture(scope="module")
def run_cloud_program(start_cloud_program):
  """Runs a program to its end; with `check=False` it may fail."""

  def run(*command, check=True, public=False):
    result = start_cloud_program(*command, public=public).wait()
    if check and result.returncode != 0:
      raise AssertionError(f"{command} ended with {result.output}")
    return result

  return run


@pytest.fixture(autouse=True)
def fresh_cloud(cloud, video_shards):
  """The shards on an otherwise empty and faultless service."""
  cloud.heal()
  cloud.objects.clear()
  cloud.requests.clear()
  cloud.written.clear()
  cloud.latency_secs = 0.0
  for path in video_shards.folder.iterdir():
    cloud.objects[BUCKET, f"data/{path.name}"] = path.read_bytes()


@pytest.fixture
def model_on_cloud(cloud, trained_video):
  """A trained model there; its train dir."""
  for path in trained_video.train_dir.iterdir():
    if path.is_file():
      cloud.objects[BUCKET, f"model/{path.name}"] = path.read_bytes()
  return f"gs://{BUCKET}/model"


@pytest.fixture
def infer_locally(fork_program, trained_video, tmp_path):
  """`infer_locally("--flag=x")` gives the files that inference writes."""

  def infer(*flags):
    fork_program(
      "inference",
      f"--train_dir={trained_video.train_dir}",
      f"--input_data_pattern={trained_video.shards.test}",
      f"--output_file={tmp_path / 'predictions.csv'}",
      *flags,
    )
    return {
      path.name: path.read_bytes() for path in tmp_path.glob("predictions*")
    }

  return infer


def train_flags(trained, train_dir="gs://bucket/model"):
  return (
    "train",
    f"--train_dir={train_dir}",
    *trained.flags,
    "--train_data_pattern=gs://bucket/data/train*.tfrecord",
  )


def eval_flags(train_dir):
  return (
    "eval",
    f"--train_dir={train_dir}",
    "--eval_data_pattern=gs://bucket/data/validate*.tfrecord",
    "--run_once",
  )


def inference_flags(train_dir):
  return (
    "inference",
    f"--train_dir={train_dir}",
    "--input_data_pattern=gs://bucket/data/test*.tfrecord",
    "--output_file=gs://bucket/out/predictions.csv",
  )


def in_bucket(cloud, prefix):
  return {
    name.removeprefix(prefix): content
    for (_, name), content in cloud.objects.items()
    if name.startswith(prefix) and not name.endswith("/")  # No folder.
  }


def assert_one_error(result, *parts):
  """Checks for exactly one line about what is wrong, and no stack trace."""
  assert result.returncode == 1, result.output
  *log, error = result.stderr.splitlines()
  assert re.match(r"\w+\.py: error: ", error), result.stderr
  assert all(re.search(" (INFO|WARNING) ", line) for line in log), log
  for part in parts:
    assert part in error


class TestEverythingOnCloudStorage:
  def test_training(self, cloud, run_cloud_program, trained_video, tmp_path):
    run_cloud_program(*train_flags(trained_video))
    files = in_bucket(cloud, "model/")
    local = {path.name for path in trained_video.train_dir.iterdir()} - {"eval"}
    assert masked(files) == masked(local)
    assert_same_model(files, trained_video, tmp_path)
    counts = collections.Counter(
      masked_name(name.removeprefix("model/"))
      for _, name in cloud.written
      if "tmp/" not in name
    )
    # Each of these ten log lines would be an upload of all events so far.
    assert counts.pop("events.out.tfevents") <= 4
    # At the start, and ahead of the first checkpoint.
    counts.subtract(["model_flags.json", "model_flags.json.tmp"])
    # One for each heartbeat.
    del counts["trainer.lock"], counts["trainer.lock.tmp"]
    assert set(counts.values()) == {1}, counts

  def test_resumed_training(
    self, cloud, run_cloud_program, trained_video, tmp_path
  ):
    flags = train_flags(trained_video)
    run_cloud_program(*flags, "--max_steps=30")
    result = run_cloud_program(*flags)
    assert "Resuming from gs://bucket/model/model.ckpt-30." in result.stderr
    assert_same_model(in_bucket(cloud, "model/"), trained_video, tmp_path)

  def test_evaluation(
    self, cloud, run_cloud_program, model_on_cloud, evaluated_video
  ):
    run_cloud_program(*eval_flags(model_on_cloud))
    assert_same_results(cloud, evaluated_video)
    files = in_bucket(cloud, "model/eval/")
    assert masked(files) == {"eval_results.json", "events.out.tfevents"}

  def test_inference(
    self, cloud, run_cloud_program, infer_locally, model_on_cloud, tmp_path
  ):
    vocabulary = tmp_path / "vocabulary.csv"
    rows = [f"{index},Class {index}\n" for index in range(25)]
    vocabulary.write_text("Index,Name\n" + "".join(rows))
    cloud.objects[BUCKET, "vocabulary.csv"] = vocabulary.read_bytes()
    run_cloud_program(
      *inference_flags(model_on_cloud),
      "--vocabulary_file=gs://bucket/vocabulary.csv",
    )
    expected = infer_locally(f"--vocabulary_file={vocabulary}")
    assert in_bucket(cloud, "out/") == expected

  def test_verification(
    self, cloud, run_cloud_program, fork_program, video_shards
  ):
    pattern = "gs://bucket/data/train*.tfrecord"
    result = run_cloud_program("tools.verify_shards", pattern)
    folder = video_shards.folder
    expected = fork_program("tools.verify_shards", f"{folder}/train*.tfrecord")
    assert result.stdout == expected.stdout.replace(
      str(folder), "gs://bucket/data"
    )
    assert cloud.written == []


def masked_name(name):
  """A name without what differs from run to run."""
  name = re.sub(r"(tfevents)\..*", r"\1", name)
  return re.sub(r"\.[0-9a-f]{8}\.tmp", ".tmp", name)


def masked(names):
  return set(map(masked_name, names))


def assert_same_model(files, trained, folder):
  """Checks that a run left what the undisturbed, local one did."""
  name = f"model.ckpt-{trained.num_steps}"
  for path, content in files.items():
    if path.startswith(name):
      (folder / path).write_bytes(content)
  values, expected = (
    tf.train.load_checkpoint(str(place / name))
    for place in (folder, trained.train_dir)
  )
  shapes = values.get_variable_to_shape_map()
  assert shapes == expected.get_variable_to_shape_map()
  for key in shapes:
    # Counts the checkpoints, and so the runs.
    if "save_counter" not in key and key != "_CHECKPOINTABLE_OBJECT_GRAPH":
      np.testing.assert_array_equal(
        values.get_tensor(key), expected.get_tensor(key)
      )


class TestFaultsThatPass:
  """What the service may do at any time changes nothing."""

  def test_bursts(
    self, cloud, run_cloud_program, model_on_cloud, evaluated_video
  ):
    for status in (429, 503):
      numbers = itertools.count()
      cloud.fail(
        lambda request, numbers=numbers: (
          request.action != "upload" and next(numbers) % 7 < 2
        ),
        times=2,
        status=status,
      )
    run_cloud_program(*eval_flags(model_on_cloud))
    statuses = {request.status for request in cloud.requests}
    assert statuses >= {429, 503}
    assert_same_results(cloud, evaluated_video)

  @pytest.mark.soak
  @pytest.mark.parametrize("status", [429, 503])
  def test_bursts_in_training(
    self, status, cloud, run_cloud_program, trained_video, tmp_path
  ):
    numbers = itertools.count()
    cloud.fail(lambda _: next(numbers) % 10 < 2, status=status)
    run_cloud_program(*train_flags(trained_video))
    assert sum(request.status == status for request in cloud.requests) > 20
    cloud.heal()
    assert_same_model(in_bucket(cloud, "model/"), trained_video, tmp_path)
    assert not [name for _, name in cloud.objects if "tmp" in name]

  def test_shards_cut_in_the_middle(
    self, cloud, run_cloud_program, model_on_cloud, evaluated_video
  ):
    is_read = concerns("read", "data/")
    cloud.fail(is_read, times=4, cut_after=2_000)
    run_cloud_program(*eval_flags(model_on_cloud))
    # The three shards are read once, and one of them to find its layout.
    assert sum(map(is_read, cloud.requests)) == 3 + 1 + 4
    assert_same_results(cloud, evaluated_video)

  @pytest.mark.soak
  def test_cut_connections_in_training(
    self, cloud, run_cloud_program, trained_video, tmp_path
  ):
    cloud.fail(concerns("read", "data/"), times=10, cut_after=5_000)
    # What was stored, but not answered, must not be stored again.
    cloud.fail(
      lambda request: request.method == "PUT" and "ckpt" in request.name,
      times=2,
      cut_after=1_000_000,
    )
    run_cloud_program(*train_flags(trained_video))
    assert_same_model(in_bucket(cloud, "model/"), trained_video, tmp_path)
    uploaded = [name for _, name in cloud.written if "tempstate" in name]
    assert len(uploaded) == len(set(uploaded))

  @pytest.mark.parametrize("cut_after", [1_000, 1_000_000])
  def test_cut_uploads(
    self, cut_after, cloud, run_cloud_program, infer_locally, model_on_cloud
  ):
    cloud.fail(
      lambda request: request.method == "PUT", times=1, cut_after=cut_after
    )
    run_cloud_program(*inference_flags(model_on_cloud))
    assert in_bucket(cloud, "out/") == infer_locally()
    # Its first line, so that an error shows at once, the whole, and its name.
    assert len(cloud.written) == 3

  def test_slow_server(
    self, cloud, run_cloud_program, model_on_cloud, evaluated_video
  ):
    cloud.latency_secs = 0.05
    run_cloud_program(*eval_flags(model_on_cloud))
    assert_same_results(cloud, evaluated_video)


def assert_same_results(cloud, evaluated):
  """Checks that eval.py found what it found on local files."""
  content = cloud.objects[BUCKET, "model/eval/eval_results.json"]
  results, expected = json.loads(content), dict(evaluated.results)
  for figures in (results, expected):
    del figures["videos_per_second"]
  assert results == expected


def concerns(action, folder):
  """Whether a request is of some kind and about a folder's objects."""

  def matches(request):
    name = request.name or request.query.get("prefix", "")
    return request.action == action and name.startswith(folder)

  return matches


class TestRefusals:
  """Nothing that waiting would mend: one line at once that says what to do."""

  @pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "gcloud auth application-default login"), (403, "the role")],
  )
  @pytest.mark.parametrize("action", ["list", "read"])
  def test_data(
    self, status, advice, action, cloud, run_cloud_program, trained_video
  ):
    cloud.fail(concerns(action, "data/"), status=status)
    result = run_cloud_program(*train_flags(trained_video), check=False)
    assert_one_error(result, "bucket 'bucket'", f"HTTP {status}", advice)
    assert in_bucket(cloud, "model/") == {}

  @pytest.mark.parametrize("status", [401, 403])
  def test_data_while_training(
    self, status, cloud, run_cloud_program, trained_video
  ):
    # The first read is that of the layout.
    numbers = itertools.count()
    matches = concerns("read", "data/")
    cloud.fail(
      lambda request: matches(request) and next(numbers) > 4, status=status
    )
    result = run_cloud_program(*train_flags(trained_video), check=False)
    assert_one_error(result, "bucket 'bucket'", f"HTTP {status}")

  @pytest.mark.parametrize("action", ["list", "stat", "upload"])
  def test_train_dir(self, action, cloud, run_cloud_program, trained_video):
    cloud.fail(concerns(action, "model"), status=403)
    result = run_cloud_program(*train_flags(trained_video), check=False)
    assert_one_error(result, "bucket 'bucket'", "HTTP 403", "the role")
    assert in_bucket(cloud, "model/") == {}

  @pytest.mark.parametrize(
    ("flags", "action", "folder"),
    [
      (eval_flags, "read", "model/"),
      (inference_flags, "read", "model/"),
      (inference_flags, "upload", "out/"),
    ],
  )
  def test_model_and_output_file(
    self, flags, action, folder, cloud, run_cloud_program, model_on_cloud
  ):
    cloud.fail(concerns(action, folder), status=403)
    result = run_cloud_program(*flags(model_on_cloud), check=False)
    assert_one_error(result, "bucket 'bucket'", "HTTP 403", "the role")

  def test_checked_shards(self, cloud, run_cloud_program):
    cloud.fail(concerns("read", "data/"), status=403)
    result = run_cloud_program(
      "tools.verify_shards", "gs://bucket/data/train*", check=False
    )
    assert result.returncode == 1
    assert "bucket 'bucket'" in result.stdout
    assert "HTTP 403" in result.stdout

  @pytest.mark.parametrize(
    "flag",
    [
      "--train_dir=gs://no-such-bucket/model",
      "--input_data_pattern=gs://no-such-bucket/*",
      "--output_file=gs://no-such-bucket/predictions.csv",
      "--vocabulary_file=gs://no-such-bucket/vocabulary.csv",
    ],
  )
  def test_no_such_bucket(self, flag, run_cloud_program, model_on_cloud):
    flags = inference_flags(model_on_cloud)
    result = run_cloud_program(*flags, flag, check=False)
    assert_one_error(result, "no-such-bucket")

  def test_no_such_bucket_to_train_in(self, run_cloud_program, trained_video):
    flags = train_flags(trained_video, "gs://no-such-bucket/model")
    result = run_cloud_program(*flags, check=False)
    assert_one_error(result, "no-such-bucket", "buckets create")

  def test_shard_that_vanishes(self, cloud, run_cloud_program, model_on_cloud):
    name = "data/validate0001.tfrecord"
    cloud.fail(concerns("stat", name), status=404)
    cloud.fail(concerns("read", name), status=404)
    result = run_cloud_program(*eval_flags(model_on_cloud), check=False)
    assert_one_error(result, f"gs://bucket/{name}", "cannot be read")


class TestPublicBuckets:
  def test_no_credentials_are_needed_to_read(
    self, cloud, run_cloud_program, trained_video, tmp_path
  ):
    run_cloud_program(
      "inference",
      f"--train_dir={trained_video.train_dir}",
      "--input_data_pattern=gs://bucket/data/test*.tfrecord",
      f"--output_file={tmp_path / 'predictions.csv'}",
      public=True,
    )
    assert (tmp_path / "predictions.csv").exists()
    assert not any(request.has_credentials for request in cloud.requests)
    # Nobody was asked for any.
    assert {request.bucket for request in cloud.requests} == {BUCKET}

  def test_credentials_are_sent_where_there_are_some(
    self, cloud, run_cloud_program
  ):
    run_cloud_program("tools.verify_shards", "gs://bucket/data/train*")
    assert all(request.has_credentials for request in cloud.requests)


def test_shards_behind_a_network_are_read_ahead_all_together():
  reader = readers.YT8MFrameFeatureReader(
    feature_names=("rgb", "audio"), feature_sizes=(1024, 128)
  )
  num_readers, num_ahead = reader._read_ahead(["gs://bucket/shard"])
  assert num_readers == 16
  # As much as is fetched at a time: 8 MB of videos of 300 seconds.
  assert num_ahead == 2**23 // (300 * 1152)
  assert reader._read_ahead(["/folder/shard"])[1] == 0
