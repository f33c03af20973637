# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Counting what is left out: each once, and how much of the whole it is."""

import json
import threading

from program import UserError

import pytest

import bad_records
from bad_records import BadRecords, Problem, place
from shard_files import Fault

NO_ID = Problem("no id", "it has no 'id'")
NO_LABELS = Problem("no labels", "it has no 'labels'")


def fault(number=0, lost_bytes=50, is_short=False):
  return Fault(
    cause="damaged record",
    detail="its data are damaged",
    number=number,
    lost_bytes=lost_bytes,
    is_short=is_short,
  )


@pytest.fixture
def shards(tmp_path):
  """Four shards of 1000 bytes: 40 records, if one has 100 bytes."""
  paths = [tmp_path / f"s{number}" for number in range(4)]
  for path in paths:
    path.write_bytes(bytes(1000))
  return list(map(str, paths))


@pytest.fixture
def report_path(tmp_path):
  return tmp_path / "bad_records.json"


@pytest.fixture
def left_out(shards, report_path):
  """Of 40 records expected, 2 may be left out."""
  noted = BadRecords(str(report_path), max_fraction=0.05)
  noted.expect(shards, record_bytes=100)
  return noted


def test_places():
  assert place("/a/s 1", 3) == "'/a/s 1', record 3"
  assert place("s", 0, "vid0") == "'s', record 0 (video 'vid0')"
  assert place("s", 0, "a\nb") == r"'s', record 0 (video 'a\nb')"
  assert place("s", 0, "") == "'s', record 0"


def test_nothing_left_out_is_nothing_said(left_out, report_path, caplog):
  with left_out:
    left_out.check()
  assert not report_path.exists()
  assert not caplog.messages


def test_as_much_as_may_be_left_out_is(left_out, report_path):
  left_out.leave_out("s0", 1, NO_ID, None)
  left_out.leave_out("s0", 2, NO_LABELS, "v")
  left_out.check()  # 2 of 40 are 5%, not more.
  left_out.leave_out("s0", 3, NO_LABELS, "w")
  with pytest.raises(UserError) as caught:
    left_out.check()
  assert str(caught.value) == (
    "More cannot be used than --max_bad_fraction=0.05 allows: 3 of about 40 "
    "records (7.50%), 2 no labels, 1 no id. They are listed in "
    f"{str(report_path)!r}."
  )


@pytest.mark.parametrize(("max_fraction", "is_fine"), [(0.0, False), (1, True)])
def test_nothing_or_everything_may_be_left_out(
  shards, report_path, max_fraction, is_fine
):
  left_out = BadRecords(str(report_path), max_fraction)
  left_out.expect(shards, 100)
  left_out.check()
  for shard in shards[: 4 if is_fine else 1]:
    left_out.leave_out_fault(shard, fault(is_short=True), None)
    left_out.add_shard(shard, 0, 0)
  if is_fine:
    left_out.check()
    assert left_out.summary() == (
      "40 of about 40 records (100.00%), 40 damaged record"
    )
  else:
    with pytest.raises(UserError, match="10 of about 40"):
      left_out.check()


def test_what_is_met_again_counts_once(left_out):
  for _ in range(3):
    left_out.leave_out("s0", 1, NO_ID, None)
    left_out.leave_out_fault("s1", fault(1), None)
    left_out.add_shard("s0", 9, 900)
  assert left_out.summary() == (
    "2 of about 40 records (5.00%), 1 no id, 1 damaged record"
  )
  # Other records: of the same number, of the same shard.
  left_out.leave_out("s1", 2, NO_ID, None)
  left_out.leave_out("s0", 2, NO_ID, None)
  assert left_out.summary().startswith("4 of about 40 ")


def test_another_fault_of_a_record_counts(left_out):
  # Its record 0 was bad in the first pass; it has gone in the second.
  left_out.leave_out("s0", 0, NO_ID, None)
  gone = Fault(cause="missing shard", detail="it has gone", is_short=True)
  left_out.leave_out_fault("s0", gone, None)
  assert left_out.summary() == (
    "11 of about 40 records (27.50%), 10 missing shard, 1 no id"
  )


