#!/bin/sh
# Make what compose.yaml reads as secrets, each once: what is there stays. Needs nothing but a shell and /dev/urandom.
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
