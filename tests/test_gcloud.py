# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What the README and docs/cloud.md do with gcloud, word for word.

The real gcloud starts the programs here, or submits jobs to a stand-in on
loopback, see cloud_server.py. What arrives there is then run as the service
would: the package, taken from the bucket, is installed in a fresh environment,
and the program started with the job's arguments reads and writes gs://.
"""

import http.client
import importlib.metadata
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.parse

import pytest
from cloud_server import CloudServer
from installing import PIP_INSTALL, copy_top_level, make_environment
from pages import README, ROOT, SETTING, block_lines, blocks, command_lines
from worker_processes import free_addresses, free_ports

import cluster

PAGE = ROOT / "docs/cloud.md"
NOT_EXERCISED = "# Not exercised"
PROJECT, REGION = "my-project", "us-central1"
BUCKET = f"{PROJECT}-yt8m"
# Where the data set is; here are made-up shards of the same names.
DATA_BUCKET = "us.data.yt8m.org"
EXECUTOR_IMAGE = "us-docker.pkg.dev/vertex-ai/training/tf-cpu.2-17.py310:latest"
OWN_IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/yt8m/youtube-8m"

# A name here for each command of the page that is exercised: words that only
# this one has.
COMMANDS = {
  "set_project": "config set project",
  "create_bucket": "buckets create",
  "copy_data": "/video/train/train00*.tfrecord' $BUCKET",
  "remove_old_package": "rm -rf dist",
  "make_package": "setup.py sdist",
  "upload_package": "storage cp dist/",
  "train": "--display-name=yt8m-train ",
  "list": "custom-jobs list",
  "describe": "custom-jobs describe",
  "train_on_gpu": "--display-name=yt8m-train-gpu ",
  "train_on_4": "--display-name=yt8m-train-4 ",
  "eval": "--display-name=yt8m-eval ",
  "inference": "--display-name=yt8m-inference ",
  "fetch_predictions": "cp $BUCKET/predictions.csv .",
  "tensorboard": "tensorboard ",
  "submit_1": "yt8m_train_1 ",
  "submit_2": "yt8m_train_2 ",
  "submit_3": "yt8m_train_3 ",
}
# The same for those of the README, whose paths are to be replaced.
LOCAL_COMMANDS = {
  "train": "youtube-8m.train -- ",
  "eval": "youtube-8m.eval -- ",
  "inference": "youtube-8m.inference -- ",
  "distributed": "--distributed ",
}


def page_lines() -> list[str]:
  """The commands of the page, but for those that it calls not exercised."""
  return [
    line
    for block in blocks(PAGE, "sh")
    if not block.startswith(NOT_EXERCISED)
    for line in block_lines(block)
    if not re.fullmatch(SETTING, line)
  ]


def page_line(name: str) -> str:
  """A command of the page."""
  (line,) = [line for line in page_lines() if COMMANDS[name] in line]
  return line


def settings() -> str:
  """The lines of the page that give values to names."""
  lines = [line for block in blocks(PAGE, "sh") for line in block_lines(block)]
  return "\n".join(line for line in lines if re.fullmatch(SETTING, line))


def local_line(name: str, features: pathlib.Path, output: pathlib.Path) -> str:
  """A command of the README, with other folders."""
  (line,) = [
    line
    for line in command_lines(README)
    if line.startswith("gcloud ") and LOCAL_COMMANDS[name] in line
  ]
  line = line.replace("/path/to/features", str(features))
  return line.replace("/tmp/yt8m", str(output))  # noqa: S108


class TestPages:
  def test_each_command_is_exercised_or_said_not_to_be(self):
    for line in page_lines():
      assert len([w for w in COMMANDS.values() if w in line]) == 1, line
    assert len(page_lines()) == len(COMMANDS)

  def test_each_local_command_is_exercised(self):
    lines = [li for li in command_lines(README) if li.startswith("gcloud ")]
    for line in lines:
      assert len([w for w in LOCAL_COMMANDS.values() if w in line]) == 1, line
    assert len(lines) == len(LOCAL_COMMANDS)

  def test_image_starts_a_module_of_the_package(self):
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [word for li in lines if "COPY" in li for word in li.split()[1:-1]]
    assert all([*ROOT.glob(pattern)] for pattern in copied), copied
    assert 'ENTRYPOINT ["python", "-m", "youtube_8m.train"]' in lines


@pytest.fixture(scope="module")
def cloud(video_shards):
  """The stand-in, with shards where the public data set is."""
  with CloudServer() as server:
    for path in video_shards.folder.iterdir():
      partition = re.match("[a-z]+", path.name)[0]
      name = f"2/video/{partition}/{path.name}"
      server.objects[DATA_BUCKET, name] = path.read_bytes()
    yield server


@pytest.fixture(scope="module")
def source(checkout, tmp_path_factory) -> pathlib.Path:
  """A checkout called youtube-8m, where a build may leave traces."""
  return copy_top_level(checkout, tmp_path_factory.mktemp("parent"))


@pytest.fixture(scope="module")
def environment(cloud, tmp_path_factory) -> dict[str, str]:
  """Variables for a gcloud that knows the stand-in and no account."""
  if not shutil.which("gcloud"):
    pytest.skip("gcloud is not on the PATH")
  folder = tmp_path_factory.mktemp("gcloud")
  # Ahead of each process, gcloud asks which TensorFlow there is by importing
  # it, which takes seconds. This one tells it.
  python = folder / "python_for_gcloud"
  version = importlib.metadata.version("tensorflow")
  python.write_text(
    f'#!/bin/sh\n[ "$1" = -c ] && exec echo {version}\n'
    f'exec "{sys.executable}" "$@"\n'
  )
  python.chmod(0o700)
  return {
    "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    "CLOUDSDK_CONFIG": str(folder),
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_ML": f"{cloud.http_url}/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM": f"{cloud.http_url}/",
    "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud.http_url}/storage/v1/",
    "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
    "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
    "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
    "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "true",
    "CLOUDSDK_ML_ENGINE_LOCAL_PYTHON": str(python),
  }


@pytest.fixture(scope="module")
def run_line(environment, run_command):
  """`run_line(line, folder)` runs a line of the shell in a folder."""

  def run(line, folder, **variables):
    script = f"{settings()}\n{line}"
    variables = {**environment, **variables}
    return run_command("bash", "-euc", script, cwd=folder, env=variables)

  return run


@pytest.fixture(scope="module")
def set_up(run_line, source, cloud):
  """The page's set-up has been done."""
  for name in ("set_project", "create_bucket"):
    run_line(page_line(name), source)
  assert BUCKET in cloud.buckets


