# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What is left when a program is killed, or cannot write: never half a file.

Real processes with real signals and real limits. The long version of the kills
is in `make soak`.
"""

import json
import os
import random
import re
import shutil
import signal
import textwrap
import time

from program import UserError

import pytest
import tensorflow as tf

import checkpoints
import utils
from train_dir import TrainDir, has_checkpoint

# Programs that run another program after taking something from it.
WRAPPERS = {
  # No file may become larger. (Python ignores the signal that says so.) What is
  # said of it goes through a process that may write as much as it likes.
  "limited": """
    import os, resource
    size = int(sys.argv.pop(1))
    reading, writing = os.pipe()
    child = os.fork()
    if child:
      os.close(writing)
      while text := os.read(reading, 65_536):
        os.write(2, text)
      sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.dup2(writing, 2)
    os.close(writing)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
  """,
  # Permissions hold for root, too: no capability is left, see capset(2).
  "unprivileged": """
    import ctypes
    header, none = (ctypes.c_uint32 * 2)(0x20080522), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None).capset(header, none):
      sys.exit(77)
  """,
}
CANNOT_WRAP = 77


@pytest.fixture(scope="module")
def wrappers(tmp_path_factory, checkout):
  """Paths of the wrappers; their arguments are the program's, and its path."""
  folder = tmp_path_factory.mktemp("wrappers")
  for name, code in WRAPPERS.items():
    (folder / f"{name}.py").write_text(
      "import runpy, sys\n"
      f"{textwrap.dedent(code)}"
      "program, *sys.argv[1:] = sys.argv[1:]\n"
      f"sys.argv[0] = path = {str(checkout)!r} + f'/{{program}}.py'\n"
      "runpy.run_path(path, run_name='__main__')\n"
    )
  return {name: folder / f"{name}.py" for name in WRAPPERS}


def train_flags(trained, train_dir, *more):
  return (
    "train",
    f"--train_dir={train_dir}",
    *trained.flags,
    "--num_epochs=30000",
    *more,
  )


def eval_flags(trained, train_dir):
  return (
    "eval",
    f"--train_dir={train_dir}",
    f"--eval_data_pattern={trained.shards.validate}",
    "--run_once",
  )


def inference_flags(trained, output, *more):
  return (
    "inference",
    f"--train_dir={trained.train_dir}",
    f"--input_data_pattern={trained.shards.validate}",
    f"--output_file={output}",
    *more,
  )


def copied(trained, folder):
  """A copy of a trained model's folder, without what eval.py wrote."""
  copy = folder / "model"
  shutil.copytree(
    trained.train_dir, copy, ignore=shutil.ignore_patterns("eval")
  )
  return copy


def steps_in(folder):
  paths = checkpoints.all_checkpoints(str(folder))
  return [checkpoints.step_of(path) for path in paths]


def contents(folder, pattern="*"):
  return {
    path.name: path.read_bytes()
    for path in sorted(folder.glob(pattern))
    if path.is_file()
  }


def litter(folder):
  """Names that nothing should have when no program runs."""
  return sorted(
    path.name
    for path in folder.rglob("*")
    if path.name.endswith((".tmp", "_temp")) or "tempstate" in path.name
  )


def assert_one_error(result, message):
  """Checks that a program ended with one line that says what is wrong."""
  assert result.returncode == 1, result.output
  *log, error = result.stderr.splitlines()
  assert re.fullmatch(rf"\w+\.py: error: .*({message}).*", error)
  assert all(re.search(" (INFO|WARNING) ", line) for line in log), log
  assert result.stdout == ""


