# Images of Vigie and of the services in compose.yaml, all made of Debian's packages.
#
#   docker build --tag vigie .                       the program: one image for all processes
#   docker build --tag vigie-broker --target broker .   and so: database, proxy, prometheus
#
# podman and buildah build them as well. A network that inspects TLS: add --secret id=ca,src=/path/ca.pem.
# Build from another mirror of Debian's image: --build-arg BASE=….
ARG BASE=debian:trixie-slim

FROM ${BASE} AS base
ENV DEBIAN_FRONTEND=noninteractive \
    LANG=C.UTF-8
COPY deploy/containers/apt-install.sh /usr/local/bin/apt-install

# --- program -----------------------------------------------------------------------------------

FROM base AS packages
ARG UV_VERSION=0.13.9
RUN apt-install python3 python3-venv ca-certificates
WORKDIR /build
ENV UV_PROJECT_ENVIRONMENT=/opt/vigie \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON=/usr/bin/python3
# The packages first: a change of the program leaves this layer as it is.
COPY pyproject.toml uv.lock ./
COPY deploy/containers/with-ca.sh /usr/local/bin/with-ca
RUN --mount=type=secret,id=ca \
    python3 -m venv /uv \
    && with-ca /uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check "uv==${UV_VERSION}" \
    && with-ca /uv/bin/uv sync --quiet --frozen --no-default-groups --no-install-project

# The broker's access rules, from the code that writes those of `vigie up`.
FROM packages AS access-rules
COPY app/standalone/mosquitto_config.py ./
RUN python3 -c 'from mosquitto_config import ACCESS_RULES; print(ACCESS_RULES, end="")' >acl

# The website that the API serves under /docs/guides. Its tools stay out of the program's image.
FROM packages AS guides
COPY . .
RUN --mount=type=secret,id=ca \
    UV_PROJECT_ENVIRONMENT=/guides with-ca /uv/bin/uv sync --quiet --frozen --no-default-groups --group docs --no-install-project \
    && /guides/bin/python -m tools.guides

# The list of the program's components, from the packages that are installed.
FROM packages AS sbom
COPY . .
RUN --mount=type=secret,id=ca \
    UV_PROJECT_ENVIRONMENT=/sbom with-ca /uv/bin/uv sync --quiet --frozen --no-default-groups --group sbom --no-install-project \
    && /sbom/bin/python -m tools.supply_chain.sbom --output vigie.cdx.json

FROM packages AS build
# Empty without git: the image then says only its version.
ARG VIGIE_COMMIT=
COPY . .
COPY --from=guides /build/build/guides build/guides
RUN --mount=type=secret,id=ca \
    VIGIE_COMMIT="${VIGIE_COMMIT}" with-ca /uv/bin/uv sync --quiet --frozen --no-default-groups --no-editable \
    && /opt/vigie/bin/python -P -m app version

# --- services ----------------------------------------------------------------------------------

FROM base AS database
# pgbackrest archives and restores; lz4 is a part of the server.
RUN apt-install --no-cluster postgresql-17 postgresql-17-timescaledb pgbackrest
COPY --chmod=755 deploy/containers/database-entrypoint.sh /usr/local/bin/
COPY deploy/containers/postgresql.conf deploy/roles.sql /etc/vigie/
RUN install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data \
    && install -d -o postgres -g postgres -m 755 /run/postgresql
VOLUME ["/var/lib/postgresql/data", "/run/postgresql"]
USER postgres
# A fast shutdown: sessions end, and the database is consistent.
STOPSIGNAL SIGINT
ENTRYPOINT ["database-entrypoint.sh"]

FROM base AS broker
RUN apt-install mosquitto mosquitto-clients
# The number of the program's account: `maintain` writes the accounts, in a volume of both.
RUN useradd --uid 10001 --user-group --no-create-home vigie \
    && install -d -o vigie -g vigie -m 700 /var/lib/mosquitto/data /var/lib/mosquitto/accounts
COPY --chmod=755 deploy/containers/broker-entrypoint.sh deploy/containers/broker-reload.sh /usr/local/bin/
COPY deploy/containers/mosquitto.conf /etc/vigie/
COPY --from=access-rules --chown=vigie:vigie --chmod=600 /build/acl /etc/vigie/acl
VOLUME ["/var/lib/mosquitto/data", "/var/lib/mosquitto/accounts"]
USER vigie
EXPOSE 1883 8883 8884
ENTRYPOINT ["broker-entrypoint.sh"]

FROM base AS proxy
RUN apt-install caddy ca-certificates \
    && install -d -o caddy -g caddy -m 700 /data
COPY deploy/containers/Caddyfile /etc/caddy/Caddyfile
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/tmp
VOLUME ["/data"]
USER caddy
EXPOSE 80 443
ENTRYPOINT ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]

FROM base AS prometheus
RUN apt-install prometheus \
    && install -d -o prometheus -g prometheus -m 700 /data
COPY --chmod=755 deploy/containers/prometheus-entrypoint.sh /usr/local/bin/
COPY deploy/containers/prometheus.yml deploy/prometheus/vigie-*.yml /etc/vigie/
VOLUME ["/data"]
USER prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus-entrypoint.sh"]

# --- the program's image, last: it is the default ------------------------------------------------

FROM base AS vigie
# Libraries and font of reports (WeasyPrint). No compiler, no pip.
RUN apt-install python3 ca-certificates libpangoft2-1.0-0 libharfbuzz-subset0 fonts-inter \
    && useradd --uid 10001 --user-group --no-create-home vigie
COPY --from=build /opt/vigie /opt/vigie
COPY --from=sbom /build/vigie.cdx.json /opt/vigie/share/vigie.cdx.json
ARG VIGIE_COMMIT=
LABEL org.opencontainers.image.title="Vigie" \
      org.opencontainers.image.description="Smart- and safe-city IoT ingestion backend" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${VIGIE_COMMIT}" \
      vigie.sbom="/opt/vigie/share/vigie.cdx.json"
ENV PATH=/opt/vigie/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    # The root file system may be read-only: only /tmp is written.
    XDG_CACHE_HOME=/tmp \
    VIGIE_API__HOST=0.0.0.0 \
    VIGIE_METRICS_PORT=9100
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000 9100
ENTRYPOINT ["vigie"]
CMD ["--help"]
