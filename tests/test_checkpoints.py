# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Where a run stands, and the checkpoints it leaves."""

import collections
import itertools
import os
import shutil
import subprocess
import sys

from program import UserError

import keras
import numpy as np
import pytest
import tensorflow as tf

import checkpoints

# Of the two files of a checkpoint.
ENDS = (".data-00000-of-00001", ".index")


def dense_model(num_classes=3, size=2, num_layers=1):
  """A model of dense layers called layer0, layer1, ... and weights of 0.5."""
  features = output = keras.Input((size,))
  for number in range(num_layers):
    output = keras.layers.Dense(
      num_classes, kernel_initializer="ones", name=f"layer{number}"
    )(output)
  model = keras.Model(features, output)
  fill(model, 0.5)
  return model


def fill(model, value):
  model.set_weights([np.full_like(w, value) for w in model.get_weights()])


def filled_with(model):
  values = {float(v) for w in model.get_weights() for v in w.ravel()}
  assert len(values) == 1
  return values.pop()


def steps_in(folder):
  names = os.listdir(folder)
  return sorted(
    checkpoints.step_of(name.removesuffix(".index"))
    for name in names
    if name.endswith(".index")
  )


def test_position_counts():
  position = checkpoints.Position()
  advance = tf.function(position.advance)
  for num_rows in (4, 4, 1):
    advance(tf.constant(num_rows, tf.float32))
  assert values_of(position) == (3, 9, 0, 3, [0, 0, 0, 0])
  position.finish_pass()
  advance(tf.constant(2))
  assert values_of(position) == (4, 11, 1, 1, [0, 0, 0, 0])
  assert len(position.counters) == 5


def values_of(position):
  return (
    int(position.step),
    int(position.num_examples),
    int(position.passes),
    int(position.steps_in_pass),
    position.layout.numpy().tolist(),
  )


LAYOUT = (64, 2, 4, 1234)


@pytest.mark.parametrize(
  ("layout", "expected", "words"),
  [
    (LAYOUT, (6, 5), None),
    ((32, 2, 4, 1234), (6, 0), "batch size 64 -> 32"),
    ((64, 1, 4, 1234), (6, 0), "number of workers 2 -> 1"),
    ((64, 2, 4, 99), (6, 0), "shards"),
    # One and a half epochs are done; of 3 passes per epoch, 4 whole ones.
    ((64, 2, 2, 1234), (3, 0), "passes per epoch 4 -> 2"),
    ((64, 2, 3, 1234), (4, 0), "passes per epoch 4 -> 3"),
    ((64, 2, 1, 1234), (1, 0), "passes per epoch 4 -> 1"),
    (
      (8, 3, 16, 9),
      (24, 0),
      "batch size 64 -> 8, number of workers 2 -> 3, passes per epoch 4 -> 16, "
      "shards",
    ),
  ],
)
def test_a_pass_of_another_layout_starts_anew(layout, expected, words, caplog):
  caplog.set_level("INFO", logger="absl")
  position = checkpoints.Position()
  position.resume(LAYOUT)
  position.step.assign(7)
  position.passes.assign(6)
  position.steps_in_pass.assign(5)
  assert not caplog.messages
  position.resume(layout)
  assert values_of(position) == (7, 0, *expected, list(layout))
  assert caplog.messages == (
    words
    and [
      f"What a pass holds has changed ({words}): pass {expected[0]} starts "
      "anew."
    ]
    or []
  )


class EarlierPosition(tf.Module):
  """`Position` as the version before had it."""

  def __init__(self):
    super().__init__()
    self.counters = [
      tf.Variable(value, trainable=False, dtype=tf.int64, name=name)
      for name, value in [
        *(("step", 30), ("num_examples", 960)),
        *(("epoch", 2), ("epoch_videos", 160)),
      ]
    ]
    self.step, self.num_examples, self.epoch, self.epoch_videos = self.counters
    self.places = tf.Variable(
      [[2, 1], [1, 9]], False, shape=[None, 2], dtype=tf.int64, name="places"
    )