class TestLimitedFiles:
  """A disk that is full: all writes beyond some size of a file fail."""

  @pytest.mark.parametrize(
    ("size", "message"),
    [
      # The lock has 150 bytes, the configuration more than 500.
      (500, r"model_flags\.json' cannot be written: .*too large"),
      # The checkpoint has 9 kB.
      (2_000, r"The checkpoint of step \d+ cannot be .*too large"),
    ],
  )
  def test_new_model(
    self, size, message, trained_video, wrappers, fork_program, tmp_path
  ):
    flags = train_flags(trained_video, tmp_path, "--save_checkpoint_secs=0")
    flags += ("--max_steps=3",)
    result = fork_program(wrappers["limited"], str(size), *flags, check=False)
    assert_one_error(result, message)
    assert litter(tmp_path) == []
    assert steps_in(tmp_path) == []

    again = fork_program(*flags)
    assert "Resuming from" not in again.stderr
    assert steps_in(tmp_path) == [1, 2, 3]

  def test_events_are_worth_less_than_what_they_show(
    self, trained_video, wrappers, fork_program, tmp_path
  ):
    flags = train_flags(trained_video, tmp_path, "--save_checkpoint_secs=0")
    flags += ("--max_steps=3",)
    # The checkpoint has 9 kB, the first events, of a graph, far more.
    trained = fork_program(wrappers["limited"], "40000", *flags)
    assert steps_in(tmp_path) == [1, 2, 3]
    flags = eval_flags(trained_video, tmp_path)
    # The results have more than 200 bytes, the events more than 400.
    evaluated = fork_program(wrappers["limited"], "400", *flags)
    path = tmp_path / "eval" / "eval_results.json"
    assert json.loads(path.read_text())["step"] == 3
    for result in (trained, evaluated):
      (warning,) = re.findall(" WARNING (.*)", result.stderr)
      assert re.match("Events cannot be written to .*too large", warning)

  def test_last_checkpoint_stays(
    self, trained_video, wrappers, fork_program, tmp_path
  ):
    train_dir = copied(trained_video, tmp_path)
    # A folder in which killed runs left something.
    (train_dir / "model.ckpt-84.tmp").mkdir()
    names = ("model_flags.json", "train_results.json", "checkpoint")
    for name in names:
      (train_dir / f"{name}.0123abcd.tmp").touch()
    before = contents(train_dir, "*ckpt*")
    flags = train_flags(trained_video, train_dir, "--max_steps=82")
    result = fork_program(wrappers["limited"], "5000", *flags, check=False)
    assert_one_error(result, r"The checkpoint of step 82 cannot be written")
    assert contents(train_dir, "*ckpt*") == before
    # Only a run that comes to its end writes its results.
    assert litter(train_dir) == ["train_results.json.0123abcd.tmp"]

    again = fork_program(*flags)
    assert f"Resuming from {train_dir}/model.ckpt-80." in again.stderr
    assert steps_in(train_dir) == [80, 82]
    assert litter(train_dir) == []

  def test_eval(self, trained_video, wrappers, fork_program, tmp_path):
    train_dir = copied(trained_video, tmp_path)
    flags = eval_flags(trained_video, train_dir)
    (train_dir / "eval").mkdir()
    path = train_dir / "eval" / "eval_results.json"
    path.write_text("from a run before")
    result = fork_program(wrappers["limited"], "200", *flags, check=False)
    assert_one_error(result, r"eval_results\.json' cannot be written: .*too la")
    assert litter(train_dir) == []
    assert path.read_text() == "from a run before"

  def test_inference(self, trained_video, wrappers, fork_program, tmp_path):
    flags = inference_flags(trained_video, tmp_path / "predictions.csv")
    result = fork_program(wrappers["limited"], "9999", *flags, check=False)
    assert_one_error(result, r"predictions\.csv' cannot be written: .*too lar")
    assert os.listdir(tmp_path) == []

  def test_predictions_file(
    self, trained_video, wrappers, fork_program, tmp_path
  ):
    # Of 61 videos, 25 classes and 2 bytes; they wait in a file of their own.
    flags = (
      *inference_flags(trained_video, "")[:-1],
      f"--predictions_file={tmp_path}/predictions.npz",
    )
    result = fork_program(wrappers["limited"], "2000", *flags, check=False)
    assert_one_error(result, r"predictions\.npz' cannot be written: .*too lar")
    assert os.listdir(tmp_path) == []

  def test_best_model(self, trained_video, wrappers, fork_program, tmp_path):
    # Events of the evaluation have one kilobyte.
    flags = train_flags(
      trained_video,
      tmp_path / "model",
      f"--eval_data_pattern={trained_video.shards.validate}",
      "--max_steps=3",
    )
    fork_program(*flags)
    before = contents(tmp_path / "model" / "best")
    flags += ("--max_steps=6",)
    result = fork_program(wrappers["limited"], "3000", *flags, check=False)
    assert_one_error(result, "checkpoint of step 6 cannot be written to .*")
    assert contents(tmp_path / "model" / "best") == before
    assert litter(tmp_path) == []


