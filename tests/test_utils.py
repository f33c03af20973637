# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Listing shards, looking up classes, and files that change all at once."""

import gc
import itertools
import os
import pathlib
import threading
import types
import weakref

from program import UserError

import pytest
import tensorflow as tf

import utils


@pytest.fixture
def folder(tmp_path):
  """A folder with four empty files and a folder in it."""
  for name in ("a1.tfrecord", "a0.tfrecord", "b0.tfrecord", "traina0"):
    (tmp_path / name).touch()
  (tmp_path / "inner").mkdir()
  return tmp_path


@pytest.mark.parametrize(
  ("patterns", "names"),
  [
    ("{0}/a*.tfrecord", ["a0.tfrecord", "a1.tfrecord"]),
    ("{0}/b0.tfrecord,{0}/a?.tfrecord", ["a0.tfrecord", "a1.tfrecord", "b0.*"]),
    # One file that both globs match, and the blanks that people type.
    (" {0}/a0.tfrecord , {0}/a*.tfrecord, ", ["a0.tfrecord", "a1.tfrecord"]),
    ("{0}/traina*", ["traina0"]),
  ],
)
def test_shards_are_listed_sorted_and_once(folder, patterns, names):
  shards = utils.list_shards(patterns.format(folder), "data")
  expected = [str(next(folder.glob(name))) for name in names]
  assert shards == expected


@pytest.mark.parametrize("patterns", ["", " , ,", None])
def test_an_empty_pattern_is_refused(patterns):
  with pytest.raises(UserError, match="^--train_data_pattern is empty"):
    utils.list_shards(patterns, "train_data_pattern")


def test_every_glob_must_match(folder):
  # The first one does: a typing error in the second would lose half the data.
  patterns = f"{folder}/a*.tfrecord,{folder}/c*.tfrecord"
  with pytest.raises(UserError, match=r"^--data: no file .*/c\*\.tfrecord"):
    utils.list_shards(patterns, "data")


@pytest.mark.parametrize("pattern", ["{0}/inner", "{0}/inner/", "{0}/*"])
def test_a_directory_is_refused(folder, pattern):
  with pytest.raises(UserError, match=r"^--data: .*inner/?' is a directory"):
    utils.list_shards(pattern.format(folder), "data")


def test_a_filesystem_that_does_not_exist_is_refused():
  with pytest.raises(UserError, match="^--data: 'nowhere://x' cannot be list"):
    utils.list_shards("nowhere://x", "data")


def _module(**members):
  module = types.ModuleType("made_up")
  vars(module).update(members)
  return module


class Base:
  pass


class First(Base):
  pass


class Second(First):
  pass


def test_classes_are_found_in_all_modules():
  modules = [_module(First=First), _module(Second=Second)]
  assert utils.find_class_by_name("First", modules, Base, "model") is First
  assert utils.find_class_by_name("Second", modules, Base, "model") is Second


@pytest.mark.parametrize("name", ["first", "Base", "Other", "system", "", "os"])
def test_nothing_but_subclasses_can_be_named(name):
  # Whatever else a module holds is out of a model_flags.json's reach.
  module = _module(
    First=First, Second=Second, Base=Base, Other=dict, system=os.system, os=os
  )
  message = f"^--model: unknown '{name}'. Available: First, Second.$"
  with pytest.raises(UserError, match=message):
    utils.find_class_by_name(name, [module], Base, "model")


def test_error_text_has_no_graph_coordinates():
  # Such a message as an eager op raises, and one without a `message`.
  error = tf.errors.NotFoundError(
    None, None, "{{function_node __wrapped__X}} no such file [Op:ReadFile]"
  )
  assert utils.error_text(error) == "no such file"
  assert utils.error_text(OSError("disk full")) == "disk full"