@pytest.mark.parametrize(
  ("lost_bytes", "number", "is_short", "expected"),
  [
    # Records of 100 bytes, ten in a shard.
    (1, 0, False, 1),
    (116, 0, False, 1),
    (360, 0, False, 4),
    (1000, 9, False, 10),
    # More may be missing than the file has: up to as many as the others have.
    (0, 0, True, 10),
    (50, 7, True, 3),
    (450, 7, True, 4),
    (50, 9, True, 1),
    (50, 30, True, 1),
  ],
)
def test_records_lost_in_a_fault_are_estimated(
  left_out, lost_bytes, number, is_short, expected
):
  left_out.leave_out_fault("s0", fault(number, lost_bytes, is_short), None)
  assert left_out.summary() == (
    f"{expected} of about 40 records ({expected / 40:.2%}), "
    f"{expected} damaged record"
  )


def test_the_estimate_becomes_exact(left_out, shards):
  # Records have 50 bytes on average, not 100; so there are about 80.
  left_out.add_shard(shards[0], 20, 1000)
  left_out.leave_out(shards[0], 5, NO_ID, None)  # One of the 20.
  assert left_out.summary() == "1 of about 80 records (1.25%), 1 no id"
  # Of the last three, 5, 7 and 0 can be read; and 0, 2 and 10 are lost.
  left_out.add_shard(shards[1], 5, 250)
  left_out.leave_out_fault(shards[2], fault(7, 100), None)
  left_out.add_shard(shards[2], 7, 350)
  left_out.leave_out_fault(shards[3], fault(0, 500), None)
  left_out.add_shard(shards[3], 0, 0)
  expected = 20 + 5 + 7 + 2 + 10
  assert left_out.summary() == (
    f"13 of about {expected} records ({13 / expected:.2%}), "
    "12 damaged record, 1 no id"
  )


def test_more_than_expected_is_believed(shards, report_path):
  left_out = BadRecords(str(report_path), 0.01)
  left_out.expect(shards, record_bytes=4000)  # The first is a long video.
  left_out.leave_out(shards[0], 0, NO_ID, None)
  assert left_out.summary().startswith("1 of about 1 ")
  left_out.add_shard(shards[0], 200, 200)
  left_out.check()
  # 4000 bytes in records of one byte.
  assert left_out.summary() == "1 of about 4,000 records (0.03%), 1 no id"


def test_two_data_sets_add_up(left_out, tmp_path, shards):
  more = tmp_path / "validate"
  more.write_bytes(bytes(6000))
  left_out.expect([str(more)], 100)
  left_out.leave_out("s0", 1, NO_ID, None)
  assert left_out.summary().startswith("1 of about 100 ")
  # The same shards once more, as when one evaluates on what one trains on.
  left_out.expect([*shards, str(more)], 100)
  assert left_out.summary().startswith("1 of about 100 ")
  for shard in (*shards, str(more)):
    left_out.add_shard(shard, 3, 300)
  assert left_out.summary().startswith("1 of about 15 ")


def test_sizes_of_few_of_many_shards_are_looked_at(tmp_path, monkeypatch):
  sizes = {f"s{number:03d}": 1000 for number in range(200)}
  looked_at = []

  def size_of(path):
    looked_at.append(path)
    return sizes[path]

  monkeypatch.setattr(bad_records.utils, "file_size", size_of)
  left_out = BadRecords(str(tmp_path / "report"), 0.01)
  left_out.expect(list(sizes), 100)
  assert len(looked_at) < 20
  left_out.leave_out("s0", 1, NO_ID, None)
  assert left_out.summary().startswith("1 of about 2,000 ")


def test_a_shard_that_has_gone_has_no_size(shards, tmp_path, report_path):
  left_out = BadRecords(str(report_path), 0.01)
  left_out.expect([*shards[1:], str(tmp_path / "gone")], 100)
  left_out.leave_out("s0", 1, NO_ID, None)
  assert left_out.summary().startswith("1 of about 30 ")


