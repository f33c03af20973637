# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard shows of a train dir, asked through its HTTP interface."""

import http.client
import json
import re
import subprocess
import sys
import time
import tracemalloc
import urllib.parse

import program  # noqa: F401 Before TensorFlow.

import numpy as np
import pytest
import tensorflow as tf

import evaluation
import monitoring

TRAINING_SCALARS = {
  "label_loss",
  "reg_loss",
  "learning_rate",
  "model/Training_Hit@1",
  "model/Training_Perr",
  "model/Training_GAP",
  "global_step/Examples/Second",
}
EVALUATION_SCALARS = {
  "Epoch/Eval_Avg_Hit@1",
  "Epoch/Eval_Avg_Perr",
  "Epoch/Eval_MAP",
  "Epoch/Eval_GAP",
  "Epoch/Eval_Avg_Loss",
  "Epoch/Eval_Examples/Second",
}


@pytest.fixture(scope="module")
def ask(trained_video, evaluated_video, tmp_path_factory):
  """`ask("scalars/tags")` asks a TensorBoard of the video-level train dir."""
  log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
  with log.open("w") as stream:
    process = subprocess.Popen(
      [
        *(sys.executable, "-m", "tensorboard.main"),
        f"--logdir={trained_video.train_dir}",
        *("--host=127.0.0.1", "--port=0"),
      ],
      stdin=subprocess.DEVNULL,
      stdout=stream,
      stderr=stream,
    )
  try:
    port = wait_for(
      lambda: re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text()), log
    )[1]

    def get(plugin_path, **parameters):
      connection = http.client.HTTPConnection(
        "127.0.0.1", int(port), timeout=30
      )
      query = urllib.parse.urlencode(parameters)
      connection.request("GET", f"/data/plugin/{plugin_path}?{query}")
      response = connection.getresponse()
      body = response.read()
      connection.close()
      assert response.status == 200, body
      return body if "graph" in plugin_path else json.loads(body)

    # It reads the events in the background.
    wait_for(lambda: set(get("scalars/tags")) == {".", "eval"}, log)
    yield get
  finally:
    process.terminate()
    process.wait(timeout=30)


def wait_for(condition, log, timeout=60):
  deadline = time.monotonic() + timeout
  while not (value := condition()):
    assert time.monotonic() < deadline, log.read_text()
    time.sleep(0.1)
  return value


def test_curves_of_training_and_evaluation_are_separate_runs(ask):
  tags = ask("scalars/tags")
  assert set(tags["."]) == TRAINING_SCALARS
  assert set(tags["eval"]) == EVALUATION_SCALARS


def test_values_are_those_that_the_programs_said(
  ask, trained_video, evaluated_video
):
  loss = ask("scalars/scalars", run=".", tag="label_loss")
  # Wall time, step, value.
  shown = [(step, f"{value:.2f}") for _, step, value in loss]
  lines = re.findall(
    r"training step (\d+) \| Loss: (\S+) ", trained_video.result.stderr
  )
  assert shown == [(int(step), value) for step, value in lines]

  ((_, step, gap),) = ask("scalars/scalars", run="eval", tag="Epoch/Eval_GAP")
  assert step == trained_video.num_steps
  assert gap == pytest.approx(evaluated_video.results["gap"], rel=1e-6)
  rates = ask("scalars/scalars", run=".", tag="learning_rate")
  assert [value for _, _, value in rates] == pytest.approx([0.01] * len(lines))


def test_histograms_are_numpys_and_take_little_memory():
  numbers = np.random.default_rng(0).normal(size=2**24).astype(np.float32)
  numbers[::1000] = np.nan
  numbers[7] = -np.inf
  tracemalloc.start()
  counts, edges = monitoring.histogram(numbers)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 0.05 * numbers.nbytes
  finite = numbers[np.isfinite(numbers)]
  expected, expected_edges = np.histogram(finite, 30)
  np.testing.assert_allclose(edges, expected_edges, rtol=1e-6)
  # A number at an edge may fall on either side of it: the edges are float32
  # in one of the two.
  assert counts.sum() == finite.size
  np.testing.assert_allclose(counts, expected, atol=50)


@pytest.mark.parametrize(
  ("numbers", "total"), [([], 0), ([np.nan], 0), ([2.0], 1), ([3.0, 3.0], 2)]
)
def test_histograms_of_few_numbers(numbers, total):
  counts, edges = monitoring.histogram(np.array(numbers, np.float32))
  assert counts.sum() == total
  assert (np.diff(edges) > 0).all()
  assert len(edges) == len(counts) + 1


@pytest.mark.parametrize(
  "error", [MemoryError(), ValueError("too large"), OSError("no")]
)
def test_what_is_only_shown_ends_nothing(tmp_path, caplog, error):
  events = evaluation.Events(str(tmp_path))
  for _ in range(2):
    with events.of_step(1):
      raise error
  assert [r.levelname for r in caplog.records] == ["WARNING"]


def test_a_trace_that_cannot_begin_ends_nothing(tmp_path, caplog):
  profiler = monitoring.Profiler(str(tmp_path), (1, 2))
  tf.profiler.experimental.start(str(tmp_path / "other"))
  try:
    for step in (1, 2, 3):
      profiler.before(step)
      profiler.after(step)
    profiler.close()
  finally:
    tf.profiler.experimental.stop(save=False)
  assert [r.levelname for r in caplog.records] == ["WARNING"]
  assert "No trace: " in caplog.text


def test_histograms_of_weights_and_predictions(ask, trained_video):
  tags = ask("histograms/tags")
  assert set(tags) == {"."}
  assert set(tags["."]) == {
    *("weights/logits/kernel", "weights/logits/bias", "predictions")
  }
  ((_, step, buckets),) = ask(
    "histograms/histograms", run=".", tag="predictions"
  )
  assert step == trained_video.num_steps
  assert 0 <= buckets[0][0]
  assert buckets[-1][1] <= 1
  # The last batch, padding included, times the classes.
  assert sum(count for _, _, count in buckets) == 16 * 25


def test_configuration_as_text(ask):
  assert ask("text/tags")["."] == ["configuration"]
  (entry,) = ask("text/text", run=".", tag="configuration")
  assert "num_classes" in entry["text"]
  assert "LogisticModel" in entry["text"]


def test_graph_of_the_training_step(ask):
  info = json.loads(ask("graphs/info"))
  assert info["."]["run_graph"]
  graph = ask(
    "graphs/graph", run=".", limit_attr_size=1024, large_attrs_key="_large"
  )
  assert b"StatefulPartitionedCall" in graph