def test_a_replaced_file_is_whole(tmp_path):
  path = tmp_path / "file"
  path.write_bytes(b"old")
  with utils.replacing(str(path)) as file:
    file.write(b"new ")
    assert path.read_bytes() == b"old"
    file.write(b"content")
  assert path.read_bytes() == b"new content"
  assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
  "error", [ValueError, KeyboardInterrupt, SystemExit], ids=lambda e: e.__name__
)
def test_an_exception_leaves_the_old_file(tmp_path, error):
  path = tmp_path / "file"
  path.write_bytes(b"old")

  def write_half():
    with utils.replacing(str(path)) as file:
      file.write(b"half of")
      raise error

  with pytest.raises(error):
    write_half()
  assert path.read_bytes() == b"old"
  assert os.listdir(tmp_path) == ["file"]


def test_a_replaced_file_may_be_of_another_kind(tmp_path):
  path = str(tmp_path / "shard")
  with utils.replacing(path, tf.io.TFRecordWriter) as writer:
    writer.write(b"record")
    assert "shard" not in os.listdir(tmp_path)
  (record,) = tf.data.TFRecordDataset(path)
  assert record.numpy() == b"record"


def test_a_file_that_cannot_be_written_is_the_users_error(tmp_path):
  path = str(tmp_path / "missing" / "file")
  with (
    pytest.raises(UserError, match="missing/file' cannot be written"),
    utils.replacing(path) as file,
  ):
    file.write(b"x")


def test_errors_of_what_is_written_are_not_the_files(tmp_path):
  def run_out_of_memory():
    with utils.replacing(str(tmp_path / "file")) as file:
      file.write(b"x")
      raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

  with pytest.raises(tf.errors.ResourceExhaustedError):
    run_out_of_memory()
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["folder", "folder/", ""])
def test_a_folder_is_not_replaced_by_a_file(tmp_path, name):
  (tmp_path / "folder").mkdir()
  is_reached = False
  with (
    pytest.raises(UserError, match="cannot be written: a file's name is need"),
    utils.replacing(f"{tmp_path}/{name}"),
  ):
    is_reached = True
  assert not is_reached  # Before hours of work, not after.
  assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["a", "./a", "../{0}/a", "link"])
def test_no_input_is_overwritten_by_whatever_name(tmp_path, name):
  (tmp_path / "a").write_text("")
  (tmp_path / "link").symlink_to(tmp_path / "a")
  path = f"{tmp_path}/{name.format(tmp_path.name)}"
  with pytest.raises(UserError, match=" is to be written, and is read, too"):
    utils.refuse_overwriting([path], [None, str(tmp_path / "a")])
  with pytest.raises(UserError, match="Two files are to be written to '.*/"):
    utils.refuse_overwriting([str(tmp_path / "a"), path], [])
  utils.refuse_overwriting([path, "-"], [str(tmp_path / "b"), "gs://b/a"])


class TestNewFolder:
  def write(self, path, text="new", **options):
    with utils.new_folder(str(path), "export_dir", "last", **options) as place:
      (pathlib.Path(place) / "last").write_text(text)

  def test_it_takes_the_place_of_an_empty_one(self, tmp_path):
    (tmp_path / "a").mkdir()
    self.write(f"{tmp_path}/a/")
    assert (tmp_path / "a" / "last").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

  def test_what_came_meanwhile_stays(self, tmp_path):
    def write_both():
      with utils.new_folder(str(tmp_path / "a"), "export_dir", "last"):
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "other").write_text("mine")

    with pytest.raises(UserError, match="--export_dir='.*a' cannot be written"):
      write_both()
    assert (tmp_path / "a" / "other").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

  def test_what_is_replaced_and_what_a_kill_left(self, tmp_path):
    for name in ("a", "a.tmp", "a.old.tmp"):
      (tmp_path / name).mkdir()
      (tmp_path / name / "old").write_text("old")
    self.write(tmp_path / "a", replaces=True)
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert sorted(names) == ["a", "a/last"]

  def test_what_a_replaced_link_leads_to_stays(self, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "old").write_text("old")
    (tmp_path / "a").symlink_to(tmp_path / "other")
    self.write(tmp_path / "a", replaces=True)
    assert (tmp_path / "other" / "old").read_text() == "old"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a" / "last").read_text() == "new"

  def test_no_name(self, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="--export_dir is empty"):
      self.write("")
    assert (tmp_path / "mine").exists()


