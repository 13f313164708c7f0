#!/bin/sh
# Make what compose.yaml reads as secrets, each once: what is there stays. Needs a shell and /dev/urandom, and openssl for a
# certificate of SATCHEL_SITE that only this machine believes in: put your own in its place, in tls_certificate and tls_key.
#
# The files are readable by everyone inside a folder that only you may enter, since Compose gives files to containers as
# they are, and the processes in them have users of their own.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

keep() { # keep NAME TEXT
    [ -s "$1" ] || printf '%s\n' "$2" > "$1"
    chmod 644 "$1"
}

keep database_admin_password "$(random)"
keep database_owner_password "$(random)"
keep database_serve_password "$(random)"
keep database_owner_url "postgresql://satchel_owner:$(cat database_owner_password)@database/satchel"
keep database_url "postgresql://satchel_serve:$(cat database_serve_password)@database/satchel"
keep s3_credentials "[satchel]
aws_access_key_id = satchel
aws_secret_access_key = $(random)"
key=$(sed -n 's/^aws_secret_access_key = //p' s3_credentials)
keep s3_server "{\"identities\": [{\"name\": \"satchel\", \"credentials\": [{\"accessKey\": \"satchel\", \"secretKey\": \"$key\"}], \"actions\": [\"Read:satchel\", \"Write:satchel\", \"List:satchel\"]}]}"

[ -s root_key ] || head -c 32 /dev/urandom > root_key
[ -s tls_key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout tls_key \
    -out tls_certificate -subj "/CN=${SATCHEL_SITE:-localhost}" -addext "subjectAltName=DNS:${SATCHEL_SITE:-localhost}" 2>&1
chmod 644 root_key tls_certificate tls_key
