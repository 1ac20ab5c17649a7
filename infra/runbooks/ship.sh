#!/usr/bin/env bash
# Puts releases where machines fetch them, in every region that answers.
#
#   infra/runbooks/ship.sh releases                    # what infra/machines/release.sh made; in an environment's folder
#
# What a region has already is not sent again.
set -euo pipefail

releases=${1:?which folder holds releases?}

regions=$(terraform output -json regions)

missed=0
while read -r name aws_region bucket; do
  if aws s3 sync --region "$aws_region" --only-show-errors --exclude '.*' "$releases" "s3://$bucket/releases"; then
    echo "$name has them"
  else
    echo "$name does not have them; run this again when it answers" >&2
    missed=1
  fi
done < <(jq -r 'to_entries[] | "\(.key) \(.value.aws_region) \(.value.config_bucket)"' <<<"$regions")
exit "$missed"