class TestFoldersThatCannotBeWritten:
  @pytest.fixture
  def start(self, wrappers, start_program):
    """Starts a program for which permissions hold."""

    def start(*command):
      program = start_program(wrappers["unprivileged"], *command)
      program.wait_until(lambda: program.poll() != CANNOT_WRAP or skip())
      return program

    def skip():
      pytest.skip("This process cannot give its capabilities away.")

    return start

  def test_train_dir(self, trained_video, start, tmp_path):
    train_dir = copied(trained_video, tmp_path)
    before = contents(train_dir)
    train_dir.chmod(0o555)
    result = start(*train_flags(trained_video, train_dir)).wait()
    assert_one_error(result, "cannot be written: .*Permission denied")
    assert contents(train_dir) == before

  def test_train_dir_while_training(
    self, trained_video, start, fork_program, tmp_path
  ):
    train_dir = copied(trained_video, tmp_path)
    flags = train_flags(trained_video, train_dir, "--save_checkpoint_secs=1")
    process = start(*flags)
    process.wait_until(lambda: steps_in(train_dir)[-1] > 80)
    train_dir.chmod(0o555)
    try:
      result = process.wait()
    finally:
      train_dir.chmod(0o755)
    assert_one_error(result, "cannot be written.* denied")
    step = steps_in(train_dir)[-1]
    again = fork_program(*flags, f"--max_steps={step + 1}")
    assert f"Resuming from {train_dir}/model.ckpt-{step}." in again.stderr
    assert steps_in(train_dir)[-1] == step + 1
    assert litter(train_dir) == []

  def test_eval_and_inference(self, trained_video, start, tmp_path):
    train_dir = copied(trained_video, tmp_path)
    before = contents(train_dir)
    train_dir.chmod(0o555)
    # The results are shown, and can be written elsewhere.
    flags = eval_flags(trained_video, train_dir)
    result = start(*flags).wait()
    assert result.returncode == 0
    assert re.search(
      "WARNING --eval_dir=.*/eval' cannot be made: .*Permission denied.* The "
      "results are only shown",
      result.stderr,
    )
    assert "GAP: " in result.stderr
    elsewhere = tmp_path / "elsewhere"
    assert start(*flags, f"--eval_dir={elsewhere}").wait().returncode == 0
    assert (elsewhere / "eval_results.json").exists()
    output = train_dir / "predictions.csv"
    result = start(*inference_flags(trained_video, output)).wait()
    assert_one_error(result, "csv' cannot be written: .*Permission denied")
    assert contents(train_dir) == before


def test_train_dir_that_vanishes(
  trained_video, start_program, fork_program, tmp_path
):
  train_dir = copied(trained_video, tmp_path)
  flags = train_flags(trained_video, train_dir, "--save_checkpoint_secs=1")
  process = start_program(*flags)
  process.wait_until(lambda: steps_in(train_dir)[-1] > 80)
  train_dir.rename(tmp_path / "elsewhere")
  result = process.wait()
  assert_one_error(result, "/model' ?.*vanished")
  assert not train_dir.exists()
  # What was saved before can be used when it is there again.
  (tmp_path / "elsewhere").rename(train_dir)
  step = steps_in(train_dir)[-1]
  again = fork_program(*flags, f"--max_steps={step + 1}")
  assert f"Resuming from {train_dir}/model.ckpt-{step}." in again.stderr
  assert steps_in(train_dir)[-1] == step + 1


