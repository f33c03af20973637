# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""The lock of a train dir: who is refused, who takes over, and who lets go.

Locks of other trainers are written by hand here, from what a lock says that is
held; so are the signs of life of another machine. Times are shortened, and no
test depends on how long anything takes: what must not happen is excluded by
times that are far too long.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

from program import UserError

import keras
import pytest
import tensorflow as tf

import checkpoints
import train
import train_dir_lock
import utils
from train_dir_lock import LOCK_FILE, Holder, TrainDirLock

HOLDER = r"host '[^']+', pid \d+, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
NEVER = 1e6  # Seconds.

needs_proc = pytest.mark.skipif(
  Holder.of_this_process("").system is None,
  reason="Where /proc does not tell, the verdict takes a minute.",
)


@pytest.fixture
def log(caplog) -> pytest.LogCaptureFixture:
  """What is logged, from INFO on."""
  caplog.set_level("INFO", logger="absl")
  return caplog


def quick_lock(folder, heartbeat_secs=NEVER, stale_secs=0.1) -> TrainDirLock:
  """A lock whose thread joins at once, and that waits only for a moment."""
  return TrainDirLock(str(folder), heartbeat_secs, stale_secs)


def impatient_lock(folder) -> TrainDirLock:
  """A lock that must know at once: to wait for heartbeats takes for ever."""
  return TrainDirLock(str(folder), stale_secs=NEVER)


def read_lock(folder) -> dict:
  return json.loads((pathlib.Path(folder) / LOCK_FILE).read_text())


def own_lock(folder) -> dict:
  """What a lock of this process on a folder says."""
  return dataclasses.asdict(Holder.of_this_process(str(folder)))


def write_lock(folder, values):
  (folder / LOCK_FILE).write_text(json.dumps(values))


def write_other_lock(folder, /, **changes):
  """The lock of another trainer, which is like this process but for changes."""
  write_lock(folder, {**own_lock(folder), "nonce": "other", **changes})


ELSEWHERE = {"host": "elsewhere", "system": "another boot", "pid": 7}


