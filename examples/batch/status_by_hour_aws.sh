#!/bin/sh
# Requests by hour and status, with the command line of the bucket's vendor and one's own credentials. No broker is asked.
# Takes aws, python3 with boto3 (for the cover set), jq, zstd and gzip.
#
#     sh status_by_hour_aws.sh s3://logs/app/access 2026-11-28T10 2026-11-28T12
set -eu
url=$1 from=$2 to=$3
bucket=${url#s3://}
bucket=${bucket%%/*}
here=$(dirname "$0")
# Records that came late lie in the partition of the next hour.
until=$(jq -rn --arg to "$to" '$to | strptime("%Y-%m-%dT%H") | mktime + 3600 | strftime("%Y-%m-%dT%H")')

python3 "$here/coverset.py" "$url" --from "$from" --to "$until" |
  jq -r 'select(.key) | [.skip, .key] | @tsv' |
  while IFS="$(printf '\t')" read -r skip key; do
    case $key in
      *.zst) decode="zstd -dcq" ;;
      *.gz) decode="gzip -dc" ;;
      *) decode=cat ;;
    esac
    # It looks at its input, which is the list.
    aws s3 cp "s3://$bucket/$key" - </dev/null | $decode | tail -c "+$((skip + 1))"
  done |
  jq -r --arg from "$from" --arg to "$to" 'select(.time >= $from and .time < $to) | "\(.time[:13]):00:00Z \(.status)"' |
  sort | uniq -c | awk '{ print $2, $3, $1 }'
