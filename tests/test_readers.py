# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""From shards to batches: dialects, values, order, and bad records."""

import gc
import itertools
import os
import re
import weakref

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import readers
from tools import sample_data

NUM_CLASSES = 5
MAX_FRAMES = 4
VIDEO_SIZES = {"mean_rgb": 3, "mean_audio": 2}
FRAME_SIZES = {"rgb": 3, "audio": 2}
# Far more than a test's shards have.
RECORD_BYTES = 10_000

quick = settings(max_examples=60, deadline=None, derandomize=True)


def feature(values):
  """A feature of a list of bytes, int or float; a Feature is taken as it is."""
  if isinstance(values, tf.train.Feature):
    return values
  if values and isinstance(values[0], bytes):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
  if values and isinstance(values[0], int):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def integers(values):
  """Also no values at all are a list of integers."""
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def make_record(context, frames=None) -> bytes:
  """A serialized tf.Example, or a tf.SequenceExample if there are frames."""
  context = tf.train.Features(
    feature={name: feature(values) for name, values in context.items()}
  )
  if frames is None:
    return tf.train.Example(features=context).SerializeToString(
      deterministic=True
    )
  lists = {
    name: tf.train.FeatureList(feature=[feature(values) for values in rows])
    for name, rows in frames.items()
  }
  return tf.train.SequenceExample(
    context=context,
    feature_lists=tf.train.FeatureLists(feature_list=lists),
  ).SerializeToString(deterministic=True)


def video_context(video_id=b"vid0", labels=(1, 3)):
  """What a good video-level record holds; the values are halves: exact."""
  return {
    "id": [video_id],
    "labels": integers(labels),
    "mean_rgb": [0.5, -1.5, 2.0],
    "mean_audio": [-0.5, 1.0],
  }


def frame_parts(num_frames=2, video_id=b"vid0", labels=(1, 3)):
  """Context and frames of a good record; no two bytes of it are equal."""
  context = {"id": [video_id], "labels": integers(labels)}
  frames = {
    "rgb": [[bytes([9 * t, 9 * t + 1, 255 - t])] for t in range(num_frames)],
    "audio": [[bytes([100 + t, 200 - t])] for t in range(num_frames)],
  }
  return context, frames


def video_record(*args, **kwargs):
  return make_record(video_context(*args, **kwargs))


def frame_record(*args, **kwargs):
  return make_record(*frame_parts(*args, **kwargs))


def write_shard(path, records) -> str:
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records:
      writer.write(record)
  return str(path)


def numbered_shards(folder, counts, make=video_record) -> list[str]:
  """Shards with these numbers of videos, whose ids count from 000."""
  numbers = itertools.count()
  return [
    write_shard(
      folder / f"s{shard}.tfrecord",
      [make(video_id=b"%03d" % next(numbers)) for _ in range(count)],
    )
    for shard, count in enumerate(counts)
  ]


def video_reader(**kwargs):
  return readers.YT8MAggregatedFeatureReader(
    NUM_CLASSES, tuple(VIDEO_SIZES.values()), tuple(VIDEO_SIZES), **kwargs
  )


def frame_reader(**kwargs):
  return readers.YT8MFrameFeatureReader(
    NUM_CLASSES,
    tuple(FRAME_SIZES.values()),
    tuple(FRAME_SIZES),
    max_frames=MAX_FRAMES,
    **kwargs,
  )


def ids_of(batches):
  """The videos of each batch, without the padding."""
  return [
    batch["video_ids"].numpy()[batch["weights"].numpy() > 0].tolist()
    for batch in batches
  ]


def flat(lists):
  return list(itertools.chain.from_iterable(lists))


def decode(reader, *records, with_labels=True):
  """The arrays of records of which none is bad."""
  batch, is_bad = reader.decode(records, with_labels)
  assert not is_bad.any()
  return batch


# Dialects


# From the data sets' published descriptions: id key, features in order.
DIALECTS = {
  "v0_video": ("video_id", {"mean_inc3": 1024}, 1),
  "v1_video": ("video_id", {"mean_rgb": 1024, "mean_audio": 128}, 1),
  "v2_video": ("id", {"mean_rgb": 1024, "mean_audio": 128}, 1),
  "v0_frame": ("video_id", {"inc3": 1024}, 300),
  "v1_frame": ("video_id", {"rgb": 1024, "audio": 128}, 300),
  "v2_frame": ("id", {"rgb": 1024, "audio": 128}, 300),
  "audioset": ("video_id", {"audio_embedding": 128}, 10),
}


