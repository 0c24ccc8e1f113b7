#!/usr/bin/env bash
# plot.sh RESULTS_DIR: bars of the medians in medians.tsv, with whiskers from the smallest to the largest, a PNG each.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1

# plot NAME TITLE UNIT SCALE SECTION CASES VARIANTS METRICS (the last three are regular expressions)
plot() {
	local name=$1 title=$2 unit=$3 scale=$4
	awk -F '\t' -v s="$5" -v c="^($6)$" -v v="^($7)$" -v m="^($8)$" -v one="$8" '
		NR > 1 && $5 + 0 > 0 && $1 == s && $2 ~ c && $3 ~ v && $4 ~ m {
			label = $2 " " $3 (one ~ /[|.*]/ ? " " $4 : "")
			gsub(/_/, " ", label)
			printf "\"%s\"\t%s\t%s\t%s\n", label, $5, $6, $7
		}' "$dir/medians.tsv" >"$dir/$name.dat"
	[ -s "$dir/$name.dat" ] || return 0
	gnuplot -e "data='$dir/$name.dat'; out='$dir/$name.png'; heading='$title'; unit='$unit'; scale='$scale'" "$here/plot.gp"
}

plot append-async 'Append: 4 clients, asynchronous commit' 'events/s' lin append 'async-4' '(insert|version|append|expected):.*' rate
plot append-sync 'Append: 4 clients, synchronous commit' 'events/s' lin append 'sync-4' '(insert|version|append|expected):.*' rate
plot append-bulk 'Append: 100 rows and COPY, 4 clients' 'events/s' lin append '.*-4' '(rows100|copy):.*' rate
plot dispatch-100 'Dispatch: batches of 100' 'events/s' lin dispatch '100|all' '.*' rate
plot dispatch-1000 'Dispatch: batches of 1000' 'events/s' lin dispatch '1000|all' '.*' rate
plot latency 'Latency: events/s, insert to effect (pm), INSERT at the client (bare)' 'ms' log latency '.*' 'pm|bare' 'p50|p95|p99|p99.9'
plot idle-cpu 'Idle: CPU' 's' lin idle '.*' '.*' cpu_s
plot growth 'Growth: drain rate' 'events/s' lin growth '.*' '.*' rate
plot peers-drain 'Peers: drain rate' 'events/s' log peers drain '.*' rate
plot peers-latency 'Peers: latency, insert to effect' 'ms' log peers 'latency.*' '.*' 'p50|p95'
