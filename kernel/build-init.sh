#!/bin/sh
# Compiles the guest's init into one static program:  build-init.sh OUTPUT [OPTION...]
# With the ziglang package that compiler.txt names, if the Python in PYTHON (else python3) has it: it brings its own C
# library, so the bytes are the same on every machine, in any folder.  Else with musl's gcc or the system's compiler, which
# is told, because the bytes differ then; CC chooses another, and may hold options.  OPTIONs go to the compiler.
# OUTPUT.libraries says what is in it beside its own sources, a line for each archive, of five fields parted by tabs: file,
# sha256, package, version, licences (what dpkg and the package's copyright file say; "" where they say nothing).
set -eu
if [ $# -lt 1 ]; then
    echo "usage: $0 OUTPUT [OPTION...]" >&2
    exit 2
fi
output=$1
shift
export LC_ALL=C # the order of the sources is the order in the program
folder=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
pinned=$(sed -n 's/^ziglang==//p' "$folder/compiler.txt")

# Nothing of the machine: no build id, no compiler's name, no paths.  relro is for glibc: musl's static programs do not ask
# for it; _FORTIFY_SOURCE is for glibc too, musl has none.
set -- -std=gnu11 -D_GNU_SOURCE -static -Os -s -Wall -Wextra -Wshadow -pedantic-errors -fno-ident \
    -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now -Wl,--build-id=none \
    -ffile-prefix-map="$folder=kernel" "$@" "$folder"/init/*.c "$folder"/init/lib/*.c -o "$output"

if [ -z "${CC:-}" ] && [ "$("$python" -m ziglang version 2>/dev/null)" = "$pinned" ]; then
    # Its C library is compiled at the first use, which takes half a minute, and kept.
    if [ -z "${ZIG_GLOBAL_CACHE_DIR:-}" ]; then
        kept=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/gns3-minivm/compiler
        if ! mkdir -p "$kept" 2>/dev/null || [ ! -w "$kept" ]; then
            kept=$(mktemp -d)
            trap 'rm -rf "$kept"' EXIT
        fi
        export ZIG_GLOBAL_CACHE_DIR="$kept"
    fi
    export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
    # Static and at a random address: that costs no time of a boot that could be measured.
    set -- -m ziglang cc -target x86_64-linux-musl -mcpu=x86_64 -fPIE -pie -fno-sanitize=undefined "$@"
    # What is kept counts for one place of the compiler only, and pip puts it into another one each time: so it is always
    # used through this link.  If somebody else's build turns the link to a place that goes away, the place itself will do.
    link=$ZIG_GLOBAL_CACHE_DIR/lib-$pinned
    if place=$("$python" -c 'import os, ziglang; print(os.path.join(os.path.dirname(ziglang.__file__), "lib"))') &&
        ln -s "$place" "$link.$$" && mv -T "$link.$$" "$link" 2>/dev/null; then
        ZIG_LIB_DIR=$link "$python" "$@" || "$python" "$@"
    else
        rm -f "$link.$$"
        "$python" "$@"
    fi
    printf 'libc.a\t\tziglang\t%s\tMIT\n' "$pinned" >"$output.libraries"
    exit
fi

if [ -z "${CC:-}" ]; then
    if command -v musl-gcc >/dev/null 2>&1; then CC=musl-gcc; else CC=cc; fi
    echo "warning: $python has no ziglang $pinned, so $CC compiles the guest's init: its bytes, and the name of the initial" \
        "RAM disk, are not those that others have" >&2
fi
# shellcheck disable=SC2086
$CC -Wl,-Map="$output.map" "$@"
sed -n 's/^LOAD \(.*\.a\)$/\1/p' "$output.map" 2>/dev/null | sort -u | while read -r library; do
    library=$(readlink -f "$library")
    package=$(dpkg-query -S "$library" 2>/dev/null | sed -n '1s/:.*//p' || true)
    version=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
    copyright=/usr/share/doc/$package/copyright
    licences=$(sed -n 's/^License: *//p' "$copyright" 2>/dev/null | sort -u | paste -sd, - || true)
    [ -n "$licences" ] || licences=$(grep -o 'common-licenses/[A-Za-z0-9.+-]*[A-Za-z0-9+]' "$copyright" 2>/dev/null |
        cut -d/ -f2 | sort -u | paste -sd, - || true)
    printf '%s\t%s\t%s\t%s\t%s\n' "$(basename "$library")" "$(sha256sum "$library" | cut -d' ' -f1)" \
        "$package" "$version" "$licences"
done >"$output.libraries"
rm -f "$output.map"
