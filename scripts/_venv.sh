# Sourced by scripts/test and scripts/quickstart: `ensure_venv EXTRAS` leaves .venv with hpo and its tested set installed.
# Nothing is done, and no network is needed, when pyproject.toml and constraints.txt are as they were at the last install.

say() { printf '%s\n' "$*" >&2; }

# The first CPython of 3.11 or newer that can make a virtual environment with pip in it.
find_python() {
    local candidate without_pip=""
    for candidate in python3.11 python3.12 python3.13 python3; do
        # a shim may answer to a name whose Python is not there, so each one is asked
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.implementation.name != "cpython")' \
            >/dev/null 2>&1 || continue
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            printf '%s' "$candidate"
            return 0
        fi
        without_pip=${without_pip:-$candidate}
    done
    if [ -n "$without_pip" ]; then
        local version
        version=$("$without_pip" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        say "$without_pip has no ensurepip, so it cannot make .venv: install the package python$version-venv (apt-get install -y python$version-venv)."
    else
        say "hpo needs CPython 3.11 or newer, and none was found as python3.11, python3.12, python3.13 or python3."
    fi
    return 1
}

# $1: the extras to install, as in "dev,postgres", or "" for none.
ensure_venv() {
    local extras=$1 stamp=.venv/.hpo-installed wanted have="" had=""
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python) || return 1
        say "making .venv with $python"
        "$python" -m venv --clear .venv || return 1
    fi
    wanted=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
    if [ -f "$stamp" ]; then read -r have had <"$stamp" || true; fi
    # what was installed with more extras serves who asks for none
    if [ "$have" = "$wanted" ] && { [ -z "$extras" ] || [ "$extras" = "$had" ]; }; then return 0; fi
    extras=${extras:-$had}
    say "installing hpo${extras:+[$extras]} and its tested set into .venv (2 GB; about a minute with a warm pip cache)"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
        -c constraints.txt -e ".${extras:+[$extras]}" || return 1
    printf '%s %s\n' "$wanted" "$extras" >"$stamp"
}
