FROM python:3.12-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3 AS build

WORKDIR /app
RUN python -m venv /venv
COPY requirements-pip.lock requirements.lock ./
# Wheels only: the image has no compiler, and a source package runs code while it is installed.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all:
RUN /venv/bin/python -m pip install --require-hashes --no-deps -r requirements-pip.lock && \
    /venv/bin/python -m pip install --require-hashes --no-deps -r requirements.lock
COPY ensembles.toml LICENSE ./
COPY telemetry telemetry
COPY service service
# Compiled here, since the running container cannot write.
RUN python -m compileall -q service telemetry


FROM python:3.12-slim-bookworm@sha256:54c85f3c47607a77f32adec749d3c81d1348bf25833671f512b26a9b6d778cb3

LABEL org.opencontainers.image.title="LLM SSE Service" \
      org.opencontainers.image.licenses="MIT"

ENV PATH="/venv/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PRODUCTION=true \
    DATABASE_URL=sqlite:////data/service.db \
    SPOOL_DIR=/data/spool

WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app

# A new volume takes its owner from here.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
VOLUME /data

# Numeric, so that Kubernetes can see that it is not root. It owns nothing of the image but /data.
USER 10001:10001

# Inside the container the port stays 8080; publish it under another number if you need to.
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health/ready', timeout=2)"]

ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]