@pytest.fixture(scope="module")
def uploaded_package(run_line, source, set_up) -> str:
  """The package has been made and uploaded; its URI."""
  for name in ("remove_old_package", "make_package", "upload_package"):
    run_line(page_line(name), source)
  return f"gs://{BUCKET}/packages/youtube-8m.tar.gz"


@pytest.fixture(scope="module")
def submit(run_line, cloud):
  """`submit(name, folder)` submits a job of the page; what arrived of it."""

  def run(name, folder):
    before = set(cloud.jobs)
    run_line(page_line(name), folder)
    (added,) = cloud.jobs.keys() - before
    return cloud.jobs[added]

  return run


@pytest.fixture(scope="module")
def cloud_environment(cloud, tmp_path_factory) -> dict[str, str]:
  """Variables of a machine whose gs:// is the stand-in's."""
  folder = tmp_path_factory.mktemp("machine")
  return {**cloud.proxy_environment(folder), "CLOUDSDK_CONFIG": str(folder)}


@pytest.fixture
def install(cloud, run_command, tmp_path):
  """`install(uris)` installs packages in a fresh environment; its Python."""

  def run(uris):
    make_environment(tmp_path / "env")
    python = tmp_path / "env/bin/python"
    for uri in uris:
      url = urllib.parse.urlsplit(uri)
      path = tmp_path / pathlib.Path(url.path).name
      path.write_bytes(cloud.objects[url.netloc, url.path[1:]])
      run_command(python, *PIP_INSTALL, path, cwd=tmp_path)
    return python

  return run


