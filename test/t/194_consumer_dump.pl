# Consumers across a dump, into another cluster and into the cluster of the original: nobody holds
# a lease in the copy, and nobody may fetch before it is adopted. From then on, consumers are the
# roles that have the recorded names, even if other roles have their OIDs there, and they continue
# where the original had been advanced: with instances, timers, parked events, journals, and the
# places to which replies go.
use strict;
use warnings FATAL => 'all';

use PmTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $from = PmTest::node('from', conf => "allow_system_table_mods = on\n");
my $to = PmTest::node('to', extension => 0, conf => "allow_system_table_mods = on\n");
my $dir = PostgreSQL::Test::Utils::tempdir;

$from->safe_psql('postgres', <<'SQL');
CREATE ROLE app LOGIN; CREATE ROLE mail LOGIN; CREATE ROLE gone LOGIN; CREATE ROLE stranger LOGIN;
GRANT USAGE ON SCHEMA pm TO app, mail, gone, stranger;
GRANT CREATE ON SCHEMA public TO app;
SQL
$from->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'app' ]);
SELECT pm.create_log('orders');
SELECT pm.create_log('outbox');
CREATE FUNCTION placed(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'Placed' THEN PERFORM pm.append('outbox', e.stream, 'Mail'); END IF;
	RETURN coalesce(s, '{}') || jsonb_build_object(e.type, e.data);
END $$;
SELECT pm.register('mailer', NULL, '{outbox}', lanes => 2, consumers => '{mail,gone}', lease => '1 h', max_attempts => 9, backoff => '1 h', journal => true, keep_ended => '1 year');
SELECT pm.register('only', NULL, '{outbox}', consumers => '{gone}');
SELECT pm.register('order', 'placed', '{orders}');
SELECT pm.append('orders', 'o' || i, 'Placed') FROM generate_series(1, 6) i;
SQL
ok(PmTest::wait_until($from, 'SELECT count(*) FROM outbox', 6), 'a handler has asked for six mails');
# One is saved and advanced, with a timer; one has failed; the others are fetched and held. One lease has run out before.
my $fetch = q{SELECT "position", lane, key, attempt FROM pm.fetch('mailer', 'm', 6)};
$from->safe_psql('postgres', "$fetch; " . ($fetch =~ s/'m'/'n'/r), extra_params => [ '-U', 'mail' ]);
$from->safe_psql('postgres', 'UPDATE pm_catalog.lease SET until = clock_timestamp()');
my ($head) = split /\n/, $from->safe_psql('postgres', $fetch, extra_params => [ '-U', 'mail' ]);
my ($position, $lane, $key, $attempt) = split /\|/, $head;
is($attempt, 2, 'they have been fetched twice');
$from->safe_psql('postgres', <<SQL, extra_params => [ '-U', 'mail' ]);
BEGIN;
SELECT pm.save('mailer', 'm', '$key', '{"sent": 1}');
SELECT pm.set_timer('remind', '2020-01-01', '{}', 'mailer', 'm', '$key');
SELECT pm.advance('mailer', 'm', $lane, 'outbox', $position);
COMMIT;
SELECT pm.fail('mailer', 'm', log, "position", 'no such address') FROM pm.fetch('mailer', 'm') ORDER BY "position" LIMIT 1;
SELECT count(*) FROM pm.fetch('mailer', 'other');
SQL
is($from->safe_psql('postgres', 'SELECT count(*) > 0, bool_and(lease_until > now()) FROM pm.consumer'), 't|t', 'leases are held');
my $advanced = "SELECT lane, \"position\" FROM pm.cursor WHERE process_manager = 'mailer' ORDER BY 1";
my $stood = $from->safe_psql('postgres', $advanced);
$from->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $from->connstr('postgres') ], 'pg_dump');

# In the other cluster the OIDs of the consumers are those of strangers, and one of the names is not there.
$to->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE mail LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE thief LOGIN');
my ($mail, $gone) = split /\|/, $from->safe_psql('postgres', "SELECT 'mail'::regrole::oid, 'gone'::regrole::oid");
$to->safe_psql('postgres', "UPDATE pg_authid SET oid = 90000 + oid::int WHERE oid IN ($mail, $gone)");
$to->safe_psql('postgres', "UPDATE pg_authid SET oid = $mail WHERE rolname = 'stranger'; UPDATE pg_authid SET oid = $gone WHERE rolname = 'thief'");
$to->restart;
$to->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$from->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
$from->command_ok([ 'pg_restore', '-e', '-d', $from->connstr('copy'), "$dir/dump" ], 'restored in the cluster of the original');
# The role that is not there cannot be granted anything.
run_log([ 'pg_restore', '-d', $to->connstr('copy'), "$dir/dump" ]);