def test_a_checkpoint_of_the_version_before(tmp_path, caplog):
  caplog.set_level("INFO", logger="absl")

  def open_saver(model, position):
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    parts = {"position": position, "optimizer": optimizer}
    return checkpoints.Saver(str(tmp_path), model, 5, **parts), optimizer

  model = dense_model()
  saver, optimizer = open_saver(model, EarlierPosition())
  optimizer.apply([tf.ones_like(v) for v in model.trainable_variables])
  saver.save(30)

  again, position = dense_model(), checkpoints.Position()
  saver, other = open_saver(again, position)
  assert saver.restore_latest() == str(tmp_path / "model.ckpt-30")
  for new, old in zip(
    [*again.get_weights(), *other.variables],
    [*model.get_weights(), *optimizer.variables],
    strict=True,
  ):
    np.testing.assert_array_equal(new, old)
  position.resume((64, 1, 4, 1234))
  assert values_of(position) == (30, 960, 8, 0, [64, 1, 4, 1234])

  def notes():
    return [line for line in caplog.messages if "anew" in line]

  assert notes() == [
    "The checkpoint is of the version before: pass 8 starts anew."
  ]
  # The next one is of this version.
  saver.save(31)
  position = checkpoints.Position()
  saver, _ = open_saver(dense_model(), position)
  assert saver.restore_latest() == str(tmp_path / "model.ckpt-31")
  assert values_of(position) == (30, 960, 8, 0, [64, 1, 4, 1234])
  assert len(notes()) == 1
  position.resume((64, 1, 4, 1234))
  assert len(notes()) == 1


def test_a_resumed_run_drops_what_it_would_have_dropped(tmp_path):
  def dropping_model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((64,))
    return keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))

  def masks(model, count):
    return [
      model(tf.ones([1, 64]), training=True).numpy() for _ in range(count)
    ]

  def open_saver(model, **parts):
    return checkpoints.Saver(str(tmp_path), model, 5, **parts)

  model = dropping_model()
  states = checkpoints.random_states(model)
  assert len(states) == 1
  first = masks(model, 3)
  open_saver(model, random_states=states).save(3)
  expected = masks(model, 2)
  again = dropping_model()
  saver = open_saver(again, random_states=checkpoints.random_states(again))
  saver.restore_latest()
  np.testing.assert_array_equal(masks(again, 2), expected)
  assert (expected[0] != first[0]).any()
  # A checkpoint of before it had them, and one that is read without them.
  assert open_saver(dropping_model()).restore_latest()
  open_saver(dropping_model()).save(4)
  last = dropping_model()
  saver = open_saver(last, random_states=checkpoints.random_states(last))
  assert saver.restore_latest().endswith("-4")


def test_everything_comes_back(tmp_path):
  model, position = dense_model(), checkpoints.Position()
  optimizer = keras.optimizers.Adam(0.1)
  optimizer.build(model.trainable_variables)
  optimizer.apply([tf.ones_like(v) for v in model.trainable_variables])
  position.resume(LAYOUT)
  position.finish_pass()
  position.advance(2)
  saver = checkpoints.Saver(
    str(tmp_path), model, 5, optimizer=optimizer, position=position
  )
  assert saver.restore_latest() is None
  assert saver.save(7)
  expected = model.get_weights()

  again, resumed = dense_model(), checkpoints.Position()
  new_optimizer = keras.optimizers.Adam(0.1)
  new_optimizer.build(again.trainable_variables)
  saver = checkpoints.Saver(
    str(tmp_path), again, 5, optimizer=new_optimizer, position=resumed
  )
  path = saver.restore_latest()
  assert path == str(tmp_path / "model.ckpt-7")
  assert path == checkpoints.latest_checkpoint(str(tmp_path))
  for weight, value in zip(again.get_weights(), expected, strict=True):
    np.testing.assert_array_equal(weight, value)
  assert int(new_optimizer.iterations) == 1
  for new, old in zip(
    new_optimizer.variables, optimizer.variables, strict=True
  ):
    np.testing.assert_array_equal(new, old)
  assert values_of(resumed) == (1, 2, 1, 1, list(LAYOUT))
  # The step that was restored need not be saved again.
  assert not saver.save(7)
  assert saver.save(8)


