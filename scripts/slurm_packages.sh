#!/usr/bin/env bash
# Installs Debian's Slurm, MUNGE, (for slurmdbd) MariaDB and shellcheck, for the private clusters of the tests.
# Starts no daemon; does nothing when they are there. Exit codes: 0 they are there, 2 they are not, and why.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
what="slurm packages"
policy=/usr/sbin/policy-rc.d
packages=(slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core mariadb-client-core shellcheck)
programs=(
    slurmctld slurmd sbatch squeue scontrol munged munge
    slurmdbd sacctmgr mariadbd mariadb-install-db my_print_defaults shellcheck
)
# shellcheck source=scripts/debian_packages.sh
source "$(dirname "$0")/debian_packages.sh"

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

if [[ $(id -u) != 0 ]]; then
    say "not root (a private Slurm needs root)" >&2
    exit 2
fi
[[ -n $(list_missing) ]] || exit 0
forbid_daemons
install_missing "${packages[@]}"