foreach my $node ($from, $to)
{
	my $where = $node->name;
	my @as_mail = (dbname => 'copy', extra_params => [ '-U', 'mail' ]);
	my $refused = sub {
		my ($role) = @_;
		my ($rc, undef, $err) = $node->psql('copy', q{SET ROLE } . $role . q{; \set VERBOSITY sqlstate
SELECT * FROM pm.fetch('mailer', 'm')}, on_error_stop => 1);
		return $rc == 0 ? '' : ($err =~ /ERROR:\s+(\w+)/)[0];
	};

	$node->safe_psql('copy', 'GRANT USAGE ON SCHEMA pm TO app, mail, stranger' . ($where eq 'to' ? ', thief' : ', gone'));
	is($node->safe_psql('copy', $advanced), $stood, "$where: the cursors are where they had been advanced to");
	is($node->safe_psql('copy', 'SELECT (SELECT count(*) FROM pm.consumer), (SELECT count(*) FROM pm_catalog.fetched)'), '0|0', "$where: nobody holds a lane");
	is($refused->('mail'), '55000', "$where: nobody may fetch in a copy");
	is($refused->('stranger'), '42501', "$where: a stranger may not either");
	$node->safe_psql('copy', 'SELECT pm.resume()');
	is($refused->($_), '42501', "$where: after pm.resume(), $_ may not") foreach 'stranger', $where eq 'to' ? 'thief' : ();
	is($node->safe_psql('copy', 'SELECT name, consumers FROM pm.process_manager WHERE handler IS NULL ORDER BY 1'),
		$where eq 'to' ? "mailer|{mail}\nonly|" : "mailer|{gone,mail}\nonly|{gone}", "$where: consumers are the roles of these names");
	# a dependency keeps them from being dropped
	my (undef, undef, $err) = $node->psql('copy', 'REVOKE USAGE ON SCHEMA pm FROM mail; DROP ROLE mail');
	like($err, qr/type pm_process_manager.mailer/, "$where: they cannot be dropped");
	$node->safe_psql('copy', 'GRANT USAGE ON SCHEMA pm TO mail');

	# What was fetched and not advanced is fetched here, with its first attempt: nobody has tried it in the copy.
	my $seen = 0;
	for (1 .. 12)
	{
		my $batch = $node->safe_psql('copy', q{SELECT lane, count(*), max(attempt) FROM pm.fetch('mailer', 'm') WHERE log IS NOT NULL OR type = 'remind' GROUP BY lane}, extra_params => [ '-U', 'mail' ]) or last;
		my ($in, $count) = split /\|/, $batch;

		$seen += $count;
		# the answer, too, reaches its instance
		$node->safe_psql('copy', qq{BEGIN; SELECT pm.reply(log, "position", 'Mailed') FROM pm.fetch('mailer', 'm') WHERE log IS NOT NULL; SELECT pm.advance('mailer', 'm', $in); COMMIT}, extra_params => [ '-U', 'mail' ]);
	}
	# five mails, one of them parked (pm.resume tries again what is parked), and the timer
	is($seen, 6, "$where: they continue where the original stood");
	is($node->safe_psql('copy', "SELECT key, state FROM pm.instance WHERE process_manager = 'mailer'"), "$key|{\"sent\": 1}", "$where: with the instance");
	is($node->safe_psql('copy', "SELECT string_agg(seq || ' ' || type, ', ' ORDER BY seq) FROM pm.journal WHERE process_manager = 'mailer'"), '1 Mail, 2 remind', "$where: and its journal");
	ok(PmTest::wait_until($node, "SELECT count(*) FROM pm.instance WHERE process_manager = 'order' AND state ? 'Mailed'", 5, dbname => 'copy'), "$where: replies come to the instances that have asked");
}
is($from->safe_psql('postgres', $advanced), $stood, 'the original was not disturbed');
PmTest::no_crash_ok($_) foreach $from, $to;
done_testing();
