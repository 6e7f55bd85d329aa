# Sourced by ./demo and ./test: finds Python and installs Debian or Ubuntu packages that are missing.

# find_python: prints the newest Python from 3.11 to 3.13 (or a later python3) on PATH.
find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3; do
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then command -v "$name"; return; fi
  done
  return 1
}

# venv_works PYTHON: whether it can make virtual environments (Debian splits that off).
venv_works() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# venv_package PYTHON: prints the package that brings its venv module.
venv_package() { "$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'; }

# missing_packages PROGRAM=PACKAGE ...: prints the packages whose programs are not there.
missing_packages() {
  local pair
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" >/dev/null 2>&1 || printf '%s ' "${pair#*=}"
  done
}

# install_packages PACKAGE ...: with apt-get, as root or through sudo; does nothing without arguments.
install_packages() {
  [ $# -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "error: these packages are missing: $*" >&2; echo "hint: as root, run: apt-get install $*" >&2; return 1; }
    as_root=(sudo)
  fi
  command -v apt-get >/dev/null || { echo "error: these packages are missing, and there is no apt-get here: $*" >&2; return 1; }
  echo "Installing: $*"
  local log; log=$(mktemp)
  "${as_root[@]}" apt-get update -q >"$log" 2>&1 || true   # old lists often still do; the next line tells
  local status=0
  (
    # In a chroot or container nothing would ever stop the services that packages start when they are installed.
    policy=/usr/sbin/policy-rc.d
    if [ ! -d /run/systemd/system ] && [ ! -e "$policy" ]; then
      trap '"${as_root[@]}" rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
    fi
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >>"$log" 2>&1
  ) || status=$?
  if [ "$status" != 0 ]; then
    tail -n 20 "$log" >&2; rm -f "$log"
    echo "error: apt-get could not install: $*" >&2
    return 1
  fi
  rm -f "$log"
}
