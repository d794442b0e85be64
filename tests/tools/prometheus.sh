#!/bin/sh
# Puts `prometheus` and `promtool` into .cache/tools/ of the repository, and prints that folder.
# Nothing is installed on the system and no service is started. Quick when they are there already.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
tools=$root/.cache/tools

finish() {
    for tool in prometheus promtool; do
        "$tools/$tool" --version >/dev/null 2>&1 || fail "$tools/$tool does not run here"
    done
    echo "$tools"
    exit 0
}

fail() {
    echo "prometheus.sh: $1" >&2
    echo "prometheus.sh: put both tools (version 2.42 or newer) into the PATH and run $0 again; on Debian:" >&2
    echo "    sudo apt-get update && sudo apt-get install --no-install-recommends prometheus" >&2
    exit 1
}

if [ -x "$tools/prometheus" ] && [ -x "$tools/promtool" ]; then finish; fi
mkdir -p "$tools"

if there=$(command -v prometheus) && beside=$(command -v promtool); then
    ln -sf "$there" "$tools/prometheus"
    ln -sf "$beside" "$tools/promtool"
    finish
fi

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "there is no apt-get to download them with"

work=$(mktemp -d "$tools/prometheus.XXXXXX")
trap 'rm -rf "$work"' EXIT
download() { (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download prometheus) >"$work/log" 2>&1; }
# The package lists may be missing or old; they are fetched only when the download fails without.
download || { apt-get -qq update >"$work/log" 2>&1 && download; } || fail "$(cat "$work/log")"
dpkg-deb --extract "$work"/prometheus_*.deb "$work/files"
# Moved into place last, so that two runs at once do not see each other's halves.
for tool in prometheus promtool; do mv -f "$work/files/usr/bin/$tool" "$tools/$tool"; done
rm -rf "$work"
finish
