# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of verify_shards.py: what it finds, counts, prints and exits with.

The kinds of bad data, and what is wrong with them, are those of
test_bad_data.py, where the readers leave out exactly these.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import test_bad_data
from test_bad_data import FRAME, LEVELS, NO_EXAMPLE, VIDEO

import devices
import readers
from tools import sample_data, verify_shards

NUM_CLASSES = 5
CLASSES_FLAG = f"--num_classes={NUM_CLASSES}"
FRAMING_BYTES = 16


def video(video_id=b"v", /, **changes) -> bytes:
  """A video-level record; mean_rgb has 3 values, mean_audio 2."""
  return VIDEO.record(0, **{"id": [video_id], **changes})


def frame_video(video_id=b"v", /, num_frames=2, **changes) -> bytes:
  """A frame-level record; a frame of rgb has 3 bytes, one of audio 2."""
  frames = {"rgb": [b"abc"] * num_frames, "audio": [b"ab"] * num_frames}
  return FRAME.record(0, **{"id": [video_id], **frames, **changes})


def write(path: pathlib.Path, *records: bytes) -> str:
  """Writes a shard; returns its path."""
  return test_bad_data.write_shard(path, records)


@pytest.fixture
def verify(fork_program, tmp_path):
  """Runs the program; gives the exit code, the JSON, stdout and stderr."""
  numbers = itertools.count()

  def run(*arguments, classes=CLASSES_FLAG):
    path = tmp_path / f"report{next(numbers)}.json"
    result = fork_program(
      *("tools.verify_shards", *map(str, arguments), classes),
      f"--output_json={path}",
      check=False,
    )
    assert "Traceback" not in result.stderr
    report = json.loads(path.read_text()) if path.exists() else None
    return result.returncode, report, result.stdout, result.stderr

  return run


def found_in(report) -> list[tuple]:
  """(shard, record, video id, cause, detail) of all problems, in order."""
  return sorted(
    (*map(item.get, ("shard", "record", "video_id")), cause, item["detail"])
    for cause, items in (
      (row["cause"], row["listed"]) for row in report["problems"]
    )
    for item in items
  )


def check(*shards) -> verify_shards.Report:
  """What is found in shards, in this process."""
  settings = verify_shards.VerifySettings(num_classes=NUM_CLASSES, labels=True)
  checker = verify_shards.make_checker(shards, settings)
  return verify_shards.check_shards(checker, shards)


def numbers(cause, report) -> list[int]:
  """The listed records with a problem."""
  return [item["record"] for item in report.listed[cause]]


def write_damaged(folder: pathlib.Path, level) -> tuple[list, list]:
  """Writes a shard of each kind; their problems, and what can be read."""
  problems, readable = [], []
  for number, case in enumerate(test_bad_data.SHARD_CASES.values(), start=10):
    path, first = folder / f"damaged{number}.tfrecord", 10 * number
    detail = test_bad_data.write_damaged(path, level, case, first)
    if path.exists():
      video_id = f"v{first + 2}" if case.has_id else None
      problems.append((str(path), case.number, video_id, case.cause, detail))
      lost = {first + number for number in case.lost}
      readable += map(level.record, {*range(first, first + 5)} - lost)
  return problems, readable