class TestHolding:
  def test_lock_says_who_and_where(self, tmp_path):
    with quick_lock(tmp_path):
      lock = read_lock(tmp_path)
    assert lock["pid"] == os.getpid()
    assert lock["host"] == os.uname().nodename
    assert lock["folder"] == str(tmp_path)
    assert lock["heartbeats"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lock["since"])

  def test_nonces_differ(self, tmp_path):
    nonces = set()
    for _ in range(3):
      with quick_lock(tmp_path):
        nonces.add(read_lock(tmp_path)["nonce"])
    assert len(nonces) == 3

  def test_lock_is_removed_at_the_end_and_after_an_error(self, tmp_path):
    with quick_lock(tmp_path):
      assert os.listdir(tmp_path) == [LOCK_FILE]
    assert not os.listdir(tmp_path)
    with pytest.raises(KeyboardInterrupt), quick_lock(tmp_path):
      raise KeyboardInterrupt
    assert not os.listdir(tmp_path)

  def test_folders_it_made_go_again_if_empty(self, tmp_path):
    with quick_lock(tmp_path / "new" / "run"):
      assert read_lock(tmp_path / "new" / "run")
    assert not os.listdir(tmp_path)

  def test_folders_with_something_in_them_stay(self, tmp_path):
    folder = tmp_path / "new" / "run"
    with quick_lock(folder):
      (folder / "model_flags.json").touch()
    assert os.listdir(folder) == ["model_flags.json"]

  def test_an_empty_folder_that_was_there_stays(self, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with quick_lock(f"{folder}/"):
      pass
    assert folder.is_dir()

  def test_heartbeats_are_counted(self, tmp_path):
    with quick_lock(tmp_path, heartbeat_secs=0.001) as lock:
      before = read_lock(tmp_path)
      wait_until(lambda: read_lock(tmp_path)["heartbeats"] > 5)
      after = read_lock(tmp_path)
      lock.check()
    assert {**before, "heartbeats": None} == {**after, "heartbeats": None}
    assert not os.listdir(tmp_path)

  @needs_proc
  def test_other_file_systems(self):
    folder = "ram://train_dir_lock/run"
    with quick_lock(folder, heartbeat_secs=0.001) as lock:
      path = f"{folder}/{LOCK_FILE}"
      with tf.io.gfile.GFile(path) as file:
        content = file.read()
      assert json.loads(content)["pid"] == os.getpid()
      lock.check()
      with pytest.raises(UserError, match=HOLDER):
        impatient_lock(folder).__enter__()
    assert not tf.io.gfile.exists(path)
    with tf.io.gfile.GFile(path, "w") as file:
      file.write(content.replace(str(os.getpid()), "7"))  # Left behind.
    with quick_lock(folder) as lock:
      lock.check()

  def test_a_place_that_cannot_be_a_folder(self, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="'.*/file' is a file; a folder"):
      quick_lock(tmp_path / "file").__enter__()
    with pytest.raises(UserError, match="--train_dir='.*' cannot be made: "):
      quick_lock(tmp_path / "file" / "run").__enter__()
    with pytest.raises(UserError, match="--train_dir='.*' cannot be made: "):
      quick_lock(tmp_path / "new" / ("x" * 300)).__enter__()
    assert os.listdir(tmp_path) == ["file"]


def wait_until(condition):
  """Waits for what another thread does; a minute is far more than it takes."""
  pause = threading.Event()
  for _ in range(6000):
    if condition():
      return
    pause.wait(0.01)
  raise AssertionError("Waited in vain.")


@needs_proc
class TestSameMachine:
  """The process table says at once who is alive."""

  def test_a_live_one_is_not_disturbed(self, tmp_path):
    write_other_lock(tmp_path, since="2026-01-02 03:04:05 UTC")
    before = (tmp_path / LOCK_FILE).read_bytes()
    with pytest.raises(UserError) as raised:
      impatient_lock(tmp_path).__enter__()
    assert str(raised.value) == (
      f"--train_dir={str(tmp_path)!r} is in use by another trainer (host "
      f"{os.uname().nodename!r}, pid {os.getpid()}, since 2026-01-02 03:04:05 "
      "UTC). Stop that one first, or use another folder."
    )
    assert (tmp_path / LOCK_FILE).read_bytes() == before

  def test_one_of_another_user_is_not_disturbed(self, tmp_path, monkeypatch):
    me = Holder.of_this_process(str(tmp_path))
    write_other_lock(tmp_path)
    other = Holder.parse((tmp_path / LOCK_FILE).read_bytes())
    assert me.sees_running(other) is True

    def see_nothing(pid):
      raise FileNotFoundError

    # As with hidepid: /proc does not show it, but the kernel knows of it.
    monkeypatch.setattr(train_dir_lock, "_running_since", see_nothing)
    assert me.sees_running(other) is None

  def test_one_that_ended_is_replaced(self, tmp_path, log):
    process = subprocess.Popen([sys.executable, "-c", "input()"])
    process.kill()
    process.wait()
    write_other_lock(tmp_path, pid=process.pid)
    with impatient_lock(tmp_path) as lock:
      assert read_lock(tmp_path)["pid"] == os.getpid()
      lock.check()
    (line,) = log.messages
    assert re.search(
      rf"Taking over '?{tmp_path}/{LOCK_FILE}'?, .* left behind \({HOLDER}\)",
      line,
    )

  def test_one_that_nobody_buried_is_replaced(self, tmp_path):
    process = subprocess.Popen(
      [sys.executable, "-c", "input()"], stdin=subprocess.PIPE
    )
    start = train_dir_lock._running_since(process.pid)
    assert start
    write_other_lock(tmp_path, pid=process.pid, process_start=start)
    with pytest.raises(UserError, match=rf"pid {process.pid},"):
      impatient_lock(tmp_path).__enter__()
    process.kill()
    # Ended, but still in the table of processes.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with impatient_lock(tmp_path) as lock:
      lock.check()
    process.communicate()

  def test_a_pid_that_is_used_again_is_another_process(self, tmp_path):
    start = own_lock(tmp_path)["process_start"]
    write_other_lock(tmp_path, process_start=start - 1)
    with impatient_lock(tmp_path) as lock:
      lock.check()

  @pytest.mark.parametrize(
    "difference",
    [
      {"host": "a copy of this machine"},
      {"system": "another boot or container"},
      {"folder": "/the/train/dir/that/this/is/a/copy/of"},
    ],
  )
  def test_nothing_is_known_at_once_of_what_differs(
    self, tmp_path, difference, log
  ):
    write_other_lock(tmp_path, **difference)
    with quick_lock(tmp_path) as lock:
      lock.check()
    assert ["waiting up to" in line for line in log.messages] == [True, False]

  def test_without_a_process_table_heartbeats_are_waited_for(
    self, tmp_path, monkeypatch, log
  ):
    monkeypatch.setattr(train_dir_lock, "_system_name", lambda: None)
    write_other_lock(tmp_path)
    assert read_lock(tmp_path)["process_start"] is None
    with quick_lock(tmp_path) as lock:
      lock.check()
    assert ["waiting up to" in line for line in log.messages] == [True, False]


class TestElsewhere:
  """Of other machines only heartbeats tell anything."""

  def test_one_that_is_silent_is_replaced(self, tmp_path, log):
    # Its clock is of no interest.
    write_other_lock(tmp_path, **ELSEWHERE, since="2099-01-01 00:00:00 UTC")
    with quick_lock(tmp_path) as lock:
      assert read_lock(tmp_path)["nonce"] != "other"
      lock.check()
    waiting, taking = log.messages
    assert re.search(rf"elsewhere \({HOLDER}\).* up to 0\.1 seconds", waiting)
    assert "left behind (host 'elsewhere', pid 7, since 2099-01-01" in taking

  def test_one_that_beats_is_not_disturbed(self, tmp_path, monkeypatch):
    beats = self.change_while_waiting(tmp_path, monkeypatch, after=3)
    with pytest.raises(UserError, match="host 'elsewhere', pid 7, since 2099-"):
      quick_lock(tmp_path).__enter__()
    # At once, not only at the end.
    assert len(beats) == 3
    assert read_lock(tmp_path)["heartbeats"] == 2

  def test_one_that_beats_at_the_last_moment(self, tmp_path, monkeypatch):
    self.change_while_waiting(tmp_path, monkeypatch, after=60)
    with pytest.raises(UserError, match="host 'elsewhere'"):
      quick_lock(tmp_path).__enter__()

  def test_one_that_ends_meanwhile_is_followed(self, tmp_path, monkeypatch):
    waits = self.change_while_waiting(
      tmp_path, monkeypatch, after=3, change=lambda: remove_lock(tmp_path)
    )
    with quick_lock(tmp_path) as lock:
      lock.check()
    assert len(waits) == 3

  def test_a_third_one_may_be_quicker(self, tmp_path, monkeypatch):
    def take():
      write_other_lock(tmp_path, **{**ELSEWHERE, "host": "third"})

    self.change_while_waiting(tmp_path, monkeypatch, after=3, change=take)
    with pytest.raises(UserError, match="host 'third'"):
      quick_lock(tmp_path).__enter__()

  def change_while_waiting(self, folder, monkeypatch, after, change=None):
    """Writes another's lock, and lets it change at the n-th look."""
    values = {**ELSEWHERE, "since": "2099-01-01 00:00:00 UTC"}
    write_other_lock(folder, **values)
    waits = []

    def beat():
      write_lock(folder, {**read_lock(folder), "heartbeats": 2})

    def sleep(seconds):
      waits.append(seconds)
      assert sum(waits) < 0.1 + 1e-9
      if len(waits) == after:
        (change or beat)()

    monkeypatch.setattr(train_dir_lock.time, "sleep", sleep)
    return waits


def remove_lock(folder):
  (folder / LOCK_FILE).unlink()


def changed(**changes):
  """A lock that a live trainer of this process would hold, with changes."""
  return lambda lock: json.dumps({**lock, "nonce": "other", **changes}).encode()


def without(name):
  return lambda lock: json.dumps({**lock, name: None}).encode()


DAMAGED = {
  "empty": b"",
  "cut": lambda lock: json.dumps(lock).encode()[:-9],
  "text": b"locked by me\n",
  "binary": bytes(range(256)),
  "list": b"[1, 2]",
  "number": b"7",
  "key_missing": b'{"host": "a", "pid": 1}',
  "pid_text": changed(pid="1"),
  "pid_true": changed(pid=True),
  "pid_zero": changed(pid=0),
  "pid_negative": changed(pid=-1),
  "pid_huge": changed(pid=10**30),
  "pid_float": changed(pid=1.5),
  "pid_none": without("pid"),
  "host_list": changed(host=["a"]),
  "host_escapes": changed(host="\x1b[2J\x07"),
  "host_lines": changed(host="a\ntrain.py: error: b"),
  "host_long": changed(host="h" * 300),
  "since_text": changed(since="yesterday"),
  "since_lines": changed(since="2026-01-01\n\n10:00:00\nUTC"),
  "heartbeats_text": changed(heartbeats="1"),
  "start_list": changed(process_start=[1]),
  "deep": b"[" * 60_000,
  "deep_object": b'{"a":' * 10_000,
  "digits": b"9" * 60_000,
  "long": b" " * 5_000_000,
  "code": b"__import__('os').remove('x')",
}


class TestDamagedLock:
  @pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
  def test_it_needs_no_hand(self, content, tmp_path, log):
    content = content(own_lock(tmp_path)) if callable(content) else content
    (tmp_path / LOCK_FILE).write_bytes(content)
    with quick_lock(tmp_path) as lock:
      assert read_lock(tmp_path)["pid"] == os.getpid()
      lock.check()
    assert not os.listdir(tmp_path)
    waiting, taking = log.messages
    assert "is damaged, and does not say" in waiting
    assert taking.endswith("which was left behind (damaged).")

  @needs_proc
  def test_a_lock_without_a_start_is_no_proof_of_life(self, tmp_path):
    process = subprocess.Popen(
      [sys.executable, "-c", ""], stdin=subprocess.DEVNULL
    )
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    write_other_lock(tmp_path, pid=process.pid, process_start=None)
    with impatient_lock(tmp_path) as lock:
      lock.check()
    process.wait()

  def test_one_that_is_written_still_is_not_disturbed(
    self, tmp_path, monkeypatch
  ):
    (tmp_path / LOCK_FILE).write_text("1")
    monkeypatch.setattr(
      train_dir_lock.time,
      "sleep",
      lambda seconds: (tmp_path / LOCK_FILE).write_text("2"),
    )
    with pytest.raises(UserError, match="in use by another trainer .of which"):
      quick_lock(tmp_path).__enter__()
    assert (tmp_path / LOCK_FILE).read_text() == "2"

  def test_a_huge_one_is_not_read_whole(self, tmp_path):
    (tmp_path / LOCK_FILE).touch()
    os.truncate(tmp_path / LOCK_FILE, 2**42)  # No block of it on the disk.
    with quick_lock(tmp_path) as lock:
      lock.check()

  def test_a_pipe_is_not_waited_for(self, tmp_path):
    os.mkfifo(tmp_path / LOCK_FILE)
    with quick_lock(tmp_path) as lock:
      lock.check()

  def test_a_link_is_not_followed(self, tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / LOCK_FILE).symlink_to(other)
    with quick_lock(tmp_path):
      assert read_lock(tmp_path)["pid"] == os.getpid()
    assert other.read_text() == "precious"
    assert os.listdir(tmp_path) == ["other"]

  def test_a_folder_in_its_place_is_named(self, tmp_path):
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(UserError, match=f"{LOCK_FILE}' cannot be read"):
      quick_lock(tmp_path).__enter__()

  def test_leftovers_of_a_kill_while_writing_go(self, tmp_path):
    write_other_lock(tmp_path, process_start=1)
    (tmp_path / f"{LOCK_FILE}.0123abcd.tmp").touch()
    (tmp_path / "notes.tmp").touch()
    with quick_lock(tmp_path):
      assert sorted(os.listdir(tmp_path)) == ["notes.tmp", LOCK_FILE]


class TestLosing:
  def test_taken_over(self, tmp_path):
    with quick_lock(tmp_path) as lock:
      lock.check()
      write_lock(
        tmp_path, {**read_lock(tmp_path), **ELSEWHERE, "nonce": "other"}
      )
      with pytest.raises(
        UserError,
        match=r"--train_dir='.*' was taken over by another trainer \(host "
        r"'elsewhere', pid 7, since .* UTC\)\. This one stops",
      ):
        lock.check()
    assert read_lock(tmp_path)["nonce"] == "other"

  def test_what_is_lost_stays_lost(self, tmp_path):
    with quick_lock(tmp_path) as lock:
      own = read_lock(tmp_path)
      write_lock(tmp_path, {**own, "nonce": "other"})
      with pytest.raises(UserError, match="taken over"):
        lock.check()
      write_lock(tmp_path, own)
      with pytest.raises(UserError, match="taken over"):
        lock.check()

  def test_of_two_that_start_in_the_same_moment_one_goes_on(self, tmp_path):
    first, second = quick_lock(tmp_path), quick_lock(tmp_path)
    # Both have looked before one of them writes.
    first._make_sure_nobody_holds = lambda content: None
    with second, first:
      first.check()
      with pytest.raises(UserError, match="taken over"):
        second.check()

  def test_vanished_folder(self, tmp_path):
    folder = tmp_path / "run"
    with quick_lock(folder) as lock:
      shutil.rmtree(folder)
      with pytest.raises(UserError, match="--train_dir='.*/run' has vanished"):
        lock.check()
    assert not folder.exists()

  def test_removed_lock(self, tmp_path):
    with quick_lock(tmp_path) as lock:
      remove_lock(tmp_path)
      with pytest.raises(UserError, match=f"{LOCK_FILE} in .* is gone: "):
        lock.check()
    assert not os.listdir(tmp_path)

  @pytest.mark.parametrize("how", ["taken_over", "vanished", "removed"])
  def test_the_heart_stops(self, how, tmp_path):
    folder = tmp_path / "run"
    with quick_lock(folder) as lock:
      beat_on(lock, times=2)
      assert read_lock(folder)["heartbeats"] == 3
      moved = folder.rename(tmp_path / "moved")
      if how != "vanished":
        folder.mkdir()
      if how == "taken_over":
        write_other_lock(folder)
      beat_on(lock, times=2)
      with pytest.raises(UserError):
        lock.check()
    assert folder.exists() == (how != "vanished")
    assert (folder / LOCK_FILE).exists() == (how == "taken_over")
    if how == "taken_over":
      assert read_lock(folder)["nonce"] == "other"
    assert read_lock(moved)["heartbeats"] == 3

  def test_damage_by_no_trainer_is_mended(self, tmp_path):
    with quick_lock(tmp_path, heartbeat_secs=0.001) as lock:
      nonce = read_lock(tmp_path)["nonce"]
      path = tmp_path / "damaged"
      path.write_text("{")
      path.rename(tmp_path / LOCK_FILE)
      lock.check()
      parse = Holder.parse
      wait_until(lambda: parse((tmp_path / LOCK_FILE).read_bytes()))
      assert read_lock(tmp_path)["nonce"] == nonce

  def test_failures_to_write_are_logged_once_and_survived(
    self, tmp_path, monkeypatch, log
  ):
    failures = []
    write_json = train_dir_lock.utils.write_json

    def write(path, value):
      if len(failures) < 5:
        failures.append(path)
        raise UserError(f"{path!r} cannot be written: No space left.")
      write_json(path, value)

    with quick_lock(tmp_path, heartbeat_secs=0.001) as lock:
      monkeypatch.setattr(train_dir_lock.utils, "write_json", write)
      wait_until(lambda: len(failures) == 5)
      lock.check()
      before = read_lock(tmp_path)["heartbeats"]
      wait_until(lambda: read_lock(tmp_path)["heartbeats"] > before)
      lock.check()
    assert len([line for line in log.messages if "No space left" in line]) == 1

  def test_failures_to_read_are_no_loss(self, tmp_path, monkeypatch):
    def fail(path):
      raise tf.errors.UnavailableError(None, None, "network")

    with quick_lock(tmp_path) as lock:
      with monkeypatch.context() as patch:
        patch.setattr(tf.io.gfile, "stat", fail)
        lock.check()
      lock.check()
    assert not os.listdir(tmp_path)

  def test_failures_when_starting_stop_the_start(self, tmp_path, monkeypatch):
    def fail(path, value):
      raise UserError(f"{path!r} cannot be written: No space left.")

    monkeypatch.setattr(train_dir_lock.utils, "write_json", fail)
    with pytest.raises(UserError, match="cannot be written"):
      quick_lock(tmp_path / "new").__enter__()
    assert not os.listdir(tmp_path)


def beat_on(lock, times):
  """Does what the lock's thread does, until it stops or some beats later."""
  is_over = iter([False] * times)
  lock._is_over.wait = lambda seconds: next(is_over, True)
  lock._keep_beating()


class TestUses:
  """Where the trainer asks for the lock."""

  @pytest.mark.parametrize("asked", [1, 2])
  def test_no_checkpoint_comes_into_a_lost_folder(self, asked, tmp_path):
    answers = [None] * (asked - 1)

    class LostLock:
      def check(self):
        if not answers:
          raise UserError("lost")
        answers.pop()

    # The second time, it is lost while the checkpoint is written.
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    saver = checkpoints.Saver(str(tmp_path), model, 5, lock=LostLock())
    with pytest.raises(UserError, match="^lost$"):
      saver.save(1)
    assert not answers
    assert not os.listdir(tmp_path)

  def test_start_new_model_leaves_the_lock_alone(self, tmp_path):
    (tmp_path / "model_flags.json").touch()
    with quick_lock(tmp_path) as lock:
      train.delete_model(str(tmp_path))
      assert os.listdir(tmp_path) == [LOCK_FILE]
      lock.check()


def train_flags(trained, train_dir, **flags) -> list[str]:
  flags = {"train_dir": train_dir, **flags}
  return [*trained.flags, *(f"--{k}={v}" for k, v in flags.items())]


def test_a_signal_while_it_is_written_removes_it(tmp_path, monkeypatch):
  write_json = utils.write_json

  def write(*arguments):
    write_json(*arguments)
    raise KeyboardInterrupt

  monkeypatch.setattr(utils, "write_json", write)
  train_dir = tmp_path / "made" / "too"
  with pytest.raises(KeyboardInterrupt):
    train_dir_lock.TrainDirLock(str(train_dir)).__enter__()
  assert list(tmp_path.iterdir()) == []


def test_a_signal_while_its_heart_starts_removes_it(tmp_path):
  lock = quick_lock(tmp_path / "made")
  start = lock._thread.start

  def start_and_stop():
    start()
    raise KeyboardInterrupt

  lock._thread.start = start_and_stop
  with pytest.raises(KeyboardInterrupt):
    lock.__enter__()
  assert list(tmp_path.iterdir()) == []
  lock._thread.join(timeout=10)
  assert not lock._thread.is_alive()


@needs_proc
class TestTrainers:
  """Real trainers, which find each other."""

  def test_the_second_refuses_until_the_first_is_killed(
    self, trained_video, start_program, fork_program, tmp_path
  ):
    train_dir = tmp_path / "run"
    first = start_program(
      "train", *train_flags(trained_video, train_dir, num_epochs=30000)
    )
    first.wait_for_line("training step 10 ")
    before = set(os.listdir(train_dir))

    for more in ({}, {"start_new_model": True}):
      second = fork_program(
        "train", *train_flags(trained_video, train_dir, **more), check=False
      )
      assert second.returncode == 1
      assert second.stdout == ""
      (line,) = second.stderr.splitlines()
      assert re.fullmatch(
        rf"train\.py: error: --train_dir='{train_dir}' is in use by another "
        rf"trainer \({HOLDER}\)\. Stop that one first, or use another folder\.",
        line,
      )
      assert f"pid {first.pid}," in line
    assert before <= set(os.listdir(train_dir))

    shown = first.stderr.read_text().count("training step")
    first.wait_until(
      lambda: first.stderr.read_text().count("training step") > shown
    )
    # Not polled: it stays in the table of processes, as with a lazy parent.
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not train_dir_lock._running_since(first.pid))
    third = fork_program(
      "train", *train_flags(trained_video, train_dir, max_steps=2)
    )
    assert re.search(rf"left behind \(.*pid {first.pid},", third.stderr)
    assert "waiting up to" not in third.stderr
    assert third.stderr.rstrip().endswith("Finished training at step 2.")
    assert not (train_dir / LOCK_FILE).exists()
    assert first.poll() == -signal.SIGKILL

  def test_a_refused_run_leaves_nothing_behind(
    self, trained_video, fork_program, tmp_path
  ):
    result = fork_program(
      "train",
      *train_flags(trained_video, tmp_path / "new" / "run", model="Typo"),
      check=False,
    )
    assert result.returncode == 1
    assert not os.listdir(tmp_path)

  @pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
  )
  def test_a_signal_removes_the_lock(
    self, signum, code, trained_video, start_program, tmp_path
  ):
    trainer = start_program(
      "train", *train_flags(trained_video, tmp_path, num_epochs=30000)
    )
    trainer.wait_until((tmp_path / LOCK_FILE).exists)
    trainer.signal(signum)
    assert trainer.wait().returncode == code
    assert not (tmp_path / LOCK_FILE).exists()

  @pytest.mark.parametrize("how", ["taken_over", "vanished"])
  def test_a_trainer_that_lost_its_folder_saves_nothing(
    self, how, trained_video, start_program, tmp_path
  ):
    train_dir = tmp_path / "run"
    trainer = start_program(
      "train",
      *train_flags(
        trained_video, train_dir, num_epochs=30000, save_checkpoint_secs=3600
      ),
    )
    trainer.wait_for_line("training step 10 ")
    if how == "vanished":
      train_dir.rename(tmp_path / "elsewhere")
    else:
      other = {**read_lock(train_dir), **ELSEWHERE, "nonce": "other"}
      write_lock(train_dir, other)
    trainer.signal(signal.SIGTERM)
    result = trainer.wait()
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    words = "vanished" if how == "vanished" else "taken over .*'elsewhere'"
    assert re.match(rf"train\.py: error: --train_dir='.*/run' .*{words}", last)
    assert "Traceback" not in result.stderr
    assert train_dir.exists() == (how != "vanished")
    assert not list(tmp_path.glob("*/model.ckpt*"))
    if how == "taken_over":
      assert read_lock(train_dir) == other