@pytest.fixture
def run_module(cloud_environment, run_command, tmp_path):
  """Runs a module as a service does, where nothing of the checkout is."""

  def run(python, module, *arguments):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return run_command(
      *(python, "-m", module, *arguments), cwd=folder, env=cloud_environment
    )

  return run


@pytest.fixture(scope="module")
def start_on_cloud(cloud_environment, program_starter, tmp_path_factory):
  """Starts a program of the checkout on such a machine, quickly."""
  folder = tmp_path_factory.mktemp("forked")
  with program_starter(folder, cloud_environment) as start:
    yield start


def in_bucket(cloud, folder: str) -> dict[str, bytes]:
  """Name -> content of what is in a folder of the bucket."""
  return {
    name.removeprefix(f"{folder}/"): content
    for (bucket, name), content in cloud.objects.items()
    if bucket == BUCKET and name.startswith(f"{folder}/")
  }


def assert_trained(cloud, folder: str):
  """Checks for a model that has seen each video in each of 5 epochs."""
  files = in_bucket(cloud, folder)
  assert json.loads(files["train_results.json"])["num_examples"] == 5 * 121
  assert any(re.fullmatch(r"model\.ckpt-\d+\.index", name) for name in files)


@pytest.fixture(scope="module")
def trained_here(run_line, source, video_shards, tmp_path_factory):
  """The folder of a model that the README's command trained."""
  output = tmp_path_factory.mktemp("local")
  line = local_line("train", video_shards.folder, output)
  assert line.startswith("gcloud ml-engine ")
  run_line(line, source.parent)
  return output


class TestOnThisMachine:
  def test_training(self, trained_here, video_shards):
    results = json.loads(
      (trained_here / "logistic_model/train_results.json").read_text()
    )
    assert results["num_examples"] == 5 * video_shards.num_videos["train"]

  def test_evaluation_and_inference(
    self, trained_here, run_line, source, video_shards
  ):
    # Side by side, as most of it is the start of the programs.
    lines = [
      local_line(name, video_shards.folder, trained_here)
      for name in ("eval", "inference")
    ]
    assert all(line.startswith("gcloud ai-platform ") for line in lines)
    run_line(f"{lines[0]} & {lines[1]}; wait $!", source.parent)
    path = trained_here / "logistic_model/eval/eval_results.json"
    num_videos = video_shards.num_videos["validate"]
    assert json.loads(path.read_text())["num_videos"] == num_videos
    _, *rows = (trained_here / "predictions.csv").read_text().splitlines()
    assert len(rows) == num_videos

  @pytest.mark.soak
  def test_the_python_of_the_path(
    self, run_line, source, video_shards, tmp_path
  ):
    line = local_line("train", video_shards.folder, tmp_path)
    line = f"unset CLOUDSDK_ML_ENGINE_LOCAL_PYTHON\n{line}"
    assert "Finished training at " in run_line(line, source.parent).stderr

  @pytest.mark.soak
  def test_several_processes_train(
    self, run_line, source, video_shards, tmp_path
  ):
    line = local_line("distributed", video_shards.folder, tmp_path)
    words = "--distributed "
    line = line.replace(words, f"{words}--start-port={free_ports(4)} ")
    result = run_line(f"{line} --batch_size=16 --num_epochs=10", source.parent)
    log = result.stderr
    for index in range(3):
      assert f"This is worker {index} of 3" in log
    assert log.count("This is a parameter server, which has nothing") == 1
    path = tmp_path / "distributed_model/train_results.json"
    assert json.loads(path.read_text())["num_examples"] == 10 * 121
    assert_no_process_has(str(tmp_path))


def wait_for(condition, log: pathlib.Path, timeout=60):
  """The value of a condition, once it has one."""
  deadline = time.monotonic() + timeout
  while not (value := condition()):
    assert time.monotonic() < deadline, log.read_text()
    time.sleep(0.2)
  return value