def test_the_report(left_out, shards, report_path):
  with left_out:
    left_out.leave_out(shards[0], 1, NO_ID, None)
    left_out.leave_out(shards[0], 7, NO_LABELS, 'bä"d\n')
    left_out.leave_out_fault(shards[3], fault(2, 300), "v")
    assert not report_path.exists()
  assert json.loads(report_path.read_text()) == {
    "num_records": 40,
    "num_left_out": 5,
    "max_bad_fraction": 0.05,
    "causes": {"no id": 1, "no labels": 1, "damaged record": 3},
    "left_out": [
      {
        "shard": shards[0],
        "record": 1,
        "video_id": None,
        "cause": "no id",
        "detail": "it has no 'id'",
        "num_records": 1,
      },
      {
        "shard": shards[0],
        "record": 7,
        "video_id": 'bä"d\n',
        "cause": "no labels",
        "detail": "it has no 'labels'",
        "num_records": 1,
      },
      {
        "shard": shards[3],
        "record": 2,
        "video_id": "v",
        "cause": "damaged record",
        "detail": "its data are damaged",
        "num_records": 3,
      },
    ],
    "earlier_runs": [],
  }


def test_earlier_runs_of_the_same_work_stay_listed(shards, report_path):
  for number in (1, 2, 1):
    with BadRecords(str(report_path), 1.0, goes_on=True) as left_out:
      left_out.expect(shards, 100)
      left_out.leave_out(shards[0], number, NO_ID, None)
      left_out.check()
    report = json.loads(report_path.read_text())
    assert report["num_left_out"] == 1
    assert [entry["record"] for entry in report["left_out"]] == [number]
  assert [entry["record"] for entry in report["earlier_runs"]] == [2]


@pytest.mark.parametrize(
  "content",
  ["", "{", "[]", '{"left_out": 3}', '{"left_out": [3, {"shard": []}]}'],
)
def test_a_damaged_report_of_an_earlier_run(content, shards, report_path):
  report_path.write_text(content)
  with BadRecords(str(report_path), 1.0, goes_on=True) as left_out:
    left_out.expect(shards, 100)
    left_out.leave_out(shards[0], 1, NO_ID, None)
  report = json.loads(report_path.read_text())
  assert [entry["record"] for entry in report["left_out"]] == [1]


def test_a_report_of_other_work_is_deleted(shards, report_path):
  report_path.write_text('{"left_out": []}')
  with BadRecords(str(report_path), 1.0) as left_out:
    left_out.expect(shards, 100)
  assert not report_path.exists()


def test_the_report_is_written_when_a_run_fails(left_out, report_path, caplog):
  left_out.leave_out("s0", 1, NO_ID, None)
  with pytest.raises(KeyboardInterrupt), left_out:
    raise KeyboardInterrupt
  assert json.loads(report_path.read_text())["num_left_out"] == 1
  assert caplog.messages[-1] == (
    f"Left out: 1 of about 40 records (2.50%), 1 no id. See {report_path}."
  )


def test_the_report_is_written_now_and_then(
  left_out, report_path, monkeypatch, caplog
):
  left_out.leave_out("s0", 1, NO_ID, None)
  left_out.check()
  assert not report_path.exists()
  monkeypatch.setattr(bad_records, "_WRITE_EVERY_SECS", -1.0)
  left_out.check()
  assert json.loads(report_path.read_text())["num_left_out"] == 1
  assert caplog.messages[-1] == (
    "Left out so far: 1 of about 40 records (2.50%), 1 no id."
  )
  # Not again while nothing is new.
  report_path.unlink()
  num_lines = len(caplog.messages)
  left_out.check()
  assert not report_path.exists()
  assert len(caplog.messages) == num_lines
  left_out.leave_out("s0", 2, NO_ID, None)
  left_out.check()
  assert json.loads(report_path.read_text())["num_left_out"] == 2