@pytest.mark.parametrize("max_to_keep", [1, 3])
def test_the_latest_are_kept(tmp_path, max_to_keep):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), max_to_keep)
  for step in (1, 5, 10, 100):
    saver.save(step)
  assert steps_in(tmp_path) == [1, 5, 10, 100][-max_to_keep:]
  # Also of those that a run before this one wrote.
  saver = checkpoints.Saver(str(tmp_path), dense_model(), max_to_keep)
  saver.restore_latest()
  saver.save(101)
  assert steps_in(tmp_path) == [1, 5, 10, 100, 101][-max_to_keep:]


def test_a_step_is_saved_once(tmp_path):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  assert saver.save(3)
  fill(model, 9.0)
  assert not saver.save(3)
  saver.restore_latest()
  assert filled_with(model) == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  saver.save(1)
  weights, biases = model.get_weights()
  biases[-1] = value
  model.set_weights([weights, biases])
  with pytest.raises(checkpoints.DivergedError, match="finite after step 2;"):
    saver.save(2)
  assert steps_in(tmp_path) == [1]


@pytest.mark.parametrize("value", [-1, 10**18])
@pytest.mark.parametrize("name", ["step", "num_examples", "passes"])
def test_a_position_that_no_run_comes_to_is_damage(tmp_path, name, value):
  model, position = dense_model(), checkpoints.Position()
  saver = checkpoints.Saver(str(tmp_path), model, 5, position=position)
  saver.save(1)
  getattr(position, name).assign(value)
  saver.save(2)
  assert checkpoints.step_of(saver.restore_latest()) == 1
  assert int(getattr(position, name)) == 0


def test_infinities_do_not_cancel_and_large_weights_are_finite():
  model = dense_model()
  fill(model, 3e38)  # Their sum leaves float32, but none of them does.
  checkpoints.check_finite(1, model)
  weights, biases = model.get_weights()
  biases[:2] = np.inf, -np.inf
  model.set_weights([weights, biases])
  with pytest.raises(checkpoints.DivergedError, match="after step 30;"):
    checkpoints.check_finite(30, model)


@pytest.mark.parametrize(
  ("seconds", "now", "is_due"),
  [(60, 159.0, False), (60, 160.0, True), (0, 100.0, True)],
)
def test_a_checkpoint_is_due_after_its_seconds(
  tmp_path, monkeypatch, seconds, now, is_due
):
  clock = [100.0]
  monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 5, seconds)
  clock[0] = now
  assert saver.is_due() == is_due
  saver.save(1)
  assert saver.is_due() == (seconds == 0)


@pytest.mark.parametrize(
  "other",
  [
    {"num_classes": 4},
    {"size": 5},
    {"num_layers": 3, "size": 3},  # The third has no weights there.
  ],
)
def test_another_models_checkpoint_is_refused(tmp_path, other):
  two_layers = dense_model(num_layers=2, size=3)
  checkpoints.Saver(str(tmp_path), two_layers, 5).save(4)
  model = dense_model(**other)
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  with pytest.raises(UserError, match=r"ckpt-4' cannot be restored, .+\. Use"):
    saver.restore_latest()
  path = checkpoints.latest_checkpoint(str(tmp_path))
  with pytest.raises(UserError, match=r"ckpt-4' does not hold the model .+\.$"):
    checkpoints.restore_model(model, path)
  # A trainer would lose what the checkpoint has beyond its own model.
  saver = checkpoints.Saver(str(tmp_path), dense_model(size=3), 5)
  with pytest.raises(UserError, match="of another model"):
    saver.restore_latest()


