#!/bin/sh
# Compiles the guest's init into one static program:  build-init.sh OUTPUT
# With musl's gcc if there is one (a tenth of the size), else with the system's compiler; CC chooses another, and may hold options.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: $0 OUTPUT" >&2
    exit 2
fi
folder=$(cd "$(dirname "$0")" && pwd)
if [ -z "${CC:-}" ]; then
    if command -v musl-gcc >/dev/null 2>&1; then CC=musl-gcc; else CC=cc; fi
fi
# shellcheck disable=SC2086
exec $CC -std=gnu11 -D_GNU_SOURCE -static -Os -s -Wall -Wextra -fno-ident \
    -ffile-prefix-map="$folder=kernel" -Wl,--build-id=none "$folder"/init/*.c -o "$1"
