# The server's log: each line about a process manager names its database, log and position. That an event is
# dead or a process manager halted is logged once. Repeated messages are limited, and the number of omitted
# ones is logged. Error texts are cut at a limit wherever they are stored or logged.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PmTest::node('server_log', conf => "pm.max_workers = 4\nlog_min_messages = warning\nlog_line_prefix = ''\n");
my $from = 0;

sub answer { return $node->safe_psql('loud', $_[0]); }
sub as { my ($user, $sql) = @_; return $node->safe_psql('loud', $sql, extra_params => [ '-U', $user ]); }
# What was logged since the last call, and the lines of it.
sub logged { my $all = slurp_file($node->logfile, $from); $from += length $all; return $all; }
sub lines { my ($text, $like) = @_; return scalar(grep { /$like/ } split /\n/, $text); }

$node->safe_psql('postgres', 'CREATE DATABASE loud');
answer(<<'SQL');
CREATE EXTENSION pm;
CREATE ROLE shop LOGIN;
CREATE ROLE office LOGIN;
GRANT USAGE ON SCHEMA pm TO shop, office;
CREATE SCHEMA AUTHORIZATION shop;
CREATE SCHEMA AUTHORIZATION office;
SQL

# ---- a few failures: each is logged, and the outcome once

for my $role (qw(shop office))
{
	as($role, <<"SQL");
SELECT pm.create_log('$role.orders');
CREATE FUNCTION $role.fail(e pm.event) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	IF e.type = 'bad' THEN RAISE EXCEPTION 'no % today', e.stream USING DETAIL = 'It is ' || e.type || '.'; END IF;
END \$\$;
SELECT pm.register('$role', '$role.fail', '{$role.orders}', backoff => '10 ms', max_attempts => 3);
SQL
}
as('shop', "SELECT pm.append('shop.orders', 'o-1', 'bad')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.parked", 'dead', dbname => 'loud'), 'an event is dead');
my $log = logged();
is(lines($log, qr/process manager "shop" in database "loud": the handler failed at position 1 of log "shop.orders": no o-1 today/), 3,
	'each attempt is logged: database, process manager, log, position');
is(lines($log, qr/CONTEXT:.*process manager "shop", position 1 of log "shop.orders", type "bad", stream "o-1"|^\tprocess manager "shop", position 1 of log "shop.orders", type "bad", stream "o-1"/), 3,
	'the context says what was being handled');
is(lines($log, qr/process manager "shop" in database "loud": the event at position 1 of log "shop.orders" is dead: no o-1 today/), 1, 'it is logged once that the event is dead');

as('shop', "SELECT pm.register('shop', 'shop.fail', '{shop.orders}', backoff => '10 ms', max_attempts => 2, on_failure => 'halt'); SELECT pm.append('shop.orders', 'o-2', 'bad')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'shop'", 'halted', dbname => 'loud'), 'a process manager has halted');
as('shop', "SELECT pm.append('shop.orders', 'o-2', 'bad')");
is(lines(logged(), qr/process manager "shop" in database "loud" has halted: the handler failed at position 2 of log "shop.orders"/), 1, 'this is logged once');

# ---- long texts: cut at a character boundary everywhere

as('shop', <<'SQL');
CREATE OR REPLACE FUNCTION shop.fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'long' THEN
		RAISE WARNING '%', repeat('Ä', 1000000);
		RAISE EXCEPTION '%', repeat('Ä', 1000000) USING DETAIL = repeat('é', 1000000), HINT = repeat('x', 1000000);
	ELSIF e.type = 'deep' THEN
		EXECUTE 'SELECT 1/0 /* ' || repeat('z', 1000000) || ' */';
	END IF;
END $$;
SELECT pm.register('shop', 'shop.fail', '{shop.orders}', max_attempts => 1);
SELECT pm.seek('shop', 'shop.orders', 3);
SELECT pm.append('shop.orders', 'o-4', 'long');
SELECT pm.append('shop.orders', 'o-5', 'deep');
SELECT pm.resume('shop');
SQL
ok(PmTest::wait_until($node, "SELECT string_agg((event).stream || state, ' ' ORDER BY position) FROM pm.parked WHERE position > 3", 'o-4dead o-5dead', dbname => 'loud'), 'failures with long texts');
is(answer(q{SELECT left(message, 4096) = repeat('Ä', 4096), substr(message, 4097), left(detail, 4096) = repeat('é', 4096), substr(detail, 4097) FROM pm.parked WHERE position = 4}),
	't| [cut: it has 2000000 bytes]|t| [cut: it has 2000000 bytes]', 'stored: message and detail up to a limit, with a mark that they were cut');
is(answer(q{SELECT octet_length(context) < 8300, context ~ E' \\\\[cut: it has 10\\\\d+ bytes\\\\]\nprocess manager "shop", position 5 of log "shop.orders", type "deep", stream "o-5"$' FROM pm.parked WHERE position = 5}),
	't|t', 'the context, too; its last line is kept');
