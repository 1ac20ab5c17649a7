#!/usr/bin/env bash
# Publishes what Terraform built as the topology of every region that answers.
#
#   infra/runbooks/publish.sh topology.toml [BASE]     # in an environment's folder, after terraform apply
#
# topology.toml is the deployment's own, under version control: its services and policies are kept, its regions, their
# addresses and links are made to fit, its revision is counted up. BASE is where it begins the first time. Machines take
# a new topology up within a minute, by themselves, whole or not at all.
set -euo pipefail

topology=${1:?which file is the topology?}
base=${2:-}

regions=$(terraform output -json regions)
terraform output -json atoll | atoll topology import - ${base:+--base "$base"} --output "$topology"
atoll topology check "$topology"

missed=0
while read -r name aws_region bucket; do
  if aws s3 cp --region "$aws_region" --only-show-errors "$topology" "s3://$bucket/topology.toml"; then
    echo "$name has it"
  else
    echo "$name does not have it; run this again when it answers" >&2
    missed=1
  fi
done < <(jq -r 'to_entries[] | "\(.key) \(.value.aws_region) \(.value.config_bucket)"' <<<"$regions")
exit "$missed"
