#!/bin/sh
# Install the named Debian packages that are missing. No service of theirs is started: the tests start their own.
# Where it cannot, it says what to type; off Debian it only says what may be missing, and the tests that need it fail.
set -eu

if ! command -v apt-get >/dev/null; then
    echo "Not a Debian or Ubuntu: install these, or what they are called here, yourself: $*" >&2
    exit 0
fi

missing=
for package in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=env
elif command -v sudo >/dev/null; then
    as_root="sudo env"
else
    echo "Some Debian packages are missing, and only root can install them. As root, type:" >&2
    echo "  apt-get update && apt-get install$missing" >&2
    exit 1
fi

echo "Installing Debian packages:$missing"
# A package asks this script whether it may start its service; 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$as_root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $as_root sh -c "cat > $policy && chmod 755 $policy"
fi
$as_root DEBIAN_FRONTEND=noninteractive apt-get -qq update
# shellcheck disable=SC2086 # one word per package
$as_root DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $missing
