#!/usr/bin/env bash
# plot.sh RESULTS_DIR: bar charts of medians.tsv: as text in plots.txt, and if gnuplot is available as PNG files,
# with whiskers from the smallest to the largest value.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$1
: >"$dir/plots.txt"
command -v gnuplot >/dev/null || echo "no pictures: gnuplot is not installed"

# plot NAME TITLE UNIT SCALE SECTION CASES VARIANTS METRICS (the last three are regular expressions)
plot() {
	local name=$1 title=$2 unit=$3 scale=$4 data=$dir/$1.dat
	awk -F '\t' -v s="$5" -v c="^($6)$" -v v="^($7)$" -v m="^($8)$" -v one="$8" '
		NR > 1 && $5 + 0 > 0 && $1 == s && $2 ~ c && $3 ~ v && $4 ~ m {
			label = $2 " " $3 (one ~ /[|.*]/ ? " " $4 : "")
			gsub(/_/, " ", label)
			printf "\"%s\"\t%s\t%s\t%s\n", label, $5, $6, $7
		}' "$dir/medians.tsv" >"$data"
	if [ -s "$data" ]; then
		text_bars "$title ($unit$([ "$scale" != log ] || echo ', logarithmic'))" "$scale" <"$data" >>"$dir/plots.txt"
		! command -v gnuplot >/dev/null ||
			gnuplot -e "data='$data'; out='$dir/$name.png'; heading='$title'; unit='$unit'; scale='$scale'" "$here/plot.gp" ||
			echo "gnuplot failed: $name"
	fi
	rm -f "$data"
}

# text_bars TITLE SCALE: the longest bar has 50 marks; on a logarithmic scale, a tenth of the smallest value has none.
text_bars() {
	awk -F '\t' -v title="$1" -v scale="$2" '
		{ gsub(/"/, "", $1); label[NR] = $1; v[NR] = $2
		  if (length($1) > w) w = length($1)
		  if ($2 > max) max = $2
		  if (NR == 1 || $2 < min) min = $2 }
		END {
			print title
			for (i = 1; i <= NR; i++) {
				n = int(0.5 + 50 * (scale == "log" ? log(v[i] / min * 10) / log(max / min * 10) : v[i] / max))
				bar = ""; while (n-- > 0) bar = bar "#"
				printf "  %-*s |%s %s\n", w, label[i], bar, sprintf(v[i] >= 100 ? "%.0f" : "%.3g", v[i])
			}
			print ""
		}'
}

plot append-async 'Append: 4 clients, asynchronous commit' 'events/s' lin append 'async-4' '(insert|version|append|expected):.*' rate
plot append-sync 'Append: 4 clients, synchronous commit' 'events/s' lin append 'sync-4' '(insert|version|append|expected):.*' rate
plot append-clients 'Append: plain INSERT, 1, 4 and 16 clients' 'events/s' lin append '.*' 'insert:(bare|log|follow-1|follow-10)' rate
plot append-bulk 'Append: 100 rows and COPY, 4 clients' 'events/s' lin append '.*-4' '(rows100|copy):.*' rate
plot dispatch-100 'Dispatch: batches of 100' 'events/s' lin dispatch '100|all' '.*' rate
plot dispatch-1000 'Dispatch: batches of 1000' 'events/s' lin dispatch '1000|all' '.*' rate
plot latency 'Latency: insert to effect (pm, bare reader), INSERT at the client (bare)' 'ms' log latency '.*' 'pm|reader|bare' 'p50|p95|p99|p99.9'
plot idle-cpu 'Idle: CPU' 's' lin idle '.*' '.*' cpu_s
plot growth 'Growth: drain rate' 'events/s' lin growth '.*' '.*' rate
plot growth-latency 'Growth: latency' 'ms' log growth '.*' '.*' 'p50|p95'
plot lanes 'Lanes: drain rate' 'events/s' lin lanes '.*' '.*' rate
plot peers-drain 'Peers: drain rate' 'events/s' log peers drain '.*' rate
plot peers-latency 'Peers: latency, insert to effect' 'ms' log peers 'latency.*' '.*' 'p50|p95'
plot consumers-drain 'Consumers: drain rate' 'events/s' log consumers drain '.*' rate
