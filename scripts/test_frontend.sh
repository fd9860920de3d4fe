#!/bin/sh
# Run the page's unit tests. They are listed one by one, because Node takes a folder only in some of its versions.
set -eu

tests=$(find tests/frontend -name '*.test.*js' 2>/dev/null | sort)
[ -n "$tests" ] || exit 0
if ! command -v node >/dev/null; then
    echo "The page's tests need Node.js 18 or later: install it, or let make test do so on Debian." >&2
    exit 1
fi
# shellcheck disable=SC2086 # one word per file
node --test $tests