def test_every_dialect_is_tested():
  assert set(sample_data.DIALECTS) == set(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_are_recognised(tmp_path, dialect):
  id_key, sizes, max_frames = DIALECTS[dialect]
  kind = "codes" if max_frames > 1 else "vector"
  shards = sample_data.write_shards(
    tmp_path, dialect, num_videos=2, num_shards=2, num_classes=3
  )
  schema = readers.detect_schema(shards)
  record = next(iter(tf.data.TFRecordDataset(shards[0]))).numpy()
  assert (schema.shard, schema.id_key) == (shards[0], id_key)
  assert schema.forms == {name: (kind, size) for name, size in sizes.items()}
  assert list(schema.forms) == list(sizes)
  assert schema.max_frames == max_frames
  assert schema.record_bytes == len(record)
  assert schema.has_labels
  assert schema.frame_features == (max_frames > 1)


def test_test_shards_have_no_labels(tmp_path):
  shards = sample_data.write_shards(
    tmp_path,
    "v2_video",
    num_videos=1,
    num_shards=1,
    num_classes=3,
    labels=False,
  )
  assert not readers.detect_schema(shards).has_labels


@pytest.mark.parametrize(
  ("num_frames", "asked", "expected"),
  [
    # A clip of 10 s or less, and what is no AudioSet clip after all.
    (10, None, 10),
    (3, None, 10),
    (11, None, 300),
    (10, ("audio_embedding", "rgb"), 300),
  ],
)
def test_only_short_clips_are_padded_to_ten_frames(
  tmp_path, num_frames, asked, expected
):
  frames = {"audio_embedding": [[b"ab"]] * num_frames}
  if asked:
    frames["rgb"] = [[b"abc"]] * num_frames
  shard = write_shard(
    tmp_path / "s", [make_record({"video_id": [b"a"]}, frames)]
  )
  assert readers.detect_schema([shard], asked).max_frames == expected


def detect(folder, context, frames=None, asked=None):
  shard = write_shard(folder / "shard", [make_record(context, frames)])
  return readers.detect_schema([shard], asked)


def test_known_features_come_in_the_data_sets_order(tmp_path):
  # Whatever order a record was written in, and whatever else it holds.
  context = {
    "mean_audio": [1.0] * 2,
    "extra": [1.0] * 9,
    "mean_rgb": [1.0] * 3,
    "id": [b"a"],
  }
  schema = detect(tmp_path, context)
  assert schema.feature_names == ("mean_rgb", "mean_audio")
  assert schema.feature_sizes == (3, 2)


def test_unknown_features_are_taken_by_name(tmp_path):
  context = {"id": [b"a"], "labels": [1], "text": [1.0] * 4, "face": [2.0]}
  schema = detect(tmp_path, context)
  assert schema.feature_names == ("face", "text")
  assert schema.feature_sizes == (1, 4)
  frames = {"text": [[b"abcd"]], "face": [[b"a"]]}
  schema = detect(tmp_path, {"id": [b"a"]}, frames)
  assert schema.frame_features
  assert schema.feature_names == ("face", "text")
  assert schema.feature_sizes == (1, 4)


def test_asked_features_come_in_the_asked_order(tmp_path):
  context, frames = frame_parts()
  schema = detect(tmp_path, context, frames, asked=["audio", "rgb"])
  assert schema.feature_names == ("audio", "rgb")
  assert schema.feature_sizes == (2, 3)
  schema = detect(tmp_path, context, frames, asked=["audio"])
  assert schema.feature_names == ("audio",)


def test_the_first_of_two_id_keys_is_taken(tmp_path):
  context = {**video_context(), "video_id": [b"other"]}
  assert detect(tmp_path, context).id_key == "id"


@pytest.mark.parametrize("key", ["id", "labels"])
def test_id_and_labels_are_no_features(key):
  with pytest.raises(
    UserError, match=f"--feature_names: '{key}' is no feature"
  ):
    readers.YT8MAggregatedFeatureReader(3, (1,), (key,))


@pytest.mark.parametrize(
  ("context", "frames", "asked", "message"),
  [
    (
      {"name": [b"a"], "mean_rgb": [1.0]},
      None,
      None,
      "shard', record 0: it has neither 'id' nor 'video_id'; it has "
      "mean_rgb, name.$",
    ),
    (
      {"labels": [1]},
      {"rgb": [[b"a"]]},
      None,
      "neither 'id' nor 'video_id'; it has labels, rgb.$",
    ),
    (
      {"id": [b"a"], "labels": [1]},
      None,
      None,
      "shard', record 0 .video 'a'.: it has no video-level feature",
    ),
    (
      # Neither is a feature, whatever it holds.
      {"id": [b"a"], "video_id": [1.0], "labels": [1.0]},
      None,
      None,
      "shard', record 0 .video 'a'.: it has no video-level feature",
    ),
    (video_context(), None, ["labels"], "reads feature 'labels'"),
    (
      video_context(),
      None,
      ["inc3"],
      "^The model reads feature 'inc3' .--feature_names., but '.*shard' has "
      "the video-level features mean_audio, mean_rgb.$",
    ),
    (
      *frame_parts(),
      ["rgb", "mean_audio"],
      "feature 'mean_audio' .* frame-level features audio, rgb.$",
    ),
  ],
)
def test_records_of_another_kind_are_refused(
  tmp_path, context, frames, asked, message
):
  with pytest.raises(UserError, match=message):
    detect(tmp_path, context, frames, asked)


def test_videos_without_frames_are_passed_over(tmp_path):
  shard = write_shard(
    tmp_path / "shard", [frame_record(0), frame_record(0), frame_record(2)]
  )
  schema = readers.detect_schema([shard])
  assert schema.feature_sizes == (3, 2)
  assert schema.record_bytes == len(frame_record(2))
  no_frames = write_shard(tmp_path / "none", [frame_record(0)])
  assert readers.detect_schema([no_frames, shard]).shard == shard
  # Nothing but such videos: the size of a frame is nowhere to be seen.
  assert readers.detect_schema([no_frames]).feature_sizes == (0, 0)


def test_a_layout_is_looked_for_in_few_records_of_a_shard(tmp_path):
  # More would read terabytes before anything is said.
  records = [frame_record(0)] * readers._SCHEMA_RECORDS
  late = write_shard(tmp_path / "late", [*records, frame_record(2)])
  assert readers.detect_schema([late]).feature_sizes == (0, 0)
  in_time = write_shard(tmp_path / "time", [*records[1:], frame_record(2)])
  assert readers.detect_schema([late, in_time]).shard == in_time


# How _fault_error ends; all that a shard may be wrong in.
ADVICE = (
  ". Shards are uncompressed TFRecord files; fetch this one again, or give "
  "--on_bad_record=skip to leave out what cannot be read."
)


@pytest.mark.parametrize(
  ("content", "detail"),
  [
    (
      b"VideoId,LabelConfidencePairs\nvid0,1 0.5 2 0.25\n",
      "the file begins with the text b'VideoId,Labe'",
    ),
    (b"\x1f\x8b\x08" + b"\0" * 40, "the file is compressed with gzip"),
    (b"", "the file is empty"),
    (b"x", "the file ends in its header"),
    (
      b"\0" * 100,
      "its length does not match the checksum (CRC32C) stored with it, and so "
      f"the next record cannot be found; the file begins with {bytes(12)!r}",
    ),
  ],
)
def test_other_files_are_refused(tmp_path, content, detail):
  path = str(tmp_path / "file")
  (tmp_path / "file").write_bytes(content)
  shard = write_shard(tmp_path / "shard", [video_record()])
  expected = f"{path!r}, record 0: {detail}{ADVICE}"
  for shards in ([path], [path, shard]):
    with pytest.raises(UserError) as caught:
      readers.detect_schema(shards)
    assert str(caught.value) == expected
  # Where bad records are left out, another shard shows the layout.
  assert readers.detect_schema([path, shard], skip_bad=True).shard == shard
  with pytest.raises(UserError) as caught:
    readers.detect_schema([path], skip_bad=True)
  assert str(caught.value) == expected


def test_folders_and_missing_files_are_refused(tmp_path):
  for path, reason in (
    (tmp_path, "Is a directory"),
    (tmp_path / "missing", "No such file or directory"),
  ):
    start = re.escape(f"{str(path)!r}, record 0: the file cannot be read: ")
    end = re.escape(f"{reason}{ADVICE}")
    with pytest.raises(UserError, match=f"^{start}.*{end}$"):
      readers.detect_schema([str(path)])


@pytest.mark.parametrize("record", [b"", b"\xff garbage \xff", b"plain text"])
def test_records_that_are_no_examples_are_refused(tmp_path, record):
  shard = write_shard(tmp_path / "shard", [record, video_record()])
  message = "shard', record 0: it is neither a tf.Example"
  with pytest.raises(UserError, match=message):
    readers.detect_schema([shard])
  schema = readers.detect_schema([shard], skip_bad=True)
  assert schema.feature_sizes == (3, 2)


def test_names_and_sizes_come_in_pairs():
  with pytest.raises(
    UserError, match=r"^2 feature names \(a,b\) but 1 .*\(3\)"
  ):
    readers.YT8MAggregatedFeatureReader(5, (3,), ("a", "b"))


# Values


def test_video_level_values():
  records = [
    video_record(b"vid0", [1, 3]),
    make_record(
      {
        "id": ["ünïcode".encode()],
        "labels": [4, 0, 4, 4],  # A label that is listed twice is still 1.
        "mean_rgb": [1e-30, 3e38, -3e38],  # Finite; the sum need not be.
        "mean_audio": [0.0, -0.0],
      }
    ),
    make_record({**video_context(b"vid2", []), "other": [7]}),
  ]
  batch = decode(video_reader(), *records)
  assert batch["video_ids"].tolist() == [b"vid0", "ünïcode".encode(), b"vid2"]
  expected = np.array(
    [[0.5, -1.5, 2.0], [1e-30, 3e38, -3e38], [0.5, -1.5, 2.0]], np.float32
  )
  np.testing.assert_array_equal(batch["features"]["mean_rgb"], expected)
  np.testing.assert_array_equal(
    batch["features"]["mean_audio"], [[-0.5, 1], [0, 0], [-0.5, 1]]
  )
  assert batch["labels"].tolist() == [
    [0, 1, 0, 1, 0],
    [1, 0, 0, 0, 1],
    [0, 0, 0, 0, 0],
  ]
  assert batch["num_frames"].tolist() == [1, 1, 1]
  check_types(batch, np.float32)


def test_frame_level_values():
  # 0, 1, max_frames and max_frames + 2 frames, and all of them together.
  counts = [0, 1, MAX_FRAMES, MAX_FRAMES + 2]
  records = [frame_record(count, labels=[count % 5, 2]) for count in counts]
  for chosen in ([0], [1], [2], [3], [0, 1, 2, 3]):
    batch = decode(frame_reader(), *(records[i] for i in chosen))
    rgb = np.zeros((len(chosen), MAX_FRAMES, 3), np.uint8)
    audio = np.zeros((len(chosen), MAX_FRAMES, 2), np.uint8)
    for row, count in enumerate(counts[i] for i in chosen):
      for t in range(min(count, MAX_FRAMES)):
        rgb[row, t] = [9 * t, 9 * t + 1, 255 - t]
        audio[row, t] = [100 + t, 200 - t]
    np.testing.assert_array_equal(batch["features"]["rgb"], rgb)
    np.testing.assert_array_equal(batch["features"]["audio"], audio)
    assert batch["num_frames"].tolist() == [counts[i] for i in chosen]
    labels = [
      [float(label in (counts[i] % 5, 2)) for label in range(5)] for i in chosen
    ]
    assert batch["labels"].tolist() == labels
    check_types(batch, np.uint8)


def check_types(batch, feature_type):
  assert {values.dtype for values in batch["features"].values()} == {
    np.dtype(feature_type)
  }
  assert batch["labels"].dtype == np.float32
  assert batch["num_frames"].dtype == np.int32


def test_labels_are_not_needed_for_inference():
  context, frames = frame_parts()
  del context["labels"]
  # Labels that there are do no harm, even if they are of another vocabulary.
  records = [make_record(context, frames), frame_record(labels=[4000])]
  batch = decode(frame_reader(), *records, with_labels=False)
  assert batch["labels"].tolist() == [[0] * NUM_CLASSES] * 2
  context = video_context()
  del context["labels"]
  records = [make_record(context), video_record(labels=[-1])]
  batch = decode(video_reader(), *records, with_labels=False)
  assert batch["labels"].tolist() == [[0] * NUM_CLASSES] * 2


def test_one_feature_of_several_is_read(tmp_path):
  reader = readers.YT8MFrameFeatureReader(
    NUM_CLASSES, (2,), ("audio",), max_frames=3
  )
  shard = write_shard(tmp_path / "shard", [frame_record(1)])
  (batch,) = reader.evaluation_batches([shard], 1)
  assert list(batch["features"]) == ["audio"]
  assert batch["features"]["audio"].numpy().tolist() == [
    [[100, 200], [0, 0], [0, 0]]
  ]


# Evaluation


@pytest.mark.parametrize(
  ("batch_size", "num_readers"), [(1, 3), (6, 1), (7, 3), (8, 1), (8, 3)]
)
def test_evaluation_has_every_video_once(tmp_path, batch_size, num_readers):
  shards = numbered_shards(tmp_path, [3, 4])
  reader = video_reader(num_readers=num_readers)
  batches = list(reader.evaluation_batches(shards, batch_size))
  assert len(batches) == -(-7 // batch_size)
  for batch in batches:
    sizes = {len(value) for value in tf.nest.flatten(batch)}
    assert sizes == {batch_size}
  ids = flat(ids_of(batches))
  assert sorted(ids) == [b"%03d" % number for number in range(7)]
  # The first batches are full; what the last one lacks weighs nothing.
  weights = np.concatenate([batch["weights"] for batch in batches])
  assert weights.tolist() == [1] * 7 + [0] * (len(weights) - 7)


def test_evaluation_has_one_order(tmp_path):
  # More shards than are read in turn, of several lengths.
  shards = numbered_shards(tmp_path, [9, 1, 20] + [2] * 16)
  batches = video_reader().evaluation_batches(shards, 4)
  expected = flat(ids_of(batches))
  assert sorted(expected) == [b"%03d" % number for number in range(62)]
  assert flat(ids_of(batches)) == expected
  for num_readers in (1, 3):
    reader = video_reader(num_readers=num_readers)
    assert flat(ids_of(reader.evaluation_batches(shards, 62))) == expected


@pytest.mark.parametrize("make", [video_reader, frame_reader])
def test_padding_is_zeros(tmp_path, make):
  record = video_record if make is video_reader else frame_record
  shards = numbered_shards(tmp_path, [1], record)
  (batch,) = make().evaluation_batches(shards, 3)
  assert batch["video_ids"].numpy().tolist() == [b"000", b"", b""]
  for value in tf.nest.flatten({**batch, "video_ids": []}):
    assert not value[1:].numpy().any()
  for key in ("num_frames", "labels", "weights"):
    assert batch[key][0].numpy().any()


def test_shapes_are_static(tmp_path):
  # XLA compiles once per shape, so that of the last batch must be the same.
  shards = numbered_shards(tmp_path, [3], frame_record)
  batches = frame_reader().evaluation_batches(shards, 2)
  spec = tf.nest.map_structure(
    lambda tensor: (tensor.dtype, tensor.shape.as_list()),
    batches._dataset.element_spec,
  )
  assert spec == {
    "video_ids": (tf.string, [2]),
    "features": {
      "rgb": (tf.uint8, [2, MAX_FRAMES, 3]),
      "audio": (tf.uint8, [2, MAX_FRAMES, 2]),
    },
    "num_frames": (tf.int32, [2]),
    "labels": (tf.float32, [2, NUM_CLASSES]),
    "weights": (tf.float32, [2]),
  }
  assert [batch["labels"].shape for batch in batches] == [(2, NUM_CLASSES)] * 2


@pytest.mark.parametrize("counts", [[0], [0, 0], [3, 0, 4], [3, 4, 0]])
def test_empty_shards_are_refused(tmp_path, counts):
  # A download that failed, most likely.
  shards = numbered_shards(tmp_path, counts)
  empty = shards[counts.index(0)]
  for batches in (
    video_reader().evaluation_batches(shards, 2),
    training(shards).batches(0),
  ):
    with pytest.raises(UserError) as caught:
      list(batches)
    # Of two empty ones, training may open the second one first.
    others = [shard for shard in shards if not os.path.getsize(shard)]
    assert str(caught.value) in [
      f"{path!r}, record 0: the file is empty{ADVICE}" for path in others
    ]
    assert len(others) > 1 or repr(empty) in str(caught.value)


# Training

VIDEOS = [b"%03d" % number for number in range(11)]


@pytest.fixture(scope="module")
def eleven(tmp_path_factory):
  """Eleven videos in three shards."""
  return numbered_shards(tmp_path_factory.mktemp("eleven"), [4, 1, 6])


@pytest.fixture(scope="module")
def three_passes(eleven):
  """The videos of each batch of each of three passes."""
  passes = training(eleven)
  return [ids_of(passes.batches(number)) for number in range(3)]


def training(shards, batch_size=4, seed=7, reader=None, **where):
  reader = reader or video_reader()
  return reader.training_passes(shards, batch_size, seed, RECORD_BYTES, **where)


def test_a_pipeline_ends_with_its_passes(eleven):
  # Its threads run Python, and must not be there at the interpreter's end.
  passes = training(eleven)
  next(passes.batches(0))
  alive = weakref.ref(passes)
  del passes
  gc.collect()
  assert alive() is None


def test_every_pass_has_every_video_once(three_passes):
  for batches in three_passes:
    assert list(map(len, batches)) == [4, 4, 3]
    assert sorted(flat(batches)) == VIDEOS
  # Three different orders, and none is that of the shards.
  orders = {tuple(flat(batches)) for batches in three_passes}
  assert len(orders | {tuple(VIDEOS)}) == 4


def test_the_order_depends_on_nothing_but_seed_and_pass(eleven, three_passes):
  # A run may be resumed on another machine, or with another batch size; and
  # the passes are read in any order, from one pipeline.
  for num_readers, batch_size in ((1, 1), (3, 11), (40, 30)):
    reader = video_reader(num_readers=num_readers)
    passes = training(eleven, batch_size, reader=reader)
    for number in (2, 0, 1, 2):
      found = flat(ids_of(passes.batches(number)))
      assert found == flat(three_passes[number])
  other = training(eleven, seed=-8)
  assert ids_of(other.batches(0)) != three_passes[0]


def test_batches_are_passed_over(eleven, three_passes):
  passes = training(eleven)
  for skip in range(5):
    assert ids_of(passes.batches(1, skip)) == three_passes[1][skip:]


def test_a_blank_batch(eleven):
  passes = training(eleven)
  blank, batch = passes.blank(), next(passes.batches(0))
  for value, other in zip(*map(tf.nest.flatten, (blank, batch)), strict=True):
    assert (value.dtype, value.shape) == (other.dtype, other.shape)
  assert not blank["weights"].numpy().any()
  assert not blank["num_frames"].numpy().any()


@pytest.mark.parametrize(
  ("num_shards", "num_workers", "per_epoch"),
  [(1, 1, 1), (256, 1, 1), (257, 1, 2), (3844, 1, 16), (3844, 100, 3)],
)
def test_an_epoch_is_cut_evenly_into_passes(num_shards, num_workers, per_epoch):
  assert readers.passes_per_epoch(num_shards, num_workers) == per_epoch
  for epoch in range(2):
    numbers = range(epoch * per_epoch, (epoch + 1) * per_epoch)
    orders = [
      readers.pass_order(num_shards, per_epoch, 3, number).tolist()
      for number in numbers
    ]
    assert sorted(flat(orders)) == list(range(num_shards))
    sizes = set(map(len, orders))
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("sizes", [[2] * 19, [7, 30]])
def test_parts_of_a_pass_are_the_pass(tmp_path, sizes):
  # Of many shards, each worker reads some; of few, some records of each.
  shards = numbered_shards(tmp_path, sizes)
  parts = [training(shards, part=readers.Part(index, 2)) for index in range(2)]
  counts = []
  for number in range(2):
    found = [flat(ids_of(part.batches(number))) for part in parts]
    assert sorted(flat(found)) == [b"%03d" % n for n in range(sum(sizes))]
    counts.append(list(map(len, found)))
  # They take turns in having more.
  assert counts[0] == counts[1][::-1]


def test_a_small_buffer_shuffles_too(eleven):
  # Records of a gigabyte: one at a time.
  passes = video_reader().training_passes(eleven, 11, 7, 2**30)
  assert sorted(flat(ids_of(passes.batches(0)))) == VIDEOS


# Bad records


NOT_EXAMPLES = "it is neither a tf.Example nor a tf.SequenceExample"
NO_VALUE = tf.train.Feature()

# What is changed in a good record's context, and how the message says it.
# None as a value leaves the key out. Without a message nothing is wrong.
CONTEXT_CHANGES = {
  "label is num_classes": ({"labels": [1, 5]}, r"label 5 is outside \[0, 5\)"),
  "label is huge": ({"labels": [2**62]}, rf"label {2**62} is outside"),
  "label is negative": ({"labels": [-1, 2]}, "label -1 is outside"),
  "labels are floats": ({"labels": [1.0]}, "its 'labels' are of type float"),
  "labels are strings": ({"labels": [b"1"]}, "its 'labels' are of type byt"),
  "labels twice": ({"labels": [2, 2, 0]}, None),
  "two labels": ({"labels": [0, 1]}, None),
  "N-hot labels": ({"labels": [0, 1, 0, 0, 1]}, "are 5 zeros and ones; the"),
  "no labels": ({"labels": None}, "^it has no 'labels'$"),
  "no labels but in its name": (
    {"labels": None, "id": [b"labels"], "labels_of_2019": [1]},
    "^it has no 'labels'$",
  ),
  "labels without values": ({"labels": NO_VALUE}, None),
  "id is missing": ({"id": None}, "it has neither 'id' nor 'video_id'; "),
  "id under another key": ({"id": None, "video_id": [b"v"]}, None),
  "id is empty": ({"id": [b""]}, "its 'id' is not one string, or empty"),
  "id is a number": ({"id": [7]}, "its 'id' is not one string"),
  "two ids": ({"id": [b"a", b"b"]}, "its 'id' is not one string"),
  "id without values": ({"id": NO_VALUE}, "its 'id' is not one string"),
  "id is binary": ({"id": [b"\xff\x00\n'"]}, None),
  "something else": ({"start_time_seconds": [1.0]}, None),
}
VIDEO_CHANGES = {
  **CONTEXT_CHANGES,
  "feature is missing": (
    {"mean_rgb": None},
    "it has no feature 'mean_rgb'; it has ",
  ),
  "feature is short": (
    {"mean_audio": [1.0]},
    "its 'mean_audio' has 1 floats, 2 were expected",
  ),
  "feature is long": (
    {"mean_rgb": [1.0] * 4},
    "its 'mean_rgb' has 4 floats, 3 were expected",
  ),
  "feature without values": ({"mean_rgb": []}, "'mean_rgb' has 0 floats"),
  "feature of integers": ({"mean_rgb": [1, 2, 3]}, "'mean_rgb' has 0 floats"),
  "feature of bytes": ({"mean_audio": [b"ab"]}, "'mean_audio' has 0 floats"),
  "NaN": ({"mean_rgb": [1.0, np.nan, 1.0]}, "'mean_rgb' has values that are"),
  "infinity": ({"mean_audio": [np.inf, 1.0]}, "'mean_audio' has values that"),
  "minus infinity": ({"mean_audio": [1.0, -np.inf]}, "'mean_audio' has values"),
  "infinities": ({"mean_audio": [np.inf, -np.inf]}, "'mean_audio' has values"),
  "large values": ({"mean_audio": [3e38, 3e38]}, None),
  "large video": ({"mean_rgb": [3e38, 3e38, 0.0]}, None),
}
# Changes of the frames of a video of two.
FRAME_CHANGES = {
  "feature is missing": (
    {"rgb": None},
    "it has no frame feature 'rgb'; it has ",
  ),
  "no frames": ({"rgb": [], "audio": []}, None),
  "one feature without frames": (
    {"rgb": []},
    "differ in their number of frames: 0 of rgb, 2 of audio",
  ),
  "frame counts differ": (
    {"audio": [[b"ab"]] * 3},
    "differ in their number of frames: 2 of rgb, 3 of audio",
  ),
  "frame is short": (
    {"rgb": [[b"abc"], [b"ab"]]},
    "frame 1 of its 'rgb' has 2 bytes, 3 were expected",
  ),
  "frame is long": (
    {"audio": [[b"abc"], [b"ab"]]},
    "frame 0 of its 'audio' has 3 bytes, 2 were expected",
  ),
  "sizes that cancel": (
    {"rgb": [[b"ab"], [b"abcd"]]},
    "frame 0 of its 'rgb' has 2 bytes, 3 were expected",
  ),
  "frame is empty": (
    {"rgb": [[b"abc"], [b""]]},
    "frame 1 of its 'rgb' has 0 bytes",
  ),
  "bad frame beyond max_frames": (
    {"rgb": [[b"abc"]] * 5 + [[b"ab"]], "audio": [[b"ab"]] * 6},
    "frame 5 of its 'rgb' has 2 bytes",
  ),
  "frame of two strings": (
    {"rgb": [[b"abc", b"abc"], [b"abc"]]},
    "frame 0 of its 'rgb' is not one string",
  ),
  "frame of floats": (
    {"audio": [[b"ab"], [1.0, 2.0]]},
    "frame 1 of its 'audio' is not one string",
  ),
  "frame without values": (
    {"audio": [[b"ab"], NO_VALUE]},
    "frame 1 of its 'audio' is not one string",
  ),
  "feature nobody asked for": ({"text": [[b"x"]] * 7}, None),
}


def change(values, changes):
  changed = {**values, **changes}
  return {key: value for key, value in changed.items() if value is not None}


class Pipeline:
  """Reads a shard of a good record, the record in question, a good record."""

  def __init__(self, folder, reader, good):
    self.path = str(folder / "shard.tfrecord")
    self.reader = reader
    self._good = good
    self._batches = reader.evaluation_batches([self.path], 3)

  def read(self, record):
    write_shard(self.path, [self._good, record, self._good])
    return list(self._batches)

  def refuses(self, record) -> bool:
    """Does to one record what `read` does, a hundred times as fast."""
    _, is_bad = self.reader.decode([self._good, record, self._good])
    assert not is_bad[[0, 2]].any()
    return bool(is_bad[1])


@pytest.fixture(scope="module")
def video_pipeline(tmp_path_factory):
  folder = tmp_path_factory.mktemp("video_pipeline")
  return Pipeline(folder, video_reader(), video_record())


@pytest.fixture(scope="module")
def frame_pipeline(tmp_path_factory):
  folder = tmp_path_factory.mktemp("frame_pipeline")
  return Pipeline(folder, frame_reader(), frame_record())


def check_record(pipeline, record, message):
  """Refused with the message; accepted if there is none."""
  problem = pipeline.reader.describe_problem(record)
  if not message:
    assert problem is None
    (batch,) = pipeline.read(record)
    assert batch["weights"].numpy().tolist() == [1, 1, 1]
    return
  with pytest.raises(UserError) as caught:
    pipeline.read(record)
  where = re.escape(f"{pipeline.path!r}, record 1")
  match = re.match(
    rf"^{where}(?: \(video .*\))?: (.*)\. --on_bad_record=skip leaves such "
    r"records out\.$",
    str(caught.value),
  )
  assert match, caught.value
  assert match[1] == problem.detail
  assert re.search(message, problem.detail)


@pytest.mark.parametrize("name", VIDEO_CHANGES)
def test_video_level_records(video_pipeline, name):
  changes, message = VIDEO_CHANGES[name]
  record = make_record(change(video_context(), changes))
  check_record(video_pipeline, record, message)


@pytest.mark.parametrize("name", [*CONTEXT_CHANGES, *FRAME_CHANGES])
def test_frame_level_records(frame_pipeline, name):
  context, frames = frame_parts()
  if name in CONTEXT_CHANGES:
    changes, message = CONTEXT_CHANGES[name]
    context = change(context, changes)
  else:
    changes, message = FRAME_CHANGES[name]
    frames = change(frames, changes)
  record = make_record(context, frames)
  check_record(frame_pipeline, record, message)


@pytest.mark.parametrize("record", [b"", b"\xff garbage \xff", b"plain text"])
def test_records_that_are_no_examples(video_pipeline, frame_pipeline, record):
  check_record(video_pipeline, record, NOT_EXAMPLES)
  check_record(frame_pipeline, record, NOT_EXAMPLES)


def test_records_of_the_other_level(video_pipeline, frame_pipeline):
  check_record(video_pipeline, frame_record(), "it has no feature 'mean_rgb'")
  check_record(
    frame_pipeline, video_record(), "it has no frame feature 'rgb'; it has id"
  )


def check_agreement(pipeline, record, messages):
  """The pipeline and describe_problem agree: one of the messages, or fine."""
  problem = pipeline.reader.describe_problem(record)
  if not messages:
    assert problem is None
    assert not pipeline.refuses(record)
    return
  assert problem
  assert any(re.search(message, problem.detail) for message in messages), (
    problem
  )
  assert pipeline.refuses(record)


@quick
@given(names=st.sets(st.sampled_from(sorted(VIDEO_CHANGES)), max_size=4))
def test_any_video_level_record_is_read_or_explained(video_pipeline, names):
  # The later of two changes of one feature undoes the first.
  context, messages = video_context(), {}
  for name in sorted(names):
    changes, message = VIDEO_CHANGES[name]
    messages.update(dict.fromkeys(changes, message))
    context = {**context, **changes}
  record = make_record(change(context, {}))
  check_agreement(video_pipeline, record, list(filter(None, messages.values())))


@quick
@given(
  name=st.sampled_from(sorted(CONTEXT_CHANGES)),
  num_frames=st.integers(0, 6),
  lengths=st.lists(st.sampled_from([0, 2, 3, 3, 3, 4]), max_size=6),
)
def test_any_frame_level_record_is_read_or_explained(
  frame_pipeline, name, num_frames, lengths
):
  changes, message = CONTEXT_CHANGES[name]
  context, frames = frame_parts(num_frames)
  frames["rgb"] = [[b"\x80" * length] for length in lengths]
  messages = [message] if message else []
  if len(lengths) != num_frames:
    messages.append("differ in their number of frames")
  if set(lengths) - {3}:
    messages.append("of its 'rgb' has . bytes, 3 were expected")
  record = make_record(change(context, changes), frames)
  check_agreement(frame_pipeline, record, messages)


@quick
@given(data=st.data(), level=st.sampled_from(["video", "frame"]))
def test_damaged_records_are_explained_once_they_are_found(
  video_pipeline, frame_pipeline, data, level
):
  # One byte that changes, as a broken writer would do it, or a lost end.
  pipeline = video_pipeline if level == "video" else frame_pipeline
  good = video_record() if level == "video" else frame_record()
  place = data.draw(st.integers(0, len(good) - 1))
  byte = data.draw(st.none() | st.integers(0, 255))
  record = good[:place]
  if byte is not None:
    record += bytes([byte]) + good[place + 1 :]
  assert pipeline.refuses(record) == bool(
    pipeline.reader.describe_problem(record)
  )


def test_a_message_names_shard_record_and_video(tmp_path):
  # Record 2 of the second shard, in the middle of a shuffled pass.
  shards = numbered_shards(tmp_path, [5, 5])
  records = [video_record(video_id=b"%03d" % n) for n in range(5)]
  records[2] = video_record(video_id="bäd\n".encode(), labels=[9])
  write_shard(shards[1], records)
  message = (
    rf"^{re.escape(repr(shards[1]))}, record 2 \(video 'bäd\\n'\): its label 9"
    r" is outside \[0, 5\); check --num_classes\. --on_bad_record=skip leaves "
    r"such records out\.$"
  )
  with pytest.raises(UserError, match=message):
    list(training(shards).batches(0))
  with pytest.raises(UserError, match=message):
    list(video_reader().evaluation_batches(shards, 4))


def test_batches_before_a_bad_record_are_given(tmp_path):
  shard = numbered_shards(tmp_path, [4])[0]
  records = [video_record() for _ in range(4)]
  write_shard(shard, [*records, video_record(labels=[9])])
  batches = iter(video_reader().evaluation_batches([shard], 2))
  assert len([next(batches), next(batches)]) == 2
  with pytest.raises(UserError, match="record 4 "):
    next(batches)


def test_label_errors_need_labels(tmp_path):
  shard = write_shard(tmp_path / "shard", [video_record(labels=[9])])
  reader = video_reader()
  assert len(list(reader.evaluation_batches([shard], 1, with_labels=False)))
  assert reader.describe_problem(video_record(labels=[9]), False) is None
  assert reader.describe_problem(video_record(labels=[9])) is not None


@pytest.mark.parametrize(
  ("damage", "reason"),
  [
    (
      "flipped bit",
      "its data do not match the checksum (CRC32C) stored with it",
    ),
    (
      "truncated",
      "it should have {length} bytes and a checksum, but only 8 bytes are left "
      "in the file",
    ),
    ("missing", "the file cannot be read: {path}; No such file or directory"),
  ],
)
def test_a_damaged_shard_is_named(tmp_path, damage, reason):
  shards = numbered_shards(tmp_path, [4, 4, 4])
  path = shards[1]
  with open(path, "rb") as file:
    content = bytearray(file.read())
  # All records are of one size: a length, its checksum, the data, a checksum.
  size = len(content) // 4
  # The id comes first, as the key "id" is the first of them.
  place = "record 2 (video '006')"
  if damage == "flipped bit":
    content[3 * size - 5] ^= 1
  elif damage == "truncated":
    del content[2 * size + 20 :]
    place = "record 2"
  with open(path, "wb") as file:
    file.write(content)
  if damage == "missing":
    os.remove(path)
    place = "record 0"
  reason = reason.format(length=size - 16, path=path)
  for batches in (
    video_reader().evaluation_batches(shards, 4),
    training(shards).batches(0),
  ):
    with pytest.raises(UserError) as caught:
      list(batches)
    assert str(caught.value) == f"{path!r}, {place}: {reason}{ADVICE}"


def test_detection_reads_no_further_than_it_must(tmp_path):
  # A shard that is damaged later on is found to be so when it is read.
  (shard,) = numbered_shards(tmp_path, [3])
  os.truncate(shard, os.path.getsize(shard) - 5)
  assert readers.detect_schema([shard]).feature_sizes == (3, 2)
