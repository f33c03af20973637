# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""download.py fetches what is asked for, whole, once, and over all obstacles.

The buckets are those of a stand-in on loopback, see cloud_server.py.
"""

import functools
import http.server
import io
import itertools
import re
import signal
import sys
import threading
import types
from fractions import Fraction

from program import UserError

import cloud_server
import google.oauth2.credentials
import pytest

from tools import download

BUCKET = "us.data.yt8m.org"
FOLDER = "2/video/train"
SOURCE = f"gs://{BUCKET}/{FOLDER}/train*.tfrecord"
NUM_FILES = 6


def content(number: int) -> bytes:
  """What the stand-in has as shard `number`: no two are alike."""
  return bytes([number]) * (100_000 + 1000 * number)


def name(number: int) -> str:
  return f"train{number:04d}.tfrecord"


def key(number: int) -> tuple[str, str]:
  return BUCKET, f"{FOLDER}/{name(number)}"


@pytest.fixture(scope="module")
def only_server():
  with cloud_server.CloudServer() as server:
    yield server


@pytest.fixture
def server(only_server):
  """The stand-in as if it were new: its start and end take a while."""
  only_server.heal()
  only_server.bytes_per_second = None
  only_server.objects.clear()
  for number in range(NUM_FILES):
    only_server.objects[key(number)] = content(number)
  only_server.requests.clear()
  return only_server


@pytest.fixture
def start(server, start_program, tmp_path, monkeypatch):
  """`start("--flag=x")` starts download.py, of all shards, to tmp_path/data."""
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.http_url)

  def start(*flags, env=None):
    return start_program(
      "tools.download",
      *(f"--source={SOURCE}", f"--destination={tmp_path}/data", *flags),
      env={"STORAGE_EMULATOR_HOST": server.http_url, **(env or {})},
    )

  return start


@pytest.fixture
def run(start):
  """`run("--flag=x")` runs it to its end."""

  def run(*flags, is_failing=False, env=None):
    result = start(*flags, env=env).wait()
    assert result.returncode == is_failing, result.output
    return result

  return run


def files_of(folder) -> dict[str, bytes]:
  """Name -> content of all files, hidden and temporary ones too."""
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def shards(*numbers: int) -> dict[str, bytes]:
  return {name(number): content(number) for number in numbers}


ALL = shards(*range(NUM_FILES))


def is_read(request) -> bool:
  return request.action == "read"


def reads(server) -> list[str]:
  """Names of what was read, sorted."""
  names = [request.name for request in server.requests if is_read(request)]
  return sorted(name.rpartition("/")[2] for name in names)


def error_of(result) -> str:
  """The one line that a program ended with."""
  (line,) = re.findall(r"^download.py: error: (.*)$", result.stderr, re.M)
  assert "Traceback" not in result.stderr
  return line


def found(source: str = SOURCE, shards: str | None = None):
  return download.find_blobs(download.make_client(False), source, shards)


class TestWhatIsFetched:
  def test_patterns(self, run, server, tmp_path):
    server.objects["other", "labels.csv"] = b"a,b\n"
    server.objects["other", "empty.csv"] = b""
    first = SOURCE.replace("*", "000[01]")
    result = run(
      f"--source={first}, gs://other/*.csv,{SOURCE.replace('*', '0001')}"
    )
    assert files_of(tmp_path / "data") == {
      **shards(0, 1),
      "labels.csv": b"a,b\n",
      "empty.csv": b"",
    }
    assert reads(server) == ["empty.csv", "labels.csv", name(0), name(1)]
    # 100 and 101 kB, and 4 bytes.
    assert "4 files, 201kB, to fetch to " in result.stderr
    assert re.search(r"\([\d.]+[MGT]B free\)", result.stderr)
    assert "Fetched 4 files, 201kB, in " in result.stderr
    assert not any(request.has_credentials for request in server.requests)
    # A request for each file, and one for the names of each pattern.
    assert len(server.requests) == 4 + 3

  @pytest.mark.parametrize(
    ("flags", "source"),
    [
      ("video train 2 us", "us.data.yt8m.org/2/video/train/train"),
      ("frame test 2 asia", "asia.data.yt8m.org/2/frame/test/test"),
      ("video test 1 eu", "eu.data.yt8m.org/1/video_level/test/test"),
      ("frame train 0 us", "us.data.yt8m.org/0/frame_level/train/train"),
      ("frame test 3 us", "us.data.yt8m.org/3/frame/test/test"),
      ("segments validate 2 eu", "eu.data.yt8m.org/3/frame/validate/validate"),
    ],
  )
  def test_published_files(self, flags, source):
    features, partition, version, mirror = flags.split()
    settings = download.DownloadSettings(
      features=features,
      partition=partition,
      version=int(version),
      mirror=mirror,
    )
    assert download.choose_sources(settings) == [f"gs://{source}*.tfrecord"]

  def test_no_segments_to_train_on(self):
    settings = download.DownloadSettings(features="segments", partition="train")
    with pytest.raises(UserError, match="--partition=train: .* 2019"):
      download.choose_sources(settings)

  def test_lists(self):
    settings = download.DownloadSettings(features="vocabulary")
    url = "https://research.google.com/youtube8m/csv/2/vocabulary.csv"
    assert download.choose_sources(settings) == [url]

  def test_dry_run(self, run, server, tmp_path):
    result = run("--dry_run")
    assert f"6 files, 615kB, to fetch to '{tmp_path}/data' (" in result.stderr
    assert reads(server) == []
    assert not (tmp_path / "data").exists()

  def test_long_listing(self, server, start):
    # The service lists at most 1,000 names at a time.
    for number in range(1100):
      server.objects["many", f"{number:04d}"] = b"x"
    names = [blob.name for blob in found("gs://many/*", "1/100")]
    assert names == [f"{number:04d}" for number in range(0, 1100, 100)]


class TestPatterns:
  @pytest.mark.parametrize(
    ("pattern", "expected"),
    [
      ("a/*.csv", "a/1.csv a/22.csv a/b.csv"),
      ("a/?.csv", "a/1.csv a/b.csv"),
      ("a/[!0-9].csv", "a/b.csv"),
      ("*/1.csv", "a/1.csv"),
      ("**/1.csv", "a/1.csv a/b/1.csv"),
      ("a/**", "a/1.csv a/1xcsv a/22.csv a/b.csv a/b/1.csv"),
      ("a/1.csv", "a/1.csv"),
    ],
  )
  def test_matches(self, pattern, expected, server, start):
    for other in ("1.csv", "1xcsv", "22.csv", "b.csv", "b/1.csv", ""):
      server.objects["b", f"a/{other}"] = b""
    names = [blob.name for blob in found(f"gs://b/{pattern}")]
    assert names == expected.split()

  @pytest.mark.parametrize(
    "source",
    ["train*.tfrecord", "gs://bucket", "gs://bucket/folder/", "gs://b*/x"],
  )
  def test_what_names_no_file_is_refused(self, source):
    with pytest.raises(UserError, match="--source: .*names no files"):
      found(source)


class TestShards:
  @pytest.mark.parametrize(
    ("text", "expected"),
    [
      ("1/100", range(0, 3844, 100)),
      ("1/50", range(0, 3844, 50)),
      ("0.01", range(0, 3844, 100)),
      ("0-37", range(38)),
      ("3800-5000", range(3800, 3844)),
      ("7-7", [7]),
      ("1/1", range(3844)),
      (".5", range(0, 3844, 2)),
      ("0.0001", [0]),
      (None, range(3844)),
    ],
  )
  def test_of_the_data_set(self, text, expected):
    assert download.choose_shards(range(3844), text) == [*expected]

  @pytest.mark.parametrize("text", ["3/10", "0.3", "2/7", "0.123", "99/100"])
  def test_fractions_are_spread_evenly(self, text):
    chosen = download.choose_shards(range(1000), text)
    assert len(chosen) == pytest.approx(1000 * Fraction(text), abs=1)
    gaps = {after - before for before, after in itertools.pairwise(chosen)}
    assert max(gaps) - min(gaps) <= 1

  @pytest.mark.parametrize(
    "text",
    ["1", "0", "2/1", "1/0", "0/5", "0.0", "1.5", "5-3", "0:3", "a", "-1"],
  )
  def test_others_are_refused(self, text):
    with pytest.raises(UserError, match="--shards=.* is neither"):
      download.choose_shards([], text)


class TestAgain:
  def test_fetches_what_is_missing_or_wrong(self, run, server, tmp_path):
    run()
    server.requests.clear()
    data = tmp_path / "data"
    damaged = bytearray(content(1))
    damaged[500] ^= 1
    (data / name(1)).write_bytes(damaged)
    (data / name(2)).write_bytes(content(2)[:-1])
    (data / name(3)).unlink()
    (data / "mine.txt").write_text("mine")
    # As long as before.
    server.objects[key(4)] = bytes(len(content(4)))
    before = (data / name(5)).stat().st_mtime_ns
    result = run()
    assert reads(server) == [name(1), name(2), name(3), name(4)]
    assert files_of(data) == {
      **ALL,
      "mine.txt": b"mine",
      name(4): bytes(104_000),
    }
    assert before == (data / name(5)).stat().st_mtime_ns
    # 102 and 103 kB; 100, 101, 104 and 105.
    assert "2 files, 205kB, to fetch to " in result.stderr
    assert "; 4 files, 410kB, with the right size, to check." in result.stderr
    # 101, 102, 103 and 104 kB; 100 and 105.
    assert "Fetched 4 files, 410kB, in " in result.stderr
    assert "; 2 files, 205kB, there before." in result.stderr


class TestObstacles:
  def test_busy_server(self, run, server, tmp_path):
    server.fail(lambda request: request.action == "list", times=1, status=503)
    server.fail(is_read, times=3, status=429)
    server.fail(is_read, times=3, status=503)
    run()
    assert files_of(tmp_path / "data") == ALL

  def test_cut_connections(self, run, server, tmp_path):
    server.fail(is_read, times=4, cut_after=60_000)
    run("--num_workers=1")
    assert files_of(tmp_path / "data") == ALL
    # It goes on where it was cut. The fourth is cut behind the end.
    ranges = [request.range for request in server.requests if is_read(request)]
    assert [text for text in ranges if text] == ["bytes=60000-"] * 2
    assert len(ranges) == NUM_FILES + 2

  def test_damage_behind_a_cut(self, run, server, tmp_path):
    server.fail(is_read, times=1, cut_after=60_000)
    server.objects.data[key(0)] = b"x" * len(content(0))
    result = run("--num_workers=1", is_failing=True)
    assert "train0000.tfrecord: what arrived does not match" in result.stderr
    assert files_of(tmp_path / "data") == shards(1, 2, 3, 4, 5)

  def test_files_that_cannot_be_had(self, run, server, tmp_path):
    def replace(request):
      if is_read(request) and request.name == key(1)[1]:
        server.objects[key(1)] = b"new"
      return False

    run("--shards=3-3")
    server.requests.clear()
    server.fail(replace)
    server.fail(lambda request: request.name == key(2)[1], status=403)
    # Nobody knows who is right: what is there stays.
    server.objects.resource(key(3))["crc32c"] = "AAAAAA=="
    server.objects.data[key(4)] = content(4)[:-10]
    result = run(is_failing=True)
    assert error_of(result).startswith("Files that could not be fetched: 4, ")
    for number, words in (
      (1, " cannot be read: the server says 404 .*start again"),
      (2, " cannot be read: the server says 403 .*--use_credentials"),
      (3, ": what arrived does not match the bucket's checksum"),
      (4, ": what arrived does not match the bucket's checksum"),
    ):
      url = f"gs://{BUCKET}/{FOLDER}/{name(number)}"
      assert re.search(f"Missing: {url}{words}", result.stderr)
    assert files_of(tmp_path / "data") == shards(0, 3, 5)
    assert reads(server) == sorted(ALL)

  def test_server_that_stays_busy(self, run, server, tmp_path):
    for number in range(NUM_FILES, 12):
      server.objects[key(number)] = content(number)
    server.fail(is_read, status=503)
    result = run("--retry_secs=0.2", is_failing=True)
    assert error_of(result).startswith("Files that could not be fetched: 12, ")
    assert result.stderr.count("the server says 503 Service Unavailable") == 10
    assert files_of(tmp_path / "data") == {}

  @pytest.mark.parametrize(
    "signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL]
  )
  def test_signals(self, signum, run, server, start, tmp_path):
    server.bytes_per_second = 400_000
    data = tmp_path / "data"
    program = start("--num_workers=2")
    program.wait_until(lambda: [*data.glob("*.tfrecord")])
    program.wait_until(lambda: [*data.glob("*.tmp")])
    program.signal(signum)
    result = program.wait()
    there = {path.name for path in data.glob("*.tfrecord")}
    assert len(there) < NUM_FILES
    if signum == signal.SIGKILL:
      assert [*data.glob("*.tmp")]
    else:
      assert result.returncode == 128 + signum
      assert f"stopped by signal {int(signum)}." in result.stderr
      assert "Traceback" not in result.stderr
      assert {path.name for path in data.iterdir()} == there
    server.bytes_per_second = None
    server.requests.clear()
    run()
    assert files_of(data) == ALL
    assert reads(server) == sorted(ALL.keys() - there)

  def test_signal_while_the_server_is_silent(self, server, start):
    server.fail(is_read, delay_secs=3600)
    program = start()
    program.wait_until(lambda: len(reads(server)) == NUM_FILES)
    program.signal(signal.SIGINT)
    # With the threads it would end after some minutes of attempts.
    assert program.wait(timeout=20).returncode == 128 + signal.SIGINT


class TestErrors:
  @pytest.mark.parametrize(
    ("flags", "expected"),
    [
      ("--features=video", "Say what to fetch: --features=video --partition="),
      ("--partition=test", "Say what to fetch: --features=video --partition="),
      ("--source=,", "Say what to fetch: --features=video --partition=train"),
      ("--source=gs://b/* --partition=test", "--source does not go with"),
      ("--features=vocabulary --shards=5", "--shards='5' is neither"),
      ("--shards=6-9", "nothing to fetch, for 6 files"),
      (
        "--source=gs://none/x*",
        "gs://none cannot be read: the server says 404",
      ),
      (f"--source=gs://{BUCKET}/2/x*", "nothing to fetch, for 0 files match"),
      ("--destination=gs://b/x", "--destination='gs://b/x': a local folder is"),
      ("--destination={path}", "--destination='{path}' is a file; a folder"),
      ("--destination={path}/x", "--destination='{path}/x' cannot be made"),
      (
        f"--source={SOURCE},gs://other/**",
        "have the same name. Fetch them one",
      ),
    ],
  )
  def test_wrong_flags(self, flags, expected, run, server, tmp_path):
    path = tmp_path / "file"
    path.touch()
    server.objects["other", f"x/{name(1)}"] = b"1"
    if flags.startswith(("--features", "--partition")):
      flags += " --source="
    result = run(*flags.format(path=path).split(), is_failing=True)
    assert expected.format(path=path) in error_of(result)
    assert reads(server) == []

  @pytest.mark.parametrize("status", [401, 403])
  def test_bucket_that_is_not_public(self, status, run, server):
    server.fail(status=status)
    message = error_of(run(is_failing=True))
    assert message.startswith(f"gs://{BUCKET} cannot be read: ")
    assert "give --use_credentials" in message
    assert len(server.requests) == 1

  def test_no_network(self, monkeypatch):
    # Nothing answers at this port.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "_LISTING_SECS", 0.1)
    expected = f"gs://{BUCKET} cannot be read: .*refused.*network"
    with pytest.raises(UserError, match=expected):
      found()

  def test_no_credentials(self, run, tmp_path):
    nowhere = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")}
    result = run("--use_credentials", env=nowhere, is_failing=True)
    assert error_of(result).startswith("--use_credentials: ")
    assert "gcloud auth application-default login" in error_of(result)

  def test_own_credentials(self, server, start, monkeypatch):
    own = google.oauth2.credentials.Credentials("token")
    monkeypatch.setattr("google.auth.default", lambda: (own, None))
    client = download.make_client(True)
    assert len(download.find_blobs(client, SOURCE, None)) == NUM_FILES
    assert all(request.has_credentials for request in server.requests)

  def test_disk_is_too_small(self, start, monkeypatch, tmp_path):
    usage = types.SimpleNamespace(free=513_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    # What is there needs no room.
    (tmp_path / name(2)).write_bytes(content(2))
    download.Download(found(), str(tmp_path), 1).show_plan()
    (tmp_path / name(2)).unlink()
    expected = f"'{tmp_path}' has 513kB free, but 615kB are to be fetched"
    with pytest.raises(UserError, match=expected):
      download.Download(found(), str(tmp_path), 1).show_plan()

  def test_what_cannot_be_written_ends_it(self, run, server, tmp_path):
    (tmp_path / "data" / name(0)).mkdir(parents=True)
    message = error_of(run("--num_workers=1", is_failing=True))
    assert f"{name(0)}' cannot be written" in message
    assert len(reads(server)) < NUM_FILES


class WebHandler(http.server.SimpleHTTPRequestHandler):
  """Files of a folder; cuts the first answer."""

  protocol_version = "HTTP/1.1"

  def copyfile(self, source, outputfile):
    self.server.num_answers += 1
    is_cut = self.server.num_answers == 1
    outputfile.write(source.read()[: -5 if is_cut else None])
    self.close_connection = True

  def log_message(self, *unused_arguments):
    pass


class TestWebServer:
  @pytest.fixture
  def web(self, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/vocabulary.csv").write_bytes(bytes(range(250)) * 400)
    handler = functools.partial(WebHandler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
      web.num_answers = 0
      threading.Thread(target=web.serve_forever, args=[0.01]).start()
      yield web
      web.shutdown()

  def test_file(self, web, run, tmp_path):
    source = f"--source=http://127.0.0.1:{web.server_port}/vocabulary.csv"
    run(source, "--dry_run")
    assert not (tmp_path / "data").exists()
    run(source)
    copy = tmp_path / "data/vocabulary.csv"
    assert files_of(tmp_path / "data") == files_of(tmp_path / "www")
    assert web.num_answers == 2
    before = copy.stat().st_mtime_ns
    run(source)  # It is there.
    assert copy.stat().st_mtime_ns == before

  def test_missing(self, web, run, tmp_path):
    url = f"http://127.0.0.1:{web.server_port}/none.csv"
    message = error_of(run(f"--source={url}", is_failing=True))
    assert message.startswith(f"{url} cannot be read: the server says 404 ")
    assert files_of(tmp_path / "data") == {}


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_bar_in_a_terminal(start, monkeypatch, tmp_path):
  monkeypatch.setattr("sys.stderr", Terminal())
  assert download.Download(found(), str(tmp_path), 1).run(num_workers=2) == []
  last = sys.stderr.getvalue().split("\r")[-1]
  # The bytes, the time left, the bytes per second and the files.
  assert re.search(
    r"100%.* 615k/615k \[00:\d\d<00:00, +[\d.]+[kM] B/s, files=6/6\]", last
  )


def test_log_line_elsewhere(run):
  assert re.search(
    r"100% 615k/615k \[00:\d\d<00:00, +[\d.]+[kM]B/s, 6/6\]",
    run().stderr,
  )


def test_a_bug_in_a_thread_ends_the_program(start, monkeypatch, tmp_path):
  monkeypatch.setattr("google_crc32c.Checksum", lambda: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    download.Download(found(), str(tmp_path), 1).run(num_workers=2)


def test_patience_counts_from_the_last_byte(monkeypatch):
  now = 0.0
  monkeypatch.setattr(download.time, "monotonic", lambda: now)
  program = download.Download([], ".", patience_secs=10)
  now = 100.0
  program._count(1)
  now = 109.0
  program._check_patience(ConnectionError())
  now = 111.0
  with pytest.raises(ConnectionError):
    program._check_patience(ConnectionError())
