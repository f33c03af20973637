# An image for Vertex AI, with the CUDA libraries: see docs/cloud.md.
FROM python:3.12-slim

# Where the service puts the GPU's driver, and what it is to put there.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# What takes long is installed first: it stays as it is while the code changes.
WORKDIR /opt/youtube-8m
COPY setup.py ./
RUN pip install --no-cache-dir '.[gpu]'
COPY LICENSE README.md pyproject.toml *.py ./
COPY tools ./tools
RUN pip install --no-cache-dir --no-deps --force-reinstall .

WORKDIR /tmp
ENTRYPOINT ["python", "-m", "youtube_8m.train"]