class TestProblems:
  @LEVELS
  def test_every_kind_of_record(self, verify, tmp_path, level):
    good = [
      level.record(1),
      level.record(2, labels=[]),
      level.record(3, labels=[2, 2, 0]),
      level.record(4, title=[b"words"]),
      *(level.record(5, id=[odd]) for odd in test_bad_data.ODD_IDS),
    ]
    cases = test_bad_data.cases_of(level)
    first = write(tmp_path / "1.tfrecord", *good)
    bad = [case.record(level, 12) for case in cases]
    second = write(tmp_path / "2.tfrecord", *bad, *good)
    code, report, _, _ = verify(first, second)
    assert code == 1
    # The id of another release is none to the readers, but is shown here.
    ids = [
      "v012" if case.has_id or b"video_id" in record else None
      for case, record in zip(cases, bad, strict=True)
    ]
    assert found_in(report) == [
      (second, number, ids[number], case.cause, case.detail)
      for number, case in enumerate(cases)
    ]
    assert report["num_problems"] == len(cases)
    assert report["num_shards_with_problems"] == 1
    assert report["totals"]["num_records"] == len(cases) + 2 * len(good)
    assert report["totals"]["num_videos"] == 2 * len(good)

  @LEVELS
  def test_every_kind_of_damage(self, verify, tmp_path, level):
    write(tmp_path / "a.tfrecord", level.record(1))
    problems, readable = write_damaged(tmp_path, level)
    readable.append(level.record(1))
    code, report, _, _ = verify(tmp_path / "*.tfrecord")
    assert code == 1
    assert found_in(report) == problems
    num_bytes = sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))
    num_used = sum(len(record) + FRAMING_BYTES for record in readable)
    assert report["totals"]["num_records"] == len(readable)
    assert report["totals"]["num_bytes"] == num_bytes
    assert report["totals"]["num_unreadable_bytes"] == num_bytes - num_used

  def test_shard_that_is_not_there(self, tmp_path):
    good = write(tmp_path / "a.tfrecord", video())
    gone = str(tmp_path / "gone.tfrecord")
    report = check(good, gone)
    assert report.problems == {"missing shard": 1}
    assert gone in report.listed["missing shard"][0]["detail"]
    assert report.sums["num_shards_with_problems"] == 1
    assert report.sums["num_records"] == 1

  def test_one_byte_of_a_large_shard(self, tmp_path):
    rng = np.random.default_rng(0)
    records = [video(b"%04d" % number) for number in range(2000)]
    path = write(tmp_path / "a.tfrecord", *records)
    whole = pathlib.Path(path).read_bytes()
    size = len(whole) // 2000
    for number in rng.integers(2000, size=5):
      position = number * size + rng.integers(8, size)  # Behind the length.
      changed = bytearray(whole)
      changed[position] ^= 0xFF
      pathlib.Path(path).write_bytes(changed)
      report = check(path)
      assert report.problems == {"damaged record": 1}
      assert numbers("damaged record", report) == [number]
      assert report.sums["num_records"] == 1999
      assert report.sums["num_unreadable_bytes"] == size

  @pytest.mark.parametrize("bad", [{0}, {999}, {255, 256}, {1, 40, 300, 301}])
  def test_bad_records_among_many(self, tmp_path, bad):
    # In blocks of 256: their neighbours are counted all the same, once.
    records = [
      video(b"%d" % n, labels=[9] if n in bad else [n % 5]) for n in range(1000)
    ]
    report = check(write(tmp_path / "a.tfrecord", *records))
    assert report.problems == {"label out of range": len(bad)}
    assert numbers("label out of range", report) == sorted(bad)
    _, sound = np.concatenate(report.videos, axis=1)
    assert sound.tolist() == sorted(set(range(1000)) - bad)

  def test_many_are_counted_and_the_first_listed(self, tmp_path, monkeypatch):
    monkeypatch.setattr(verify_shards, "MAX_LISTED", 70)
    shards = [
      write(tmp_path / f"{n}.tfrecord", *[video(labels=[9])] * 50)
      for n in range(2)
    ]
    report = check(*shards)
    assert report.problems == {"label out of range": 100}
    assert report.num_shards["label out of range"] == 2
    assert numbers("label out of range", report) == [*range(50), *range(20)]

  def test_reader_with_a_mind_of_its_own(self, tmp_path, monkeypatch):
    # What `decode` refuses is a problem, whatever `describe_problem` thinks.
    monkeypatch.setattr(
      readers.BaseReader, "describe_problem", lambda *arguments: None
    )
    records = [video(b"%d" % n) for n in range(100)]
    records[70] = video(mean_rgb=[1.0])
    report = check(write(tmp_path / "a.tfrecord", *records))
    assert report.problems == {"refused by the reader": 1}
    assert numbers("refused by the reader", report) == [70]

  def test_long_names_are_cut(self, tmp_path):
    record = video(mean_rgb=None, **{"x" * 10_000: [1.0]})
    report = check(write(tmp_path / "a.tfrecord", video(), record))
    assert len(report.listed["missing feature"][0]["detail"]) == 500


