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
def cloud():
  with CloudServer() as server:
    yield server


@pytest.fixture
def trained(trained_video):
  return trained_video


@pytest.fixture
def evaluated(evaluated_video):
  return evaluated_video


@pytest.fixture(scope="module")
def run(cloud, program_starter, tmp_path_factory):
  """Runs a program whose gs:// is the stand-in's to its end."""
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

    def run(*command, check=True, public=False):
      result = start(*command, env={} if public else {TOKEN: token}).wait()
      assert not check or result.returncode == 0, result.output
      return result

    yield run


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
def model_on_cloud(cloud, trained):
  """A trained model there; its train dir."""
  for path in trained.train_dir.iterdir():
    if path.is_file():
      cloud.objects[BUCKET, f"model/{path.name}"] = path.read_bytes()
  return f"gs://{BUCKET}/model"


@pytest.fixture
def infer_locally(fork_program, trained, tmp_path):
  """`infer_locally("--flag=x")` gives the files that inference writes."""

  def infer(*flags):
    fork_program(
      "inference",
      f"--train_dir={trained.train_dir}",
      f"--input_data_pattern={trained.shards.test}",
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
  def test_training(self, cloud, run, trained, tmp_path):
    run(*train_flags(trained))
    files = in_bucket(cloud, "model/")
    local = {path.name for path in trained.train_dir.iterdir()} - {"eval"}
    assert masked(files) == masked(local)
    assert_same_model(files, trained, tmp_path)
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

  def test_resumed_training(self, cloud, run, trained, tmp_path):
    flags = train_flags(trained)
    run(*flags, "--max_steps=30")
    result = run(*flags)
    assert "Resuming from gs://bucket/model/model.ckpt-30." in result.stderr
    assert_same_model(in_bucket(cloud, "model/"), trained, tmp_path)

  def test_evaluation(self, cloud, run, model_on_cloud, evaluated):
    run(*eval_flags(model_on_cloud))
    assert_same_results(cloud, evaluated)
    files = in_bucket(cloud, "model/eval/")
    assert masked(files) == {"eval_results.json", "events.out.tfevents"}

  def test_inference(self, cloud, run, infer_locally, model_on_cloud, tmp_path):
    vocabulary = tmp_path / "vocabulary.csv"
    rows = [f"{index},Class {index}\n" for index in range(25)]
    vocabulary.write_text("Index,Name\n" + "".join(rows))
    cloud.objects[BUCKET, "vocabulary.csv"] = vocabulary.read_bytes()
    run(
      *inference_flags(model_on_cloud),
      "--vocabulary_file=gs://bucket/vocabulary.csv",
      "--predictions_file=gs://bucket/out/predictions.npz",
    )
    expected = infer_locally(
      f"--vocabulary_file={vocabulary}",
      f"--predictions_file={tmp_path}/predictions.npz",
    )
    assert in_bucket(cloud, "out/") == expected

  def test_ensemble(self, cloud, run, tmp_path):
    ids, logits = np.array([b"A", b"B"]), np.eye(2)
    np.savez(tmp_path / "a.npz", ids=ids, logits=logits)
    content = (tmp_path / "a.npz").read_bytes()
    cloud.objects[BUCKET, "out/a.npz"] = content
    cloud.objects[BUCKET, "out/b.csv"] = b"B,0 0.5 1 0.5\nA,0 0.5 1 0.5\n"
    run(
      "ensemble",
      "--predictions=gs://bucket/out/a.npz,gs://bucket/out/b.csv",
      "--num_classes=2",
      "--output_file=gs://bucket/out/mean.csv",
    )
    # The logit of half of 1: e^0.5 to 1.
    assert cloud.objects[BUCKET, "out/mean.csv"] == (
      b"VideoId,LabelConfidencePairs\n"
      b"A,0 0.622459 1 0.500000\nB,1 0.622459 0 0.500000\n"
    )

  def test_export(self, cloud, run, model_on_cloud, tmp_path):
    run(
      "export_model",
      f"--train_dir={model_on_cloud}",
      "--export_dir=gs://bucket/exported/",
    )
    files = in_bucket(cloud, "exported/")
    for name, content in files.items():
      (tmp_path / name).parent.mkdir(exist_ok=True)
      (tmp_path / name).write_bytes(content)
    tf.saved_model.load(str(tmp_path))
    # Whoever waits for the model finds all of it.
    names = [name for _, name in cloud.written if name.startswith("exported/")]
    assert names[-1] == "exported/saved_model.pb"
    assert len(names) == len({*names}) == len(files)
    assert in_bucket(cloud, "exported.") == {}

  def test_verification(self, cloud, run, fork_program, video_shards):
    pattern = "gs://bucket/data/train*.tfrecord"
    result = run("tools.verify_shards", pattern)
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

  def test_bursts(self, cloud, run, model_on_cloud, evaluated):
    for status in (429, 503):
      numbers = itertools.count()
      cloud.fail(
        lambda request, numbers=numbers: (
          request.action != "upload" and next(numbers) % 7 < 2
        ),
        times=2,
        status=status,
      )
    run(*eval_flags(model_on_cloud))
    statuses = {request.status for request in cloud.requests}
    assert statuses >= {429, 503}
    assert_same_results(cloud, evaluated)

  @pytest.mark.soak
  @pytest.mark.parametrize("status", [429, 503])
  def test_bursts_in_training(self, status, cloud, run, trained, tmp_path):
    numbers = itertools.count()
    cloud.fail(lambda _: next(numbers) % 10 < 2, status=status)
    run(*train_flags(trained))
    assert sum(request.status == status for request in cloud.requests) > 20
    cloud.heal()
    assert_same_model(in_bucket(cloud, "model/"), trained, tmp_path)
    assert not [name for _, name in cloud.objects if "tmp" in name]

  def test_shards_cut_in_the_middle(
    self, cloud, run, model_on_cloud, evaluated
  ):
    is_read = concerns("read", "data/")
    cloud.fail(is_read, times=4, cut_after=2_000)
    run(*eval_flags(model_on_cloud))
    # The three shards are read once, and one of them to find its layout.
    assert sum(map(is_read, cloud.requests)) == 3 + 1 + 4
    assert_same_results(cloud, evaluated)

  @pytest.mark.soak
  def test_cut_connections_in_training(self, cloud, run, trained, tmp_path):
    cloud.fail(concerns("read", "data/"), times=10, cut_after=5_000)
    # What was stored, but not answered, must not be stored again.
    cloud.fail(
      lambda request: request.method == "PUT" and "ckpt" in request.name,
      times=2,
      cut_after=1_000_000,
    )
    run(*train_flags(trained))
    assert_same_model(in_bucket(cloud, "model/"), trained, tmp_path)
    uploaded = [name for _, name in cloud.written if "tempstate" in name]
    assert len(uploaded) == len(set(uploaded))

  @pytest.mark.parametrize("cut_after", [1_000, 1_000_000])
  def test_cut_uploads(
    self, cut_after, cloud, run, infer_locally, model_on_cloud
  ):
    cloud.fail(
      lambda request: request.method == "PUT", times=1, cut_after=cut_after
    )
    run(*inference_flags(model_on_cloud))
    assert in_bucket(cloud, "out/") == infer_locally()
    # Its first line, so that an error shows at once, the whole, and its name.
    assert len(cloud.written) == 3

  def test_slow_server(self, cloud, run, model_on_cloud, evaluated):
    cloud.latency_secs = 0.05
    run(*eval_flags(model_on_cloud))
    assert_same_results(cloud, evaluated)


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
    ("action", "folder", "status", "advice"),
    [
      ("list", "data/", 401, "gcloud auth application-default login"),
      ("read", "data/", 401, "gcloud auth application-default login"),
      ("list", "data/", 403, "the role"),
      ("read", "data/", 403, "the role"),
      ("list", "model", 403, "the role"),
      ("stat", "model", 403, "the role"),
      ("upload", "model", 403, "the role"),
    ],
  )
  def test_training(self, action, folder, status, advice, cloud, run, trained):
    cloud.fail(concerns(action, folder), status=status)
    result = run(*train_flags(trained), check=False)
    assert_one_error(result, "bucket 'bucket'", f"HTTP {status}", advice)
    assert in_bucket(cloud, "model/") == {}

  def test_data_while_training(self, cloud, run, trained):
    # The first read is that of the layout.
    numbers = itertools.count()
    matches = concerns("read", "data/")
    cloud.fail(
      lambda request: matches(request) and next(numbers) > 4, status=403
    )
    result = run(*train_flags(trained), check=False)
    assert_one_error(result, "bucket 'bucket'", "HTTP 403")

  @pytest.mark.parametrize(
    ("flags", "action", "folder"),
    [
      (eval_flags, "read", "model/"),
      (inference_flags, "read", "model/"),
      (inference_flags, "upload", "out/"),
    ],
  )
  def test_model_and_output_file(
    self, flags, action, folder, cloud, run, model_on_cloud
  ):
    cloud.fail(concerns(action, folder), status=403)
    result = run(*flags(model_on_cloud), check=False)
    assert_one_error(result, "bucket 'bucket'", "HTTP 403", "the role")

  def test_checked_shards(self, cloud, run):
    cloud.fail(concerns("read", "data/"), status=403)
    result = run("tools.verify_shards", "gs://bucket/data/train*", check=False)
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
  def test_no_such_bucket(self, flag, run, model_on_cloud):
    flags = inference_flags(model_on_cloud)
    result = run(*flags, flag, check=False)
    assert_one_error(result, "no-such-bucket")

  def test_no_such_bucket_to_train_in(self, run, trained):
    flags = train_flags(trained, "gs://no-such-bucket/model")
    result = run(*flags, check=False)
    assert_one_error(result, "no-such-bucket", "buckets create")

  def test_shard_that_vanishes(self, cloud, run, model_on_cloud):
    name = "data/validate0001.tfrecord"
    cloud.fail(concerns("stat", name), status=404)
    cloud.fail(concerns("read", name), status=404)
    result = run(*eval_flags(model_on_cloud), check=False)
    assert_one_error(result, f"gs://bucket/{name}", "cannot be read")


class TestPublicBuckets:
  def test_no_credentials_are_needed_to_read(
    self, cloud, run, trained, tmp_path
  ):
    run(
      "inference",
      f"--train_dir={trained.train_dir}",
      "--input_data_pattern=gs://bucket/data/test*.tfrecord",
      f"--output_file={tmp_path / 'predictions.csv'}",
      public=True,
    )
    assert (tmp_path / "predictions.csv").exists()
    assert not any(request.has_credentials for request in cloud.requests)
    # Nobody was asked for any.
    assert {request.bucket for request in cloud.requests} == {BUCKET}

  def test_credentials_are_sent_where_there_are_some(self, cloud, run):
    run("tools.verify_shards", "gs://bucket/data/train*")
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
