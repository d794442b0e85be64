#!/bin/sh
# debian.sh PACKAGE TOOL...: puts the package's tools into .cache/tools/ of the repository, and prints that folder.
# Nothing is installed on the system and no service is started. Quick when they are there already.
set -eu

package=$1
shift
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
tools=$root/.cache/tools

fail() {
    echo "debian.sh: $1" >&2
    shift
    echo "debian.sh: put $* into the PATH and run the tests again; on Debian:" >&2
    echo "    sudo apt-get update && sudo apt-get install --no-install-recommends $package" >&2
    exit 1
}

all_run() {
    for tool in "$@"; do "$tools/$tool" --version >/dev/null 2>&1 || return 1; done
}

finish() {
    all_run "$@" || fail "not all tools of $package run here" "$@"
    echo "$tools"
    exit 0
}

mkdir -p "$tools"
if all_run "$@"; then finish "$@"; fi

missing=0
for tool in "$@"; do command -v "$tool" >/dev/null || missing=1; done
if [ $missing = 0 ]; then
    for tool in "$@"; do ln -sf "$(command -v "$tool")" "$tools/$tool"; done
    finish "$@"
fi

command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "there is no apt-get to download it with" "$@"

# The package and what it needs that is not here yet, unpacked into a folder of its own.
work=$(mktemp -d "$tools/$package.XXXXXX")
trap 'rm -rf "$work"' EXIT
download() {
    wanted=$(apt-get -qq --simulate --no-install-recommends install "$package" | sed -n 's/^Inst \([^ ]*\).*/\1/p')
    # shellcheck disable=SC2086 # several names
    (cd "$work" && apt-get -qq -o APT::Sandbox::User=root download $wanted)
}
# The package lists may be missing or old; they are fetched only when the download fails without.
download >"$work/log" 2>&1 || { apt-get -qq update >"$work/log" 2>&1 && download >"$work/log" 2>&1; } ||
    fail "$(cat "$work/log")" "$@"
for archive in "$work"/*.deb; do dpkg-deb --extract "$archive" "$work/files"; done
rm -f "$work"/*.deb
rm -rf "${tools:?}/$package.files"
mv "$work/files" "$tools/$package.files"
libraries=$(find "$tools/$package.files" -name '*.so.*' -exec dirname {} \; | sort -u | paste -sd: -)
# Moved into place last, so that two runs at once do not see each other's halves.
for tool in "$@"; do
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$tools/$package.files/usr/bin/$tool" >"$work/$tool"
    chmod +x "$work/$tool"
    mv -f "$work/$tool" "$tools/$tool"
done
rm -rf "$work"
finish "$@"