class TestLayout:
  @pytest.mark.parametrize("name", sample_data.DIALECTS)
  def test_dialects(self, verify, tmp_path, name):
    dialect = sample_data.DIALECTS[name]
    sizes = [8 + index for index in range(len(dialect.features))]
    sample_data.write_shards(
      str(tmp_path),
      name,
      num_videos=20,
      num_shards=2,
      num_classes=30,
      feature_sizes=sizes,
    )
    code, report, _, _ = verify(
      tmp_path / "train*.tfrecord", classes="--num_classes=30"
    )
    assert (code, report["num_problems"]) == (0, 0)
    names = [feature.name for feature in dialect.features]
    assert report["dialects"] == [
      {
        "is_expected": True,
        "level": "frame" if dialect.frames else "video",
        "id_key": dialect.id_key,
        "features": dict(zip(names, sizes, strict=True)),
        "num_records": 20,
        "num_shards": 2,
        "first_shard": str(tmp_path / "train0000.tfrecord"),
      }
    ]
    totals = report["totals"]
    assert totals["num_videos"] == 20
    assert (totals["frames"] is not None) == bool(dialect.frames)
    if dialect.frames:
      low, high = dialect.frames
      spread = totals["frames"]["per_video"]
      assert low <= spread["min"] <= spread["mean"] <= spread["max"] <= high

  def test_records_of_another_dialect(self, verify, tmp_path):
    first = write(tmp_path / "1.tfrecord", video(b"a"), video(b"b"))
    other = video(id=None, video_id=[b"c"])
    second = write(tmp_path / "2.tfrecord", other, video(b"d"), other)
    third = write(tmp_path / "3.tfrecord", frame_video(b"e", labels=[7]))
    code, report, output, _ = verify(first, second, third)
    assert code == 1
    features = {"mean_rgb": 3, "mean_audio": 2}
    assert [list(dialect.values()) for dialect in report["dialects"]] == [
      [True, "video", "id", features, 3, 2, first],
      [False, "video", "video_id", features, 2, 1, second],
      [False, "frame", "id", {"rgb": 3, "audio": 2}, 1, 1, third],
    ]
    causes = {row["cause"]: row["num_records"] for row in report["problems"]}
    assert causes == {"no id": 2, "missing feature": 1}
    listed = report["problems"][0]["listed"]
    assert [item["video_id"] for item in listed] == ["c", "c"]
    layout = "video level, video_id, mean_rgb 3, mean_audio 2"
    assert (
      f"another layout             {layout}: 2 records in 1 shard, "
      f"{second!r} first\n"
    ) in output

  def test_asked_features(self, verify, tmp_path):
    records = video(), video(mean_rgb=None), video(labels=[9])
    shard = write(tmp_path / "1.tfrecord", *records)
    code, report, _, _ = verify(shard, "--feature_names=mean_audio")
    assert (code, report["num_problems"]) == (1, 1)
    (dialect,) = report["dialects"]
    assert dialect["features"] == {"mean_audio": 2}
    assert dialect["num_records"] == 3
    code, report, _, _ = verify(shard, "--feature_names=mean_audio,mean_rgb")
    assert (code, report["num_problems"]) == (1, 2)
    code, report, output, error = verify(shard, "--feature_names=inc3")
    assert (code, report, output) == (1, None, "")
    assert "error: The model reads feature 'inc3' (--feature_names)" in error

  @pytest.mark.parametrize(
    ("detail", "record"),
    {
      "it has neither 'id' nor 'video_id'; it has labels, mean_audio, "
      "mean_rgb": video(id=None),
      NO_EXAMPLE: b"\xff",
      "no video has frames, which would show a frame's size": frame_video(
        num_frames=0
      ),
    }.items(),
  )
  def test_layout_that_no_record_shows(self, verify, tmp_path, record, detail):
    shard = write(tmp_path / "1.tfrecord", record, record)
    code, report, _, _ = verify(shard)
    assert code == 1
    causes = [(cause, text) for *_, cause, text in found_in(report)]
    assert causes == [("unknown layout", detail)] * 2
    assert report["dialects"] == []
    assert report["totals"]["num_videos"] == 0

  def test_no_shard_can_be_read(self, verify, tmp_path):
    (tmp_path / "a.csv").write_text("VideoId,LabelConfidencePairs\n")
    (tmp_path / "b.csv").touch()
    code, report, _, error = verify(tmp_path / "*.csv")
    assert code == 1
    causes = [problem["cause"] for problem in report["problems"]]
    assert causes == ["empty shard", "not a TFRecord file"]
    assert "error" not in error


WITHOUT, WITH, WRONG = video(labels=None), video(), video(labels=[9])
LOOKS_SO = video(b"labels", labels=None)