def test_a_model_is_restored_without_the_rest(tmp_path):
  model, position = dense_model(), checkpoints.Position()
  saver = checkpoints.Saver(str(tmp_path), model, 5, position=position)
  for step in (1, 2):
    fill(model, step)
    saver.save(step)
  other = dense_model()
  # Not only the latest one.
  checkpoints.restore_model(other, str(tmp_path / "model.ckpt-1"))
  assert filled_with(other) == 1
  checkpoints.restore_model(other, str(tmp_path / "model.ckpt-2"))
  assert filled_with(other) == 2


def test_a_deleted_checkpoint_is_not_the_users_error(tmp_path):
  # eval.py goes on with the next one.
  with pytest.raises(checkpoints.UnreadableError, match="ckpt-1' cannot be"):
    checkpoints.restore_model(dense_model(), str(tmp_path / "model.ckpt-1"))


def test_a_damaged_checkpoint_is_refused(tmp_path):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 5)
  saver.save(1)
  (tmp_path / "model.ckpt-1.data-00000-of-00001").write_bytes(b"")
  with pytest.raises(UserError, match="^No checkpoint in '.*' can be read: "):
    saver.restore_latest()
  with pytest.raises(checkpoints.UnreadableError, match="ckpt-1' cannot be"):
    checkpoints.restore_model(dense_model(), str(tmp_path / "model.ckpt-1"))


@pytest.mark.parametrize(
  "error", [tf.errors.UnavailableError, tf.errors.ResourceExhaustedError]
)
def test_a_network_that_is_down_is_no_damage(tmp_path, monkeypatch, error):
  # What is taken for damaged is deleted with the next checkpoint.
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  for step in (1, 2):
    saver.save(step)

  def fail(self, path):
    raise error(None, None, "not now")

  monkeypatch.setattr(tf.train.Checkpoint, "restore", fail)
  message = r"ckpt-2' cannot be read now: not now\. Start again\.$"
  with pytest.raises(UserError, match=message):
    checkpoints.Saver(str(tmp_path), model, 5).restore_latest()


def test_the_configuration_is_written_with_the_first_checkpoint(tmp_path):
  class Config:
    folders = []

    def save(self, folder):
      assert not steps_in(folder)
      self.folders.append(folder)

  config = Config()
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 5, config=config)
  assert config.folders == []
  saver.save(1)
  saver.save(2)
  assert config.folders == [str(tmp_path)]


def test_statistics_that_are_not_finite_are_not_saved(tmp_path):
  inputs = keras.Input((3,))
  outputs = keras.layers.BatchNormalization()(inputs)
  model = keras.Model(inputs, outputs)
  model.layers[-1].moving_mean.assign([0.0, np.nan, 0.0])
  with pytest.raises(checkpoints.DivergedError):
    checkpoints.Saver(str(tmp_path), model, 5).save(1)


@pytest.mark.parametrize(
  "content",
  [
    None,
    b"",
    b"no protocol buffer",
    b'model_checkpoint_path: "/elsewhere/model.ckpt-9"\n',
    b'model_checkpoint_path: "../other/model.ckpt-9"\n',
    b'model_checkpoint_path: "model.ckpt-1"\n',
    b"\0\xff" * 1_000_000,
  ],
  ids=["missing", "empty", "text", "moved", "outside", "stale", "large"],
)
def test_files_count_and_not_what_names_them(tmp_path, content):
  model = dense_model()
  for folder, value in (("dir", 0.25), ("other", 9)):
    (tmp_path / folder).mkdir()
    saver = checkpoints.Saver(str(tmp_path / folder), model, 5)
    for step in (1, 2) if folder == "dir" else (9,):
      fill(model, value * step)
      saver.save(step)
  train_dir = tmp_path / "dir"
  state = (train_dir / "checkpoint").read_bytes()
  (train_dir / "checkpoint").unlink()
  if content is not None:
    (train_dir / "checkpoint").write_bytes(content)

  paths = [str(train_dir / f"model.ckpt-{step}") for step in (1, 2)]
  assert checkpoints.all_checkpoints(str(train_dir)) == paths
  assert checkpoints.latest_checkpoint(str(train_dir)) == paths[1]
  model = dense_model()
  assert checkpoints.restore_latest_model(model, str(train_dir)) == 2
  assert filled_with(model) == 0.5
  # Only the trainer brings the file up to date.
  assert (train_dir / "checkpoint").exists() == (content is not None)
  assert (
    checkpoints.Saver(str(train_dir), model, 5).restore_latest() == (paths[1])
  )
  assert (train_dir / "checkpoint").read_bytes() == state


