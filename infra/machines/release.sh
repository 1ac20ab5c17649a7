#!/usr/bin/env bash
# Makes a release as machines install it: FOLDER/VERSION/ with Atoll's wheel and all that it needs, and requirements.txt,
# which names each with its hash. Prints the version and the hash of requirements.txt, which pins them all.
#
#   infra/machines/release.sh FOLDER [aarch64|x86_64]
#
# It needs uv and pip, and takes wheels from the index that they are set up for. The folder is there when it is complete.
# infra/runbooks/ship.sh FOLDER puts it where machines fetch it.
set -euo pipefail

readonly python=3.12 # as on Amazon Linux 2023, whose C library is 2.34
readonly source=${0%/*}/../..

main() {
  local folder=${1:?where to? release.sh FOLDER [aarch64|x86_64]} processor=${2:-aarch64} version platforms
  version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$source/platform/atoll/__init__.py")
  [[ ! -e $folder/$version ]] || {
    echo "$folder/$version is there already: a release is made once; raise the version" >&2
    exit 2
  }
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/.work.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  uv build --quiet --wheel --out-dir "$work" "$source"
  rm -f "$work/.gitignore"
  uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
    --constraint "$source/constraints.txt" --find-links "$work" --python-version "$python" \
    --python-platform "$processor-manylinux_2_34" --output-file "$work/requirements.txt" - <<<"atoll[embedded]==$version"
  platforms=(--platform={manylinux2014,manylinux_2_17,manylinux_2_28,manylinux_2_34}_"$processor")
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --python-version "$python" "${platforms[@]}" --find-links "$work" --dest "$work" -r "$work/requirements.txt"
  chmod 755 "$work"
  mv -T "$work" "$folder/$version"
  echo "version = \"$version\""
  echo "requirements_sha256 = \"$(sha256sum "$folder/$version/requirements.txt" | cut -d ' ' -f 1)\""
}

main "$@"