def test_few_lines_of_each_cause(report_path, tmp_path, caplog):
  shard = tmp_path / "s"
  shard.write_bytes(bytes(10_000))
  left_out = BadRecords(str(report_path), 1.0)
  left_out.expect([str(shard)], 100)
  with left_out:
    for number in range(50):
      left_out.leave_out("s", number, NO_ID, f"v{number}")
    left_out.leave_out("s", 50, NO_LABELS, None)
  lines = caplog.messages
  assert lines[0] == (
    "Left out: 's', record 0 (video 'v0'): it has no 'id'. "
    "So far: 1 of about 100 records (1.00%), 1 no id."
  )
  assert [line.split(" (")[0] for line in lines[:20]] == [
    f"Left out: 's', record {number}" for number in range(20)
  ]
  assert lines[20:] == [
    "Left out: 's', record 50: it has no 'labels'. "
    "So far: 51 of about 100 records (51.00%), 50 no id, 1 no labels.",
    "Left out: 51 of about 100 records (51.00%), 50 no id, 1 no labels. "
    f"See {report_path}.",
  ]
  assert len(json.loads(report_path.read_text())["left_out"]) == 51
  assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_totals_are_shown_where_lines_are_not(left_out, monkeypatch, caplog):
  monkeypatch.setattr(bad_records, "_WRITE_EVERY_SECS", -1.0)
  left_out._max_fraction = 1.0
  for number in range(30):
    left_out.leave_out("s", number, NO_ID, None)
  num_lines = len(caplog.messages)
  left_out.check()
  assert caplog.messages[num_lines:] == [
    "Left out so far: 30 of about 40 records (75.00%), 30 no id."
  ]


@pytest.mark.parametrize("place", ["none/report.json", "s0/report.json", "dir"])
def test_a_report_that_cannot_be_written(
  tmp_path, shards, place, monkeypatch, caplog
):
  (tmp_path / "dir").mkdir()
  monkeypatch.setattr(bad_records, "_WRITE_EVERY_SECS", -1.0)
  left_out = BadRecords(str(tmp_path / place), 1.0)
  left_out.expect(shards, 100)
  with left_out:
    left_out.leave_out("s0", 1, NO_ID, None)
    left_out.check()
  warnings = [line for line in caplog.messages if "cannot be written" in line]
  assert len(warnings) == 2
  assert all(str(tmp_path / place) in line for line in warnings)


def test_news_of_other_workers(tmp_path, shards):
  chief = BadRecords(str(tmp_path / "report.json"), 1.0)
  other = BadRecords(None, 1.0)
  for left_out in (chief, other):
    left_out.expect(shards, 1)
    left_out.leave_out_fault("b", fault(0, 2), None)  # Both have looked there.
  other.leave_out("a", 7, NO_ID, None)
  news = other.take_news()
  assert other.take_news() == b""
  with chief:
    chief.add_news(news)
    chief.leave_out("a", 7, NO_ID, None)  # It counts already.
    chief.leave_out("a", 8, NO_ID, None)
  assert len(json.loads(chief.take_news())) == 2  # Only its own.
  report = json.loads((tmp_path / "report.json").read_text())
  assert report["causes"] == {"no id": 2, "damaged record": 2}
  assert [entry["record"] for entry in report["left_out"]] == [0, 7, 8]


def test_faults_that_another_worker_met_count_as_records(report_path, shards):
  chief = BadRecords(str(report_path), 1.0)
  other = BadRecords(None, 1.0)
  for left_out in (chief, other):
    left_out.expect(shards, 1)
    for shard in shards:
      left_out.add_shard(shard, 5, 100)
  other.leave_out_fault("b", fault(0, 60), None)  # Three records of 20 bytes.
  with chief:
    chief.add_news(other.take_news())
  report = json.loads(report_path.read_text())
  assert report["num_records"] == 5 * len(shards) + 3
  assert report["num_left_out"] == 3


def test_threads_count_once(report_path, shards):
  left_out = BadRecords(str(report_path), 1.0)
  left_out.expect(shards, 1)  # 4000 records.
  start = threading.Barrier(8)

  def work(seed):
    start.wait()
    for step in range(400):
      number = (step * 7 + seed * 50) % 400
      left_out.leave_out("a", number, NO_ID, None)
      left_out.leave_out_fault("b", fault(number, 2), None)
      left_out.add_shard(shards[step % 4], 1000, 1000)
      left_out.check()

  threads = [threading.Thread(target=work, args=[seed]) for seed in range(8)]
  with left_out:
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  report = json.loads(report_path.read_text())
  # 400 records and 400 faults of two records.
  assert report["causes"] == {"no id": 400, "damaged record": 800}
  assert report["num_left_out"] == 1200
  assert report["num_records"] == 4000 + 800
  assert len(report["left_out"]) == 800