def shown_runs(log: str) -> list[str]:
  """The runs that the TensorBoard of this log shows."""
  match = re.search(r"http://127\.0\.0\.1:(\d+)/", log)
  if not match:
    return []
  connection = http.client.HTTPConnection(
    "127.0.0.1", int(match[1]), timeout=30
  )
  connection.request("GET", "/data/runs")
  body = connection.getresponse().read()
  connection.close()
  return json.loads(body)


def assert_no_process_has(argument: str, timeout=10):
  """Waits until no process has a text in its command line."""
  deadline = time.monotonic() + timeout
  while True:
    listing = subprocess.run(
      ["ps", "-A", "-ww", "-o", "args="],  # noqa: S607
      capture_output=True,
      text=True,
      check=True,
    ).stdout
    left = [line for line in listing.splitlines() if argument in line]
    if not left:
      return
    assert time.monotonic() < deadline, left
    time.sleep(0.1)


@pytest.fixture(scope="module")
def training_job(submit, uploaded_package, source):
  """The page's first job, as it arrived."""
  return submit("train", source)


class TestVertexAi:
  def test_package_names_its_dependencies(self, uploaded_package, cloud):
    content = cloud.objects[BUCKET, "packages/youtube-8m.tar.gz"]
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
      (path,) = [
        path for path in archive.getnames() if path.endswith("/requires.txt")
      ]
      required = archive.extractfile(path).read().decode().split("[")[0].split()
    for package in ("tensorflow", "keras", "absl-py", "numpy"):
      assert any(re.match(rf"{package}\b", line) for line in required), required

  def test_request(self, training_job, uploaded_package):
    assert training_job["displayName"] == "yt8m-train"
    assert training_job["name"].startswith(
      f"projects/{PROJECT}/locations/{REGION}/customJobs/"
    )
    flags = [
      f"--train_data_pattern=gs://{DATA_BUCKET}/2/video/train/train*.tfrecord",
      f"--train_dir=gs://{BUCKET}/logistic_model",
    ]
    assert training_job["jobSpec"] == {
      "workerPoolSpecs": [pool("train", uploaded_package, flags)]
    }

  def test_training(self, training_job, install, run_module, cloud):
    (pool,) = training_job["jobSpec"]["workerPoolSpecs"]
    package = pool["pythonPackageSpec"]
    python = install(package["packageUris"])
    run_module(python, package["pythonModule"], *package["args"])
    assert_trained(cloud, "logistic_model")

  @pytest.mark.parametrize("program", ["eval", "inference"])
  def test_other_programs(self, program, submit, uploaded_package, source):
    spec = submit(program, source)["jobSpec"]
    flags = spec["workerPoolSpecs"][0]["pythonPackageSpec"]["args"]
    assert f"--train_dir=gs://{BUCKET}/logistic_model" in flags
    assert spec == {"workerPoolSpecs": [pool(program, uploaded_package, flags)]}

  @pytest.mark.soak
  def test_evaluation_and_inference(
    self,
    submit,
    uploaded_package,
    source,
    cloud,
    start_on_cloud,
    trained_video,
    run_line,
    tmp_path,
  ):
    for path in trained_video.train_dir.iterdir():
      if path.is_file():
        cloud.objects[BUCKET, f"logistic_model/{path.name}"] = path.read_bytes()
    for program in ("eval", "inference"):
      (pool,) = submit(program, source)["jobSpec"]["workerPoolSpecs"]
      flags = pool["pythonPackageSpec"]["args"]
      result = start_on_cloud(program, *flags).wait()
      assert result.returncode == 0, result.output
    files = in_bucket(cloud, "logistic_model")
    assert json.loads(files["eval/eval_results.json"])["num_videos"] == 61
    run_line(page_line("fetch_predictions"), tmp_path)
    _, *rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(rows) == 23

  def test_gpu(self, submit, source, set_up):
    job = submit("train_on_gpu", source)
    (pool,) = job["jobSpec"]["workerPoolSpecs"]
    flags = pool["containerSpec"].pop("args")
    assert "--num_gpu=1" in flags
    assert pool == {
      "machineSpec": {
        "machineType": "g2-standard-8",
        "acceleratorType": "NVIDIA_L4",
        "acceleratorCount": 1,
      },
      "replicaCount": "1",
      "containerSpec": {"imageUri": OWN_IMAGE},
    }

  def test_several_workers(self, submit, uploaded_package, source):
    spec = submit("train_on_4", source)["jobSpec"]
    assert spec["scheduling"] == {"restartJobOnWorkerRestart": True}
    flags = spec["workerPoolSpecs"][0]["pythonPackageSpec"]["args"]
    assert spec["workerPoolSpecs"] == [
      pool("train", uploaded_package, flags, count) for count in (1, 3)
    ]

  @pytest.mark.soak
  def test_several_workers_train(
    self, submit, uploaded_package, source, start_on_cloud, cloud
  ):
    pools = submit("train_on_4", source)["jobSpec"]["workerPoolSpecs"]
    flags = pools[0]["pythonPackageSpec"]["args"]
    addresses = iter(free_addresses(4))
    configs = task_configs(
      [int(pool["replicaCount"]) for pool in pools], lambda *_: next(addresses)
    )
    programs = [
      start_on_cloud("train", *flags, env={"TF_CONFIG": json.dumps(config)})
      for config in configs
    ]
    for program in programs:
      result = program.wait(timeout=120)
      assert result.returncode == 0, result.output
    assert_trained(cloud, "logistic_model_4")

  @pytest.mark.soak
  def test_tensorboard(self, cloud_environment, cloud, trained_video, tmp_path):
    for path in trained_video.train_dir.glob("events*"):
      cloud.objects[BUCKET, f"logistic_model/{path.name}"] = path.read_bytes()
    log = tmp_path / "log.txt"
    line = page_line("tensorboard").replace("$BUCKET", f"gs://{BUCKET}")
    command = shlex.split(line)
    with log.open("w") as stream:
      process = subprocess.Popen(
        [
          *(sys.executable, "-m", "tensorboard.main", *command[1:]),
          *("--host=127.0.0.1", "--port=0"),
        ],
        env={**os.environ, **cloud_environment},
        stdout=stream,
        stderr=stream,
      )
    try:
      runs = wait_for(lambda: shown_runs(log.read_text()), log)
      assert "logistic_model" in runs
    finally:
      process.terminate()
      process.wait(timeout=30)

  def test_jobs_are_shown(self, training_job, run_line, source):
    name = training_job["name"]
    describe = page_line("describe").replace("NUMBER", name.rpartition("/")[2])
    # One after the other would take twice as long; each has its own output.
    listing = f"{page_line('list')} > $LISTING & {describe}; wait $!"
    result = run_line(
      f"LISTING=$(mktemp); {listing}; cat $LISTING; rm $LISTING", source
    )
    assert result.stdout.count(f"name: {name}\n") == 2

  def test_data_is_copied(self, set_up, run_line, source, cloud, video_shards):
    run_line(page_line("copy_data"), source)
    assert in_bucket(cloud, "video/train") == {
      path.name: path.read_bytes()
      for path in video_shards.folder.glob("train*")
    }


