# Three images, for CPUs:
#   docker build --tag sintese-model .                        the champion behind HTTP (the default)
#   docker build --tag sintese-page --target page .           the page
#   docker build --tag sintese-tracking --target tracking .   MLflow on PostgreSQL
#
# On Linux with an Intel or AMD processor, PyPI's torch brings several GB of CUDA along. Name the
# package index that PyTorch documents for CPU builds to do without:
#   docker build --build-arg TORCH_EXTRA_INDEX=https://... .
# No credentials in it: build arguments stay readable in the image.

FROM python:3.11.15-slim-bookworm AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    GRADIO_ANALYTICS_ENABLED=False
RUN groupadd --gid 10001 sintese \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp \
    --shell /usr/sbin/nologin sintese \
 && python -m venv /opt/venv
WORKDIR /app

# --- what the images install -------------------------------------------------------------------

# The slowest first and what changes most last: an edited source file costs one small layer.
FROM base AS libraries
ARG TORCH_EXTRA_INDEX=""
COPY constraints.txt ./
# torch alone and first, for the reason that the Makefile gives.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install ${TORCH_EXTRA_INDEX:+--extra-index-url "$TORCH_EXTRA_INDEX"} \
    "torch==$(sed -n 's/^torch==//p' constraints.txt)"
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt
COPY LICENSE README.md ./
COPY experiments experiments
COPY serve serve
COPY src src
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps .

FROM base AS tracking-libraries
COPY constraints.txt pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['server'], sep='\n')" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt

# --- the images --------------------------------------------------------------------------------

FROM base AS tracking
# What MLflow writes of its own goes here; compose mounts a tmpfs.
ENV HOME=/tmp
COPY --from=tracking-libraries /opt/venv /opt/venv
COPY serve/container.py ./
# An address without host, user and password: libpq takes them from PGHOST, PGUSER, PGPASSWORD
# and PGDATABASE, so that no password has to be quoted for a URL or stands in a file.
COPY --chmod=444 <<BASIC_AUTH /etc/mlflow/basic_auth.ini
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = postgresql+psycopg2://
auth_cache_ttl_seconds = 60
BASIC_AUTH

# A volume takes its owner from the folder it is first mounted on.
RUN install --directory --owner=10001 --group=10001 /mlartifacts
ENV MLFLOW_AUTH_CONFIG_PATH=/etc/mlflow/basic_auth.ini \
    MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2:// \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/app/container.py", "health", "http://127.0.0.1:5000/health"]
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "1", \
    "--app-name", "basic-auth", "--serve-artifacts", "--artifacts-destination", "/mlartifacts"]

FROM base AS app
# GitPython looks for a git that this image does not have.
ENV HOME=/tmp \
    GIT_PYTHON_REFRESH=quiet
COPY --from=libraries /opt/venv /opt/venv
COPY experiments experiments
COPY serve/container.py ./
# For runs of `sintese train`: checkpoints and what it fetches.
RUN install --directory --owner=10001 --group=10001 /var/lib/sintese
USER 10001:10001

FROM app AS page
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "/app/container.py", "health", "http://127.0.0.1:7860/"]
CMD ["sintese", "ui", "--endpoint", "http://model:8080", "--host", "0.0.0.0"]

FROM app AS model-server
# Seconds for one request, as long as the page waits; MLflow's own 60 are few for a CPU.
ENV MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT=300
EXPOSE 8080
# As long as it may wait for a first champion, it is starting and not ill.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python", "/app/container.py", "health", "http://127.0.0.1:8080/ping"]
CMD ["python", "/app/container.py", "serve"]
