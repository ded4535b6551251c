# MikroScope as a container: docker build --tag mikroscope .
# Logs are in /logs, the index is in /data, both owned by user 10001; set options with MIKROSCOPE_* variables.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv --without-pip /opt/mikroscope
COPY scripts/release-requirements.txt ./
RUN pip --python /opt/mikroscope/bin/python install --no-cache-dir --no-deps \
        --only-binary=:all: --require-hashes --requirement release-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip --python /opt/mikroscope/bin/python install --no-cache-dir --no-deps .

FROM python:${PYTHON}-slim
RUN groupadd --gid 10001 mikroscope \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin mikroscope \
    && install --directory --owner=mikroscope --group=mikroscope /logs /data
COPY --from=build /opt/mikroscope /opt/mikroscope
COPY deploy/container/healthcheck.py /opt/mikroscope/
ENV PATH=/opt/mikroscope/bin:$PATH \
    MIKROSCOPE_HOST=0.0.0.0 \
    MIKROSCOPE_PORT=4310 \
    MIKROSCOPE_LOGS_PATH=/logs \
    MIKROSCOPE_DB_PATH=/data/mikroscope.db
USER 10001:10001
WORKDIR /data
VOLUME ["/logs", "/data"]
EXPOSE 4310
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "/opt/mikroscope/healthcheck.py"]
ENTRYPOINT ["mikroscope"]
CMD ["serve"]
