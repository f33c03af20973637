# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""What computes, on machines with and without a GPU (all made up here)."""

import subprocess

from program import UserError

import pytest
import tensorflow as tf

import devices

SMI = "#!/bin/sh\n[ ${1%=*} = --query-gpu ] || exit 3\n"

# Of the C++ code's lines, those that say nothing about GPUs are left out.
CPP_LINES = """\
WARNING: All log messages before absl::InitializeLog() is called are written
I0000 00:00:1795.4 5016 port.cc:153] oneDNN custom operations are on.
E0000 00:00:1795.5 5016 cuda_dnn.cc:8310] Unable to register cuDNN factory: x
I0000 00:00:1795.6 5016 cudart_stub.cc:31] Could not find cuda drivers.
I0000 00:00:1795.6 5016 cudart_stub.cc:31] Could not find cuda drivers.
W0000 00:00:1795.7 5016 gpu_device.cc:2365] Cannot dlopen some GPU libraries.
Skipping registering GPU devices...
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
  """A machine without any GPU; gives functions that add traces of one."""
  monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: [])
  monkeypatch.setattr(devices, "_DRIVER_FOLDER", tmp_path / "gpus")
  monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  monkeypatch.setattr(devices, "_tensorflow_reason", lambda: "No driver.")

  class Machine:
    def add_driver(self, address, text):
      folder = tmp_path / "gpus" / address
      folder.mkdir(parents=True)
      (folder / "information").write_text(text)

    def add_nvidia_smi(self, script):
      (tmp_path / "nvidia-smi").write_text(SMI + script)
      (tmp_path / "nvidia-smi").chmod(0o755)

  return Machine()


def warnings(caplog):
  return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


class TestUnusableGpus:
  def test_a_machine_without_a_gpu(self, machine, caplog):
    devices.choose()
    assert warnings(caplog) == []

  def test_the_driver_shows_one(self, machine, caplog):
    machine.add_driver("0000:01", "Model: \t\t NVIDIA L4\nIRQ:   44\n")
    machine.add_driver("0000:02", "nothing known")
    devices.choose()
    (warning,) = warnings(caplog)
    assert warning == (
      "This machine has a GPU (NVIDIA L4, NVIDIA), but TensorFlow cannot use "
      "it, so the CPU computes. TensorFlow says: No driver. Install the CUDA "
      "libraries: pip install 'tensorflow[and-cuda]'. In a container, see that "
      "it is given the GPU."
    )

  def test_nvidia_smi_shows_two(self, machine, caplog):
    machine.add_nvidia_smi("echo NVIDIA L4\necho Tesla T4\n")
    devices.choose()
    (warning,) = warnings(caplog)
    assert "has a GPU (NVIDIA L4, Tesla T4), but" in warning

  def test_nvidia_smi_without_a_driver(self, machine, caplog):
    machine.add_nvidia_smi("echo NVIDIA-SMI has failed\nexit 9\n")
    devices.choose()
    assert warnings(caplog) == []

  @pytest.mark.parametrize(
    ("num_gpu", "hidden"), [(0, None), (None, ""), (None, "-1")]
  )
  def test_no_warning_where_the_cpu_is_wanted(
    self, num_gpu, hidden, machine, caplog, monkeypatch
  ):
    machine.add_driver("0000:01", "Model: NVIDIA L4")
    if hidden is not None:
      monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    devices.choose(num_gpu)
    assert warnings(caplog) == []

  def test_the_reason_comes_before_an_error(self, machine, caplog):
    machine.add_driver("0000:01", "Model: NVIDIA L4")
    with pytest.raises(UserError, match="--num_gpu=1, but 0 are visible"):
      devices.choose(1)
    assert len(warnings(caplog)) == 1


class TestReason:
  def test_lines_about_gpus(self, monkeypatch):
    result = subprocess.CompletedProcess([], 0, "", CPP_LINES)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    assert devices._tensorflow_reason() == (
      "Could not find cuda drivers. Cannot dlopen some GPU libraries."
    )

  @pytest.mark.parametrize(
    "error", [OSError("no memory"), subprocess.TimeoutExpired("python", 120)]
  )
  def test_a_process_that_fails(self, error, monkeypatch):
    def fail(*_, **__):
      raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert devices._tensorflow_reason().startswith("nothing (")

  @pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU"
  )
  def test_this_machine(self):
    assert "cuda" in devices._tensorflow_reason().lower()


@pytest.fixture
def gpus(monkeypatch) -> dict[str, list]:
  """Three GPUs that TensorFlow lists; what was set for them."""
  listed = [
    tf.config.PhysicalDevice(f"/physical_device:GPU:{n}", "GPU")
    for n in range(3)
  ]
  done = {"visible": list(listed), "growing": []}

  def set_visible(chosen, kind):
    assert kind == "GPU"
    done["visible"] = chosen

  details = {"device_name": "NVIDIA L4"}, {}, {"device_name": "Tesla T4"}
  for owner, name, value in (
    (tf.config, "list_physical_devices", lambda _: listed),
    (tf.config, "set_visible_devices", set_visible),
    (tf.config, "get_visible_devices", lambda _: done["visible"]),
    (
      tf.config.experimental,
      "set_memory_growth",
      lambda gpu, _: done["growing"].append(gpu),
    ),
    (
      tf.config.experimental,
      "get_device_details",
      lambda gpu: details[listed.index(gpu)],
    ),
  ):
    monkeypatch.setattr(owner, name, value)
  return done


class TestGpus:
  @pytest.mark.parametrize(
    ("num_gpu", "line"),
    [
      (None, "Training on GPU NVIDIA L4, /physical_device:GPU:1, Tesla T4."),
      (1, "Training on GPU NVIDIA L4."),
    ],
  )
  def test_some_are_chosen(self, num_gpu, line, gpus, caplog):
    caplog.set_level("INFO")
    devices.choose(num_gpu)
    assert gpus["growing"] == gpus["visible"]
    devices.log()
    assert caplog.messages == [line]

  @pytest.mark.parametrize(("cpus", "noun"), [(1, "core"), (2, "cores")])
  def test_none_is_chosen(self, cpus, noun, gpus, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(devices, "available_cpus", lambda: cpus)
    devices.choose(0)
    devices.log("Evaluating")
    assert caplog.messages == [f"Evaluating on {cpus} CPU {noun}."]

  def test_too_many(self, gpus):
    with pytest.raises(UserError, match="--num_gpu=4, but 3 are visible"):
      devices.choose(4)


class TestMemory:
  def test_a_container_has_less(self, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "_MEMORY_LIMITS", [tmp_path / "none"])
    whole = devices.memory_bytes()
    assert 2**28 < whole < 2**40
    limits = [tmp_path / "limit", tmp_path / "other"]
    monkeypatch.setattr(devices, "_MEMORY_LIMITS", limits)
    for text, expected in (
      ("max\n", whole),
      (f"{2**62}\n", whole),
      ("1048576\n", 2**20),
    ):
      limits[0].write_text(text)
      assert devices.memory_bytes() == expected

  def test_the_largest_gpu(self, machine):
    assert devices.gpu_memory_bytes() == float("inf")
    machine.add_nvidia_smi("printf '15360 MiB\\n81920 MiB\\n[N/A]\\n'\n")
    assert devices.gpu_memory_bytes() == 81920 * 2**20


class TestSlowTypes:
  @pytest.mark.parametrize(
    ("flags", "slow"),
    [
      ("flags : fpu avx512f avx512_bf16 sse", ["float16"]),
      ("flags : avx512_bf16 avx512_fp16", []),
      ("Features : fp asimd bf16", ["float16"]),
      ("flags : fpu avx2 avx512f", ["bfloat16", "float16"]),
      (None, []),  # Nothing is known.
    ],
  )
  def test_processors(self, flags, slow, tmp_path, monkeypatch, caplog):
    if flags:
      (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
    monkeypatch.setattr(devices, "_CPU_INFO", tmp_path / "cpuinfo")
    for name in ("bfloat16", "float16"):
      devices.warn_of_slow_type(name)
    assert warnings(caplog) == [
      f"--mixed_precision={name}: this processor has no instructions for "
      f"{name}, so that training takes longer with it than without it."
      for name in slow
    ]

  @pytest.mark.parametrize(
    ("name", "capability", "is_slow"),
    [
      # A T4, and an A100, by NVIDIA's table of compute capabilities.
      *(("bfloat16", (7, 5), True), ("bfloat16", (8, 0), False)),
      # A GTX 980, and a P100.
      *(("float16", (5, 2), True), ("float16", (6, 0), False)),
    ],
  )
  def test_gpus(self, name, capability, is_slow, monkeypatch, caplog):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda _: ["a GPU"])
    monkeypatch.setattr(
      tf.config.experimental,
      "get_device_details",
      lambda _: {"compute_capability": capability},
    )
    devices.warn_of_slow_type(name)
    found = warnings(caplog)
    assert len(found) == is_slow
    if is_slow and name == "bfloat16":
      assert found[0].endswith("without it. Try --mixed_precision=float16.")
