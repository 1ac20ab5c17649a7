#!/usr/bin/env bash
# Replaces the machines of one kind in one region, a few at a time, and waits until the new ones are ready.
#
#   infra/runbooks/roll.sh eu-west gateways            # gateways, workers, head, state; in an environment's folder
#
# All of them, changed or not: a machine that reads a new password has the same template. One that goes is drained first
# (its lifecycle hook waits for that). Where there is one machine of a kind, it goes before the next one comes, for they
# share a volume.
set -euo pipefail

name=${1:?which region?}
kind=${2:?which machines: gateways, workers, head, state?}

regions=$(terraform output -json regions)
aws_region=$(jq -er --arg name "$name" '.[$name].aws_region' <<<"$regions")
group=$(jq -er --arg name "$name" --arg kind "$kind" '.[$name].autoscaling_groups[$kind]' <<<"$regions")

case $kind in
  head | state) healthy=0 ;;
  *) healthy=90 ;;
esac

refresh=$(aws autoscaling start-instance-refresh --region "$aws_region" --auto-scaling-group-name "$group" \
  --preferences "MinHealthyPercentage=$healthy" --query InstanceRefreshId --output text)

while :; do
  state=$(aws autoscaling describe-instance-refreshes --region "$aws_region" --auto-scaling-group-name "$group" \
    --instance-refresh-ids "$refresh" --query 'InstanceRefreshes[0].[Status,StatusReason]' --output text)
  echo "$name $kind: $state"
  case $state in
    Successful*) exit 0 ;;
    Failed* | Cancelled* | RollbackFailed* | RollbackSuccessful*) exit 1 ;;
  esac
  sleep 15
done
