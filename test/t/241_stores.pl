# Existing event stores, as their own npm packages create and write them: message-db, Emmett and graphile-worker. Eight clients write
# at the same time, some commit late, some roll back; process managers follow, and reply with the functions of the store. Each event is
# handled once and in order, and the stores' own reads return what they return without pm. It runs the pages of doc/stores/ that
# need these packages.
#
#   PM_STORES=1000,500    how many messages are written to message-db and to Emmett (100000,100000 with PM_SOAK=1)
use strict;
use warnings FATAL => 'all';

use DocPage;
use File::Copy qw(copy);
use IPC::Run ();
use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = $ENV{PM_TEST_ROOT} // '.';
my $npm = "$root/bench/peers/npm";
my ($messages, $events) = split /,/, $ENV{PM_STORES} || ($ENV{PM_SOAK} ? '100000,100000' : '1000,500');
my $patience = 180 + ($messages + $events) / 100;
my %is_in = (emmett => '@event-driven-io/emmett-postgresql', message_db => '@eventide/message-db', graphile => 'graphile-worker');

foreach my $store (sort keys %is_in)
{
	next if -d "$npm/$store/node_modules/$is_in{$store}";
	my $why = -e "$npm/$store/.npm-failed" ? slurp_file("$npm/$store/.npm-failed") : '';

	diag($why) if $why;
	plan skip_all => "the npm package $is_in{$store} is not there: install nodejs and npm, and see that npm reaches a registry";
}

my $node = PmTest::node('stores', extension => 0,
	conf => "timezone = 'UTC'\nmax_connections = 80\npm.max_workers = 8\nmax_worker_processes = 24\nmax_prepared_transactions = 4\n");

# Runs a program in the environment of a client of the server. Returns (exit status, output, error output).
sub client
{
	my (@cmd) = @_;
	my ($out, $err) = ('', '');

	local %ENV = ($node->_get_env(), PGUSER => $node->safe_psql('postgres', 'SELECT current_user'));
	IPC::Run::run(\@cmd, '<', \undef, '>', \$out, '2>', \$err);
	return ($? >> 8, $out, $err);
}

sub client_ok
{
	my ($name, @cmd) = @_;
	my ($rc, $out, $err) = client(@cmd);

	ok($rc == 0 && $err !~ /ERROR|FATAL/, $name) or diag("$out\n$err");
	return $out;
}

sub page_ok
{
	my ($name) = @_;
	my @failures = DocPage->new("$root/doc/stores/$name.md")->run($node);

	ok(!@failures, "doc/stores/$name.md is right");
	diag($_) foreach @failures;
	return;
}

# ---- message-db ----

my $message_db = "$npm/message_db/node_modules/\@eventide/message-db/database";

# Its test scripts need uuidgen, which a small system does not have.
sub script
{
	my ($database, $script, %env) = @_;
	my $uuidgen = 'uuidgen() { cat /proc/sys/kernel/random/uuid; }; export -f uuidgen';

	local %ENV = (%ENV, DATABASE_NAME => $database, %env);
	return client_ok("message-db's $script in $database", 'bash', '-c', "$uuidgen; exec bash '$message_db/$script'");
}

# The results of its own functions and reports, for two databases with the same messages.
sub own_reads
{
	my ($database) = @_;
	my $sql = <<'SQL';
SELECT write_message('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'), 'same' || i % 2 || '-' || i % 5, 'T' || i % 3,
	jsonb_build_object('i', i), CASE WHEN i % 2 = 0 THEN '{"correlationStreamName": "some-1"}'::jsonb END) FROM generate_series(1, 30) i;
SELECT write_message('00000000-0000-4000-8000-000000000099', 'same0-0', 'T', '{}', NULL, 7);
SELECT write_message('00000000-0000-4000-8000-000000000001', 'same0-0', 'T', '{}');
SELECT id, stream_name, type, position, data, metadata FROM get_stream_messages('same0-0');
SELECT id, stream_name, type, position, data, metadata FROM get_stream_messages('same1-3', 1, 1);
SELECT id, stream_name, type, position, data, metadata FROM get_category_messages('same0');
SELECT id, stream_name, type, position, data, metadata FROM get_category_messages('same1',
	(SELECT min(global_position) + 3 FROM messages WHERE stream_name LIKE 'same%'), 4);
