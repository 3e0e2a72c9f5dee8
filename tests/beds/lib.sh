# Shared by the scripts in this folder; source it, it is no program.
#
# Whatever is slow to make and does not depend on the sources is kept in $CACHE under a
# name that ends in the hash of its recipe, so that a changed recipe makes a new one.

set -euo pipefail

BEDS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$BEDS/../.." && pwd)
CACHE=${SAE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/socket-activate-echo}
mkdir -p "$CACHE"

# Progress goes to stderr; stdout is for the path or the word that the caller reads.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

need() {
    local tool missing=()
    for tool in "$@"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} -eq 0 ] ||
        die "not installed: ${missing[*]}; tests/run installs what packages.txt lists"
    [ "$(id -u)" -eq 0 ] || die "must run as root: it makes namespaces and mounts"
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
        # A caller's command substitution turns errexit off, so a failure is seen to here.
        "$@" "$path.new" >&2 9>&- || die "making ${path##*/} failed; its output is above"
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
    mmdebstrap --quiet --variant=apt --format=tar ${1:+--include="$1"} trixie "$2"
}

# crates: the path of a folder with the sources of all crates of Cargo.lock.
crates() { cached crates.dir "$(cat "$REPO/Cargo.lock")" vendor_crates; }

vendor_crates() { cargo vendor --quiet --locked --manifest-path "$REPO/Cargo.toml" "$1" >/dev/null; }
