# shellcheck shell=bash
# Read by scripts that install Debian's packages for tests: `install_missing PACKAGE...`, as root, once asked for.
# The caller has `what` (for messages) and list_missing, which prints what is not there, each followed by a space.

: "${what:?is who speaks, in messages}"

say() { echo "$what: $*"; }

# Exit codes: 0 nothing is missing any more, 2 something is, and why.
install_missing() {
    local missing
    missing=$(list_missing)
    [[ -n $missing ]] || return 0
    if [[ $(id -u) != 0 ]]; then
        say "missing: ${missing}and not root; as root: apt-get install $*" >&2
        return 2
    fi
    if ! command -v apt-get >/dev/null; then
        say "missing: ${missing}and there is no apt-get here; install them by hand" >&2
        return 2
    fi
    say "installing $* (missing: ${missing% })"
    apt_install "$@" || return 2
    missing=$(list_missing)
    [[ -z $missing ]] || { say "still missing after the installation: $missing" >&2; return 2; }
}

apt_install() {
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        say "apt-get failed; all of it is in $log" >&2
        return 2
    fi
    rm -f "$log"
}