def test_tensorflow_finds_the_checkpoints(tmp_path):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 2)
  for step in (9, 10, 11):
    saver.save(step)
  assert tf.train.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-11")
  state = tf.train.get_checkpoint_state(str(tmp_path))
  assert list(state.all_model_checkpoint_paths) == [
    str(tmp_path / f"model.ckpt-{step}") for step in (10, 11)
  ]


def test_checkpoints_of_tensorflows_manager_are_adopted(tmp_path):
  # This is how older versions of the suite wrote them.
  model, position = dense_model(), checkpoints.Position()
  position.step.assign(3)
  manager = tf.train.CheckpointManager(
    tf.train.Checkpoint(model=model, position=position),
    str(tmp_path),
    max_to_keep=5,
    checkpoint_name="model.ckpt",
  )
  fill(model, 0.75)
  manager.save(checkpoint_number=3)
  model, position = dense_model(), checkpoints.Position()
  saver = checkpoints.Saver(str(tmp_path), model, 5, position=position)
  assert saver.restore_latest() == str(tmp_path / "model.ckpt-3")
  assert filled_with(model) == 0.75
  assert int(position.step) == 3


# Names like those of checkpoints that no trainer gives.
OTHERS = [
  "model.ckpt-.index",
  "model.ckpt-1.index.bak",
  "model.ckpt-07.index",
  "model.ckpt-1e3.index",
  "model.ckpt-1234567890123456789.index",
  "my-model.ckpt-1.index",
  "model.ckpt-1.data-00000-of-00001.bak",
  "model.ckpt-1.notes",
  "notes.tmp",
  "predictions.csv.0123abcd.tmp",
]


def test_what_killed_runs_left_is_deleted(tmp_path):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 5)
  for step in range(1, 6):
    saver.save(step)
  kept = {f"model.ckpt-{step}{end}" for step in (4, 5) for end in ENDS}
  # Each of the ways in which a save can end too early.
  (tmp_path / "model.ckpt-6.tmp" / "model.ckpt_temp").mkdir(parents=True)
  (tmp_path / "model.ckpt-6.tmp" / "model.ckpt_temp" / "part").touch()
  (tmp_path / "model.ckpt-7_temp").mkdir()
  (tmp_path / "model.ckpt-8.data-00000-of-00001").touch()
  (tmp_path / "model.ckpt-1.index").unlink()
  for name in OTHERS:
    (tmp_path / name).touch()
  others = {*OTHERS, "checkpoint"}

  assert [
    checkpoints.step_of(path)
    for path in checkpoints.all_checkpoints(str(tmp_path))
  ] == [2, 3, 4, 5]
  everything = set(os.listdir(tmp_path))
  checkpoints.restore_latest_model(dense_model(), str(tmp_path))
  assert set(os.listdir(tmp_path)) == everything  # It is no trainer.
  checkpoints.Saver(str(tmp_path), dense_model(), 2).restore_latest()
  assert set(os.listdir(tmp_path)) == kept | others


def test_what_a_killed_first_save_left_is_deleted_with_the_next(tmp_path):
  (tmp_path / "model.ckpt-6.tmp").mkdir()
  (tmp_path / "model.ckpt-7.tmp").mkdir()
  (tmp_path / "model.ckpt-7.tmp" / "model.ckpt-3.index").touch()
  (tmp_path / "model.ckpt-8.data-00000-of-00001").touch()
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 2)
  assert saver.restore_latest() is None
  saver.save(7)
  names = {f"model.ckpt-7{end}" for end in ENDS}
  assert set(os.listdir(tmp_path)) == names | {"checkpoint"}


