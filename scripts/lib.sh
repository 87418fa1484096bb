# Shared start of the scripts: finds Python, makes .venv, installs the project into it.
# To be sourced from a script in this folder; says what it does and writes only .venv/.

set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

usable_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the command of a usable Python. plyvel has wheels for 3.11 and 3.12, so these come first;
# PYTHON in the environment overrides the choice.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.12 python3.11 python3 python3.13 python3.14; do
        if usable_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "No Python 3.11 or newer was found. On Debian or Ubuntu: apt-get install python3 python3-venv"
}

# plyvel is compiled where it has no wheel; a missing header is said here, in one sentence, and not
# in a page of compiler output.
check_plyvel_can_be_installed() {
    local python="$1" missing=()
    if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then return; fi
    if "$VENV/bin/python" -c 'import plyvel' 2>/dev/null; then return; fi
    say "plyvel has no ready-made wheel for $("$python" --version); it is built from source."
    command -v g++ >/dev/null || missing+=(g++)
    printf '#include <leveldb/db.h>\n' | "${CXX:-g++}" -E -x c++ - >/dev/null 2>&1 \
        || missing+=(libleveldb-dev)
    [ -f "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] \
        || missing+=(python3-dev)
    [ ${#missing[@]} -eq 0 ] || fail "This build needs: apt-get install ${missing[*]}
Or install Python 3.11 or 3.12 and set PYTHON to its command; then nothing is compiled."
}

make_venv() {
    local python="$1"
    [ ! -x "$VENV/bin/python" ] || usable_python "$VENV/bin/python" || rm -rf "$VENV"
    [ ! -x "$VENV/bin/pip" ] || return 0
    say "Making a virtual environment in .venv with $("$python" --version) ..."
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        fail "This Python cannot make virtual environments. On Debian or Ubuntu:" \
            "apt-get install $(basename "$python")-venv"
    fi
    "$python" -m venv "$VENV"
}

# Leaves an activated environment with the project and its test tools. Nothing is installed when
# pyproject.toml is the one of the last installation.
prepare() {
    local python stamp="$VENV/installed-pyproject.toml"
    python="$(find_python)"
    make_venv "$python"
    if ! cmp -s "$ROOT/pyproject.toml" "$stamp"; then
        check_plyvel_can_be_installed "$VENV/bin/python"
        say "Installing the project and what its tests need into .venv (a minute or two) ..."
        (cd "$ROOT" && "$VENV/bin/pip" install --quiet --disable-pip-version-check -e '.[test]')
        cp "$ROOT/pyproject.toml" "$stamp"
    fi
    PATH="$VENV/bin:$PATH"
    export PATH
}