SELECT id, stream_name, type, position, data, metadata FROM get_category_messages('same0', correlation => 'some');
SELECT id, stream_name, type, position, data, metadata FROM get_category_messages('same0', consumer_group_member => 0, consumer_group_size => 2);
SELECT id, stream_name, type, position, data, metadata FROM get_last_stream_message('same1-1');
SELECT id, stream_name, type, position, data, metadata FROM get_last_stream_message('same1-1', 'T1');
SELECT get_category_messages('same0-0');
SELECT stream_version('same0-0'), stream_version('none-1'), message_store_version();
SELECT stream_name, message_count FROM stream_summary WHERE stream_name LIKE 'same%' ORDER BY 1;
SELECT type, category, message_count FROM type_category_summary WHERE category LIKE 'same%' ORDER BY 1, 2;
SQL
	my (undef, $out, $err) = $node->psql($database, $sql, extra_params => [ '-U', 'message_store' ], on_error_stop => 0);

	return "$out\n" . join("\n", grep { /^psql|ERROR|DETAIL|HINT/ } split /\n/, $err) =~ s/psql:[^ ]* //gr;
}

script('message_store', 'install.sh');
$node->safe_psql('postgres', 'CREATE DATABASE plain TEMPLATE message_store');
page_ok('message-db');

my @categories = qw(purchase payment shipping stock);
$node->safe_psql('message_store', <<'SQL');
SELECT pm.unregister('fulfilment');
SELECT pm.attach_log(quote_ident(category), 'message_store.messages', 'global_position', 'stream_name', 'type', 'data', 'position', 'metadata',
	filter => format('split_part(stream_name, %L, 1) = %L', '-', category))
FROM unnest(ARRAY['shipping', 'stock', 'reply', 'same0', 'testStream']) category;
SQL
my ($with, $without) = (own_reads('message_store'), own_reads('plain'));
is($with, $without, 'what message-db itself returns is the same as without pm');
like($with, qr/Wrong expected version: 7/, 'and has its errors');

