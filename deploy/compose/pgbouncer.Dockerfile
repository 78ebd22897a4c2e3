# Debian's PgBouncer, in transaction mode; where PostgreSQL is and how it lets in comes from the environment.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends pgbouncer \
 && rm -rf /var/lib/apt/lists/*
COPY deploy/compose/pgbouncer.sh /usr/local/bin/serve
USER postgres
EXPOSE 6432
ENTRYPOINT ["sh", "/usr/local/bin/serve"]
