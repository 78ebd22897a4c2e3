#!/bin/sh
# Writes PgBouncer's configuration from the environment and becomes it.
set -eu
cat >/tmp/pgbouncer.ini <<END
[databases]
gavel = host=postgres port=5432 dbname=gavel
[pgbouncer]
listen_addr = 0.0.0.0
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = /tmp/users.txt
pool_mode = transaction
default_pool_size = 20
max_client_conn = 200
ignore_startup_parameters = extra_float_digits,options
END
printf '"gavel" "%s"\n' "$POSTGRES_PASSWORD" >/tmp/users.txt
exec pgbouncer /tmp/pgbouncer.ini