PmTest::create_seen($node, dbname => 'message_store');
PmTest::create_handler($node, $_, dbname => 'message_store') foreach @categories, qw(all_of_them testStream reply);
$node->safe_psql('message_store', <<'SQL');
ALTER DATABASE message_store SET search_path = public, message_store;
CREATE FUNCTION public.answer(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM message_store.write_message(gen_random_uuid()::text, 'reply-' || e.stream, 'Replied', jsonb_build_object('to', e.position));
END $$;
SQL
# Without a type, testStream and all_of_them would be given their own effects.
$node->safe_psql('message_store', "SELECT pm.register('$_', 'public.$_', ARRAY[quote_ident('$_')], start_at => 'end')")
  foreach @categories, qw(testStream reply);
$node->safe_psql('message_store', <<'SQL');
SELECT pm.register('all_of_them', 'public.all_of_them', '{purchase,payment,shipping,stock,reply}', start_at => 'end');
SELECT pm.register('answer', 'public.answer', '{purchase}', start_at => 'end', batch_size => 50);
CREATE TABLE public.began AS SELECT max(global_position) AS at FROM message_store.messages;
SQL

script('message_store', 'write-test-message.sh', INSTANCES => 2);
script('message_store', 'benchmark.sh', CYCLES => 100);
script('message_store', 'print-stream-summary.sh');

# A client writes to one category, or to two in the order of their names, because message-db locks them. One transaction in
# thirty commits late, and one rolls back.
my $script = $node->basedir . '/write.sql';
append_to_file($script, <<'SQL');
\set n random(1, 60)
\set c random(1, 4)
\set d random(1, 4)
\set dice random(1, 30)
BEGIN;
SELECT message_store.write_message(gen_random_uuid()::varchar, (ARRAY['purchase', 'payment', 'shipping', 'stock'])[:c] || '-' || :n, 'Placed', '{"amount": 17}');
\if :dice = 1
SELECT pg_sleep(0.05);
\endif
\if :d > :c
SELECT message_store.write_message(gen_random_uuid()::varchar, (ARRAY['purchase', 'payment', 'shipping', 'stock'])[:d] || '-' || :n, 'Noted', '{}');
\endif
\if :dice = 2
ROLLBACK;
\else
COMMIT;
\endif
SQL
my $late = PmTest::session($node, dbname => 'message_store');
$late->do(q{BEGIN; SELECT message_store.write_message(gen_random_uuid()::varchar, 'shipping:late-1', 'Late', '{}')});
my $held = $late->do("SELECT currval('message_store.messages_global_position_seq')");
my $began = time;
client_ok("$messages messages by 8 clients", $node->installed_command('pgbench'), '-n', '-c', 8, '-j', 2,
	'-t', int($messages / 8 / 1.35), '-f', $script, 'message_store');
my $written = time - $began;
is($node->safe_psql('message_store', "SELECT count(*) FROM seen WHERE pos > $held"), 0,
	'nothing is handled while an earlier transaction is open, in whichever category');
$late->do('COMMIT');
$late->quit;

ok(PmTest::wait_idle($node, dbname => 'message_store', timeout => $patience), 'all process managers are idle');
my $handled = time - $began;
is($node->safe_psql('message_store', 'SELECT process_manager, log, position, message FROM pm.parked ORDER BY 1, 2, 3 LIMIT 3'), '', 'nothing is parked');
foreach my $category (@categories, qw(reply testStream))
{
	PmTest::exactly_once_ok($node, $category, $category eq 'testStream' ? '"testStream"' : $category, undef, dbname => 'message_store',
		table => q{(SELECT global_position AS position, stream_name FROM message_store.messages JOIN began ON global_position > at)},
		where => "split_part(stream_name, '-', 1) = '$category'");
}
is($node->safe_psql('message_store', <<'SQL'), '0|0|0', 'the process manager of five logs: nothing is missing, twice, or out of order within a log');
SELECT (SELECT count(*) FROM message_store.messages JOIN began ON global_position > at
		WHERE split_part(stream_name, '-', 1) IN ('purchase', 'payment', 'shipping', 'stock', 'reply')
		AND NOT EXISTS (SELECT FROM seen WHERE pm = 'all_of_them' AND pos = global_position)),
	(SELECT count(*) - count(DISTINCT pos) FROM seen WHERE pm = 'all_of_them'),
	(SELECT count(*) FROM (SELECT pos < lag(pos) OVER (PARTITION BY log ORDER BY seq) AS bad FROM seen WHERE pm = 'all_of_them') x WHERE bad)
SQL
is($node->safe_psql('message_store', <<'SQL'), '0|0', 'a reply to each purchase, once, written by write_message in the handler');
SELECT count(*) FILTER (WHERE replies IS NULL), count(*) FILTER (WHERE replies > 1)
FROM message_store.messages m JOIN began ON global_position > at LEFT JOIN (SELECT (data ->> 'to')::bigint AS "to", count(*) AS replies
	FROM message_store.messages WHERE type = 'Replied' GROUP BY 1) r ON "to" = global_position
WHERE split_part(stream_name, '-', 1) = 'purchase'
SQL
is($node->safe_psql('message_store', <<'SQL'), '0', 'the versions of message-db have no gap');
SELECT count(*) FROM (SELECT position - row_number() OVER (PARTITION BY stream_name ORDER BY global_position) AS d FROM message_store.messages) x WHERE d <> -1
SQL
PmTest::figure(sprintf('message-db: %s messages by 8 clients in %.1f s, handled by 8 process managers after %.1f s',
	$node->safe_psql('message_store', 'SELECT count(*) FROM message_store.messages JOIN began ON global_position > at'), $written, $handled));

# The function of the page turns a lost race into an error that a handler need not catch.
my (undef, undef, $lost) = $node->psql('message_store', q{\set VERBOSITY sqlstate
SELECT write_expecting('purchase-17', 'T', '{}', 99)}, extra_params => [ '-U', 'shop' ]);
like($lost, qr/PM001/, 'a wrong expected version becomes a lost race');
# What its page forbids, because the positions would start again.
script('message_store', 'clear-messages.sh');
ok(PmTest::wait_until($node, q{SELECT bool_and(state = 'waiting' AND reason LIKE '%sequence%') FROM pm.status}, 't', dbname => 'message_store'),
	"after message-db's clear-messages.sh its logs are not read, and pm.status says so");

# ---- Emmett ----

my $emmett = "$npm/emmett/emmett.mjs";
my $url = sprintf('postgresql://%s@localhost:%d/emmett?host=%s', $node->safe_psql('postgres', 'SELECT current_user'), $node->port, $node->host);

copy("$root/test/stores/emmett.mjs", $emmett) or die "cannot copy emmett.mjs: $!";
$node->safe_psql('postgres', 'CREATE DATABASE emmett');
client_ok("Emmett's own tables", 'node', $emmett, 'migrate', $url);
page_ok('emmett');

PmTest::create_seen($node, dbname => 'emmett');
PmTest::create_handler($node, $_, dbname => 'emmett') foreach qw(all_orders all_bills);
$node->safe_psql('emmett', <<'SQL');
SELECT pm.attach_log('bills', 'emt_messages', 'global_position', 'stream_id', 'message_type', 'message_data', 'stream_position', 'message_metadata',
	filter => $$split_part(stream_id, '-', 1) = 'bill'$$);
SELECT pm.register('all_orders', 'all_orders', '{orders}', start_at => 'beginning');
SELECT pm.register('all_bills', 'all_bills', '{bills}', start_at => 'beginning');
CREATE TABLE emmett_seen (pos bigint);
SQL
my $consumer = PmTest::start_program($node, 'node', $emmett, 'consume', $url);
$began = time;
my $answer = client_ok("$events events by 8 of Emmett's clients", 'node', $emmett, 'write', $url, 8, $events);
$written = time - $began;
my ($appended, $conflicts) = $answer =~ /"appended":(\d+),"conflicts":(\d+)/;
ok(PmTest::wait_idle($node, dbname => 'emmett', timeout => $patience), 'all process managers are idle');
$handled = time - $began;
is($appended, $events, 'all were appended');
my $table = '(SELECT global_position AS position, stream_id FROM emt_messages)';
PmTest::exactly_once_ok($node, 'all_orders', 'orders', undef, dbname => 'emmett', table => $table, where => "stream_id LIKE 'order-%'");
PmTest::exactly_once_ok($node, 'all_bills', 'bills', undef, dbname => 'emmett', table => $table, where => "stream_id LIKE 'bill-%'");
is($node->safe_psql('emmett', <<'SQL'), '0|0', "a bill for each order that was placed, once, by Emmett's own function in the handler");
SELECT count(*) FILTER (WHERE bills IS NULL), count(*) FILTER (WHERE bills > 1)
FROM emt_messages LEFT JOIN (SELECT (message_metadata ->> 'cause')::bigint AS cause, count(*) AS bills
	FROM emt_messages WHERE message_type = 'BillRequested' GROUP BY 1) b ON cause = global_position
WHERE message_type = 'Placed'
SQL
my ($stream) = $node->safe_psql('emmett', q{SELECT stream_id FROM emt_messages WHERE stream_id LIKE 'bill-%' ORDER BY stream_position DESC LIMIT 1});
my $read = client_ok("Emmett's client reads what a handler has appended", 'node', $emmett, 'read', $url, $stream);
my $count = $node->safe_psql('emmett', "SELECT count(*) FROM emt_messages WHERE stream_id = '$stream'");
is($read, qq({"currentStreamVersion":"$count","count":$count,"types":["BillRequested"]}\n), 'all of it');
# The events that Emmett's consumer misses are only reported. The count is final when no event has come for ten seconds.
my $all = $node->safe_psql('emmett', 'SELECT count(*) FROM emt_messages');
my ($theirs, $since) = (0, time);
while ($theirs < $all && time - $since < 10)
{
	my $now = $node->safe_psql('emmett', 'SELECT count(DISTINCT pos) FROM emmett_seen');

	($theirs, $since) = ($now, time) if $now != $theirs;
	sleep 0.2;
}
$consumer->{h}->signal('TERM');
eval { $consumer->{h}->finish };
$theirs = $node->safe_psql('emmett', 'SELECT count(DISTINCT pos) FROM emmett_seen');
cmp_ok($theirs, '>', 0, 'its own consumer runs as well') or diag($consumer->{err});
PmTest::figure(sprintf('Emmett: %d events by 8 clients in %.1f s (%d conflicts), handled after %.1f s; its own consumer missed %d of %d',
	$appended, $written, $conflicts, $handled, $all - $theirs, $all));

# A partition that Emmett adds is followed; rows that are archived do not come again.
my $append = q{SELECT success FROM emt_append_to_stream(ARRAY['%s'], ARRAY['{}'::jsonb], ARRAY['{}'::jsonb], ARRAY['1'], ARRAY['T'], ARRAY['E'], '%s', 'order', NULL, '%s')};
$count = $node->safe_psql('emmett', "SELECT count(*) FROM seen WHERE pm = 'all_orders'");
$node->safe_psql('emmett', "SELECT emt_add_partition('tenant'); " . sprintf($append, 'm1', 'order-x', 'tenant'));
ok(PmTest::wait_seen($node, 'all_orders', $count + 1, dbname => 'emmett'), 'an event in a partition that was added');
$node->safe_psql('emmett', "UPDATE emt_messages SET is_archived = true WHERE stream_id LIKE 'order-%'; " . sprintf($append, 'm2', 'order-y', 'tenant'));
ok(PmTest::wait_seen($node, 'all_orders', $count + 2, dbname => 'emmett'), 'archived events do not come again');
# Two handlers begin the same stream: the second one has lost a race.
my ($first, $second) = map { PmTest::session($node, dbname => 'emmett') } 1, 2;
$second->do('\set VERBOSITY sqlstate');
$first->do("BEGIN; SELECT emmett_append('order-z', 'T', '{}')");
$second->send("SELECT emmett_append('order-z', 'T', '{}')");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%order-z%'", 1), 'two begin the same stream');
$first->do('COMMIT');
$second->wait(may_fail => 1);
like($second->error, qr/PM001/, 'the second one has lost a race');
# What the page says of dangerous.truncate.
$node->safe_psql('emmett', 'TRUNCATE TABLE emt_streams, emt_messages, emt_processors, emt_projections CASCADE; ALTER SEQUENCE emt_global_message_position RESTART WITH 1');
ok(PmTest::wait_until($node, q{SELECT bool_and(state = 'waiting' AND reason LIKE '%sequence%') FROM pm.status WHERE log = 'orders'}, 't', dbname => 'emmett'),
	'after dangerous.truncate with resetSequences the log is not read, and pm.status says so');

# ---- graphile-worker ----

$node->safe_psql('postgres', 'CREATE DATABASE graphile');
client_ok("graphile-worker's own tables", 'node', "$npm/graphile/node_modules/graphile-worker/dist/cli.js", '--schema-only',
	'-c', $url =~ s/emmett\?/graphile?/r);
PmTest::create_seen($node, dbname => 'graphile');
$node->safe_psql('graphile', 'CREATE EXTENSION pm');
PmTest::create_handler($node, 'jobs', dbname => 'graphile');
my ($attach) = slurp_file("$root/doc/stores/outbox.md") =~ /^```text\n(pm\.attach_log\(.*?)\n```/ms;
$node->safe_psql('graphile', <<"SQL");
SELECT $attach;
SELECT pm.register('jobs', 'jobs', '{jobs}');
SELECT count(graphile_worker.add_job('mail', json_build_object('i', i), job_key => CASE WHEN i % 3 = 0 THEN 'k' || i END)) FROM generate_series(1, 30) i;
SELECT graphile_worker.add_job('mail', '{"i": 3}', job_key => 'k3');
SQL
ok(PmTest::wait_idle($node, dbname => 'graphile'), 'idle');
PmTest::exactly_once_ok($node, 'jobs', 'jobs', 'each job of graphile-worker is seen once', dbname => 'graphile',
	table => '(SELECT id AS position FROM graphile_worker._private_jobs)');
$node->safe_psql('graphile', <<'SQL');
SELECT graphile_worker.complete_jobs(ARRAY(SELECT id FROM graphile_worker._private_jobs));
SELECT graphile_worker.add_job('mail');
SQL
ok(PmTest::wait_seen($node, 'jobs', 31, dbname => 'graphile'), 'jobs are completed, which deletes them, and the next one is seen');

# Row-level security hides the jobs from other roles, which cannot follow them.
$node->safe_psql('graphile', <<'SQL');
CREATE ROLE watcher LOGIN;
GRANT USAGE ON SCHEMA pm, graphile_worker TO watcher;
GRANT SELECT ON graphile_worker._private_jobs TO watcher;
SQL
my (undef, undef, $refused) = $node->psql('graphile', q{SELECT pm.register('w', 'public.jobs', '{jobs}', start_at => 'beginning')},
	extra_params => [ '-U', 'watcher' ]);
like($refused, qr/row-level security/i, 'another role cannot follow the jobs, because row-level security hides them');

# ---- Marten ----

# The page creates Marten's tables and a procedure that appends as Marten does: the number is drawn before the row is written.
# Here the transaction that draws the lower number commits last.
page_ok('marten');
PmTest::create_seen($node, dbname => 'docs');
PmTest::create_handler($node, 'marten_seen', dbname => 'docs');
$node->safe_psql('docs', "SELECT pm.register('marten_seen', 'marten_seen', '{marten}', start_at => 'beginning')");
my ($slow, $fast) = map { PmTest::session($node, dbname => 'docs') } 1, 2;
$slow->do("BEGIN; CALL mt_append('00000000-0000-0000-0000-00000000000a', 'first', '{}')");
$fast->do("CALL mt_append('00000000-0000-0000-0000-00000000000b', 'second', '{}')");
$slow->do("CALL mt_append('00000000-0000-0000-0000-00000000000a', 'third', '{}'); COMMIT");
ok(PmTest::wait_idle($node, dbname => 'docs'), 'idle');
PmTest::exactly_once_ok($node, 'marten_seen', 'marten', undef, dbname => 'docs');
is($node->safe_psql('docs', q{SELECT count(*), max(seq_id) FROM mt_events e JOIN marten m ON (m.metadata -> 'seq_id')::bigint = seq_id}),
	'5|5', 'the log has what mt_events has');

PmTest::no_crash_ok($node);
done_testing();
