#!/bin/sh
# Downloads Scalar's API reference, which /docs shows, again: scripts/update_scalar.sh [VERSION]
# The same version gives the same bytes. It needs npm.
set -eu
cd "$(dirname "$0")/.."

target=src/mikroscope/server/static
version=${1:-$(npm view @scalar/api-reference dist-tags.latest)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

npm pack --silent --pack-destination "$work" "@scalar/api-reference@$version" "@scalar/types" >/dev/null
mkdir "$work/scalar" "$work/types"
tar -xzf "$work/scalar-api-reference-$version.tgz" -C "$work/scalar"
tar -xzf "$work"/scalar-types-*.tgz -C "$work/types"

mkdir -p "$target"
# -n omits name and time.
gzip -9n <"$work/scalar/package/dist/browser/standalone.js" >"$target/scalar.js.gz"
cp "$work/types/package/LICENSE" "$target/scalar.LICENSE" # the same for all of Scalar's packages
printf '%s\n' "$version" >"$target/scalar.VERSION"
ls -l "$target"