$log = logged();
cmp_ok(length $log, '<', 100_000, 'logged: cut shorter');
is(lines($log, qr/position 4 of log "shop.orders": \S+ \[cut: it has 2000000 bytes\]/) + lines($log, qr/position 4 of log "shop.orders" is dead: \S+ \[cut: it has 2000000 bytes\]/), 2, 'with a mark');
cmp_ok(lines($log, qr/^WARNING:  \S{4000,9000} \[cut: it has 2000000 bytes\]/), '>=', 1, 'messages of the handler are cut, too');

as('shop', "SELECT pm.register('shop', 'shop.fail', '{shop.orders}', max_attempts => 1, on_failure => 'halt'); SELECT pm.append('shop.orders', 'o-6', 'long')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'shop'", 'halted', dbname => 'loud'), 'halted with long texts');
cmp_ok(as('shop', "SELECT octet_length(reason) FROM pm.status WHERE process_manager = 'shop'"), '<', 9000, 'pm.status shows the beginning');
# The same in correlate, and in pm.catch_up; there the caller gets the original error.
as('shop', <<'SQL');
CREATE FUNCTION shop.key(e pm.event) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', repeat('y', 1000000); END $$;
SELECT pm.create_log('shop.other');
SELECT pm.register('keys', 'shop.fail', '{shop.other}', correlate => 'shop.key');
SELECT pm.append('shop.other', 'x', 'x');
SQL
ok(PmTest::wait_until($node, "SELECT state FROM pm.status WHERE process_manager = 'keys'", 'halted', dbname => 'loud'), 'an error of correlate halts');
is(answer(q{SELECT octet_length(message) < 8300, octet_length(reason) < 100 FROM pm_catalog.lane WHERE process_manager = 'keys'}), 't|t', 'its text is cut');

# ---- many failures: the lines are limited for each role

logged();
as('shop', <<'SQL');
CREATE OR REPLACE FUNCTION shop.fail(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'bad' THEN RAISE EXCEPTION 'no % today', e.stream; END IF;
END $$;
SELECT pm.create_log('shop.many');
SELECT pm.register('many', 'shop.fail', '{shop.many}', backoff => '0', max_attempts => 5);
INSERT INTO shop.many (stream, type) SELECT 's-' || i, CASE i % 2 WHEN 0 THEN 'bad' ELSE 'good' END FROM generate_series(1, 400) i;
SQL
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'many' AND state = 'dead'", 200, dbname => 'loud'), '200 events are dead after 5 attempts each');
as('office', "SELECT pm.append('office.orders', 'o-1', 'bad')");
ok(PmTest::wait_until($node, "SELECT state FROM pm.parked WHERE process_manager = 'office'", 'dead', dbname => 'loud'), "another role's event fails, too");
$log = logged();
PmTest::figure(sprintf '200 poisoned events x 5 attempts: %d lines, %d bytes in the log', lines($log, qr/"many"/), length $log);
cmp_ok(lines($log, qr/^LOG:.*"many"/), '<=', 80, 'they do not fill the log');
is(lines($log, qr/^LOG:.*"office" in database "loud": the handler failed/), 3, 'the other role has its own limit');
is(lines($log, qr/^LOG:.*"office" in database "loud": the event at position 1 of log "office.orders" is dead/), 1, 'also for the outcome');

# A new dispatcher continues the count of the previous one. After a minute the number of omitted messages is logged.
my $began = time;
answer("SELECT pg_terminate_backend(pid) FROM pm.worker WHERE role = 'shop'");
as('shop', "INSERT INTO shop.many (stream, type) SELECT 't-' || i, CASE i % 2 WHEN 0 THEN 'bad' ELSE 'good' END FROM generate_series(1, 100) i");
ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.parked WHERE process_manager = 'many' AND state = 'dead'", 250, dbname => 'loud'), 'more failures, in another session');
SKIP:
{
	skip 'takes a minute; set PM_SOAK', 2 unless $ENV{PM_SOAK};
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my $text = logged();
	until ($text =~ /further messages/ || time > $deadline) { select undef, undef, undef, 0.2; $text .= logged(); }
	like($text, qr/LOG:  \d+ further messages about process managers of role "shop" in database "loud" were not logged/, 'the number of omitted messages is logged');
	unlike($text, qr/further messages.*office/, 'none of the other role were omitted');
}
cmp_ok(lines(logged(), qr/^LOG:.*"many"/), '<=', 40, 'there are still few lines') unless $ENV{PM_SOAK} || time - $began > 50;

# ---- who paused, and who resumed

logged();
as('office', "SELECT pm.pause('office'); SELECT pm.pause('office'); SELECT pm.resume('office')");
$log = logged();
is(lines($log, qr/process manager "office" in database "loud" was paused by "office"/), 1, 'the role that paused it is logged once');
is(lines($log, qr/process manager "office" in database "loud" was resumed by "office"/), 1, 'and the role that resumed it');

PmTest::no_crash_ok($node);
$node->stop;
done_testing();
