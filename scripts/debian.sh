#!/bin/sh
# Install Debian packages: debian.sh PACKAGE...  It works as root or with sudo; otherwise it prints the command to run.
set -eu
if [ "$(id -u)" = 0 ]; then
    root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    root="sudo"
else
    echo "missing: $*. Become root and run: apt-get install $*" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "missing: $*, and there is no apt-get here: install them in your system's way" >&2
    exit 1
fi
# Some packages start a daemon when they are installed. The tests start their own servers, so no daemon must start.
# Debian asks policy-rc.d, and 101 means "do not start". If the machine has a policy-rc.d, that one decides.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
fi
$root apt-get update -qq
# shellcheck disable=SC2086  # empty, or the word sudo
DEBIAN_FRONTEND=noninteractive $root apt-get install -qq -y --no-install-recommends "$@"