def test_no_index_is_ever_without_its_data(tmp_path, monkeypatch):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 1)
  saver.save(1)
  delete, seen = checkpoints.utils.delete, []

  def look_and_delete(path):
    delete(path)
    seen.append({name for name in os.listdir(tmp_path) if "ckpt-1" in name})

  monkeypatch.setattr(checkpoints.utils, "delete", look_and_delete)
  saver.save(2)
  # First the folder in which it was written.
  _, data = [f"model.ckpt-1{end}" for end in ENDS][::-1]
  assert seen == [{*seen[0]}, {data}, set()]


def test_what_cannot_be_deleted_is_a_warning(tmp_path, monkeypatch, caplog):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 1)
  saver.save(1)

  def refuse(path):
    raise UserError(f"{path} cannot be deleted")

  monkeypatch.setattr(checkpoints.utils, "delete", refuse)
  assert saver.save(2)
  assert steps_in(tmp_path) == [1, 2]
  assert "model.ckpt-1.index cannot be deleted" in caplog.text


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_an_unfinished_save_leaves_no_checkpoint(
  tmp_path, monkeypatch, end, is_there
):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  saver.save(1)
  before = set(os.listdir(tmp_path))
  if is_there:  # A damaged one, that a run before passed over.
    (tmp_path / "model.ckpt-2.index").touch()
  rename = tf.io.gfile.rename

  def fail(source, target, overwrite):
    if target.endswith(end):
      raise tf.errors.ResourceExhaustedError(None, None, "disk full")
    rename(source, target, overwrite)

  monkeypatch.setattr(tf.io.gfile, "rename", fail)
  with pytest.raises(UserError, match="^The checkpoint of step 2 .*disk full$"):
    saver.save(2)
  assert steps_in(tmp_path) == [1]
  monkeypatch.undo()
  assert saver.restore_latest() == str(tmp_path / "model.ckpt-1")
  assert set(os.listdir(tmp_path)) == before


def test_a_vanished_folder_does_not_come_back(tmp_path):
  (tmp_path / "dir").mkdir()
  saver = checkpoints.Saver(str(tmp_path / "dir"), dense_model(), 5)
  saver.save(1)
  shutil.rmtree(tmp_path / "dir")
  with pytest.raises(UserError, match="step 2 .*/dir': the folder has vanish"):
    saver.save(2)
  assert not (tmp_path / "dir").exists()


class LockOfFolder:
  """A lock that is lost with its folder."""

  def __init__(self, folder):
    self.folder = folder

  def check(self):
    if not self.folder.exists():
      raise UserError("the lock's folder has vanished")


@pytest.mark.parametrize("moment", ["_write", "_write_state"])
def test_a_folder_that_vanishes_while_saving(moment, tmp_path, monkeypatch):
  folder = tmp_path / "dir"
  folder.mkdir()
  lock = LockOfFolder(folder)
  saver = checkpoints.Saver(str(folder), dense_model(), 5, lock=lock)
  saver.save(1)
  function = getattr(saver, moment)

  def after_it_is_gone(*args, **kwargs):
    shutil.rmtree(folder)
    return function(*args, **kwargs)

  monkeypatch.setattr(saver, moment, after_it_is_gone)
  with pytest.raises(UserError, match="^the lock's folder has vanished$"):
    saver.save(2)
  assert not folder.exists()


def damage(folder, step):
  data = folder / f"model.ckpt-{step}.data-00000-of-00001"
  content = bytearray(data.read_bytes())
  content[0] ^= 1
  data.write_bytes(content)


def test_a_run_that_passed_over_a_damaged_checkpoint_goes_on(tmp_path):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 2)
  for step in (10, 20):
    fill(model, step)
    saver.save(step)
  damage(tmp_path, 20)
  saver = checkpoints.Saver(str(tmp_path), model, 2)
  assert checkpoints.step_of(saver.restore_latest()) == 10
  # It may only have been unreadable for a moment.
  assert steps_in(tmp_path) == [10, 20]
  saver.save(15)
  assert steps_in(tmp_path) == [10, 15]
  saver.save(20)
  assert steps_in(tmp_path) == [15, 20]
  assert checkpoints.restore_latest_model(model, str(tmp_path)) == 20


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  for step in (1, 2):
    fill(model, step)
    saver.save(step)
  damage(tmp_path, 2)
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  saver.restore_latest()
  fill(model, 3)
  saver.save(2)
  model = dense_model()
  assert checkpoints.restore_latest_model(model, str(tmp_path)) == 2
  assert filled_with(model) == 3