def test_folders_are_made_with_those_above(tmp_path):
  path = tmp_path / "a" / "b"
  for _ in range(2):  # One that exists is fine.
    utils.make_folder(str(path), "train_dir")
    assert path.is_dir()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path, name):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=f"^--train_dir='.*/{name}' "):
    utils.make_folder(str(tmp_path / name), "train_dir")


@pytest.mark.parametrize(
  "value", [{}, [], None, {"a": [1, 2.5, None, "ü"], "b": {"c": True}}]
)
def test_json_comes_back(tmp_path, value):
  path = str(tmp_path / "file.json")
  utils.write_json(path, value)
  assert utils.read_json(path) == value


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
  path = tmp_path / "file.json"
  utils.write_json(str(path), {"step": 1})
  with pytest.raises(TypeError):
    utils.write_json(str(path), {"step": object()})
  assert utils.read_json(str(path)) == {"step": 1}
  assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xff", b"{'a': 1}"])
def test_what_is_no_json_is_refused(tmp_path, content):
  path = tmp_path / "file.json"
  path.write_bytes(content)
  with pytest.raises(UserError, match=r"file\.json' is not valid JSON: "):
    utils.read_json(str(path))


def test_json_that_cannot_be_read_is_refused(tmp_path):
  with pytest.raises(UserError, match=r"none\.json' cannot be read: "):
    utils.read_json(str(tmp_path / "none.json"))
  with pytest.raises(UserError, match="cannot be read: "):
    utils.read_json(str(tmp_path))


def test_quantisation_is_that_of_the_data_set():
  # Real v2 features span exactly this.
  scale, offset = utils.DEQUANTIZE_SCALE, utils.DEQUANTIZE_OFFSET
  assert 0 * scale + offset == -1.9921875
  assert 255 * scale + offset == 2.0078125


# One ahead


def test_one_ahead_gives_every_item_in_order():
  with utils.one_ahead(range(5)) as items:
    assert list(items) == [0, 1, 2, 3, 4]
  with utils.one_ahead([]) as items:
    assert list(items) == []


def test_one_ahead_makes_the_next_item_meanwhile():
  started = [threading.Event() for _ in range(3)]

  def make():
    for event in started:
      event.set()
      yield threading.current_thread()

  with utils.one_ahead(make()) as items:
    makers = []
    for number, maker in enumerate(items):
      makers.append(maker)
      if number < 2:
        assert started[number + 1].wait(timeout=30)
  assert threading.current_thread() not in makers


def test_one_ahead_raises_what_making_an_item_raises():
  def make():
    yield 1
    raise UserError("bad record")

  with utils.one_ahead(make()) as items:
    assert next(items) == 1
    with pytest.raises(UserError, match="bad record"):
      next(items)


def test_one_ahead_keeps_nothing_after_an_exception():
  class Source:
    def __iter__(self):
      yield 1
      raise UserError("bad record")

  source = Source()
  reference = weakref.ref(source)
  gc.disable()  # Only what references alone free is freed in time.
  try:
    with pytest.raises(UserError) as raised, utils.one_ahead(source) as items:
      list(items)
    del source, items, raised
    assert reference() is None
  finally:
    gc.enable()


def test_one_ahead_can_be_left_early():
  made = []
  numbers = (made.append(number) or number for number in itertools.count())
  with utils.one_ahead(numbers) as items:
    assert next(items) == 0
  assert len(made) <= 3


