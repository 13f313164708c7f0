#!/bin/sh
# Run by the image of PostgreSQL at its first start: the two roles of docs/guide/postgresql.md.
set -eu
owner=$(cat /run/secrets/database_owner_password)
serve=$(cat /run/secrets/database_serve_password)
psql -v ON_ERROR_STOP=1 --username postgres --dbname postgres <<SQL
CREATE ROLE satchel_owner LOGIN PASSWORD '$owner';
CREATE ROLE satchel_serve LOGIN PASSWORD '$serve' NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
CREATE DATABASE satchel OWNER satchel_owner TEMPLATE template0 ENCODING 'UTF8';
\connect satchel
ALTER SCHEMA public OWNER TO satchel_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE CONNECT, TEMPORARY ON DATABASE satchel FROM PUBLIC;
GRANT CONNECT ON DATABASE satchel TO satchel_serve;
SQL
