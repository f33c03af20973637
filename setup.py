# Copyright 2026 The YouTube-8M suite authors.
# SPDX-License-Identifier: Apache-2.0
"""Packaging: the checkout itself is the package `youtube_8m`.

The modules lie beside this file, so the package's folder is ".". Cloud jobs and
container images build from this file, often copied alone before the rest: it
reads no other file.
"""

import os

import setuptools

# One range for both spellings, with and without the CUDA libraries.
TENSORFLOW_RANGE = ">=2.21,<2.22"
# Not there where an image installs what the suite needs before it has the rest.
_TOOLS = ["youtube_8m.tools"] if os.path.isdir("tools") else []

setuptools.setup(
  name="youtube-8m",
  version="0.1.0",
  description="TensorFlow programs that train and evaluate on YouTube-8M.",
  license="Apache-2.0",
  python_requires=">=3.10,<3.14",
  packages=["youtube_8m", *_TOOLS],
  package_dir={"youtube_8m": "."},
  # `__init__.py` puts the package's folder on sys.path, which a zip is not.
  zip_safe=False,
  install_requires=[
    f"tensorflow{TENSORFLOW_RANGE}",
    "keras>=3.12,<4",
    "numpy>=1.26,<3",
    "absl-py>=2.1,<3",
    "google-auth>=2.30,<3",
    "google-cloud-storage>=3.1,<4",
    "google-crc32c>=1.7,<2",
    "protobuf>=5,<8",
    "requests>=2.32,<3",
    "tensorboard>=2.20,<3",
    "tqdm>=4.66,<5",
    "urllib3>=2,<3",
  ],
  extras_require={
    "gpu": [f"tensorflow[and-cuda]{TENSORFLOW_RANGE}"],
    "test": [
      "hypothesis>=6.100,<7",
      "pytest>=8.4,<10",
      "pytest-xdist>=3.8,<4",
      # Releases format differently, and `make lint` checks the format.
      "ruff>=0.17.6,<0.18",
      "scikit-learn>=1.7,<2",
      # The packaging tests build without a network.
      "setuptools>=77",
      # Certificates of the tests' own cloud storage.
      "trustme>=1.2,<2",
    ],
  },
  entry_points={
    "console_scripts": [
      "yt8m-check-submission=youtube_8m.tools.check_submission:run",
      "yt8m-download=youtube_8m.tools.download:run",
      "yt8m-train=youtube_8m.train:run",
      "yt8m-eval=youtube_8m.eval:run",
      "yt8m-inference=youtube_8m.inference:run",
      "yt8m-ensemble=youtube_8m.ensemble:run",
      "yt8m-export-model=youtube_8m.export_model:run",
      "yt8m-quickstart=youtube_8m.tools.quickstart:run",
      "yt8m-sample-data=youtube_8m.tools.sample_data:run",
      "yt8m-verify-shards=youtube_8m.tools.verify_shards:run",
    ]
  },
)