def test_killed_while_saving(
  trained_video, start_program, fork_program, tmp_path
):
  flags = train_flags(trained_video, tmp_path, "--save_checkpoint_secs=0")
  rng = random.Random(1)  # noqa: S311
  last = 0
  for _ in range(3):
    process = start_program(*flags)
    process.wait_until(lambda: list(tmp_path.glob("model.ckpt-*.tmp")))
    time.sleep(rng.uniform(0, 0.02))
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    (tmp_path / "checkpoint").unlink(missing_ok=True)  # It is not needed.
    steps = steps_in(tmp_path)
    assert max(steps, default=0) >= last
    last = max(steps, default=0)
  result = fork_program(*flags, f"--max_steps={last + 1}")
  assert (f"model.ckpt-{last}." in result.stderr) == (last > 0)
  assert "WARNING" not in result.stderr
  assert steps_in(tmp_path)[-1] == last + 1
  assert len(steps_in(tmp_path)) <= 5
  assert litter(tmp_path) == []
  assert len(list(tmp_path.glob("model.ckpt-*"))) == 2 * len(steps_in(tmp_path))


def test_killed_while_deleting_the_old_model(
  trained_video, tmp_path, monkeypatch
):
  """At whatever point: nothing is left that has to be deleted by hand."""
  model = copied(trained_video, tmp_path)
  shutil.copytree(model, model / "best")
  (model / "best" / "eval_results.json").touch()
  delete, num_deleted = utils.delete, 0

  def delete_until_killed(path):
    nonlocal remaining
    if not remaining:
      raise SystemExit
    remaining -= 1
    delete(path)

  monkeypatch.setattr(utils, "delete", delete_until_killed)
  while True:
    train_dir = tmp_path / f"copy{num_deleted}"
    shutil.copytree(model, train_dir)
    remaining = num_deleted
    try:
      TrainDir(str(train_dir)).delete_model()
      break
    except SystemExit:
      pass
    if not (train_dir / "model_flags.json").exists():
      assert not has_checkpoint(str(train_dir))
      # The next model must not be compared with the old one.
      assert contents(train_dir / "best") == {}
    for path in train_dir.rglob("model.ckpt-*.index"):
      assert path.with_suffix(".data-00000-of-00001").exists()
    if not (train_dir / "best" / "model_flags.json").exists():
      assert contents(train_dir / "best") == {}
    num_deleted += 1
  assert num_deleted >= 10  # Five files in each of the two, at least.
  assert contents(train_dir) == contents(train_dir / "best") == {}


class TestKilledInference:
  def test_at_any_moment(
    self, trained_video, start_program, fork_program, tmp_path
  ):
    whole = tmp_path / "whole"
    whole.mkdir()
    path = whole / "predictions.csv"
    fork_program(*inference_flags(trained_video, path, "--batch_size=1"))
    expected = contents(whole)
    folder = tmp_path / "killed"
    folder.mkdir()
    output = folder / "predictions.csv"
    flags = inference_flags(trained_video, output, "--batch_size=1")
    rng = random.Random(2)  # noqa: S311
    for _ in range(3):
      process = start_program(*flags)
      process.wait_until(lambda: len(os.listdir(folder)) > 0)
      time.sleep(rng.uniform(0, 0.3))
      process.signal(signal.SIGKILL)
      process.wait()
      if output.exists():  # It was done already.
        assert contents(folder, "*.csv") == expected
        output.unlink()
      else:
        # That of the run before is gone.
        assert len(litter(folder)) == 1
    fork_program(*flags)
    assert contents(folder) == expected

  def test_a_live_one_is_left_alone(
    self, trained_video, start_program, fork_program, tmp_path
  ):
    output = tmp_path / "predictions.csv"
    flags = inference_flags(trained_video, output)
    process = start_program(*flags)
    process.wait_until(lambda: litter(tmp_path))
    process.signal(signal.SIGSTOP)
    (live,) = litter(tmp_path)
    fork_program(*flags)
    assert litter(tmp_path) == [live]
    expected = output.read_bytes()
    output.unlink()
    process.signal(signal.SIGCONT)
    assert process.wait().returncode == 0
    assert contents(tmp_path) == {"predictions.csv": expected}


