#!/bin/sh
# Compiles the guest's init into one static program:  build-init.sh OUTPUT
# With musl's gcc if there is one (a tenth of the size), else with the system's compiler; CC chooses another, and may hold options.
# OUTPUT.libraries says what is in it beside its own sources, a line for each archive, of five fields parted by tabs: file,
# sha256, package, version, licences (what dpkg and the package's copyright file say; "" where they say nothing).
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
$CC -std=gnu11 -D_GNU_SOURCE -static -Os -s -Wall -Wextra -fno-ident \
    -ffile-prefix-map="$folder=kernel" -Wl,--build-id=none -Wl,-Map="$1.map" "$folder"/init/*.c "$folder"/init/lib/*.c -o "$1"
sed -n 's/^LOAD \(.*\.a\)$/\1/p' "$1.map" 2>/dev/null | sort -u | while read -r library; do
    library=$(readlink -f "$library")
    package=$(dpkg-query -S "$library" 2>/dev/null | sed -n '1s/:.*//p' || true)
    version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
    copyright=/usr/share/doc/$package/copyright
    licences=$(sed -n 's/^License: *//p' "$copyright" 2>/dev/null | sort -u | paste -sd, - || true)
    [ -n "$licences" ] || licences=$(grep -o 'common-licenses/[A-Za-z0-9.+-]*[A-Za-z0-9+]' "$copyright" 2>/dev/null |
        cut -d/ -f2 | sort -u | paste -sd, - || true)
    printf '%s\t%s\t%s\t%s\t%s\n' "$(basename "$library")" "$(sha256sum "$library" | cut -d' ' -f1)" \
        "$package" "$version" "$licences"
done >"$1.libraries"
rm -f "$1.map"
