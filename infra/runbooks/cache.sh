#!/usr/bin/env bash
# Gives a region's managed cache the password that its machines read.
#
#   infra/runbooks/cache.sh eu-west                    # in an environment's folder
#
# Where the cache is Atoll's own there is nothing to do. The password before this one is taken as well, so that machines
# that have not fetched the new one yet go on.
set -euo pipefail
umask 077

name=${1:?which region?}

region=$(terraform output -json regions | jq -er --arg name "$name" '.[$name]')
aws_region=$(jq -r .aws_region <<<"$region")
user=$(jq -r '.cache_user // empty' <<<"$region")
if [ -z "$user" ]; then
  echo "$name has a cache of Atoll's own: nothing to do"
  exit 0
fi

secret() { # STAGE: prints the value of that stage
  aws secretsmanager get-secret-value --region "$aws_region" --secret-id "$(jq -r '.secrets["cache-password"]' <<<"$region")" \
    --version-stage "$1" --query SecretString --output text
}

# By the environment and a file, not among the arguments, which every process of this machine may read.
now=$(secret AWSCURRENT)
before=$(secret AWSPREVIOUS 2>/dev/null) || before=$now # the first one has none before it
request=$(mktemp)
trap 'rm -f "$request"' EXIT
now=$now before=$before jq -n --arg user "$user" \
  '{UserId: $user, AuthenticationMode: {Type: "password", Passwords: ([env.now, env.before] | unique)}}' >"$request"
aws elasticache modify-user --region "$aws_region" --cli-input-json "file://$request" --query Status --output text
