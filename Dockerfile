# Two stages: what builds stays in the first, the second holds the interpreter, the packages and the program.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
# gcc for packages that have no wheel for this platform; tini to reap Ray's processes as PID 1.
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev tini \
 && rm -rf /var/lib/apt/lists/*
COPY requirements.txt constraints.txt /build/
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r /build/requirements.txt -c /build/constraints.txt
# Not used at run time: pip itself, Ray's C++ and Java interfaces, headers, and the large libraries' own tests and sample data.
RUN /opt/venv/bin/pip uninstall -y pip \
 && cd /opt/venv/lib/python*/site-packages \
 && rm -rf ray/cpp ray/jars ray/include ray/rllib ray/serve/_private/benchmarks pyarrow/include pyarrow/src \
      matplotlib/mpl-data/sample_data \
 && find matplotlib mpl_toolkits pandas pyarrow -type d -name tests -prune -exec rm -rf {} + \
 && find . \( -name '*.pyx' -o -name '*.pxd' -o -name '*.a' \) -delete \
 && find . -name __pycache__ -type d -prune -exec rm -rf {} +

FROM python:${PYTHON_VERSION}-slim
COPY --from=build /usr/bin/tini /usr/bin/tini
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY main.py requirements.txt ./
COPY tictactoe ./tictactoe
# Any user id may run this: HOME and everything written lie in /tmp and /results, which may be mounts. Two heaps a process
# instead of one for each few threads: Ray's agents have many, and save 30 MiB together. Code for the processor that builds
# would be compiled again on another; for any of its kind the kernels are as quick.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp/home \
    MALLOC_ARENA_MAX=2 \
    NUMBA_CPU_NAME=generic \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_AUTH_MODE=token \
    RAY_AUTH_TOKEN_PATH=/tmp/ray-auth-token \
    RAY_USAGE_STATS_ENABLED=0 \
    TICTACTOE_RESULTS_DIR=/results \
    TICTACTOE_NUMBA_CACHE=/app/numba-cache \
    TICTACTOE_DASHBOARD_HOST=0.0.0.0 \
    TICTACTOE_HOLD=true
# Made once: byte code, the standard library's too (the base image has none, and some fifteen Python processes would each
# compile it at start, for 4 seconds in all), and Numba's kernels.
RUN python -m compileall -q -j 0 -x '/(ensurepip|idlelib|lib2to3|pip|test|tkinter|turtledemo)/' \
      "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /opt/venv/lib /app \
 && NUMBA_CACHE_DIR=/app/numba-cache python -m tictactoe.core.warmup \
 && groupadd --gid 1000 app && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp/home app \
 && mkdir /results && chown 1000:1000 /results && chmod 1777 /results \
 && chmod -R a+rX /app
USER 1000:1000
VOLUME /results
EXPOSE 8265
STOPSIGNAL SIGTERM
# It finds the dashboard's port by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/app/tictactoe/process/health.py"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["python", "/app/main.py"]
