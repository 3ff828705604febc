# One image for the web server, the workers and the scheduler; docker-compose.yml gives each its command.
FROM python:3.11-slim

# Where the PyTorch wheels come from; empty takes the default index (on Linux a CUDA build).
ARG TANDEM_TORCH_INDEX=""

ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    PATH=/opt/venv/bin:$PATH \
    TANDEM_VENV=/opt/venv \
    TANDEM_HOME=/data \
    HF_HOME=/data/huggingface \
    HF_HUB_DISABLE_TELEMETRY=1 \
    REMAP_SIGTERM=SIGQUIT

RUN useradd --create-home --uid 10001 tandem \
    && install -d -o tandem -g tandem -m 0700 /data

WORKDIR /app

# The dependencies change seldom: a layer of their own, installed as `make run` does it.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY scripts scripts
RUN PIP_NO_CACHE_DIR=1 TANDEM_TORCH_INDEX="$TANDEM_TORCH_INDEX" python scripts/setup_env.py run

COPY . .
RUN python -m compileall -q webapp labeling genrm_engine workers

USER tandem
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "webapp.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "gthread", "--workers", "2", "--threads", "8", "--timeout", "60", "--graceful-timeout", "3", "--log-level", "warning", "--no-control-socket"]
