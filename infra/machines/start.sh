#!/usr/bin/env bash
# Makes this machine ready for its roles, at each boot: volume, release, topology, secrets, node.toml, names. Each step
# looks at what is there and does what is missing, so running it again changes nothing.
#
#   start.sh            all of it, once
#   start.sh wait       all of it, again and again until it succeeds: what a unit waits for
#   start.sh topology   fetches the topology anew; start.sh secrets fetches the secrets
#   start.sh ready      tells the group that this machine's roles are ready
#
# Settings: /etc/atoll/start.conf, from the machine's user data. In a rehearsal ATOLL_ROOT stands before every path, and
# ATOLL_IMDS is where the metadata service is.
set -euo pipefail
umask 077

readonly root=${ATOLL_ROOT:-}
readonly imds=${ATOLL_IMDS:-http://169.254.169.254}
readonly retry_s=${ATOLL_RETRY_S:-15}
readonly configuration=$root/etc/atoll
readonly data=$root/var/lib/atoll
readonly releases=$root/opt/atoll
readonly run=$root/run/atoll
readonly secrets=$run/secrets

log() { printf '{"source":"start","level":"%s","message":"%s"}\n' "$1" "${2//\"/\'}" >&2; }
fail() {
  log error "$1"
  exit 1
}

# Folders for what is not complete yet; they go when this process ends, however it ends.
scratch=()
trap 'rm -rf "${scratch[@]}"' EXIT
temporary() { # FOLDER: makes one in it and calls it $work
  work=$(mktemp -d "$1/.work.XXXXXX")
  scratch+=("$work")
}

# --- The machine

metadata() { # PATH: prints a value of the metadata service (version 2: with a session's token)
  local token
  if ! token=$(curl -sSf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds/latest/api/token") ||
    ! curl -sSf -m 5 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/$1"; then
    fail "the metadata service at $imds does not tell $1"
  fi
}

identify() {
  local here
  here=$(metadata placement/region)
  [[ $here == "$ATOLL_AWS_REGION" ]] ||
    fail "this machine is in $here, but $configuration/start.conf is for $ATOLL_AWS_REGION: start it from the launch template of its own region"
  instance=$(metadata instance-id)
  address=$(metadata local-ipv4)
}

replace() { # FILE [MODE]: takes the new content from standard input; whole or not at all, and only if it differs
  local new
  new=$(mktemp "$1.XXXXXX") || fail "$1 can't be written: is the disk full? Its old content is kept"
  if ! { cat >"$new" && chmod "${2:-0444}" "$new" && owned "$new"; }; then
    rm -f "$new"
    fail "$1 can't be written: is the disk full? Its old content is kept"
  fi
  if cmp -s "$new" "$1"; then rm -f "$new"; else mv -f "$new" "$1"; fi
}

owned() { chown "$ATOLL_USER:" "$@"; }

folders() {
  install -d -m 0755 "$configuration" "$releases"
  install -d -m 0750 -o "$ATOLL_USER" "$data" "$run" "$root/var/log/atoll"
  install -d -m 0700 -o "$ATOLL_USER" "$secrets" "$secrets/tls"
}

# --- The volume of a machine that keeps something

volume_device() { echo "$root/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${ATOLL_VOLUME//-/}"; }

attach_volume() { # the machine before this one may still hold it
  local device deadline=$((SECONDS + ATOLL_VOLUME_WAIT_S))
  device=$(volume_device)
  until [[ -e $device ]]; do
    ((SECONDS < deadline)) || fail "volume $ATOLL_VOLUME is not attached after $ATOLL_VOLUME_WAIT_S s: is another machine still holding it?"
    aws ec2 attach-volume --volume-id "$ATOLL_VOLUME" --instance-id "$instance" --device /dev/sdf >/dev/null || true
    sleep 2
  done
}

blank() { cmp -s -n 1048576 "$1" /dev/zero; }

mount_volume() {
  local device
  [[ -n $ATOLL_VOLUME ]] || return 0
  mountpoint -q "$data" && return 0
  attach_volume
  device=$(volume_device)
  if blank "$device"; then
    log info "volume $ATOLL_VOLUME is blank and gets a file system"
    mkfs.ext4 -q -L atoll "$device"
  fi
  mount -t ext4 -o noatime,nodev,noexec,nosuid "$device" "$data" ||
    fail "volume $ATOLL_VOLUME can't be mounted on $data, and is not blank: nothing on it was changed"
  owned -R "$data" # whoever wrote it on another image may have had another number
}

# --- The release: requirements.txt names everything by its hash, and its own hash is among the settings

fetch() { # KEY FILE: an object of the config bucket
  aws s3 cp --only-show-errors "s3://$ATOLL_BUCKET/$1" "$2" || fail "s3://$ATOLL_BUCKET/$1 can't be fetched"
}

space_for_release() {
  local free
  free=$(df -Pm "$releases" | awk 'NR == 2 { print $4 }')
  ((free >= ATOLL_RELEASE_MIB)) || fail "$releases has $free MiB free, release $ATOLL_RELEASE needs $ATOLL_RELEASE_MIB: give the machine a larger disk"
}

install_release() {
  local target=$releases/$ATOLL_RELEASE source
  if [[ ! -e $target/.complete || $(<"$target/.complete") != "$ATOLL_REQUIREMENTS_SHA256" ]]; then
    space_for_release
    temporary "$releases"
    fetch "releases/$ATOLL_RELEASE/requirements.txt" "$work/requirements.txt"
    sha256sum --status -c <<<"$ATOLL_REQUIREMENTS_SHA256  $work/requirements.txt" ||
      fail "releases/$ATOLL_RELEASE/requirements.txt is not the one of the settings: its hash differs, nothing was installed"
    aws s3 cp --only-show-errors --recursive --exclude '*' --include '*.whl' "s3://$ATOLL_BUCKET/releases/$ATOLL_RELEASE/" "$work/"
    source=(--find-links "$work")
    if [[ -n $ATOLL_INDEX_URL ]]; then source+=(--index-url "$ATOLL_INDEX_URL"); else source+=(--no-index); fi
    rm -rf "$target"
    "$ATOLL_PYTHON" -m venv "$target"
    "$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir --only-binary :all: \
      --require-hashes "${source[@]}" -r "$work/requirements.txt" || fail "release $ATOLL_RELEASE can't be installed"
    chmod -R go+rX "$target"
    echo "$ATOLL_REQUIREMENTS_SHA256" >"$target/.complete"
    log info "release $ATOLL_RELEASE is installed"
  fi
  ln -sfn "$ATOLL_RELEASE" "$releases/current.new"
  mv -fT "$releases/current.new" "$releases/current"
}

# --- What changes while the machine runs

fetch_topology() {
  temporary "$run"
  local new=$work/topology.toml
  fetch topology.toml "$new"
  if ! cmp -s "$new" "$configuration/topology.toml"; then
    "$releases/current/bin/atoll" topology check "$new" >&2 ||
      fail "the new topology in s3://$ATOLL_BUCKET is refused (see above); what was there is kept"
    replace "$configuration/topology.toml" <"$new"
    log info "the topology has changed"
  fi
}

secret() { # ID: prints its value
  aws secretsmanager get-secret-value --secret-id "$1" --query SecretString --output text ||
    fail "secret $1 has no value that this machine may read: put one there, or see the machine's role"
}

pem() { # KIND: prints the blocks of this kind
  awk -v kind="$1" '$0 ~ "^-----BEGIN .*" kind "-----$", $0 ~ "^-----END .*" kind "-----$"'
}

split_pair() { # certificate chain and key are one secret, so that they change together
  pem CERTIFICATE <"$1/pair.pem" >"$1/cert.pem"
  pem 'PRIVATE KEY' <"$1/pair.pem" >"$1/key.pem"
  rm "$1/pair.pem"
}

fetch_secrets() { # all of them or none; what has not changed is left alone
  local entry file
  temporary "$run"
  mkdir "$work/tls"
  for entry in $ATOLL_SECRETS; do secret "${entry#*=}" >"$work/${entry%%=*}"; done
  split_pair "$work/tls"
  for file in "$work"/* "$work"/tls/*; do
    [[ -d $file || -n $(tr -d '[:space:]' <"$file") ]] ||
      fail "a secret of this machine is empty: ${file#"$work"/}; what was there is kept"
  done
  for file in "$work"/* "$work"/tls/*; do
    [[ -d $file ]] || replace "$secrets/${file#"$work"/}" 0400 <"$file"
  done
}

# --- Who it is, for its roles and for others

write_node() {
  replace "$configuration/node.toml" <<TOML
schema = "atoll.node/1"
region = "$ATOLL_REGION"
domain = "$ATOLL_DOMAIN"
address = "$address"
topology = "$configuration/topology.toml"
secrets = "$secrets"
data = "$data"
run = "$run"
gateway = "$instance"
TOML
}

write_figures() { # where the metrics agent of this machine finds its roles' figures
  local port targets=
  for port in $ATOLL_FIGURES; do targets+="${targets:+,}\"$address:$port\""; done
  replace "$configuration/figures.json" \
    <<<"[{\"targets\":[$targets],\"labels\":{\"Region\":\"$ATOLL_REGION\",\"Machine\":\"$ATOLL_MACHINE\"}}]"
}

points_here() { [[ $(getent ahostsv4 "$1" | awk '{ print $1; exit }') == "$address" ]]; } # NAME

publish_names() { # not without need: what takes a change of a name stands in one region for all
  local name changes=
  for name in $ATOLL_NAMES; do
    points_here "$name" && continue
    changes+="${changes:+,}{\"Action\":\"UPSERT\",\"ResourceRecordSet\":{\"Name\":\"$name\",\"Type\":\"A\",\"TTL\":10,\"ResourceRecords\":[{\"Value\":\"$address\"}]}}"
  done
  [[ -n $changes ]] || return 0
  aws route53 change-resource-record-sets --hosted-zone-id "$ATOLL_ZONE_ID" --change-batch "{\"Changes\":[$changes]}" >/dev/null ||
    fail "$ATOLL_NAMES can't be pointed at $address in zone $ATOLL_ZONE_ID"
}

prepare() {
  identify
  folders
  mount_volume
  install_release
  fetch_topology
  fetch_secrets
  write_node
  write_figures
  publish_names
  log info "$instance is ready to run $ATOLL_ROLES in $ATOLL_REGION"
}

complete_launch() { # once in a machine's life
  [[ ! -e $releases/.launched ]] || return 0
  identify
  aws autoscaling complete-lifecycle-action --auto-scaling-group-name "$ATOLL_GROUP" --lifecycle-hook-name ready \
    --instance-id "$instance" --lifecycle-action-result CONTINUE || fail "group $ATOLL_GROUP can't be told that $instance is ready"
  touch "$releases/.launched"
}

settings() {
  # shellcheck source=/dev/null # rendered by Terraform
  source "$configuration/start.conf"
  : "${ATOLL_REGION:?}" "${ATOLL_MACHINE:?}" "${ATOLL_DOMAIN:?}" "${ATOLL_AWS_REGION:?}" "${ATOLL_GROUP:?}" "${ATOLL_ROLES:?}" "${ATOLL_USER:?}"
  : "${ATOLL_BUCKET:?}" "${ATOLL_RELEASE:?}" "${ATOLL_REQUIREMENTS_SHA256:?}" "${ATOLL_INDEX_URL?}" "${ATOLL_RELEASE_MIB:?}"
  : "${ATOLL_PYTHON:?}" "${ATOLL_SECRETS:?}" "${ATOLL_VOLUME?}" "${ATOLL_VOLUME_WAIT_S:?}" "${ATOLL_NAMES?}" "${ATOLL_ZONE_ID:?}" "${ATOLL_FIGURES?}"
  export AWS_DEFAULT_REGION=$ATOLL_AWS_REGION AWS_PAGER=
}

main() {
  settings
  case ${1:-all} in
    all) prepare ;;
    wait) until "$0" all; do sleep "$retry_s"; done ;; # a process of its own: in a condition, errors would end nothing
    topology) fetch_topology ;;
    secrets) fetch_secrets ;;
    ready) complete_launch ;;
    *) fail "start.sh all|wait|topology|secrets|ready, not $1" ;;
  esac
}

main "$@"