def test_eval_killed_at_any_moment(
  trained_video, start_program, fork_program, tmp_path
):
  train_dir = copied(trained_video, tmp_path)
  flags = eval_flags(trained_video, train_dir)
  path = train_dir / "eval" / "eval_results.json"
  rng = random.Random(3)  # noqa: S311
  for _ in range(3):
    process = start_program(*flags)
    process.wait_until((train_dir / "eval").exists)
    time.sleep(rng.uniform(0, 0.7))
    process.signal(signal.SIGKILL)
    process.wait()
    if path.exists():
      assert json.loads(path.read_text())["num_videos"] == 61
      path.unlink()
  fork_program(*flags)
  assert json.loads(path.read_text())["num_videos"] == 61
  assert litter(train_dir) == []


class TestTemporaryFiles:
  """Those of `utils.replacing`, which a kill leaves."""

  def test_what_a_dead_process_left_is_deleted(self, tmp_path):
    (tmp_path / "out.csv.0123abcd.tmp").write_text("half")
    (tmp_path / "out.csv.4567cdef.tmp").touch()
    others = [
      "out.csv",
      "out.csv.tmp",
      "out.csv.0123ABCD.tmp",
      "out.csv.0123abcd.tmp.gz",
      "outXcsv.0123abcd.tmp",
      "my_out.csv.0123abcd.tmp",
      "out.csv.gz.0123abcd.tmp",
    ]
    for name in others:
      (tmp_path / name).write_text("mine")
    (tmp_path / "out.csv.00000001.tmp").mkdir()
    (tmp_path / "out.csv.00000002.tmp").symlink_to(tmp_path / "out.csv.tmp")
    os.mkfifo(tmp_path / "out.csv.00000003.tmp")
    utils.write_json(str(tmp_path / "out.csv"), [1])
    assert json.loads((tmp_path / "out.csv").read_text()) == [1]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
      *others,
      "out.csv.00000001.tmp",
      "out.csv.00000002.tmp",
    }
    assert all((tmp_path / name).read_text() == "mine" for name in others[1:])

  def test_what_is_being_written_is_not(self, tmp_path):
    path = str(tmp_path / "out")
    with utils.replacing(path) as file:
      file.write(b"first")
      with utils.replacing(path) as other:
        other.write(b"second")
        utils.write_json(path, 3)
      assert (tmp_path / "out").read_bytes() == b"second"
    assert contents(tmp_path) == {"out": b"first"}

  def test_in_the_working_directory(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.0123abcd.tmp").touch()
    utils.write_json("out", 1)
    assert os.listdir() == ["out"]

  def test_file_system_without_locks(self, tmp_path, monkeypatch):
    def refuse(*unused):
      raise OSError("Function not implemented")

    monkeypatch.setattr(utils.fcntl, "flock", refuse)
    (tmp_path / "out.0123abcd.tmp").touch()
    utils.write_json(str(tmp_path / "out"), 1)
    # Whether somebody still writes it cannot be seen there.
    assert sorted(os.listdir(tmp_path)) == ["out", "out.0123abcd.tmp"]

  def test_no_descriptor_is_kept(self, tmp_path):
    before = os.listdir("/proc/self/fd")
    for number in range(3):
      utils.write_json(str(tmp_path / "out"), number)
      with (
        pytest.raises(UserError),
        utils.replacing(str(tmp_path / "none" / "out")),
      ):
        pass
    assert os.listdir("/proc/self/fd") == before

  def test_file_systems_elsewhere(self):
    path = "ram://folder/out.json"
    utils.write_json(path, [1])
    utils.write_json(path, [2])
    assert utils.read_json(path) == [2]
    assert tf.io.gfile.listdir("ram://folder") == ["out.json"]


def test_deleting_a_folder_does_not_follow_links(tmp_path):
  (tmp_path / "outside" / "folder").mkdir(parents=True)
  (tmp_path / "outside" / "file").touch()
  (tmp_path / "inside").mkdir()
  for name in ("outside", "outside/file", "none"):
    link = tmp_path / "inside" / name.replace("/", "_")
    link.symlink_to(tmp_path / name)
  (tmp_path / "link").symlink_to(tmp_path / "outside")
  utils.delete(str(tmp_path / "inside"))
  utils.delete(str(tmp_path / "link"))
  assert os.listdir(tmp_path) == ["outside"]
  assert sorted(os.listdir(tmp_path / "outside")) == ["file", "folder"]


class TestDamagedLatestCheckpoint:
  @pytest.fixture
  def train_dir(self, trained_video, tmp_path):
    """A copy of a model with a later checkpoint, a byte of which is wrong."""
    train_dir = copied(trained_video, tmp_path)
    for end in (".index", ".data-00000-of-00001"):
      content = bytearray((train_dir / f"model.ckpt-80{end}").read_bytes())
      content[100] ^= 1
      (train_dir / f"model.ckpt-99{end}").write_bytes(content)
    return train_dir

  def test_trainer(self, train_dir, trained_video, fork_program):
    flags = train_flags(trained_video, train_dir, "--max_steps=82")
    result = fork_program(*flags)
    assert re.search(" WARNING .*model.ckpt-99 cannot be read: ", result.stderr)
    assert f"Resuming from {train_dir}/model.ckpt-80." in result.stderr
    assert steps_in(train_dir) == [80, 82]

  def test_eval(self, train_dir, trained_video, fork_program):
    result = fork_program(*eval_flags(trained_video, train_dir))
    assert re.search(" WARNING .*model.ckpt-99' cannot be", result.stderr)
    assert "epoch/eval number 80 " in result.stderr

  def test_inference(self, train_dir, trained_video, fork_program, tmp_path):
    outputs = [tmp_path / "damaged.csv", tmp_path / "right.csv"]
    flags = inference_flags(trained_video, outputs[0])
    result = fork_program(*flags, f"--train_dir={train_dir}")
    assert re.search(" WARNING .*model.ckpt-99' cannot be", result.stderr)
    fork_program(*inference_flags(trained_video, outputs[1]))
    assert outputs[0].read_bytes() == outputs[1].read_bytes()

  def test_following(self, train_dir, trained_video, start_program):
    *flags, _ = eval_flags(trained_video, train_dir)
    shutil.copytree(train_dir, train_dir / "later")
    process = start_program(*flags)
    process.wait_for_line("epoch/eval number 80 ")
    # A trainer that went on from 80.
    for end in (".data-00000-of-00001", ".index"):
      os.unlink(train_dir / f"model.ckpt-99{end}")
      (train_dir / "later" / f"model.ckpt-80{end}").rename(
        train_dir / f"model.ckpt-77{end}"
      )
    process.wait_for_line("epoch/eval number 77 ")
    process.signal(signal.SIGTERM)
    result = process.wait()
    assert result.returncode == 0
    steps = re.findall(r"epoch/eval number (\d+) ", result.stderr)
    assert steps == ["80", "77"]
    assert len(re.findall(" WARNING Skipped: .*ckpt-99'", result.stderr)) == 1


def test_an_error_reads_alike_whether_python_or_tensorflow_has_it(tmp_path):
  with pytest.raises(UserError) as error:
    utils.write_json(str(tmp_path / "none" / "out"), 1)
  assert re.fullmatch(
    rf"'({tmp_path}/none/out)' cannot be written: \1\.[0-9a-f]{{8}}\.tmp; "
    "No such file or directory",
    str(error.value),
  )
