# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""A train dir: at most one trainer works in it; what --start_new_model does."""

import json
import os
import re
import shutil
import signal

from program import UserError

import pytest
import tensorflow as tf

import checkpoints
import train_dir
import utils
from train_dir import LOCK_FILE

HOLDER = r"host '[^']+', pid \d+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
# Of a trainer of the version before, on another machine.
EARLIER = {
  "host": "elsewhere",
  "pid": 7,
  "since": "2026-01-02 03:04:05 UTC",
  "nonce": "other",
  "folder": "/model",
  "system": "another boot",
  "process_start": 1,
  "heartbeats": 12,
}
OTHER = {
  **{name: EARLIER[name] for name in ("host", "pid", "since")},
  "token": "other",
}


@pytest.fixture
def log(caplog) -> pytest.LogCaptureFixture:
  """What is logged, from INFO on."""
  caplog.set_level("INFO", logger="absl")
  return caplog


@pytest.fixture
def without_locks(monkeypatch):
  """A file system that has no locks, as many network disks."""

  def refuse(*unused):
    raise OSError("Function not implemented")

  monkeypatch.setattr(train_dir.fcntl, "flock", refuse)


def read_lock(folder) -> dict:
  return json.loads((folder / LOCK_FILE).read_text())


def write_lock(folder, values):
  (folder / LOCK_FILE).write_text(json.dumps(values))


def assert_refused(folder, message):
  with pytest.raises(UserError, match=message), train_dir.hold(str(folder)):
    pass


class TestHolding:
  def test_lock_says_who(self, tmp_path):
    tokens = set()
    for _ in range(3):
      with train_dir.hold(str(tmp_path)) as held:
        held.check()
        lock = read_lock(tmp_path)
        assert held.path == str(tmp_path)
      assert lock["pid"] == os.getpid()
      assert lock["host"] == os.uname().nodename
      tokens.add(lock["token"])
    assert len(tokens) == 3

  @pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
  def test_lock_and_a_new_folder_are_removed_at_the_end(self, tmp_path, error):
    for folder in (tmp_path / "run", tmp_path):
      with train_dir.hold(str(folder)):
        assert os.listdir(folder) == [LOCK_FILE]
      with pytest.raises(error), train_dir.hold(str(folder)):
        raise error
      assert not os.listdir(tmp_path)

  def test_a_folder_with_something_in_it_stays(self, tmp_path):
    folder = tmp_path / "new" / "run"
    with train_dir.hold(str(folder)):
      (folder / "model_flags.json").touch()
    assert os.listdir(folder) == ["model_flags.json"]

  def test_an_empty_folder_that_was_there_stays(self, tmp_path):
    with train_dir.hold(f"{tmp_path}/"):
      pass
    assert tmp_path.is_dir()

  def test_a_signal_while_it_is_written_removes_it(self, tmp_path, monkeypatch):
    write_json = utils.write_json

    def write(*arguments):
      write_json(*arguments)
      raise KeyboardInterrupt

    monkeypatch.setattr(utils, "write_json", write)
    with (
      pytest.raises(KeyboardInterrupt),
      train_dir.hold(str(tmp_path / "made")),
    ):
      pass
    assert not os.listdir(tmp_path)

  def test_no_descriptor_is_kept(self, tmp_path):
    before = os.listdir("/proc/self/fd")
    with train_dir.hold(str(tmp_path)):
      assert_refused(tmp_path, "in use")
    assert_refused("/proc/nothing", "cannot be made")
    assert os.listdir("/proc/self/fd") == before

  def test_a_place_that_cannot_be_a_folder(self, tmp_path):
    (tmp_path / "file").touch()
    assert_refused(tmp_path / "file", "'.*/file' is a file; a folder")
    for place in ("file/run", "x" * 300):
      assert_refused(tmp_path / place, "--train_dir='.*' cannot be made: ")
    assert os.listdir(tmp_path) == ["file"]


