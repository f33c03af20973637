# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""download.py fetches what is asked for, whole, once, and over all obstacles.

The buckets are those of a stand-in on loopback, see cloud_server.py.
"""

import collections
import functools
import http.server
import io
import itertools
import re
import signal
import sys
import threading
from fractions import Fraction

from program import UserError

import cloud_server
import google.oauth2.credentials
import pytest

from tools import download
from tools.download import Connection, RemoteFile

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
def run(server, fork_program, tmp_path):
  """`run("--flag=x")` runs download.py, with tmp_path/data as destination."""

  def run(*flags, env=None, **options):
    return fork_program(
      "tools.download",
      f"--destination={tmp_path}/data",
      *flags,
      env={"STORAGE_EMULATOR_HOST": server.http_url, **(env or {})},
      **options,
    )

  return run


@pytest.fixture
def start(server, start_program, tmp_path):
  """`start("--flag=x")` as `run`, of all shards, and does not wait."""

  def start(*flags):
    return start_program(
      "tools.download",
      f"--source={SOURCE}",
      f"--destination={tmp_path}/data",
      *flags,
      env={"STORAGE_EMULATOR_HOST": server.http_url},
    )

  return start


def files_of(folder) -> dict[str, bytes]:
  """Name -> content of all files, hidden and temporary ones too."""
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def shards(*numbers: int) -> dict[str, bytes]:
  return {name(number): content(number) for number in numbers}


ALL = shards(*range(NUM_FILES))


def reads(server) -> list[str]:
  """Names of what was read, sorted."""
  return sorted(
    request.name.rpartition("/")[2]
    for request in server.requests
    if request.action == "read"
  )


def is_read(request) -> bool:
  return request.action == "read"


def error_of(result) -> str:
  """The one line that a program ended with."""
  assert result.returncode == 1
  (line,) = re.findall(r"^download.py: error: (.*)$", result.stderr, re.M)
  assert "Traceback" not in result.stderr
  return line


class TestWhatIsFetched:
  def test_pattern(self, run, server, tmp_path):
    result = run(f"--source={SOURCE}")
    assert files_of(tmp_path / "data") == ALL
    # 6 files of 100 kB, and 1 + 2 + 3 + 4 + 5 kB.
    assert "6 files to fetch, 615.0 kB, to " in result.stderr
    assert re.search(r"\([\d.,]+ [MGT]B free\)", result.stderr)
    assert "Fetched 6 files, 615.0 kB, in " in result.stderr
    assert not any(request.has_credentials for request in server.requests)
    # A request for each file, and one for their names.
    assert len(server.requests) == NUM_FILES + 1

  def test_several_patterns(self, run, server, tmp_path):
    server.objects["other", "labels.csv"] = b"a,b\n"
    server.objects["other", "empty.csv"] = b""
    first = SOURCE.replace("*", "000[01]")
    run(f"--source={first}, gs://other/*.csv,{SOURCE.replace('*', '0001')}")
    assert files_of(tmp_path / "data") == {
      **shards(0, 1),
      "labels.csv": b"a,b\n",
      "empty.csv": b"",
    }
    assert reads(server) == ["empty.csv", "labels.csv", name(0), name(1)]

  @pytest.mark.parametrize(
    ("flags", "bucket", "prefix"),
    [
      ("--features=video --partition=train", "us", "2/video/train/train"),
      (
        "--features=frame --partition=test --mirror=asia",
        "asia",
        "2/frame/test/test",
      ),
      (
        "--features=video --partition=validate --version=1",
        "us",
        "1/video_level/validate/validate",
      ),
      (
        "--features=frame --partition=train --version=0 --mirror=eu",
        "eu",
        "0/frame_level/train/train",
      ),
      (
        "--features=frame --partition=validate --version=3",
        "us",
        "3/frame/validate/validate",
      ),
    ],
  )
  def test_published_files(self, flags, bucket, prefix, run, server, tmp_path):
    server.objects.clear()
    bucket = f"{bucket}.data.yt8m.org"
    server.objects[bucket, f"{prefix}0093.tfrecord"] = b"shard"
    server.objects[bucket, f"{prefix}.html"] = b"page"
    run(*flags.split())
    name = f"{prefix.rpartition('/')[2]}0093.tfrecord"
    assert files_of(tmp_path / "data") == {name: b"shard"}

  @pytest.mark.parametrize(
    ("features", "url"),
    [
      (
        "vocabulary",
        "https://research.google.com/youtube8m/csv/2/vocabulary.csv",
      ),
      (
        "segment_labels",
        "https://raw.githubusercontent.com/google/youtube-8m/master/"
        "segment_label_ids.csv",
      ),
    ],
  )
  def test_lists_are_looked_for_where_they_are(self, features, url, run):
    # Nothing answers at this port, so that nothing leaves the machine.
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:9"}
    result = run(f"--features={features}", env=proxy, check=False)
    assert f"{url} cannot be reached: " in error_of(result)

  def test_current_folder_is_the_default(self, fork_program, server):
    env = {"STORAGE_EMULATOR_HOST": server.http_url}
    result = fork_program(
      "tools.download", f"--source={SOURCE}", "--dry_run", env=env
    )
    assert "6 files to fetch, 615.0 kB, to '.' (" in result.stderr

  def test_dry_run(self, run, server, tmp_path):
    result = run(f"--source={SOURCE}", "--dry_run")
    assert "6 files to fetch, 615.0 kB" in result.stderr
    assert reads(server) == []
    assert not (tmp_path / "data").exists()

  def test_long_listing(self, run, server):
    # The service lists at most 1,000 names at a time.
    for number in range(1100):
      server.objects["many", f"{number:04d}"] = b"x"
    result = run("--source=gs://many/*", "--dry_run", "--shards=1/100")
    assert "gs://many/*: 11 of 1,100 files." in result.stderr


class TestPatterns:
  @pytest.mark.parametrize(
    ("pattern", "expected"),
    [
      ("a/*.csv", "a/1.csv a/22.csv a/b.csv"),
      ("a/?.csv", "a/1.csv a/b.csv"),
      ("a/[0-9]*.csv", "a/1.csv a/22.csv"),
      ("a/[!0-9].csv", "a/b.csv"),
      ("*/1.csv", "a/1.csv"),
      ("**/1.csv", "a/1.csv a/b/1.csv"),
      ("a/**", "a/1.csv a/1xcsv a/22.csv a/b.csv a/b/1.csv"),
      ("a/1.csv", "a/1.csv"),
    ],
  )
  def test_matches(self, pattern, expected, server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.http_url)
    for other in ("1.csv", "1xcsv", "22.csv", "b.csv", "b/1.csv", ""):
      server.objects["b", f"a/{other}"] = b""
    files = Connection().find(f"gs://b/{pattern}", 1)
    assert [file.url for file in files] == [
      f"gs://b/{path}" for path in expected.split()
    ]

  @pytest.mark.parametrize(
    "source",
    ["train*.tfrecord", "gs://bucket", "gs://bucket/folder/", "gs://b*/x"],
  )
  def test_what_names_no_file_is_refused(self, source):
    with pytest.raises(UserError, match="--source: .*names no files"):
      Connection().find(source, 1)

  def test_impossible_range(self):
    with pytest.raises(UserError, match="--source: .* is no pattern"):
      Connection().find("gs://bucket/train[9-0]", 1)


class TestShards:
  def numbers(self, text, num_files):
    files = [RemoteFile(f"gs://b/{number}") for number in range(num_files)]
    chosen = download.choose_shards(files, download.parse_shards(text))
    return [int(file.name) for file in chosen]

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
      (None, range(3844)),
    ],
  )
  def test_of_the_data_set(self, text, expected):
    assert self.numbers(text, 3844) == [*expected]

  @pytest.mark.parametrize("text", ["3/10", "0.3", "2/7", "0.123", "99/100"])
  def test_fractions_are_spread_evenly(self, text):
    chosen = self.numbers(text, 1000)
    assert len(chosen) == pytest.approx(1000 * Fraction(text), abs=1)
    gaps = {after - before for before, after in itertools.pairwise(chosen)}
    assert max(gaps) - min(gaps) <= 1

  def test_a_fraction_of_few_files_is_at_least_one(self):
    assert self.numbers("0.001", 3) == [0]

  @pytest.mark.parametrize(
    "text",
    ["1", "0", "2/1", "1/0", "0/5", "0.0", "1.5", "5-3", "0:3", "a", "-1"],
  )
  def test_others_are_refused(self, text):
    with pytest.raises(UserError, match="--shards=.* is neither"):
      download.parse_shards(text)

  def test_in_the_program(self, run, server, tmp_path):
    server.objects["b", "only.csv"] = b"1"
    result = run(f"--source={SOURCE},gs://b/*", "--shards=1/3")
    assert files_of(tmp_path / "data") == {**shards(0, 3), "only.csv": b"1"}
    assert f"{SOURCE}: 2 of 6 files." in result.stderr


class TestAgain:
  def test_fetches_nothing_that_is_there(self, run, server, tmp_path):
    run(f"--source={SOURCE}")
    times = [path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()]
    server.requests.clear()
    result = run(f"--source={SOURCE}")
    assert reads(server) == []
    assert "6 files with the right size, 615.0 kB, to check." in result.stderr
    assert "Fetched 0 files, 0 bytes, " in result.stderr
    assert "6 files there before." in result.stderr
    assert times == [
      path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()
    ]

  def test_fetches_what_is_missing_or_wrong(self, run, server, tmp_path):
    run(f"--source={SOURCE}")
    server.requests.clear()
    data = tmp_path / "data"
    damaged = bytearray(content(1))
    damaged[500] ^= 1
    (data / name(1)).write_bytes(damaged)
    (data / name(2)).write_bytes(content(2)[:-1])
    (data / name(3)).unlink()
    (data / "mine.txt").write_text("mine")
    run(f"--source={SOURCE}")
    assert reads(server) == [name(1), name(2), name(3)]
    assert files_of(data) == {**ALL, "mine.txt": b"mine"}

  def test_fetches_what_the_bucket_has_anew(self, run, server, tmp_path):
    run(f"--source={SOURCE}")
    server.requests.clear()
    server.objects[key(4)] = bytes(len(content(4)))
    run(f"--source={SOURCE}")
    assert reads(server) == [name(4)]
    assert files_of(tmp_path / "data") == {**ALL, name(4): bytes(104_000)}

  def test_each_destination_has_its_own(self, run, server, tmp_path):
    run(f"--source={SOURCE}", "--shards=0-2")
    run(f"--source={SOURCE}", f"--destination={tmp_path}/new/other")
    assert files_of(tmp_path / "data") == shards(0, 1, 2)
    assert files_of(tmp_path / "new/other") == ALL
    assert len(reads(server)) == 3 + NUM_FILES


class TestObstacles:
  def test_busy_server(self, run, server, tmp_path):
    server.fail(lambda request: request.action == "list", times=1, status=503)
    server.fail(is_read, times=3, status=429)
    server.fail(is_read, times=3, status=503)
    run(f"--source={SOURCE}")
    assert files_of(tmp_path / "data") == ALL

  def test_cut_connections(self, run, server, tmp_path):
    server.fail(is_read, times=4, cut_after=60_000)
    run(f"--source={SOURCE}", "--num_workers=1")
    assert files_of(tmp_path / "data") == ALL
    # It goes on where it was cut. The fourth is cut behind the end.
    ranges = [request.range for request in server.requests if is_read(request)]
    assert [text for text in ranges if text] == ["bytes=60000-"] * 2
    assert len(ranges) == NUM_FILES + 2

  def test_damaged_on_the_way(self, run, server, tmp_path):
    server.objects.data[key(2)] = bytes(len(content(2)))
    seen = []

    def mend(request):
      if is_read(request) and request.name == key(2)[1]:
        if seen:
          server.objects.data[key(2)] = content(2)
        seen.append(request)
      return False

    server.fail(mend)
    run(f"--source={SOURCE}")
    assert files_of(tmp_path / "data") == ALL
    assert len(seen) == 2

  def test_replaced_meanwhile(self, run, server, tmp_path):
    def replace(request):
      if is_read(request) and request.name == key(1)[1]:
        server.objects[key(1)] = b"new"
      return False

    server.fail(replace)
    result = run(f"--source={SOURCE}", check=False)
    assert f"{name(1)}: it is gone, or another one took its place" in (
      result.stderr
    )
    assert files_of(tmp_path / "data") == shards(0, 2, 3, 4, 5)

  def test_files_that_cannot_be_had(self, run, server, tmp_path):
    server.fail(lambda request: request.name == key(1)[1], status=404)
    server.fail(lambda request: request.name == key(2)[1], status=403)
    server.objects.resource(key(3))["crc32c"] = "AAAAAA=="
    server.objects.data[key(4)] = content(4)[:-10]
    result = run(f"--source={SOURCE}", check=False)
    assert error_of(result).startswith("4 files of 6 could not be fetched")
    for number, words in (
      (1, "it is gone"),
      (2, r"access is denied \(403\)"),
      (3, ".*checksum"),
      (4, "103,990 bytes arrived instead of 104,000"),
    ):
      url = f"gs://{BUCKET}/{FOLDER}/{name(number)}"
      assert re.search(f"Missing: {url}: {words}", result.stderr)
    assert files_of(tmp_path / "data") == shards(0, 5)
    # A refusal does not go away when a file is asked for again; damage may.
    times = collections.Counter(reads(server))
    assert [times[name(number)] for number in range(6)] == [1, 1, 1, 2, 2, 1]

  def test_a_wrong_checksum_leaves_what_was_there(self, run, server, tmp_path):
    run(f"--source={SOURCE}")
    # Nobody knows who is right.
    server.objects.resource(key(2))["crc32c"] = "AAAAAA=="
    result = run(f"--source={SOURCE}", check=False)
    assert error_of(result).startswith("1 file of 6 could not be fetched")
    assert files_of(tmp_path / "data") == ALL

  def test_server_that_stays_busy(self, run, server, tmp_path):
    for number in range(NUM_FILES, 12):
      server.objects[key(number)] = content(number)
    server.fail(is_read, status=503)
    result = run(f"--source={SOURCE}", "--retry_secs=0.2", check=False)
    assert error_of(result).startswith("12 files of 12 could not be fetched")
    assert result.stderr.count("the server says 503 Service Unavailable") == 10
    assert "Missing: 2 more." in result.stderr
    assert files_of(tmp_path / "data") == {}

  @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
  def test_signals(self, signum, run, server, start, tmp_path):
    server.bytes_per_second = 400_000
    data = tmp_path / "data"
    program = start("--num_workers=2")
    program.wait_until(lambda: [*data.glob("*.tfrecord")])
    program.signal(signum)
    result = program.wait()
    assert result.returncode == 128 + signum
    assert f"stopped by signal {int(signum)}." in result.stderr
    assert "Traceback" not in result.stderr
    there = files_of(data)
    assert {key: ALL[key] for key in there} == there
    assert len(there) < NUM_FILES

    server.bytes_per_second = None
    server.requests.clear()
    run(f"--source={SOURCE}")
    assert files_of(data) == ALL
    assert reads(server) == sorted(ALL.keys() - there.keys())

  def test_kill(self, run, server, start, tmp_path):
    server.bytes_per_second = 400_000
    data = tmp_path / "data"
    program = start()
    program.wait_until(lambda: [*data.glob("*.tmp")])
    program.signal(signal.SIGKILL)
    program.wait()
    assert [*data.glob("*.tmp")]
    server.bytes_per_second = None
    run(f"--source={SOURCE}")
    assert files_of(data) == ALL

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
      ("", "Say what to fetch: --features=video --partition=train"),
      ("--features=video", "--features=video needs --partition: train, "),
      ("--source=", "--source is empty. Give a pattern"),
      ("--source=gs://b/* --mirror=eu", "leave --mirror out."),
      (
        "--version=3 --features=frame --partition=train",
        "--version=3 has only",
      ),
      ("--version=3 --features=video --partition=test", "--version=3 has only"),
      ("--version=1 --features=vocabulary", "--version=1 has no --features="),
      ("--features=vocabulary --shards=5", "--shards='5' is neither"),
      (
        f"--source={SOURCE} --shards=6-9",
        f"--shards=6-9: {SOURCE} has only 6 files, whose numbers begin with 0.",
      ),
      ("--source=gs://none/x*", "gs://none: there is no such bucket (404)."),
      (f"--source=gs://{BUCKET}/2/x*", "--source: no file of the bucket match"),
      ("--destination=gs://b/x", "--destination='gs://b/x': a local folder is"),
      ("--destination={shard}", "--destination='{shard}' is a file; a folder"),
      ("--destination={shard}/x", "--destination='{shard}/x' cannot be made"),
      (
        f"--source={SOURCE},gs://other/**",
        "have the same name. Fetch them one",
      ),
    ],
  )
  def test_wrong_flags(self, flags, expected, run, server, tmp_path):
    shard = tmp_path / "file"
    shard.touch()
    server.objects["other", f"x/{name(1)}"] = b"1"
    if "--destination" in flags:
      flags += f" --source={SOURCE}"
    result = run(*flags.format(shard=shard).split(), check=False)
    assert expected.format(shard=shard) in error_of(result)
    assert reads(server) == []

  @pytest.mark.parametrize("status", [401, 403])
  def test_bucket_that_is_not_public(self, status, run, server):
    server.fail(status=status)
    message = error_of(run(f"--source={SOURCE}", check=False))
    assert message.startswith(f"gs://{BUCKET}: access is denied ({status}). ")
    assert "--use_credentials" in message
    assert len(server.requests) == 1

  def test_no_network(self, run):
    # Nothing answers at this port.
    nowhere = {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"}
    flags = (f"--source={SOURCE}", "--retry_secs=0.1")
    message = error_of(run(*flags, env=nowhere, check=False))
    assert message.startswith(f"gs://{BUCKET} cannot be reached: ")
    assert "Check the network" in message

  def test_no_credentials(self, run, tmp_path):
    nowhere = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")}
    flags = (f"--source={SOURCE}", "--use_credentials")
    message = error_of(run(*flags, env=nowhere, check=False))
    assert message.startswith("--use_credentials: ")
    assert "gcloud auth application-default login" in message

  @pytest.mark.parametrize(
    ("status", "advice"),
    [(None, None), (401, "Sign in again"), (403, "Storage Object Viewer")],
  )
  def test_own_credentials(self, status, advice, server, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.http_url)
    own = google.oauth2.credentials.Credentials("token")
    if status is None:
      assert len(Connection(own).find(SOURCE, 1)) == NUM_FILES
    else:
      server.fail(status=status)
      with pytest.raises(UserError, match=advice):
        Connection(own).find(SOURCE, 1)
    assert all(request.has_credentials for request in server.requests)

  def test_disk_is_too_small(self, tmp_path):
    files = [RemoteFile("gs://b/x", 5 * 10**12), RemoteFile("gs://b/y", 10**12)]
    plan = download.make_plan(files, str(tmp_path))
    download.check_space(plan, str(tmp_path), 6 * 10**12)
    with pytest.raises(UserError) as error:
      download.check_space(plan, str(tmp_path), 10**9)
    assert str(error.value).startswith(
      f"--destination='{tmp_path}' has 1.0 GB free, but 6.0 TB are to be "
    )

  def test_what_is_there_needs_no_space(self, tmp_path):
    (tmp_path / "x").write_bytes(b"123")
    plan = download.make_plan([RemoteFile("gs://b/x", 3)], str(tmp_path))
    download.check_space(plan, str(tmp_path), 0)

  def test_what_cannot_be_written_ends_it(self, run, server, tmp_path):
    (tmp_path / "data" / name(0)).mkdir(parents=True)
    flags = (f"--source={SOURCE}", "--num_workers=1")
    message = error_of(run(*flags, check=False))
    assert f"{name(0)}' cannot be written" in message


class WebHandler(http.server.SimpleHTTPRequestHandler):
  """Files of a folder; cuts the first answer, and then knows ranges."""

  protocol_version = "HTTP/1.1"

  def do_GET(self):  # noqa: N802
    with open(self.translate_path(self.path), "rb") as file:
      body = file.read()
    self.server.ranges.append(self.headers.get("Range"))
    if self.server.ranges[-1]:
      body = body[int(re.findall(r"\d+", self.server.ranges[-1])[0]) :]
      self.send_response(206)
    else:
      self.send_response(200)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    if len(self.server.ranges) == 1:
      body = body[:-5]
      self.close_connection = True
    self.wfile.write(body)

  def log_message(self, *unused_arguments):
    pass


class TestWebServer:
  @pytest.fixture
  def web(self, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/vocabulary.csv").write_bytes(bytes(range(250)) * 400)
    handler = functools.partial(WebHandler, directory=tmp_path / "www")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
      web.ranges = []
      threading.Thread(target=web.serve_forever, args=[0.01]).start()
      yield web
      web.shutdown()

  def test_file(self, web, run, tmp_path):
    url = f"http://127.0.0.1:{web.server_port}/vocabulary.csv"
    for _ in range(2):  # The second time it is there.
      run(f"--source={url}")
      expected = (tmp_path / "www/vocabulary.csv").read_bytes()
      assert files_of(tmp_path / "data") == {"vocabulary.csv": expected}
    assert web.ranges == [None, "bytes=98304-"]

  def test_missing(self, web, run, tmp_path):
    url = f"http://127.0.0.1:{web.server_port}/none/none.csv"
    (tmp_path / "www/none").mkdir()
    web.ranges.append(None)
    result = run(f"--source={url}", "--retry_secs=0.1", check=False)
    assert f"Missing: {url}: " in result.stderr
    assert files_of(tmp_path / "data") == {}


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_bar_in_a_terminal(server, monkeypatch, tmp_path):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.http_url)
  monkeypatch.setattr("sys.stderr", Terminal())
  plan = download.make_plan(Connection().find(SOURCE, 1), str(tmp_path))
  assert download.obtain(plan, None, num_workers=2, patience_secs=1) == 0
  last = sys.stderr.getvalue().split("\r")[-1]
  # The bytes, the time left, the bytes per second and the files.
  assert re.search(
    r"100%.* 615k/615k \[00:\d\d<00:00, +[\d.]+[kM] B/s, files=6/6\]", last
  )


def test_log_line_elsewhere():
  files = [RemoteFile(f"gs://b/{number}", 10**9) for number in range(3844)]
  plan = download.make_plan(files, "no such folder")
  assert download.progress_line(plan, 961, 961 * 10**9, 3600.0) == (
    "961 of 3,844 files | 961.0 GB of 3.8 TB | 266.9 MB/s | 3:00:00 left"
  )


def test_a_bug_in_a_thread_ends_the_program(server, monkeypatch, tmp_path):
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.http_url)
  monkeypatch.setattr(download, "fetch", lambda *unused: 1 / 0)
  plan = download.make_plan(Connection().find(SOURCE, 1), str(tmp_path))
  with pytest.raises(ZeroDivisionError):
    download.obtain(plan, None, num_workers=2, patience_secs=1)


@pytest.mark.parametrize(
  ("num_bytes", "expected"),
  [
    (0, "0 bytes"),
    (999, "999 bytes"),
    (1000, "1.0 kB"),
    (18_300_000_000, "18.3 GB"),
    (1.53e12, "1.5 TB"),
    (2e15, "2,000.0 TB"),
  ],
)
def test_sizes_for_people(num_bytes, expected):
  assert download.format_bytes(num_bytes) == expected


def test_patience_counts_from_the_last_byte(monkeypatch):
  now = 0.0
  monkeypatch.setattr(download.time, "monotonic", lambda: now)
  progress = download.Progress()
  sink = download._Sink(io.BytesIO(), progress, patience_secs=10)
  now = 100.0
  sink.write(b"1")
  now = 109.0
  assert sink.is_worth_waiting(ConnectionError())
  assert not sink.is_worth_waiting(ZeroDivisionError())
  now = 111.0
  assert not sink.is_worth_waiting(ConnectionError())
  # No file got a byte: the next one need not wait as long again.
  following = download._Sink(io.BytesIO(), progress, patience_secs=10)
  assert not following.is_worth_waiting(ConnectionError())
  progress.stop()
  for call in (sink.is_worth_waiting, sink.write):
    with pytest.raises(download.Stopped):
      call(b"2")
