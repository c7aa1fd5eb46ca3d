#!/bin/sh
# Creates the secrets that compose.yaml mounts, in the folder secrets beside it: `make secrets`. Files that exist stay.
# A password that .env has, as before this folder, is taken over; the others are random.
set -eu
umask 077
cd "$(dirname "$0")/.."
mkdir -p secrets/api_keys

# the value of a variable in .env, without quotes and without a comment behind it
in_env() {
    [ -f .env ] || return 0
    sed -n "s/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}$1=//p" .env | tail -n 1 |
        sed -e "s/[[:space:]]\{1,\}#.*//" -e "s/[[:space:]]*\$//" -e "s/^\([\"']\)\(.*\)\1\$/\2/"
}

create() {
    printf '%s\n' "$2" > "secrets/$1"
    echo "created secrets/$1"
}

# a file with a password, and with a third and fourth argument a file with a URL around the same password
password() {
    if [ ! -e "secrets/$1" ]; then
        value=$(in_env "$2")
        create "$1" "${value:-$(od -An -v -N24 -tx1 /dev/urandom | tr -d ' \n')}"
    fi
    [ $# -gt 2 ] && [ ! -e "secrets/$3" ] || return 0
    value=$(cat "secrets/$1")
    case $value in
        *[!A-Za-z0-9._~-]*)
            echo "secrets/$1 has characters that a URL cannot have: write secrets/$3 yourself, percent-encoded, as" >&2
            echo "$(printf "$4" '<password>')" >&2
            exit 1 ;;
    esac
    create "$3" "$(printf "$4" "$value")"
}

password postgres_password POSTGRES_PASSWORD
password warehouse_password WAREHOUSE_PASSWORD
password dagster_password DAGSTER_PASSWORD \
    dagster_postgres_url 'postgresql+psycopg2://dagster:%s@postgres:5432/dagster'
password rabbitmq_password RABBITMQ_PASSWORD \
    celery_broker 'amqp://ingest:%s@rabbitmq:5672//'

# the folder keeps the users of this machine out; the users of the containers, who have other numbers, must read the files
chmod 700 secrets
chmod 755 secrets/api_keys
find secrets -type f -exec chmod 644 {} +
chmod a+r deploy/*