def pool(program: str, package: str, flags: list[str], count=1) -> dict:
  """A worker pool as the page's commands ask for it."""
  return {
    "machineSpec": {"machineType": "n1-standard-8"},
    "replicaCount": str(count),
    "pythonPackageSpec": {
      "executorImageUri": EXECUTOR_IMAGE,
      "packageUris": [package],
      "pythonModule": f"youtube_8m.{program}",
      "args": flags,
    },
  }


def service_address(pool: int, index: int) -> str:
  """A replica's address in the form that Vertex AI gives it."""
  return f"cmle-training-workerpool{pool}-0a1b2c3d4e-{index}:2222"


def task_configs(counts: list[int], address=service_address) -> list[dict]:
  """TF_CONFIG of each replica of a job on Vertex AI.

  As described in "The format of TF_CONFIG", in
  https://cloud.google.com/vertex-ai/docs/training/distributed-training: the
  pools are, in this order, chief, workers, parameter servers and evaluators;
  the evaluators are no part of the cluster.

  Args:
    counts: replicas of each pool.
    address: a replica's, from the numbers of its pool and of itself.
  """
  roles = ("chief", "worker", "ps", "evaluator")
  spec = {
    role: [address(number, index) for index in range(count)]
    for number, (role, count) in enumerate(zip(roles, counts, strict=False))
    if role != "evaluator"
  }
  return [
    {
      "cluster": spec,
      "environment": "cloud",
      "job": {"worker_pool_specs": []},
      "task": {"cloud": "0a1b2c3d4e", "index": index, "type": role},
    }
    for role, count in zip(roles, counts, strict=False)
    for index in range(count)
  ]


