#!/bin/sh
# Make .venv with a suitable Python: the one named by PYTHON3, else the first that fits. On Debian, what is missing for it is
# installed.
set -eu

fits() { # runs it: a version manager's shim may be on the PATH without a Python behind it
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

can_make_environments() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

candidates() {
    if [ -n "${PYTHON3:-}" ]; then
        echo "$PYTHON3"
    else
        echo python3 python3.14 python3.13 python3.12 python3.11
    fi
}

find_python() {
    for candidate in $(candidates); do
        if fits "$candidate" && can_make_environments "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

missing_packages() { # Debian's Python comes without what makes environments
    for candidate in $(candidates); do
        if fits "$candidate"; then
            "$candidate" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'
            return
        fi
    done
    echo python3 python3-venv
}

if [ -n "${PYTHON3:-}" ] && ! fits "$PYTHON3"; then
    echo "PYTHON3=$PYTHON3 is not a Python 3.11 to 3.14." >&2
    exit 1
fi
python=$(find_python)
if [ -z "$python" ]; then
    # shellcheck disable=SC2046 # one word per package
    "$(dirname "$0")/install_debian_packages.sh" $(missing_packages)
    python=$(find_python)
fi
if [ -z "$python" ]; then
    echo "Airlock needs Python 3.11 to 3.14 with its venv module, and found none." >&2
    echo "Install one, or name it: PYTHON3=/path/to/python3 make install" >&2
    exit 1
fi
echo "Making .venv with $("$python" --version)"
"$python" -m venv --clear .venv || { rm -rf .venv; exit 1; } # half an environment would pass for one
