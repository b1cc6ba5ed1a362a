# Scores videos and watches cameras on a CPU: infer.py (docs/infer.md, "In a container").
#   docker build -t vad .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/app/runs" -v "$PWD/videos:/videos:ro" \
#       vad --model runs/yard --source /videos/new.mp4
FROM python:3.11-slim

# PyPI's torch for Linux brings CUDA along (some GB). PyTorch's own index of CPU wheels, passed as
# --build-arg PIP_EXTRA_INDEX_URL=..., makes the image much smaller.
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 HOME=/tmp

WORKDIR /app
COPY requirements.txt requirements-mqtt.txt ./
COPY utils/installation.py utils/installation.py
# "mend" exchanges opencv-python for its headless twin: the image has no X11 libraries.
RUN pip install -r requirements.txt -r requirements-mqtt.txt && python -m utils.installation mend
COPY . .

# nobody: an alarm's command and a hostile video are no root.
USER 65534:65534
ENTRYPOINT ["python", "infer.py"]
CMD ["--help"]
