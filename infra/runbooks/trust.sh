#!/usr/bin/env bash
# Puts a region's certificate where its machines fetch it.
#
#   infra/runbooks/trust.sh eu-west tls/eu-west        # what `atoll certificates issue eu-west --out tls/eu-west` wrote
#
# Certificate and key are one secret, so that no machine ever has the one without the other.
set -euo pipefail
umask 077

name=${1:?which region?}
folder=${2:?which folder has cert.pem and key.pem?}

region=$(terraform output -json regions | jq -er --arg name "$name" '.[$name]')
pair=$(mktemp)
trap 'rm -f "$pair"' EXIT
cat "$folder/cert.pem" "$folder/key.pem" >"$pair"
aws secretsmanager put-secret-value --region "$(jq -r .aws_region <<<"$region")" \
  --secret-id "$(jq -r .secrets.tls <<<"$region")" --secret-string "file://$pair" --query VersionId --output text