def test_task_config(monkeypatch):
  # What else there may be in it is in test_cluster.py.
  tasks = []
  for config in task_configs([1, 2, 1, 1]):
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    tasks.append(cluster.read_task())
  pools = [(0, 0), (1, 0), (1, 1)]
  addresses = tuple(service_address(*numbers) for numbers in pools)
  assert tasks[:3] == [
    cluster.Task(cluster.WORKER, index, addresses) for index in range(3)
  ]
  assert [task.role for task in tasks[3:]] == [
    *(cluster.PARAMETER_SERVER, cluster.EVALUATOR)
  ]


@pytest.fixture(scope="module")
def job_in_a_job_dir(submit, set_up, source):
  """The page's job whose model lies in its --job-dir, as it arrived."""
  return submit("submit_2", source.parent)["trainingInput"]


class TestAiPlatform:
  TRAIN_DATA = (
    f"--train_data_pattern=gs://{DATA_BUCKET}/2/video/train/train*.tfrecord"
  )

  def test_gpu(self, submit, set_up, source, cloud):
    job = submit("submit_1", source.parent)
    training = job["trainingInput"]
    (package,) = training.pop("packageUris")
    assert job["jobId"] == "yt8m_train_1"
    assert training == {
      "scaleTier": "CUSTOM",
      "masterType": "n1-standard-8",
      "masterConfig": {
        "acceleratorConfig": {"count": "1", "type": "NVIDIA_TESLA_T4"}
      },
      "pythonModule": "youtube-8m.train",
      "region": REGION,
      "args": [self.TRAIN_DATA, f"--train_dir=gs://{BUCKET}/logistic_model_1"],
      "enableWebAccess": False,
    }
    url = urllib.parse.urlsplit(package)
    assert (url.scheme, url.netloc) == ("gs", BUCKET)
    assert (BUCKET, url.path[1:]) in cloud.written

  def test_job_dir(self, job_in_a_job_dir):
    assert job_in_a_job_dir["args"] == [self.TRAIN_DATA]
    assert job_in_a_job_dir["jobDir"] == f"gs://{BUCKET}/logistic_model_2"

  @pytest.mark.soak  # The service was shut down.
  def test_package_of_gcloud_trains_in_the_job_dir(
    self, job_in_a_job_dir, install, run_module, cloud
  ):
    training = job_in_a_job_dir
    python = install(training["packageUris"])
    # The service adds it to the arguments.
    job_dir = ("--job-dir", training["jobDir"])
    run_module(python, training["pythonModule"], *training["args"], *job_dir)
    assert_trained(cloud, "logistic_model_2")

  def test_several_machines_with_a_package_that_has_dependencies(
    self, submit, uploaded_package, source, cloud
  ):
    training = submit("submit_3", source.parent)["trainingInput"]
    assert training["pythonModule"] == "youtube_8m.train"
    assert training["masterType"] == training["workerType"] == "n1-standard-8"
    assert training["workerCount"] == "3"
    (package,) = training["packageUris"]
    url = urllib.parse.urlsplit(package)
    uploaded = cloud.objects[BUCKET, "packages/youtube-8m.tar.gz"]
    assert cloud.objects[url.netloc, url.path[1:]] == uploaded
