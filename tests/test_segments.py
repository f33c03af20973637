# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""MAP@K, submissions of the 2019 challenge, best segments of each class."""

import json
import re

from program import UserError

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

import config
import eval as eval_program
import segment_reader
import segments
import sources
from segments import Ranking, Ratings, TopSegments


def ranking_of(index, text, scores=None):
  """A ranking written as in a submission: "A:5 Z:0"."""
  pairs = [pair.rsplit(":", 1) for pair in text.split()]
  return Ranking(
    index,
    np.array([video_id.encode() for video_id, _ in pairs], bytes),
    np.array([int(start) for _, start in pairs], np.int64),
    scores,
  )


def ratings_of(truth):
  """Ratings from {(class, id, start): is_positive}."""
  classes, video_ids, starts = zip(*truth, strict=True)
  return Ratings(
    np.array([video_id.encode() for video_id in video_ids]),
    np.array(starts),
    np.array(classes),
    np.array(list(truth.values()), bool),
  )


# MODELS.md's example, worked by hand: of class 3, A:5 is negative, Z:0 was not
# rated and A:0 is positive at rank 2 of those rated, one of two positives:
# (1/2) / 2. Of class 7 the one positive is first.
TRUTH = {
  (3, "A", 0): True,
  (3, "A", 5): False,
  (3, "B", 10): True,
  (7, "B", 10): True,
}
ROWS = [ranking_of(3, "A:5 Z:0 A:0"), ranking_of(7, "B:10")]


def slow_map(rows, truth, k):
  """The definition, word for word."""
  positives = [key for key, is_positive in truth.items() if is_positive]
  classes = {index for index, *_ in positives}
  total = 0.0
  for row in rows:
    names = list(zip(row.video_ids.tolist(), row.starts.tolist(), strict=True))
    seen, hits, num_rated = set(), 0, 0
    for video_id, start in names[:k]:
      key = row.index, video_id.decode(), start
      if key in truth and key not in seen:
        seen.add(key)
        num_rated += 1
        if truth[key]:
          hits += 1
          total += hits / num_rated / sum(p[0] == row.index for p in positives)
  return total / len(classes) if classes else 0.0


# Few of everything, so that most of it meets; ids of more than one word.
KEYS = st.tuples(
  st.integers(0, 3), st.sampled_from(["A", "B", "Video"]), st.integers(0, 3)
)
TRUTHS = st.dictionaries(KEYS, st.booleans(), min_size=1, max_size=20)


def rows_from(keys):
  """Rankings of (class, id, start), in this order."""
  by_class = {}
  for index, video_id, start in keys:
    by_class.setdefault(index, []).append(f"{video_id}:{start}")
  return [ranking_of(index, " ".join(own)) for index, own in by_class.items()]


