#!/usr/bin/env bash
# Watches for the end of this machine, and empties it first. A spot notice, a rebalance recommendation and a termination
# by the group all lead to `atoll node drain`, once; then the group's hook is completed, so that nothing waits for it.
set -euo pipefail

readonly root=${ATOLL_ROOT:-}
readonly imds=${ATOLL_IMDS:-http://169.254.169.254}
readonly every_s=${ATOLL_EVERY_S:-5}

log() { printf '{"source":"drain","level":"%s","message":"%s"}\n' "$1" "$2" >&2; }

metadata() { # PATH: prints a value; fails quietly where there is none, which is most of the time
  local token
  token=$(curl -sf -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$imds/latest/api/token") || return 1
  curl -sf -m 2 -H "X-aws-ec2-metadata-token: $token" "$imds/latest/meta-data/$1"
}

terminating() { [[ $(metadata autoscaling/target-lifecycle-state) == Terminated ]]; }

notice() { # prints why this machine should go, if it should
  if metadata spot/instance-action >/dev/null; then
    echo "the spot instance is taken back"
  elif terminating; then
    echo "the group ends it"
  elif metadata events/recommendations/rebalance >/dev/null; then
    echo "the spot instance is likely to be taken back"
  else
    return 1
  fi
}

drain() {
  log info "drains within $ATOLL_DRAIN_S s: $1"
  "$root/opt/atoll/current/bin/atoll" node drain --config "$root/etc/atoll/node.toml" --deadline "$ATOLL_DRAIN_S" ||
    log error "the drain ended with status $?; the machine goes all the same"
}

complete() {
  aws autoscaling complete-lifecycle-action --auto-scaling-group-name "$ATOLL_GROUP" --lifecycle-hook-name drained \
    --instance-id "$(metadata instance-id)" --lifecycle-action-result CONTINUE ||
    log error "the group could not be told; its hook runs out by itself"
}

main() {
  local why
  # shellcheck source=/dev/null # rendered by Terraform
  source "$root/etc/atoll/start.conf"
  : "${ATOLL_AWS_REGION:?}" "${ATOLL_GROUP:?}" "${ATOLL_DRAIN_S:?}"
  export AWS_DEFAULT_REGION=$ATOLL_AWS_REGION AWS_PAGER=
  until why=$(notice); do sleep "$every_s"; done
  drain "$why"
  until terminating; do sleep "$every_s"; done
  complete
}

main "$@"
