# plot.gp: horizontal bars. Variables: data (label, median, minimum, maximum), out, heading, unit, scale (lin or log).
stats data using 2 nooutput
n = STATS_records
set terminal pngcairo size 1000, (100 + 24 * n) noenhanced font 'sans,10'
set output out
set title heading
set xlabel unit
set yrange [n - 0.5 : -0.5]
set style fill solid 0.6 noborder
set grid xtics
set format x '%.10g'
unset key
if (scale eq 'log') { set logscale x; set xrange [STATS_min / 2 : STATS_max * 2] } else { set xrange [0 : STATS_max * 1.25] }
left = scale eq 'log' ? STATS_min / 2 : 0
plot data using (left):0:(left):2:($0 - 0.35):($0 + 0.35):ytic(1) with boxxyerror lc rgb '#4477aa', \
     data using 2:0:3:4 with xerrorbars pt 0 lc rgb '#222222', \
     data using ($4):0:(sprintf($2 >= 1000 ? '  %.0f' : '  %.3g', $2)) with labels left font 'sans,9'