def test_evaluation_passes_over_damaged_checkpoints(tmp_path, caplog):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 5)
  for step in (1, 2, 3):
    fill(model, step)
    saver.save(step)
  damage(tmp_path, 3)
  (tmp_path / "model.ckpt-2.index").write_bytes(b"half an index")
  assert checkpoints.restore_latest_model(model, str(tmp_path)) == 1
  assert filled_with(model) == 1
  warnings = [record.message for record in caplog.records]
  assert [
    f"model.ckpt-{step}' cannot be read" in text
    for step, text in zip((3, 2), warnings, strict=True)
  ] == [True, True]


def test_only_damaged_checkpoints(tmp_path):
  saver = checkpoints.Saver(str(tmp_path), dense_model(), 5)
  for step in (1, 2):
    saver.save(step)
    damage(tmp_path, step)
  # The message is about the one that one would have had.
  with pytest.raises(UserError, match="ckpt-2' cannot be read: "):
    checkpoints.restore_latest_model(dense_model(), str(tmp_path))
  with pytest.raises(UserError, match=r"^No checkpoint in '.*: Checksum does"):
    saver.restore_latest()


def test_a_live_trainers_newer_checkpoint_is_taken(
  tmp_path, monkeypatch, caplog
):
  model = dense_model()
  saver = checkpoints.Saver(str(tmp_path), model, 1)
  saver.save(0)
  restore = checkpoints.restore_model

  def restore_late(model, path, use_averages):
    # The trainer is always faster, three times.
    step = checkpoints.step_of(path)
    if step < 3:
      saver.save(step + 1)
    restore(model, path, use_averages)

  monkeypatch.setattr(checkpoints, "restore_model", restore_late)
  assert checkpoints.restore_latest_model(dense_model(), str(tmp_path)) == 3
  assert "cannot be read" not in caplog.text  # Nothing was damaged.


def test_no_checkpoint_yet(tmp_path):
  with pytest.raises(UserError, match="no checkpoint yet. Train a model"):
    checkpoints.restore_latest_model(dense_model(), str(tmp_path))


def test_a_folder_that_cannot_be_written_is_the_users_error(tmp_path):
  saver = checkpoints.Saver(str(tmp_path / "dir"), dense_model(), 5)
  (tmp_path / "dir").touch()
  with pytest.raises(UserError, match="^The checkpoint of step 1 cannot be"):
    saver.save(1)


@pytest.mark.parametrize(
  "num_ways", [400, pytest.param(10_000, marks=pytest.mark.soak)]
)
def test_damage_of_all_kinds(num_ways, checkout, tmp_path):
  """The right weights, or those of an older checkpoint, and never a crash."""
  first, outcomes = 0, collections.Counter()
  problems = []
  while first < num_ways:
    result = subprocess.run(
      [
        *(sys.executable, checkout / "tests" / "damage_checkpoints.py"),
        *(checkout, tmp_path / "model", str(first), str(num_ways)),
      ],
      capture_output=True,
      text=True,
      check=False,
    )
    lines = result.stdout.splitlines()
    assert lines, result.stderr
    pairs = list(itertools.zip_longest(lines[::2], lines[1::2]))
    for way, outcome in pairs:
      outcome = (outcome or f"ended with {result.returncode}").strip()
      outcomes[outcome] += 1
      if outcome not in ("right", "older"):
        problems.append(f"{way}: {outcome}: {result.stderr[-500:]}")
    assert len(problems) < 10, problems
    first += len(pairs)
  assert not problems
  assert outcomes["older"] > 0.7 * num_ways