class TestKernelLock:
  """On a local disk the second trainer is refused."""

  def test_a_live_one_is_not_disturbed(self, tmp_path):
    with train_dir.hold(str(tmp_path)) as held:
      before = (tmp_path / LOCK_FILE).read_bytes()
      lock = read_lock(tmp_path)
      with pytest.raises(UserError) as raised, train_dir.hold(str(tmp_path)):
        pass
      assert str(raised.value) == (
        f"--train_dir={str(tmp_path)!r} is in use by another trainer (host "
        f"{lock['host']!r}, pid {os.getpid()}, since {lock['since']}). Stop "
        "that one first, or use another folder."
      )
      assert (tmp_path / LOCK_FILE).read_bytes() == before
      held.check()

  def test_another_path_to_the_same_folder(self, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with train_dir.hold(str(tmp_path / "run")):
      assert_refused(tmp_path / "link", "in use")


# What the lock file of no trainer says.
DAMAGED = {
  "gone": None,
  "empty": b"",
  "text": b"locked by me\n",
  "list": b"[1, 2]",
  "host_missing": b'{"pid": 1}',
  "since_escapes": json.dumps({**OTHER, "since": "\x1b[2J\x07"}).encode(),
  "host_long": json.dumps({**OTHER, "host": "h" * 300_000}).encode(),
}


class TestTakingOver:
  """Without a live trainer that has locked the folder."""

  @pytest.mark.parametrize("lock", [EARLIER, OTHER])
  def test_what_was_left_behind(self, tmp_path, log, lock):
    write_lock(tmp_path, lock)
    # By a kill while the lock file was written.
    (tmp_path / f"{LOCK_FILE}.0123abcd.tmp").touch()
    with train_dir.hold(str(tmp_path)) as held:
      assert os.listdir(tmp_path) == [LOCK_FILE]
      assert read_lock(tmp_path)["pid"] == os.getpid()
      held.check()
    (line,) = [line for line in log.messages if line.startswith("Taking")]
    assert re.search(
      rf"^Taking over {tmp_path}/{LOCK_FILE}, which was left behind "
      rf"\(host 'elsewhere', pid 7, since 2026-01-02 03:04:05 UTC\)\.",
      line,
    )
    assert not os.listdir(tmp_path)

  @pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
  def test_damaged_locks(self, content, tmp_path, log):
    unknown = f"(of which {LOCK_FILE} does not say more)"
    if content is not None:
      (tmp_path / LOCK_FILE).write_bytes(content)
    with train_dir.hold(str(tmp_path)) as held:
      held.check()
      (tmp_path / LOCK_FILE).unlink()
      if content is not None:
        (tmp_path / LOCK_FILE).write_bytes(content)
      assert_refused(tmp_path, re.escape(f"another trainer {unknown}"))
    lines = [line for line in log.messages if line.startswith("Taking over")]
    assert [unknown in line for line in lines] == [True] * (content is not None)

  def test_a_link_is_not_followed(self, tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to(other)
    with train_dir.hold(str(tmp_path)):
      assert read_lock(tmp_path)["pid"] == os.getpid()
    assert other.read_text() == "precious"
    assert os.listdir(tmp_path) == ["other"]

  def test_a_folder_in_its_place_is_named(self, tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    assert_refused(tmp_path, f"{LOCK_FILE}' cannot be written")

  @pytest.mark.parametrize("scheme", ["", "ram://train_dir"])
  def test_where_there_are_no_locks_the_last_one_goes_on(
    self, tmp_path, without_locks, scheme
  ):
    folder = f"{scheme}{tmp_path}"
    with train_dir.hold(folder) as first:
      first.check()
      with train_dir.hold(folder) as second:
        second.check()
        with pytest.raises(
          UserError, match=rf"taken over .*\({HOLDER}\)\. Thi"
        ):
          first.check()
      with pytest.raises(UserError, match=f"{LOCK_FILE} in .* is gone: "):
        first.check()
    assert not tf.io.gfile.exists(f"{folder}/{LOCK_FILE}")


class TestLosing:
  @pytest.mark.parametrize("lock", [EARLIER, OTHER])
  def test_taken_over(self, tmp_path, lock):
    with train_dir.hold(str(tmp_path)) as held:
      write_lock(tmp_path, lock)
      with pytest.raises(
        UserError,
        match=r"--train_dir='.*' was taken over by another trainer \(host "
        r"'elsewhere', pid 7, since .* UTC\)\. This one stops",
      ):
        held.check()
    assert read_lock(tmp_path) == lock  # It is the other's.

  def test_vanished_folder(self, tmp_path):
    folder = tmp_path / "run"
    with train_dir.hold(str(folder)) as held:
      shutil.rmtree(folder)
      with pytest.raises(UserError, match="--train_dir='.*/run' has vanished"):
        held.check()
    assert not folder.exists()

  def test_removed_lock(self, tmp_path):
    with train_dir.hold(str(tmp_path)) as held:
      (tmp_path / LOCK_FILE).unlink()
      with pytest.raises(UserError, match=f"{LOCK_FILE} in .* is gone: "):
        held.check()
    assert not os.listdir(tmp_path)

  def test_damage_by_no_trainer_is_no_loss(self, tmp_path):
    with train_dir.hold(str(tmp_path)) as held:
      (tmp_path / LOCK_FILE).write_text("{")
      held.check()

  def test_failures_to_read_are_no_loss(self, tmp_path, monkeypatch):
    def fail(path):
      raise tf.errors.UnavailableError(None, None, "network")

    with train_dir.hold(str(tmp_path)) as held:
      with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "exists", fail)
        held.check()
      held.check()
    assert not os.listdir(tmp_path)


def touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).touch()


class TestDeleting:
  def test_what_a_trainer_wrote_and_nothing_else(self, tmp_path):
    written = (
      *("checkpoint", "model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"),
      *("model_flags.json", "train_results.json", "eval_results.json"),
      *("bad_records.json", "events.out.tfevents.1.host"),
    )
    others = ("notes.txt", "predictions.csv", "my-model.ckpt-7.index")
    for folder in (tmp_path, tmp_path / "best"):
      touch(folder, *written, *others)
    touch(tmp_path / "eval", "eval_results.json")
    touch(tmp_path / "export/variables", "variables.index")
    with train_dir.hold(str(tmp_path)) as held:
      held.delete_model()
      assert set(os.listdir(tmp_path)) == {*others, LOCK_FILE, "best", "eval"}
      held.check()
    assert set(os.listdir(tmp_path / "best")) == set(others)
    assert os.listdir(tmp_path / "eval") == ["eval_results.json"]

  def test_a_folder_that_does_not_exist(self, tmp_path):
    train_dir.TrainDir(str(tmp_path / "none")).delete_model()
    assert not list(tmp_path.iterdir())

  def test_names_are_taken_as_they_are(self, tmp_path):
    # As a pattern, "run[1]" is "run1".
    for name in ("run[1]", "run1"):
      touch(tmp_path / name, "model_flags.json")
      # A save that was killed leaves a folder.
      touch(tmp_path / name / "model.ckpt-7_temp", "part-00000")
    train_dir.TrainDir(str(tmp_path / "run[1]")).delete_model()
    assert not list((tmp_path / "run[1]").iterdir())
    assert len(list((tmp_path / "run1").iterdir())) == 2

  def test_another_programs_checkpoints_stay(self, tmp_path):
    names = ("checkpoint", "ckpt-1.index", "ckpt-1.data-00000-of-00001")
    touch(tmp_path, *names)
    with pytest.raises(UserError, match="another program wrote it"):
      train_dir.TrainDir(str(tmp_path)).delete_model()
    assert set(os.listdir(tmp_path)) == set(names)
    with pytest.raises(UserError, match="so it cannot be resumed"):
      train_dir.can_resume(str(tmp_path))


@pytest.mark.parametrize(
  ("names", "expected"),
  [
    (["notes.index", "model.ckpt-7.tmp"], False),
    # What a killed first save left with older versions of the suite.
    (["model.ckpt-7.data-00000-of-00001", "model.ckpt-7_temp"], False),
    (["model.ckpt-7.data-00000-of-00001", "model.ckpt-7.index"], True),
    # Another program's.
    (["ckpt-1.data-00000-of-00002", "ckpt-1.index"], True),
    (["checkpoint"], True),
  ],
)
def test_has_checkpoint(tmp_path, names, expected):
  folder = tmp_path / "run"
  assert not train_dir.has_checkpoint(str(folder))
  touch(folder, "model_flags.json", *names)
  assert train_dir.has_model(str(folder))
  assert train_dir.has_checkpoint(str(folder)) == expected
  assert train_dir.can_resume(str(folder)) == expected


def train_flags(trained, folder, **flags) -> list[str]:
  flags = {"train_dir": folder, **flags}
  return [*trained.flags, *(f"--{k}={v}" for k, v in flags.items())]


class TestTrainers:
  """Real trainers, which find each other."""

  def test_the_second_refuses_until_the_first_is_killed(
    self, trained_video, start_program, fork_program, tmp_path
  ):
    folder = tmp_path / "run"
    first = start_program(
      "train", *train_flags(trained_video, folder, num_epochs=30000)
    )
    first.wait_for_line("training step 10 ")
    before = set(os.listdir(folder))

    for more in ({}, {"start_new_model": True}):
      second = fork_program(
        "train", *train_flags(trained_video, folder, **more), check=False
      )
      assert second.returncode == 1
      assert second.stdout == ""
      (line,) = second.stderr.splitlines()
      assert re.fullmatch(
        rf"train\.py: error: --train_dir='{folder}' is in use by another "
        rf"trainer \({HOLDER}\)\. Stop that one first, or use another folder\.",
        line,
      )
      assert f"pid {first.pid}," in line
    assert before <= set(os.listdir(folder))

    shown = first.stderr.read_text().count("training step")
    first.wait_until(
      lambda: first.stderr.read_text().count("training step") > shown
    )
    first.signal(signal.SIGKILL)
    assert first.wait().returncode == -signal.SIGKILL
    third = fork_program(
      "train", *train_flags(trained_video, folder, max_steps=2)
    )
    assert re.search(rf"left behind \(.*pid {first.pid},", third.stderr)
    assert third.stderr.rstrip().endswith("Finished training at step 2.")
    assert not (folder / LOCK_FILE).exists()

  def test_a_refused_run_leaves_nothing_behind(
    self, trained_video, fork_program, tmp_path
  ):
    flags = train_flags(trained_video, tmp_path / "run", model="Typo")
    assert fork_program("train", *flags, check=False).returncode == 1
    assert not os.listdir(tmp_path)

  @pytest.mark.parametrize("how", ["stopped", "taken_over", "vanished"])
  def test_a_signal_to_a_trainer(
    self, how, trained_video, start_program, tmp_path
  ):
    """One that lost its folder saves nothing."""
    folder = tmp_path / "run"
    more = {"num_epochs": 30000, "save_checkpoint_secs": 3600}
    trainer = start_program(
      "train", *train_flags(trained_video, folder, **more)
    )
    trainer.wait_for_line("training step 10 ")
    if how == "vanished":
      folder.rename(tmp_path / "elsewhere")
    elif how == "taken_over":
      write_lock(folder, OTHER)
    trainer.signal(signal.SIGTERM)
    result = trainer.wait()
    assert "Traceback" not in result.stderr
    if how == "stopped":
      assert result.returncode == 143
      assert not (folder / LOCK_FILE).exists()
      return
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    words = "vanished" if how == "vanished" else "taken over .*'elsewhere'"
    assert re.match(rf"train\.py: error: --train_dir='.*/run' .*{words}", last)
    assert folder.exists() == (how != "vanished")
    assert not list(tmp_path.glob("*/model.ckpt*"))
    if how == "taken_over":
      assert read_lock(folder) == OTHER


@pytest.mark.parametrize("asked", [1, 2])
def test_no_checkpoint_comes_into_a_lost_folder(asked, tmp_path, monkeypatch):
  answers = [None] * (asked - 1)

  class LostLock:
    def check(self):
      if not answers:
        raise UserError("lost")
      answers.pop()

  # The second time, it is lost while the checkpoint is written.
  model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
  saver = checkpoints.Saver(str(tmp_path), model, 5, lock=LostLock())
  with pytest.raises(UserError, match="^lost$"):
    saver.save(1)
  assert not answers
  assert not os.listdir(tmp_path)
