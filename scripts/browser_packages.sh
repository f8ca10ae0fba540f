#!/usr/bin/env bash
# Installs Debian's Chromium and a font with Chinese and Japanese, for the tests of pages and for screenshots.
# Does nothing when they are there. Exit codes: 0 they are there, 2 they are not, and why.
set -euo pipefail
what="browser packages"
# shellcheck source=scripts/debian_packages.sh
source "$(dirname "$0")/debian_packages.sh"

list_missing() {
    command -v chromium >/dev/null || printf 'chromium '
    for language in zh ja; do
        [[ -n $(fc-list ":lang=$language" family 2>/dev/null) ]] || printf 'font-for-%s ' "$language"
    done
}

install_missing chromium fontconfig fonts-noto-cjk fonts-roboto-unhinted