class TestNamesOfPatterns:
  def test_the_home_folder(self, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert utils.list_shards("~/b0.tfrecord,~/a0.tfrecord", "data") == [
      str(folder / "a0.tfrecord"),
      str(folder / "b0.tfrecord"),
    ]
    assert (
      utils.expanded("~/x,gs://b/~/y,~") == f"{folder}/x,gs://b/~/y,{folder}"
    )

  def test_hidden_companions_are_no_shards(self, folder):
    (folder / "._a0.tfrecord").touch()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a9.tfrecord").touch()
    for pattern in ("*a0.tfrecord", "?_a0.tfrecord,a0.tfrecord"):
      parts = ",".join(f"{folder}/{part}" for part in pattern.split(","))
      if "?" in pattern:
        with pytest.raises(UserError, match="no file matches"):
          utils.list_shards(parts, "data")
      else:
        assert utils.list_shards(parts, "data") == [str(folder / "a0.tfrecord")]
    with pytest.raises(UserError, match="no file matches"):
      utils.list_shards(f"{folder}/*/a9.tfrecord", "data")
    # A dot that is asked for is one.
    (hidden,) = utils.list_shards(f"{folder}/.hidden/a*.tfrecord", "data")
    assert hidden.endswith("a9.tfrecord")

  @pytest.mark.parametrize("name", ["a[1].tfrecord", "a,b.tfrecord", "a*b?"])
  def test_a_file_that_has_exactly_this_name(self, folder, name):
    (folder / name).touch()
    path = str(folder / name)
    assert utils.list_shards(path, "data") == [path]

  @pytest.mark.parametrize("name", ["set [1]", "set,1", "a*"])
  def test_a_folder_that_has_exactly_this_name(self, folder, name):
    (folder / name).mkdir()
    for number in (1, 2):
      (folder / name / f"train{number}").touch()
    found = utils.list_shards(f"{folder}/{name}/train*", "data")
    assert found == [str(folder / name / f"train{n}") for n in (1, 2)]

  @pytest.mark.parametrize("pattern", ["{0}/a[9", "{0}/no[1].tfrecord"])
  def test_special_characters_are_named_where_nothing_matches(
    self, folder, pattern
  ):
    with pytest.raises(UserError, match=r"are special.* \[\[\] for \["):
      utils.list_shards(pattern.format(folder), "data")

  @pytest.mark.parametrize("scheme", ["s3", "hdfs", "https"])
  def test_a_filesystem_that_tensorflow_does_not_have(self, scheme):
    with pytest.raises(
      UserError, match=f"has no filesystem for {scheme}://. Use a local path or"
    ):
      utils.list_shards(f"{scheme}://bucket/train*", "data")


class TestStreams:
  @pytest.fixture(params=["fifo", "device", "link"])
  def place(self, request, tmp_path):
    """A path that is no plain file, and how to read what was written there."""
    path = tmp_path / "place"
    if request.param == "device":
      yield "/dev/null", lambda: b"content"
    elif request.param == "link":
      (tmp_path / "file").write_bytes(b"old")
      path.symlink_to("file")
      yield str(path), (tmp_path / "file").read_bytes
    else:
      os.mkfifo(path)
      descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
      yield str(path), lambda: os.read(descriptor, 99)
      os.close(descriptor)

  def test_it_is_written_to_and_not_replaced(self, place):
    path, read = place
    before = os.lstat(path)
    with utils.replacing(path, follows_links=True) as file:
      file.write(b"con")
      file.write(b"tent")
      file.flush()
    after = os.lstat(path)
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
    assert read() == b"content"

  def test_standard_output(self, capfdbinary):
    with utils.replacing("-") as file:
      file.write(b"rows\n")
    assert capfdbinary.readouterr().out == b"rows\n"
    assert utils.is_stream("/dev/stdout")
    assert not utils.is_stream("gs://bucket/-")


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
  utils.make_writable_folder(str(tmp_path / "made"), "eval_dir")
  # The permissions that a folder has say nothing to root.
  monkeypatch.setattr(utils.os, "access", lambda *unused: False)
  with pytest.raises(UserError, match="--eval_dir=.* may not write"):
    utils.make_writable_folder(str(tmp_path / "made"), "eval_dir")