class TestMap:
  def test_hand_worked(self):
    assert segments.score_rankings(ROWS, ratings_of(TRUTH)) == {
      "map_at_k": 0.625,
      "num_classes": 2,
      "num_missing_classes": 0,
      "num_pairs": 4,
      "num_unrated_pairs": 1,
    }

  def test_class_that_is_left_out_counts_as_0(self):
    results = segments.score_rankings(ROWS[:1], ratings_of(TRUTH))
    assert results["map_at_k"] == 0.125
    assert results["num_missing_classes"] == 1

  def test_ranks_behind_k_do_not_count_but_unrated_ones_take_a_rank(self):
    # Of class 3 A:5 and Z:0 remain; of class 7 its positive.
    results = segments.score_rankings(ROWS, ratings_of(TRUTH), k=2)
    assert (results["map_at_k"], results["num_pairs"]) == (0.5, 3)

  def test_classes_nobody_rated_and_classes_without_positives(self):
    rows = [*ROWS, ranking_of(5, "A:0"), ranking_of(9000, "A:0")]
    truth = {**TRUTH, (5, "A", 0): False}
    results = segments.score_rankings(rows, ratings_of(truth))
    assert (results["map_at_k"], results["num_classes"]) == (0.625, 2)

  @settings(max_examples=200, deadline=None)
  @given(st.lists(KEYS, max_size=30), TRUTHS, st.integers(1, 8))
  def test_equals_the_definition(self, keys, truth, k):
    rows = rows_from(keys)
    results = segments.score_rankings(rows, ratings_of(truth), k)
    assert results["map_at_k"] == pytest.approx(slow_map(rows, truth, k))

  @settings(max_examples=50, deadline=None)
  @given(st.lists(KEYS, max_size=30), TRUTHS, st.randoms())
  def test_neither_unrated_segments_nor_the_order_of_rows_matter(
    self, keys, truth, random
  ):
    before = segments.score_rankings(rows_from(keys), ratings_of(truth))
    unrated = [(index, "C", start) for index, _, start in keys]
    for key in unrated:
      keys.insert(random.randrange(len(keys) + 1), key)
    rows = rows_from(keys)
    random.shuffle(rows)
    after = segments.score_rankings(rows, ratings_of(truth))
    assert after["map_at_k"] == before["map_at_k"]

  def test_equals_scikit_learn_where_all_are_rated(self):
    rng = np.random.default_rng(0)
    shape = num_segments, num_classes = 300, 7
    scores = rng.permutation(num_segments * num_classes).reshape(shape)
    labels = rng.random(shape) < 0.3
    expected = average_precision_score(labels, scores, average="macro")

    metric = segments.MapAtK(num_classes)
    scores = scores.astype(np.float32)
    for rows in (slice(0, 130), slice(130, None)):
      metric.accumulate(
        segments.rated_pairs(scores[rows], labels[rows], np.ones(shape)[rows])
      )
    assert metric.get()["map_at_k"] == pytest.approx(expected, abs=1e-12)

    video_ids = [b"video%d" % (i // 5) for i in range(num_segments)]
    starts = np.arange(num_segments) % 5
    top = TopSegments(range(num_classes))
    top.add(video_ids, starts, scores)
    truth = Ratings(
      np.repeat(video_ids, num_classes),
      np.repeat(starts, num_classes),
      np.tile(np.arange(num_classes), num_segments),
      labels.reshape(-1),
    )
    results = segments.score_rankings(top.rankings(), truth)
    assert results["map_at_k"] == pytest.approx(expected, abs=1e-12)

  def test_scores_of_a_model_that_nobody_rated_do_not_count(self):
    # The example from before: rows are A:0, A:5 and B:10, columns 3 and 7.
    metric = segments.MapAtK(2)
    pairs = segments.rated_pairs(
      np.array([[0.1, 0.9], [0.9, 0.8], [0.0, 0.7]], np.float32),
      np.array([[1, 0], [0, 0], [1, 1]], np.float32),
      np.array([[1, 0], [1, 0], [1, 1]], np.float32),
    )
    metric.accumulate(pairs)
    assert metric.get() == {
      # Class 3: positives at ranks 2 and 3, (1/2 + 2/3) / 2; class 7: 1.
      "map_at_k": pytest.approx((7 / 12 + 1) / 2),
      "num_classes": 2,
      "num_missing_classes": 0,
      "num_pairs": 6,
      "num_unrated_pairs": 2,
    }


def read(path):
  return list(segments.read_submission(str(path), "segment_predictions"))


def same(rankings, others):
  """Whether rankings are equal, but for their scores."""
  return [
    (r.index, r.video_ids.tolist(), r.starts.tolist()) for r in rankings
  ] == [(r.index, r.video_ids.tolist(), r.starts.tolist()) for r in others]


@pytest.mark.parametrize("video_id", [b"my video", b"a,b", b"a" * 257])
def test_an_id_that_no_row_can_have_is_told_at_once(video_id):
  top = TopSegments([0])
  with pytest.raises(UserError, match="Video '.*' cannot be in a submission"):
    top.add([b"a", video_id], [0, 0], np.ones([2, 1], np.float32))


class TestSubmission:
  @pytest.mark.parametrize(
    "content",
    [
      b"Class,Segments\n3,A:5 Z:0 A:0\n7,B:10\n",
      b"3,A:5 Z:0 A:0\n7,B:10",
      b"\xef\xbb\xbfClass,Segments\r\n3,A:5 Z:0 A:0 \r\n\r\n7,  B:10\r\n",
    ],
    ids=["as written", "no header, no last line break", "from a spreadsheet"],
  )
  def test_is_read(self, content, tmp_path):
    path = tmp_path / "segments.csv"
    path.write_bytes(content)
    assert same(read(path), ROWS)

  @settings(max_examples=50, deadline=None)
  @given(
    st.lists(
      st.tuples(
        st.text("aB9:-_", min_size=1, max_size=12),
        st.integers(0, 999_999_999),
      ),
      max_size=20,
    )
  )
  def test_is_read_as_it_was_written(self, tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("round_trip") / "segments.csv"
    ranking = ranking_of(0, " ".join(f"{v}:{s}" for v, s in pairs))
    segments.write_submission(str(path), [ranking, ROWS[0]])
    assert same(read(path), [ranking, ROWS[0]])

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      (b"VideoId,LabelConfidencePairs\nA,3 0.5\n", "line 1: 'VideoId,Label"),
      (b"Class,Segments\n-3,A:0\n", "line 2: '-3,A:0' is no row; expected"),
      (b"3,A:0 B B:5\n", "line 1: its pair 2, 'B', is not id:start"),
      (b"3,A:0 B:x B:5\n", "its pair 2, 'B:x', is not id:start"),
      (b"3,A:0 :5 B:5\n", "its pair 2, ':5', is not id:start"),
      (b"3,A:0\n7,A:0 B:\n", "line 2: its last pair, 'B:', .* was cut"),
      (b"3," + b"Abcd:0 " * 4680 + b"Abcdefg", "cut at 32,767 characters, as"),
      (b"3,A:0\n\n7,A:0\n3,B:0\n", "line 4: class 3 has a row .* line 1"),
      (b"3," + b"A" * 300 + b":0 A:0\n", r"its pair 1, 'A+\.\.\.', is not"),
      (b"Class,Segments\n", "has no row; expected class,id:start"),
    ],
  )
  def test_errors_name_file_and_line(self, content, message, tmp_path):
    path = tmp_path / "segments.csv"
    path.write_bytes(content)
    place = f"--segment_predictions={str(path)!r}"
    with pytest.raises(UserError, match=f"^{re.escape(place)}.*{message}"):
      read(path)

  def test_what_is_written(self, tmp_path):
    scores = np.array([0.75, 0.5, 0.25], np.float32)
    names = tmp_path / "names.csv"
    segments.write_submission(
      str(tmp_path / "segments.csv"),
      [ROWS[0]._replace(scores=scores), ROWS[1]._replace(scores=scores[1:2])],
      str(names),
      {3: 'Concert, "live"'},
    )
    written = (tmp_path / "segments.csv").read_text()
    assert written == "Class,Segments\n3,A:5 Z:0 A:0\n7,B:10\n"
    assert names.read_text() == (
      "id,start,end,class,name,confidence\n"
      'A,5,10,3,"Concert, ""live""",0.750000\n'
      'Z,0,5,3,"Concert, ""live""",0.500000\n'
      'A,0,5,3,"Concert, ""live""",0.250000\n'
      "B,10,15,7,class 7,0.500000\n"
    )

  def test_no_more_than_the_challenge_takes(self, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MOST_SEGMENTS", 2)
    segments.write_submission(str(tmp_path / "segments.csv"), ROWS)
    (first, _) = read(tmp_path / "segments.csv")
    assert same([first], [ranking_of(3, "A:5 Z:0")])

  def test_nothing_is_left_of_a_file_that_cannot_be_completed(self, tmp_path):
    wrong = Ranking(7, np.array([b"a b"]), np.array([0]))
    with pytest.raises(UserError, match="Video 'a b' cannot be in a subm"):
      segments.write_submission(
        str(tmp_path / "segments.csv"), [ROWS[0], wrong]
      )
    assert list(tmp_path.iterdir()) == []


class TestClasses:
  @pytest.mark.parametrize(
    "content", ["Index\n7\n3\n", "Index,Name,Count\n3,Concert,181\n7,Car,159\n"]
  )
  def test_are_read(self, content, tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(content)
    assert segments.read_segment_classes(str(path), 8).tolist() == [3, 7]

  @pytest.mark.parametrize(
    ("content", "message"),
    [
      ("Class\n3\n", "it has no column Index"),
      ("Index\n3\nseven\n", "seven"),
      ("Index\n", "it has no class"),
      ("Index\n7\n3\n7\n", "class 7 is there twice"),
      ("Index\n7\n8\n", r"class 8 is outside \[0, 8\)"),
      ("Index\n7\n-1\n", "class -1 is outside"),
    ],
  )
  def test_other_files_are_refused(self, content, message, tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=f"^--segment_classes=.*{message}"):
      segments.read_segment_classes(str(path), 8)


def best(names, scores, limit):
  """For each class the best of (id, start), by a plain sort."""
  return [
    ranking_of(
      index,
      " ".join(
        f"{video_id.decode()}:{start}"
        for _, video_id, start in sorted(
          (-score, *name) for name, score in zip(names, column, strict=True)
        )[:limit]
      ),
    )
    for index, column in enumerate(scores.T.tolist())
  ]


class TestTopSegments:
  # Few different scores, so that many are equal at the end of a list.
  SCORES = np.random.default_rng(0).integers(0, 30, (400, 3)).astype(np.float32)
  NAMES = [(b"video%d" % (i // 7), 5 * (i % 7)) for i in range(400)]

  def add(self, top, rows):
    names = [self.NAMES[row] for row in rows]
    video_ids, starts = zip(*names, strict=True)
    top.add(np.array(video_ids, object), starts, self.SCORES[rows])

  @pytest.mark.parametrize("batch_size", [1, 7, 64, 400])
  @pytest.mark.parametrize("limit", [1, 50, 1000])
  def test_equal_a_sort_of_all(self, batch_size, limit):
    top = TopSegments([0, 1, 2], limit)
    order = np.random.default_rng(1).permutation(400)
    for start in range(0, 400, batch_size):
      self.add(top, order[start : start + batch_size])
    rankings = list(top.rankings())
    assert same(rankings, best(self.NAMES, self.SCORES, limit))
    for ranking in rankings:
      assert (np.diff(ranking.scores) <= 0).all()
      assert ranking.scores.size == min(limit, 400)

  def test_those_of_workers_together_are_those_of_one(self):
    workers = []
    for rows in (range(0, 150), range(150, 400)):
      top = TopSegments([2, 0], limit=60)
      self.add(top, rows)
      workers.append(top.rankings())
    merged = map(segments.merged, zip(*workers, strict=True))
    expected = best(self.NAMES, self.SCORES, 60)
    assert same(
      [ranking.cut(60) for ranking in merged], [expected[2], expected[0]]
    )

  def test_of_none(self):
    assert same(TopSegments([7]).rankings(), [ranking_of(7, "")])


def write_rated_videos(path, videos):
  """Records from id -> (classes, starts, scores)."""
  with tf.io.TFRecordWriter(str(path)) as writer:
    for video_id, columns in videos.items():
      record = tf.train.SequenceExample()
      context = record.context.feature
      context["id"].bytes_list.value.append(video_id.encode())
      classes, starts, scores = columns
      context["segment_labels"].int64_list.value.extend(classes)
      context["segment_start_times"].int64_list.value.extend(starts)
      context["segment_scores"].float_list.value.extend(scores)
      writer.write(record.SerializeToString())


@pytest.fixture
def rated_shard(tmp_path):
  """A shard with `TRUTH`, and a video that nobody rated."""
  path = tmp_path / "validate0000.tfrecord"
  write_rated_videos(
    path,
    {
      # What is rated again does not count again.
      "A": ([3, 3, 3], [0, 0, 5], [1, 0, 0]),
      "C": ([], [], []),
      "B": ([3, 7], [10, 10], [1, 1]),
    },
  )
  return path


class TestRatings:
  def test_of_shards(self, rated_shard):
    video_ids, starts, classes, are_positive = segment_reader.read_truth(
      [str(rated_shard)]
    )
    keys = zip(
      classes.tolist(), video_ids.astype(str).tolist(), starts, strict=True
    )
    assert dict(zip(keys, are_positive, strict=True)) == TRUTH

  @pytest.mark.parametrize(
    ("columns", "message"),
    [
      (([3], [0, 5], [1]), "ratings differ in number: 1 segment_labels, 2 seg"),
      (([3], [-5], [1]), r"segment_start_times \[-5\] should rise, from 0"),
      (([3], [0], [1.5]), "segment score 1.5 is outside"),
      (([], [], []), "No video of the shards has ratings of segments"),
    ],
  )
  def test_wrong_ones_are_refused(self, columns, message, tmp_path):
    write_rated_videos(tmp_path / "a.tfrecord", {"A": columns})
    with pytest.raises(UserError, match=message):
      segment_reader.read_truth([str(tmp_path / "a.tfrecord")])

  def test_classes_far_apart_are_kept_apart(self, tmp_path):
    # By number, class 7 of the last segment was once the first one's class 5.
    columns = ([5, 1, 7], [0, 5, 10], [1, 1, 1])
    write_rated_videos(tmp_path / "a.tfrecord", {"A": columns})
    found = segment_reader.read_truth([str(tmp_path / "a.tfrecord")])
    assert found.classes.tolist() == [5, 1, 7]

  def test_copies_and_other_folds_do_not_count(self, rated_shard, tmp_path):
    copy = tmp_path / "copy.tfrecord"
    copy.write_bytes(rated_shard.read_bytes())
    shards = [str(rated_shard), str(copy)]
    found = segment_reader.read_truth(shards)
    for values, others in zip(
      found, segment_reader.read_truth(shards[:1]), strict=True
    ):
      np.testing.assert_array_equal(values, others)
    # By their CRC-32, A is in fold 2 of 3 and B in fold 1.
    for index, video_id in ((2, b"A"), (1, b"B")):
      fold = sources.Fold(index, 3, is_left_out=False)
      kept = segment_reader.read_truth(shards, fold=fold)
      assert {*kept.video_ids.tolist()} == {video_id}
    empty = sources.Fold(0, 3, is_left_out=False)
    with pytest.raises(
      UserError, match="--fold=0 of 3: no video of it has rat"
    ):
      segment_reader.read_truth(shards, fold=empty)

  def test_damaged_shard_is_refused(self, rated_shard):
    rated_shard.write_bytes(rated_shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="record 2: .* are left in"):
      segment_reader.read_truth([str(rated_shard)])


class TestEvaluation:
  def test_of_a_file_without_a_model(self, rated_shard, fork_program, tmp_path):
    segments.write_submission(str(tmp_path / "segments.csv"), ROWS)
    result = fork_program(
      "eval",
      f"--eval_data_pattern={rated_shard}",
      f"--segment_predictions={tmp_path}/segments.csv",
      f"--eval_dir={tmp_path}/results",
    )
    expected = "MAP@100000: 0.62500 | classes: 2, 0 of them not in the file"
    assert expected in result.stderr
    path = tmp_path / "results" / "segment_results.json"
    assert json.loads(path.read_text()) == {
      "segment_predictions": str(tmp_path / "segments.csv"),
      **segments.score_rankings(ROWS, ratings_of(TRUTH)),
    }

  def test_bad_records_can_be_left_out(self, tmp_path):
    path = tmp_path / "a.tfrecord"
    write_rated_videos(
      path,
      {
        "A": ([3], [0], [1]),
        "B": ([3], [-5], [1]),
        "C": ([3], [5], [0]),
        "D": ([3], [5], [1]),
      },
    )
    path.write_bytes(path.read_bytes()[:-1])
    segments.write_submission(str(tmp_path / "segments.csv"), ROWS)

    def evaluate(**given):
      return eval_program.evaluate(
        config.EvalSettings(
          eval_data_pattern=str(path),
          segment_predictions=str(tmp_path / "segments.csv"),
          **given,
        )
      )

    with pytest.raises(UserError, match="record 1.* should rise"):
      evaluate()
    found = evaluate(on_bad_record="skip", max_bad_fraction=0.8)
    truth = {(3, "A", 0): True, (3, "C", 5): False}
    assert found == segments.score_rankings(ROWS, ratings_of(truth))
    with pytest.raises(UserError, match="More cannot be used than --max_bad"):
      evaluate(on_bad_record="skip", max_bad_fraction=0.3)

  def test_file_that_is_not_there(self, rated_shard):
    given = config.EvalSettings(
      eval_data_pattern=str(rated_shard), segment_predictions="none.csv"
    )
    with pytest.raises(UserError, match="--segment_predictions='none.csv'"):
      eval_program.evaluate(given)