@pytest.mark.parametrize(
  ("records", "flags", "causes", "is_needed"),
  [
    ([WITHOUT, WITH], [], {"no labels": 1}, True),
    ([WITHOUT, WRONG], [], {"no labels": 1, "label out of range": 1}, True),
    ([WITHOUT, WITH, WRONG], ["--nolabels"], {}, False),
    ([WITHOUT] * 2, [], {}, False),
    ([WITHOUT] * 300, ["--labels"], {"no labels": 300}, True),
    ([LOOKS_SO, WITH], [], {"no labels": 1}, True),
  ],
)
def test_labels(verify, tmp_path, records, flags, causes, is_needed):
  shard = write(tmp_path / "1.tfrecord", *records)
  code, report, _, _ = verify(shard, *flags)
  assert code == bool(causes)
  assert causes == {
    problem["cause"]: problem["num_records"] for problem in report["problems"]
  }
  assert report["labels_needed"] is is_needed
  totals = report["totals"]
  assert totals["num_videos"] == len(records) - sum(causes.values())
  without = 0 if is_needed else len(records)
  assert totals["num_videos_without_labels"] == without
  has_spread = is_needed and totals["num_videos"] > 0
  assert (totals["labels_per_video"] is not None) == has_spread


class TestTotals:
  def test_video_level(self, verify, tmp_path):
    labels = [[0], [1, 3], [], [3, 3, 1, 0], [4]]
    records = [video(b"%d" % index, labels=labels[index]) for index in range(5)]
    paths = [
      write(tmp_path / "1.tfrecord", *records[:3]),
      write(tmp_path / "2.tfrecord", *records[3:]),
    ]
    code, report, output, error = verify(*paths)
    assert code == 0
    num_bytes = sum(pathlib.Path(path).stat().st_size for path in paths)
    assert report == {
      "num_problems": 0,
      "num_shards_with_problems": 0,
      "num_classes": 5,
      "labels_needed": True,
      "max_listed": 1000,
      "totals": {
        "num_shards": 2,
        "num_bytes": num_bytes,
        "num_unreadable_bytes": 0,
        "num_records": 5,
        "num_videos": 5,
        "num_videos_without_labels": 1,
        # A label that is listed twice counts once: 1, 2, 0, 3 and 1.
        "labels_per_video": {"min": 0, "mean": 1.4, "max": 3},
        "labels": {"min": 0, "max": 4, "num_different": 4},
        "frames": None,
        "repeated_ids": {"num_videos": 0, "first": None},
      },
      "dialects": report["dialects"],
      "problems": [],
    }
    assert output.splitlines() == [
      "layout                     video level, id, mean_rgb 3, mean_audio 2: "
      f"5 records in 2 shards, {paths[0]!r} first",
      "shards                     2",
      f"bytes                      {num_bytes}",
      "unreadable bytes           0",
      "records                    5",
      "videos without problem     5",
      "videos without labels      1",
      "labels per video           min 0, mean 1.40, max 3",
      "labels                     min 0, max 4, different 4",
      "frames                     -",
      "repeated ids               videos 0, first -",
      "",
      "Problems: 0, in 0 of 2 shards.",
    ]
    assert "shard 2 of 2 | 5 videos" in error
    assert re.search(r"Checked 5 videos, .* \([\d.]+ videos/s\)", error)

  def test_frame_level(self, verify, tmp_path):
    counts = [2, 0, 1, 300, 301, 10_000]
    records = [frame_video(b"%d" % count, num_frames=count) for count in counts]
    code, report, output, _ = verify(write(tmp_path / "1.tfrecord", *records))
    assert code == 0
    assert report["totals"]["frames"] == {
      "per_video": {"min": 0, "mean": 10604 / 6, "max": 10_000},
      "num_videos_without": 1,
      "max_frames": 300,
      "num_longer_videos": 2,
    }
    assert (
      "frames                     per video min 0, mean 1767.33, max 10,000, "
      "videos without 1, max frames 300, longer videos 2\n"
    ) in output

  def test_repeated_ids(self, verify, tmp_path):
    first = write(tmp_path / "1.tfrecord", video(b"a"), video(b"b"))
    second = write(
      tmp_path / "2.tfrecord",
      video(b"c"),
      video(b"a"),
      video(b"b", labels=[9]),  # A problem, and so not counted.
      video(b"a"),
      video(b"c"),
    )
    _, report, output, _ = verify(first, second)
    assert report["totals"]["repeated_ids"] == {
      "num_videos": 3,
      "first": [
        {"shard": second, "record": 1},
        {"shard": first, "record": 0},
      ],
    }
    places = f"shard {second!r}, record 1 and shard {first!r}, record 0"
    assert f"repeated ids               videos 3, first {places}\n" in output

  def test_many_problems_are_shown_by_their_number(self, verify, tmp_path):
    bad = video(b"b", labels=[9])
    first = write(tmp_path / "1.tfrecord", video(b"a"), bad, video(b""))
    second = write(tmp_path / "2.tfrecord", bad)
    _, _, output, _ = verify(first, second)
    assert output.split("\n\n", 1)[1].splitlines() == [
      "label out of range: 2 records in 2 shards; the first:",
      f"  {first!r}, record 1 (video 'b'): its label 9 is outside [0, 5); "
      "check --num_classes",
      "",
      "no id: 1 record in 1 shard; the first:",
      f"  {first!r}, record 2: its 'id' is not one string, or empty",
      "",
      "Problems: 3, in 2 of 2 shards.",
    ]

  def test_names_do_not_reach_the_terminal_as_they_are(self, verify, tmp_path):
    record = video(mean_rgb=None, **{"\x1b[2J\n\x9b": [1.0]})
    _, _, output, _ = verify(write(tmp_path / "1.tfrecord", video(), record))
    assert "\\x1b[2J" in output
    assert all(line.isprintable() for line in output.splitlines())


