#!/usr/bin/env bash
# Installs Debian's Slurm, MUNGE, (for slurmdbd) MariaDB and shellcheck, for the private clusters of the tests.
# Starts no daemon; does nothing when they are there. Exit codes: 0 they are there, 2 they are not, and why.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
policy=/usr/sbin/policy-rc.d
packages=(slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core mariadb-client-core shellcheck)
programs=(
    slurmctld slurmd sbatch squeue scontrol munged munge
    slurmdbd sacctmgr mariadbd mariadb-install-db my_print_defaults shellcheck
)

say() { echo "slurm packages: $*"; }

list_missing() {
    local program
    for program in "${programs[@]}"; do
        command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

# Debian starts a daemon as soon as its package is installed, unless this file says no.
forbid_daemons() {
    [[ ! -e $policy ]] || return 0
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

install_packages() {
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends \
        "${packages[@]}"; } >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        say "apt-get failed; all of it is in $log" >&2
        return 2
    fi
    rm -f "$log"
}

missing=$(list_missing)
if [[ $(id -u) != 0 ]]; then
    say "not root (a private Slurm needs root${missing:+; also missing: $missing})" >&2
    exit 2
fi
[[ -n $missing ]] || exit 0
if ! command -v apt-get >/dev/null; then
    say "missing: ${missing}and there is no apt-get here; install them by hand" >&2
    exit 2
fi
say "installing ${packages[*]} (missing: ${missing% })"
forbid_daemons
install_packages
missing=$(list_missing)
[[ -z $missing ]] || { say "still missing after the installation: $missing" >&2; exit 2; }
