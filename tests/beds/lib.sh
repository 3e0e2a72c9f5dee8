# Shared by the scripts in this folder; they source it.
#
# Files that are slow to make and do not depend on the sources are kept in $CACHE. The name
# ends in the hash of the recipe, so a changed recipe makes a new file.

set -euo pipefail
shopt -s inherit_errexit

BEDS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$BEDS/../.." && pwd)
CACHE=${SAE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/socket-activate-echo}
mkdir -p "$CACHE"

# Progress goes to stderr; stdout is for the path or the word that the caller reads.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# With these two lines a script tells the tests that the sources are not to blame: this machine
# lacks what the script needs, or a third party does not deliver it now. Every other failure is a
# failed test.
lacks() { printf 'NOT HERE: %s\n' "$*" >&2; exit 1; }
out() { printf 'NOT NOW: %s\n' "$*" >&2; exit 1; }

need() {
    local tool missing=()
    for tool in "$@"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} -eq 0 ] ||
        lacks "not installed: ${missing[*]}; tests/run installs what packages.txt lists"
    [ "$(id -u)" -eq 0 ] || lacks "must run as root: it makes namespaces and mounts"
    unshare --mount true 2>/dev/null || lacks "namespaces and mounts are not allowed here"
}

# What apt, cargo and pip print if a server cannot be reached or sends something wrong. The
# line below cargo's has curl's reason.
OUTAGE='^[EW]: Failed to fetch |failed to download from |^ +\[[0-9]+\] |after connection broken by '

# download COMMAND…: runs a command that downloads. Its output goes to stderr.
download() {
    local log status
    log=$(mktemp)
    set +e
    (set -e; "$@") 2>&1 </dev/null | tee "$log" >&2
    status=${PIPESTATUS[0]}
    set -e
    log=$(grep -E "$OUTAGE" "$log" | head -n 2 | sed 's/^ *//' | paste -sd ' '; rm "$log") || true
    [ "$status" -eq 0 ] || [ -z "$log" ] || out "$log"
    [ "$status" -eq 0 ] || say "$1 failed; its output is above"
    return "$status"
}

hash_of() { sha256sum | cut -c1-12; }

# cached NAME RECIPE COMMAND…: prints the path of the cached file. If there is none for this
# recipe, COMMAND is run with a temporary path as its last argument and makes it.
cached() {
    local name=$1 recipe=$2 path
    shift 2
    path="$CACHE/${name%%.*}-$(printf '%s\n' "$recipe" | hash_of).${name#*.}"
    # One builder at a time; a second one that waited finds the file made.
    exec 9>"$CACHE/${name%%.*}.lock"
    flock 9
    if [ ! -e "$path" ]; then
        local seconds=$SECONDS
        say "making ${path##*/}, kept for the next run"
        rm -rf "$path.new"
        download "$@" "$path.new" 9>&-
        mv "$path.new" "$path"
        say "made ${path##*/} in $((SECONDS - seconds)) s"
    fi
    exec 9>&-
    printf '%s\n' "$path"
}

# debian NAME PACKAGE…: the path of a tar of a Debian 13 root file system with the packages.
debian() {
    local name=$1 include
    shift
    include=$(IFS=,; printf '%s' "$*")
    cached "$name.tar" "trixie $include" make_debian "$include"
}

make_debian() {
    mmdebstrap --variant=apt --format=tar ${1:+--include="$1"} trixie "$2"
}

# crates: the path of a folder with the sources of all crates of Cargo.lock.
crates() { cached crates.dir "$(cat "$REPO/Cargo.lock")" vendor_crates; }

vendor_crates() { cargo vendor --quiet --locked --manifest-path "$REPO/Cargo.toml" "$1" >/dev/null; }