class TestArguments:
  @pytest.mark.parametrize(
    ("arguments", "count"),
    [
      (["{}/a*.tfrecord"], 2),
      (["{}/a*.tfrecord", "{}/b*.tfrecord", "{}/a1.tfrecord"], 3),
      (["{}/c[1].tfrecord", "{}/d*.tfrecord"], 2),
      (["{}/a*.tfrecord,{}/b1.tfrecord"], 3),
      (["--num_classes", "5", "{}/a1.tfrecord", "--labels"], 1),
    ],
  )
  def test_patterns_and_files(self, verify, tmp_path, arguments, count):
    for name in ("a1", "a2", "b1", "c[1]", "d*"):
      write(tmp_path / f"{name}.tfrecord", video(name.encode()))
    paths = [text.replace("{}", str(tmp_path)) for text in arguments]
    code, report, _, _ = verify(*paths)
    assert (code, report["totals"]["num_shards"]) == (0, count)

  @pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
      ([], 2, "PATTERN is missing. See --help."),
      (["x", "--nun_classes=3"], 2, "Unknown command line flag 'nun_classes'"),
      (["x", "--num_classes=0"], 2, "flag --num_classes=0"),
      (["x", "--num_workers=0"], 2, "flag --num_workers=0"),
      (["/none/x*"], 1, "PATTERN: no file matches '/none/x*'. Check the path"),
      ([""], 1, "PATTERN is empty. Give the shards' path, for instance '/path"),
      (["/"], 1, "PATTERN: '/' is a directory. Name the files in it, for"),
      (["{shard}", "/none/x"], 1, "PATTERN: no file matches '/none/x'."),
      (["{shard}", "--output_json=/none/x.json"], 1, "'/none/x.json' cannot"),
      (["{shard}", "--num_classes=99999999"], 2, "flag --num_classes=99999999"),
      (["{shard}", "--output_json={shard}"], 1, "is one of the shards to"),
    ],
  )
  def test_mistake_gets_one_line(
    self, fork_program, tmp_path, arguments, code, error
  ):
    shard = write(tmp_path / "1.tfrecord", video())
    content = pathlib.Path(shard).read_bytes()
    arguments = [text.replace("{shard}", shard) for text in arguments]
    result = fork_program("tools.verify_shards", *arguments, check=False)
    assert (result.returncode, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("verify_shards.py: error: ")
    assert error in line
    assert pathlib.Path(shard).read_bytes() == content

  def test_json_on_standard_output_is_alone_there(self, fork_program, tmp_path):
    path = write(tmp_path / "shard", video())
    result = fork_program("tools.verify_shards", path, "--output_json=-")
    assert json.loads(result.stdout)["totals"]["num_videos"] == 1
    assert "Problems: 0, in 0 of 1 shards.\n" in result.stderr


class TestProcesses:
  def test_number_depends_on_machine_and_shards(self, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "available_cpus", lambda: 4)
    shards = [str(tmp_path / f"{n}") for n in range(10)]
    for shard, size in zip(shards, itertools.cycle([0, 2**30]), strict=False):
      with open(shard, "wb") as file:
        file.truncate(size)
    # 5 GB are worth 11 processes, 1 GB is worth 3, and nothing is worth 1.
    assert verify_shards.choose_num_workers(shards) == 4
    assert verify_shards.choose_num_workers(shards[:2]) == 3
    assert verify_shards.choose_num_workers(shards[:1]) == 1
    assert verify_shards.choose_num_workers([str(tmp_path / "gone")]) == 1

  def test_results_do_not_depend_on_them(self, verify, tmp_path):
    write_damaged(tmp_path, VIDEO)
    for number in range(400):
      name = f"many{number:03}.tfrecord"
      write(tmp_path / name, video(b"%d" % number, labels=[number % 7]))
    pattern = tmp_path / "*.tfrecord"
    alone, again, others = (
      verify(pattern, f"--num_workers={count}") for count in (1, 1, 2)
    )
    assert alone[0] == 1
    assert alone[:3] == again[:3] == others[:3]
    reports = tmp_path.glob("report*.json")
    assert len({path.read_text() for path in reports}) == 1


@pytest.fixture(scope="module")
def endless(video_shards, tmp_path_factory) -> str:
  """A pattern of shards that take a minute or so to check."""
  folder = tmp_path_factory.mktemp("endless")
  (shard, *_) = video_shards.folder.glob("train*.tfrecord")
  large = folder / "large"
  large.write_bytes(shard.read_bytes() * 200)
  for number in range(5000):
    (folder / f"{number:04}.tfrecord").symlink_to(large)
  return f"{folder}/*.tfrecord"


def group_members(group: int) -> dict[int, bytes]:
  """Processes of a group that have not ended, with their command lines."""
  members = {}
  for folder in pathlib.Path("/proc").glob("[0-9]*"):
    with contextlib.suppress(OSError):
      stat = (folder / "stat").read_text().rpartition(")")[2].split()
      if int(stat[2]) == group and stat[0] != "Z":
        members[int(folder.name)] = (folder / "cmdline").read_bytes()
  return members


def find_workers(group: int) -> list[int]:
  members = group_members(group).items()
  return [pid for pid, line in members if b"spawn_main" in line]


# How it may end: its exit code, and how the only line begins, if it can say so.
ENDS = {
  "Ctrl-C": (130, "stopped by signal 2."),
  "SIGTERM": (143, "stopped by signal 15."),
  "SIGKILL": (-9, None),
  "worker": (1, "error: A worker process was killed while "),
}


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
  ("how", "moment"),
  [
    *itertools.product(ENDS, ["start", "middle"]),
    ("Ctrl-C", "stuck"),
    ("SIGTERM", "stuck"),
  ],
)
def test_end_of_processes(checkout, endless, tmp_path, how, moment):
  errors = tmp_path / "stderr"
  with errors.open("w") as file:
    process = subprocess.Popen(
      [
        *(sys.executable, "-m", "tools.verify_shards", endless),
        *("--num_workers=2", f"--output_json={tmp_path}/report.json"),
      ],
      stderr=file,
      cwd=checkout,
      stdout=subprocess.DEVNULL,
      start_new_session=True,
    )
  wait_until(lambda: len(find_workers(process.pid)) == 2)
  worker = find_workers(process.pid)[0]
  if moment == "middle":
    wait_until(lambda: "shard " in errors.read_text())
  if moment == "stuck":  # As one that waits for a slow disk.
    os.kill(worker, signal.SIGSTOP)
  if how == "Ctrl-C":
    os.killpg(process.pid, signal.SIGINT)
  elif how == "worker":
    os.kill(worker, signal.SIGKILL)
  else:
    process.send_signal(getattr(signal, how))
  code, last = ENDS[how]
  assert process.wait(30) == code
  wait_until(lambda: not group_members(process.pid))
  log = errors.read_text()
  assert "Traceback" not in log
  if last:
    (line,) = [line for line in log.splitlines() if "INFO" not in line]
    assert line.startswith(f"verify_shards.py: {last}")
    assert [path.name for path in tmp_path.iterdir()] == ["stderr"]


def wait_until(condition, timeout=60):
  deadline = time.monotonic() + timeout
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_a_signal_ends_it_without_workers_too(start_program, endless):
  process = start_program("tools.verify_shards", endless, "--num_workers=1")
  process.wait_for_line(r"shard \d+ of 5000")
  process.signal(signal.SIGINT)
  result = process.wait()
  assert result.returncode == 130
  assert result.stdout == ""
  assert result.stderr.splitlines()[-1] == (
    "verify_shards.py: stopped by signal 2."
  )
