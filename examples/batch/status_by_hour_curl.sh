#!/bin/sh
# Requests by hour and status, with curl and signed URLs: the brokers list and sign, and the bytes come from the bucket.
# Nothing here has credentials for the bucket. Takes courant, curl, jq, zstd and gzip.
#
#     sh status_by_hour_curl.sh prefix=app/access/ 2026-11-28T10 2026-11-28T12
#
# COURANT_BROKER says where a broker is.
set -eu
selector=$1 from=$2 to=$3

# Only the partitions of the window, and one more for records that came late. `offset` is where a fragment is new: with --follow the
# cursor does it, and here a line of awk.
window=$(mktemp)
trap 'rm -f "$window"' EXIT
courant journals fragments --selector "$selector" --format ndjson --url-ttl 1h |
  jq -r --arg from "$from" --arg to "$to" '
    def hour: (.partition | capture("date=(?<d>[^/]+)/hour=(?<h>[0-9]+)") | .d + "T" + .h);
    def after: (strptime("%Y-%m-%dT%H") | mktime + 3600 | strftime("%Y-%m-%dT%H"));
    select(.url and hour >= $from and hour < ($to | after)) | [.journal, .begin, .end, .codec, .url] | @tsv' |
  awk -F '\t' -v OFS='\t' '
    $1 != journal { journal = $1; at = $2 }
    { if ($2 > at) at = $2; if ($3 > at) { print at - $2, $4, $5; at = $3 } }' >"$window"

while IFS="$(printf '\t')" read -r skip codec url; do
  case $codec in
    ZSTANDARD) decode="zstd -dcq" ;;
    GZIP) decode="gzip -dc" ;;
    *) decode=cat ;;
  esac
  curl -sSf "$url" | $decode | tail -c "+$((skip + 1))"
done <"$window" |
  jq -r --arg from "$from" --arg to "$to" 'select(.time >= $from and .time < $to) | "\(.time[:13]):00:00Z \(.status)"' |
  sort | uniq -c | awk '{ print $2, $3, $1 }'
