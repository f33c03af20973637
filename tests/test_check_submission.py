# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Tests of tools/check_submission.py: each problem, in both forms of files."""

import re

from program import UserError

import pytest

import segments
from tools import check_submission

KNOWN = {
  check_submission.VideoRows: range(25),
  check_submission.SegmentRows: {3, 7},
}
# 32,767 characters, as many as spreadsheets keep: 4,681 pairs of 6, spaces
# between them, and one digit more.
CELL = b" ".join(b"%04d:0" % i for i in range(4681)) + b"0"


def problems(content, tmp_path, capsys) -> list[str]:
  """The lines about problems that the check of a file prints."""
  path = tmp_path / "submission.csv"
  path.write_bytes(content)
  is_right = check_submission.check_file(str(path), KNOWN)
  _, *lines, last = capsys.readouterr().out.splitlines()
  assert is_right == (last == "Problems: 0.") == (lines == [])
  return lines


@pytest.mark.parametrize(
  ("content", "first_line"),
  [
    (
      b"VideoId,LabelConfidencePairs\nA,3 0.9 2 0.5\nB,1 0.5\n",
      "VideoId,LabelConfidencePairs: 2 rows, 3 pairs (min 1, mean 1.5, max 2",
    ),
    (b'"A,""1""",3 0.9\r\nB,1 1e-3', "VideoId,LabelConfidencePairs: 2 rows"),
    (
      b"\xef\xbb\xbfClass,Segments\r\n3,A:0 A:5\r\n7,\r\n",
      "Class,Segments: 2 rows, 2 pairs (min 0, mean 1.0, max 2 a row)",
    ),
    (b"3,A:0 A:5\n7,A:0", "Class,Segments: 2 rows"),
  ],
)
def test_right_files(content, first_line, tmp_path, capsys):
  path = tmp_path / "submission.csv"
  path.write_bytes(content)
  assert check_submission.check_file(str(path), KNOWN)
  assert f"{str(path)!r}, {first_line}" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("content", "expected"),
  [
    (b"A;3 0.9\n", "no row: .* line 1: 'A;3 0.9' is not 'id,class conf"),
    (b'"A,3 0.9\n', "no row: 1 row; the first: +line 1:"),
    (b"A,3 0.9 x 0.5\n", "no pair: .* line 1: 'x' is no class"),
    (b"A,3 0.9 2 nan\n", "no pair: .* 'nan' is no confidence"),
    (b"A,3 0.9 2\n", "row was cut: .* its last class, 2, has no confidence"),
    (b"A,3 0.9 25 0.5\n", "unknown class: .* it has class 25"),
    (b"A,3 0.9 3 0.5\n", "class twice: .* it has class 3 twice"),
    (b"A,3 1\nB,3 1\nA,3 1\n", "video twice: .* line 3: video 'A' has"),
    (b"A,3 0.5 2 0.9\n", "wrong order: .* above the one before it"),
    (
      b"A," + b" ".join(b"%d 0.5" % i for i in range(21)),
      "too many pairs: .* it has 21 pairs, of which 20 count",
    ),
    (b"3,A:0\n,A:5\n", "no row: .* line 2: ',A:5' is no row"),
    (b"3,A:0 A A:5\n", "no pair: .* its pair 2, 'A', is not id:start"),
    (b"3,A:0 A:5 B\n", "row was cut: .* its last pair, 'B', is not"),
    (b"3," + CELL, "row was cut: .* 32,767 characters of pairs: spreadsheets"),
    (b"3,A:0\n5,A:0\n", "unknown class: .* line 2: it is of class 5"),
    (b"3,A:0\n3,A:5\n", "class twice: .* line 2: class 3 has a row already"),
    (b"3,A:0 B:0 A:0 A:5\n", "segment twice: .* 1 of its .*, 'A:0' for ins"),
  ],
)
def test_each_problem(content, expected, tmp_path, capsys):
  lines = problems(content, tmp_path, capsys)
  assert len(lines) == 2
  assert re.search(expected, " ".join(lines))


def test_more_segments_than_count(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(segments, "MOST_SEGMENTS", 2)
  lines = problems(b"3,A:0 B:0\n7,A:0 B:0 C:0\n", tmp_path, capsys)
  assert lines[1] == "  line 2: it has 3 pairs, of which 2 count"


def test_program(fork_program, tmp_path):
  right, wrong = tmp_path / "right.csv", tmp_path / "wrong.csv"
  classes = tmp_path / "classes.csv"
  right.write_text("Class,Segments\n3,A:0\n")
  wrong.write_text("Class,Segments\n3,A:0\n4,A:0\n4,A:0\n")
  classes.write_text("Index\n3\n")
  flag = f"--segment_classes={classes}"

  def run(*arguments):
    return fork_program(
      "tools.check_submission", *map(str, arguments), check=False
    )

  assert run(right, flag).returncode == 0
  result = run(right, wrong, flag)
  assert result.returncode == 1
  assert "Problems: 0.\n" in result.stdout
  assert result.stdout.endswith("Problems: 3.\n")
  assert run(right, "--segment_class=3").returncode == 2


def test_file_without_a_row(tmp_path):
  (tmp_path / "empty.csv").write_bytes(b"Class,Segments\n")
  with pytest.raises(UserError, match=r"empty.csv' has no row"):
    check_submission.check_file(str(tmp_path / "empty.csv"), KNOWN)
