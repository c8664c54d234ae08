#!/bin/sh
# Runs a command with PYTHON and VENV set, on the oldest and on the newest supported Python that runs here.
#
#     tools/each_python.sh make test
#
# Versions are looked for on the PATH and among those that pyenv and uv have installed.
set -u

find_python() {
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/python "$HOME/.local/share/uv/python/cpython-$1"*/bin/python3; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
}

oldest='' newest=''
for version in 3.11 3.12 3.13; do
    found=$(find_python "$version")
    [ -n "$found" ] || continue
    [ -n "$oldest" ] || oldest="$version $found"
    newest="$version $found"
done
if [ -z "$oldest" ]; then
    echo "no Python of 3.11, 3.12 or 3.13 runs here" >&2
    exit 1
fi

failed=0
run() {
    version=$1 python=$2
    shift 2
    echo "== Python $version ($python)"
    "$@" "PYTHON=$python" "VENV=.venv-$version" || failed=1
}
run $oldest "$@"
[ "$oldest" = "$newest" ] || run $newest "$@"
exit $failed
