# monitoring/: promtool accepts the rules, both exporters return the same metrics to a role that is only in pg_monitor, and
# Prometheus gets series for each panel of the dashboard. Alerts fire when their cause is made, and clear when it is gone:
# one of them, and with PM_SOAK each of them, in a table.
#
# The programs are those of Debian. Where they are not installed, their packages are fetched and unpacked, not installed.
use strict;
use warnings FATAL => 'all';

use HTTP::Tiny;
use IPC::Run ();
use JSON::PP qw(decode_json);
use PmTest;
use DocPage;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = $ENV{PM_TEST_ROOT} // '.';
my $dir = PostgreSQL::Test::Utils::tempdir;
my %program;

# ---- the programs

my %package = (prometheus => [qw(prometheus promtool)], map { $_ => [$_] } qw(prometheus-postgres-exporter prometheus-sql-exporter));
my @missing;

foreach my $package (sort keys %package)
{
	foreach my $name (@{ $package{$package} })
	{
		($program{$name}) = grep { -x } map { "$_/$name" } split /:/, $ENV{PATH};
	}
	push @missing, $package if grep { !$program{$_} } @{ $package{$package} };
}
if (@missing)
{
	my $get = "cd $dir && timeout 120 apt-get -q -o Acquire::Retries=0 -o Acquire::http::Timeout=20 download @missing";

	foreach my $package (@missing)
	{
		$get .= " && dpkg-deb --fsys-tarfile ${package}_*.deb | tar -x " . join(' ', map { "./usr/bin/$_" } @{ $package{$package} });
		$program{$_} = "$dir/usr/bin/$_" foreach @{ $package{$package} };
	}
	plan skip_all => "these Debian packages are not installed and cannot be fetched: @missing" if system('sh', '-c', "($get) >$dir/apt.log 2>&1");
}

my @running;
sub start
{
	my ($log, @command) = @_;
	my $h = IPC::Run::start(\@command, '<', \undef, '>', "$dir/$log", '2>&1');

	push @running, $h;
	return $h;
}
END
{
	local $?;
	foreach my $h (@running) { $h->kill_kill(grace => 5) }
}

# ---- files: what needs no server

my %file = map { $_ => slurp_file("$root/monitoring/$_") } qw(pm.rules.yml prometheus.yml postgres-exporter.yml sql-exporter.yml grafana.json);

sub promtool
{
	my ($out, $err);
	return IPC::Run::run([ $program{promtool}, @_ ], '>', \$out, '2>', \$err) || !diag($out, $err);
}
ok(promtool('check', 'config', "$root/monitoring/prometheus.yml"), 'promtool accepts the configuration, with the rules');

my @alerts = $file{'pm.rules.yml'} =~ /^  - alert: (\w+)$/mg;
my %anchors = map { $_->{anchor} => 1 } @{ DocPage->new("$root/doc/operations.md")->{sections} };
my @links = $file{'pm.rules.yml'} =~ /^      runbook_url: \S+\/doc\/operations\.md#(\S+)$/mg;
is("@links", lc "@alerts", 'each alert has a runbook link of its own');
is(join(' ', grep { !$anchors{$_} } @links), '', 'each link leads to a section of operations.md');
my $operations = slurp_file("$root/doc/operations.md");
my %runbook = $operations =~ /^### (Pm\w+)\n(.*?)(?=^##)/msg;
is(join(' ', sort keys %runbook), join(' ', sort @alerts), 'each of these sections belongs to an alert');
is(join(' ', grep { $runbook{$_} !~ /^\*Means:\*.*^\*Do:\*/ms } sort keys %runbook), '', 'and says what it means and what to do');
is(join(' ', grep { $operations !~ /^\| \[$_\]\(#\L$_\E\) \|/m } @alerts), '', 'the table has a row for each alert');
# The states, as the view has them.
my ($case) = slurp_file("$root/src/sql/40_status.sql") =~ /CASE WHEN u\.situation OPERATOR\(pg_catalog\.=\) ANY \(ARRAY\[([^\]]+)\]\)\s+THEN u\.situation.*?END AS state/s or BAIL_OUT('pm.status has changed');
my @states = ('waiting', $case =~ /'(\w+)'/g);
my ($section) = $operations =~ /^## The states\n(.*?)^## /ms;
is(scalar @states, 6, "states: @states");
is(join(' ', grep { my $state = $_; $section !~ /^\*\*`$state`\*\* \w/m } @states), '', 'each state is explained');

# The queries of a file, as { name => SQL }.
sub queries
{
	my ($text) = @_;
	my %sql;

	while ($text =~ /^(?:  - name: "(\w+)"|(pm_\w+):)$(.*?)^( +)query: \|\n((?:\4  [^\n]*\n)+)/msg)
	{
		my ($name, $query) = ($1 // $2, $5);

		$query =~ s/^ +//mg;
		$sql{$name} = $query;
	}
	return \%sql;
}
is_deeply(queries($file{'sql-exporter.yml'}), queries($file{'postgres-exporter.yml'}), 'both exporters run the same SQL');
my @queries = sort keys %{ queries($file{'postgres-exporter.yml'}) };
cmp_ok(scalar @queries, '>=', 5, 'there are queries');

# ---- a server with process managers

my $node = PmTest::node('monitored', conf => "max_connections = 40\npm.max_workers = 6\nwal_level = logical\nmax_wal_senders = 4\nmax_replication_slots = 4\n");
my ($socket, $port) = ($node->host, $node->port);

sub answer
{
	my ($sql, $user) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => $user ? [ '-U', $user ] : []);
}

IPC::Run::run([ $node->installed_command('psql'), '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$root/monitoring/role.sql" ]) or BAIL_OUT('role.sql');
is(answer(q{SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = 'pm_exporter'::regrole}), 'pg_monitor', 'the role is only in pg_monitor');

answer('CREATE ROLE shop LOGIN; CREATE ROLE slow LOGIN; GRANT USAGE ON SCHEMA pm TO shop, slow; GRANT CREATE ON SCHEMA public TO shop, slow');
answer(q{CREATE TABLE gate (name text PRIMARY KEY, n int NOT NULL DEFAULT 0); GRANT ALL ON gate TO PUBLIC; INSERT INTO gate VALUES ('row')});
answer(<<'SQL', 'shop');
-- Does what the type says.
CREATE FUNCTION act(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'fail' AND EXISTS (SELECT FROM gate WHERE name = 'fail') THEN RAISE 'it fails'; END IF;
	IF e.type = 'lock' THEN UPDATE gate SET n = n + 1 WHERE name = 'row'; END IF;
END $$;
CREATE FUNCTION keep(e pm.event, s jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF e.type = 'begin' THEN PERFORM pm.set_timer('soon', now() + '1 s'), pm.set_timer('late', '2100-01-01'); END IF;
	RETURN '{}';
END $$;
SELECT pm.create_log('log_' || l) FROM unnest('{busy,halts,dies,late,held,locks,timers,mail,nobody,paused}'::text[]) l;
SELECT pm.register('busy', 'act', '{log_busy}');
SELECT pm.register('halts', 'act', '{log_halts}', on_failure => 'halt', max_attempts => 1);
SELECT pm.register('dies', 'act', '{log_dies}', max_attempts => 1);
SELECT pm.register('fails', 'act', '{log_dies}', max_attempts => 100, backoff => '1 h');
SELECT pm.register('late', 'act', '{log_late}');
SELECT pm.register('held', 'act', '{log_held}');
SELECT pm.register('locks', 'act', '{log_locks}', handler_timeout => '5 min');
SELECT pm.register('timers', 'keep', '{log_timers}');
SELECT pm.register('mailer', NULL, '{log_mail}', lease => '1 s');
SELECT pm.register('nobody', NULL, '{log_nobody}');
SELECT pm.register('paused', 'act', '{log_paused}');
INSERT INTO log_timers (stream, type) VALUES ('a', 'begin');
SQL
answer(q{SELECT pm.create_log('log_private'); GRANT SELECT ON log_private TO shop});
answer(q{SELECT pm.register('reads', 'act', '{log_private}')}, 'shop');
answer(<<'SQL', 'slow');
CREATE FUNCTION sleepy(e pm.event) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM gate WHERE name = 'sleep') LOOP PERFORM pg_sleep(0.1); END LOOP;
END $$;
SELECT pm.create_log('log_slow'), pm.create_log('log_behind');
SELECT pm.register('slow', 'sleepy', '{log_slow}', handler_timeout => '5 min');
SELECT pm.register('its neighbor', 'sleepy', '{log_behind}', handler_timeout => '5 min');
SQL

# A second database, with pm and nothing in it.
answer('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION pm; GRANT USAGE ON SCHEMA pm TO pm_exporter');

# An attached log, a partitioned one, and a replica log, which the other database fills. Its subscription has another table,
# too, to which changes can be applied slowly.
answer(<<'SQL', 'shop');
CREATE TABLE store (id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT store_id PRIMARY KEY, stream text NOT NULL, type text NOT NULL, data jsonb NOT NULL);
SELECT pm.attach_log('log_store', 'store', pos => 'id', stream => 'stream', type => 'type', data => 'data');
SELECT pm.register('stored', 'act', '{log_store}');
SELECT pm.create_log('log_parts', partitioned => true);
CREATE TABLE parts_1 PARTITION OF log_parts FOR VALUES FROM (1) TO (3);
CREATE TABLE parts_2 PARTITION OF log_parts FOR VALUES FROM (3) TO (5);
CREATE TABLE parts_3 PARTITION OF log_parts FOR VALUES FROM (5) TO (MAXVALUE);
SELECT pm.register('parts', 'act', '{log_parts}');
SQL
answer(<<'SQL');
SELECT pm.create_replica_log('far');
CREATE FUNCTION apply_slowly() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM public.gate WHERE name = 'apply') LOOP PERFORM pg_sleep(0.1); END LOOP;
	RETURN NULL;
END $$;
CREATE TABLE ballast (n int);
CREATE TRIGGER slowly AFTER INSERT ON ballast FOR EACH ROW EXECUTE FUNCTION apply_slowly();
ALTER TABLE ballast ENABLE ALWAYS TRIGGER slowly;
GRANT SELECT ON far TO shop;
SQL
answer(q{SELECT pm.register('far', 'act', '{far}')}, 'shop');
$node->safe_psql('other', q{SELECT pm.create_log('far'); CREATE TABLE ballast (n int); CREATE PUBLICATION events FOR TABLE far, ballast});
$node->safe_psql('other', q{SELECT pg_create_logical_replication_slot('far', 'pgoutput')});
answer("CREATE SUBSCRIPTION far CONNECTION '" . ($node->connstr('other') =~ s/'/''/gr) . "' PUBLICATION events WITH (create_slot = false, copy_data = false)");
$node->safe_psql('other', q{SELECT pm.append('far', 's', 'ok')});
ok(PmTest::wait_until($node, 'SELECT count(*) FROM far', '1'), 'the replica log is filled');

# ---- the exporters and Prometheus, each second

my ($pg_port, $sql_port, $prometheus_port) = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 3;

sub write_file { my ($name, $text) = @_; append_to_file("$dir/$name", $text); return; }

(my $sql_config = $file{'sql-exporter.yml'}) =~ s/interval: '15s'/interval: '1s'/;
$sql_config =~ s/^  - 'postgres:\S+'\n/join '', map { "  - 'postgres:\/\/pm_exporter@\/$_?host=$socket&port=$port&sslmode=disable'\n" } qw(postgres other)/me;
write_file('sql-exporter.yml', $sql_config);
# The durations and limits of the alerts become 2 and 3 seconds.
(my $rules = $file{'pm.rules.yml'}) =~ s/^    for: \S+$/    for: 2s/mg;
$rules =~ s/> (?:60|300)'/> 3'/g;
write_file('pm.rules.yml', $rules);
(my $prometheus = $file{'prometheus.yml'}) =~ s/_interval: 15s/_interval: 1s/g;
$prometheus =~ s/localhost:9187/127.0.0.1:$pg_port/;
$prometheus =~ s/localhost:9237/127.0.0.1:$sql_port/;
write_file('prometheus.yml', $prometheus);

{
	local $ENV{DATA_SOURCE_NAME} = "host=$socket port=$port user=pm_exporter dbname=postgres sslmode=disable";
	start('postgres-exporter.log', $program{'prometheus-postgres-exporter'}, "--extend.query-path=$root/monitoring/postgres-exporter.yml",
		'--auto-discover-databases', '--include-databases=postgres,other', "--web.listen-address=127.0.0.1:$pg_port");
}
start('sql-exporter.log', $program{'prometheus-sql-exporter'}, "-config.file=$dir/sql-exporter.yml", "-web.listen-address=127.0.0.1:$sql_port");
start('prometheus.log', $program{prometheus}, "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=127.0.0.1:$prometheus_port", '--log.level=warn');

my $http = HTTP::Tiny->new(timeout => 10);
sub get { my $r = $http->get($_[0]); return $r->{success} ? $r->{content} : ''; }

# Repeats code until it returns something true. Returns that, and the seconds.
sub wait_true
{
	my ($code, $limit) = @_;
	my $began = time;

	while (1)
	{
		my $result = $code->();
		return ($result, time - $began) if $result || time - $began > ($limit // 60);
		sleep 0.1;
	}
}

# What an exporter returns: name and labels of each metric of pm.
sub metrics
{
	my ($at, $raw) = @_;
	my %found;

	foreach (split /\n/, get("http://127.0.0.1:$at/metrics"))
	{
		my ($name, $labels, $value) = /^(\w+)\{(.*)\} (\S+)$/ or next;
		my %label;

		$label{$1} = $2 while $labels =~ /(\w+)="((?:[^"\\]|\\.)*)"/g;
		$name =~ s/^sql_(pm_\w+)$/$1_$label{col}/ if exists $label{col};
		next unless $name =~ /^pm_/;
		$found{ join(' ', $name, map { "$_=$label{$_}" } grep { exists $label{$_} } qw(datname process_manager log lane blocks)) } = $value;
	}
	return \%found;
}

my ($ready) = wait_true(sub {
	my ($one, $two) = (metrics($pg_port), metrics($sql_port));
	return %$one && keys %$one == keys %$two;
});
ok($ready, 'both exporters return metrics') or diag(slurp_file("$dir/postgres-exporter.log"), slurp_file("$dir/sql-exporter.log"));
my ($one, $two) = (metrics($pg_port), metrics($sql_port));
is(join("\n", sort keys %$two), join("\n", sort keys %$one), 'and these are the same');
my @columns = map { my $q = $_; map { "${q}_$_" } $file{'postgres-exporter.yml'} =~ /^\Q$q\E:.*?(?=^pm_|\z)/ms ? ($& =~ /^    - (\w+):\n        usage: "(?:GAUGE|COUNTER)"/mg) : () } @queries;
is(join(' ', grep { my $c = $_; !grep { /^$c / } keys %$one } @columns), '', 'each metric that is described is there');
is($one->{'pm_database_process_managers datname=other'}, 0, 'also in another database');
my $failed = join(' ', get("http://127.0.0.1:$sql_port/metrics") =~ /^sql_exporter_last_scrape_failed\{.*\} 1$/mg);
is($failed, '', 'where some queries return no rows, and do not fail');
is($one->{'pm_database_process_managers datname=postgres'}, answer('SELECT count(*) FROM pm.process_manager'), 'with a value');
PmTest::figure(sprintf '%d queries, %d metrics, %d series from each exporter', scalar @queries, scalar @columns, scalar keys %$one);

# ---- the dashboard

sub query
{
	my ($expression) = @_;
	my $r = $http->post_form("http://127.0.0.1:$prometheus_port/api/v1/query", { query => $expression });

	return [] unless $r->{success} || $r->{content};
	my $result = eval { decode_json($r->{content}) } // {};
	diag("$expression: $result->{error}") if $result->{error};
	return $result->{data}{result} // [];
}

my ($scraped) = wait_true(sub { @{ query('count by (job) (pm_status_lag)') } == 2 });
ok($scraped, 'Prometheus has scraped both exporters') or diag(slurp_file("$dir/prometheus.log"));
my $dashboard = decode_json($file{'grafana.json'});
my $writing = PmTest::start_psql($node, q{SELECT pm.append('log_busy', 's', 'ok') FROM pg_sleep(0.2) \watch 0.1}, user => 'shop');
foreach my $job ('pm', $ENV{PM_SOAK} ? 'pm_sql' : ())
{
	my $targets = 0;

	foreach my $panel (@{ $dashboard->{panels} })
	{
		foreach my $target (@{ $panel->{targets} })
		{
			my $expression = $target->{expr} =~ s/\$__rate_interval/10s/gr =~ s/\$job/$job/gr =~ s/\$(?:datname|process_manager)\b/.*/gr;
			my ($series) = wait_true(sub { my $s = query($expression); @$s ? $s : undef }, 30);

			$targets++;
			ok($series, "$job: $panel->{title}, $target->{legendFormat}") or diag($expression);
			# "or vector(0)" returns something in any case.
			ok(scalar @{ query($1) }, "$job: $1") if $expression =~ /(pm_\w+\{[^}]*\}).* or vector/;
		}
	}
	PmTest::figure("$job: $targets queries of the dashboard return series");
}
$writing->{h}->kill_kill;

# ---- alerts

# Alerts of a name that are not only pending.
sub alerts
{
	my ($name, @states) = @_;
	my $answer = get("http://127.0.0.1:$prometheus_port/api/v1/alerts");
	my $all = $answer ? decode_json($answer)->{data}{alerts} : [];

	return grep { my $a = $_; $a->{labels}{alertname} eq $name && grep { $_ eq $a->{state} } @states } @$all;
}

my @table;

# Makes a cause and removes it again. Each exporter's metrics fire the alert.
sub alert_ok
{
	my ($name, $cause, $make, $clear, %opt) = @_;
	my $jobs = $opt{jobs} // 2;
	my ($fired, $cleared, $to_fire, $to_clear);

	# This alert may be a consequence of the cause before.
	($cleared) = wait_true(sub { !alerts($name, 'firing', 'pending') });
	ok($cleared, "$name does not fire yet");
	$make->();
	($fired, $to_fire) = wait_true(sub { my %jobs = map { $_->{labels}{job} // '' => 1 } alerts($name, 'firing'); keys %jobs >= $jobs }, 90);
	ok($fired, "$name fires: $cause")
	  or diag(answer('SELECT * FROM pm.status'), slurp_file("$dir/sql-exporter.log"), slurp_file("$dir/postgres-exporter.log"));
	my ($alert) = alerts($name, 'firing');
	unlike("$alert->{annotations}{summary} $alert->{annotations}{description}", qr/<no value>|<error|  /, "$name: its texts are complete") if $alert;
	$clear->();
	($cleared, $to_clear) = wait_true(sub { !alerts($name, 'firing', 'pending') }, 90);
	ok($cleared, "$name clears") or diag(join("\n", map { JSON::PP->new->canonical->encode($_) } alerts($name, 'firing', 'pending')));
	push @table, sprintf('%-16s | %-76s | %4.1f s | %4.1f s', $name, $cause, $to_fire, $to_clear);
	return;
}

my $session;
my @causes = (
	[ 'PmHalted', 'a handler fails, with on_failure => \'halt\'', sub {
		answer(q{INSERT INTO gate VALUES ('fail')});
		answer(q{SELECT pm.append('log_halts', 's', 'fail')}, 'shop');
	}, sub {
		answer(q{DELETE FROM gate WHERE name = 'fail'});
		answer(q{SELECT pm.resume('halts')}, 'shop');
	} ],
	[ 'PmDead', 'an event has failed max_attempts times', sub {
		answer(q{INSERT INTO gate VALUES ('fail')});
		answer(q{SELECT pm.append('log_dies', 's', 'fail')}, 'shop');
	}, sub {
		answer(q{DELETE FROM gate WHERE name = 'fail'});
		answer(q{SELECT pm.retry('dies'); SELECT pm.retry('fails', log, position) FROM pm.parked WHERE process_manager = 'fails'}, 'shop');
	} ],
	[ 'PmFailing', 'an event fails again and again', sub {
		answer(q{INSERT INTO gate VALUES ('fail')});
		answer(q{SELECT pm.append('log_dies', 's', 'fail')}, 'shop');
	}, sub {
		answer(q{DELETE FROM gate WHERE name = 'fail'});
		answer(q{SELECT pm.retry('dies'); SELECT pm.retry('fails', log, position) FROM pm.parked WHERE process_manager = 'fails'}, 'shop');
	} ],
	[ 'PmLate', 'events that nobody handles for a while', sub { answer(q{SELECT pm.pause('late'); SELECT pm.append('log_late', 's', 'ok')}, 'shop') },
		sub { answer(q{SELECT pm.resume('late')}, 'shop') } ],
	[ 'PmPaused', 'somebody has called pm.pause', sub { answer(q{SELECT pm.pause('paused')}, 'shop') }, sub { answer(q{SELECT pm.resume('paused')}, 'shop') } ],
	[ 'PmHeldBack', 'a transaction that has written the log stays open', sub {
		$session = PmTest::session($node, user => 'shop');
		$session->do(q{BEGIN; SELECT pm.append('log_held', 's', 'ok')});
		answer(q{SELECT pm.append('log_held', 't', 'ok')}, 'shop');
	}, sub { $session->do('COMMIT'); $session->quit } ],
	[ 'PmStarved', 'a call of another process manager of the role takes a long time', sub {
		answer(q{INSERT INTO gate VALUES ('sleep')});
		answer(q{SELECT pm.append('log_slow', 's', 'ok')}, 'slow');
		PmTest::wait_until($node, q{SELECT count(*) FROM pm.worker WHERE process_manager = 'slow'}, '1');
		answer(q{SELECT pm.append('log_behind', 's', 'ok')}, 'slow');
	}, sub { answer(q{DELETE FROM gate WHERE name = 'sleep'}) } ],
	[ 'PmBlocked', 'a session holds a row that a handler updates', sub {
		$session = PmTest::session($node);
		$session->do(q{BEGIN; UPDATE gate SET n = 0 WHERE name = 'row'});
		answer(q{SELECT pm.append('log_locks', 's', 'lock')}, 'shop');
	}, sub { $session->do('COMMIT'); $session->quit } ],
	[ 'PmTimersOverdue', 'timers come due while their process manager is paused', sub {
		answer(q{SELECT pm.append('log_timers', 'b', 'begin')}, 'shop');
		PmTest::wait_until($node, q{SELECT count(*) FROM pm_catalog.timer WHERE type = 'soon'}, '1');
		answer(q{SELECT pm.pause('timers')}, 'shop');
	}, sub { answer(q{SELECT pm.resume('timers')}, 'shop') } ],
	[ 'PmLeaseLost', 'a consumer fetches, and dies', sub {
		answer(q{SELECT pm.append('log_mail', 's', 'ok'); SELECT count(*) FROM pm.fetch('mailer', 'dies')}, 'shop');
	}, sub { answer(q{SELECT count(*) FROM pm.fetch('mailer', 'next'); SELECT pm.advance('mailer', 'next', 0); SELECT pm.release('mailer', 'next')}, 'shop') } ],
	[ 'PmNoConsumer', 'no consumer runs', sub { answer(q{SELECT pm.append('log_nobody', 's', 'ok')}, 'shop') },
		sub { answer(q{SELECT count(*) FROM pm.fetch('nobody', 'one'); SELECT pm.advance('nobody', 'one', 0); SELECT pm.release('nobody', 'one')}, 'shop') } ],
	[ 'PmWaiting', 'the owner may no longer read the log', sub { answer(q{REVOKE SELECT ON log_private FROM shop; SELECT pm.append('log_private', 's', 'ok')}) },
		sub { answer(q{GRANT SELECT ON log_private TO shop}) } ],
	# The standby is missing for the dispatcher only: the session that appends does not wait for it.
	[ 'PmStandbyMissing', 'the synchronous standby is gone', sub {
		answer(q{ALTER SYSTEM SET synchronous_standby_names = 'gone'});
		answer('SELECT pg_reload_conf()');
		PmTest::wait_until($node, 'SHOW synchronous_standby_names', 'gone');
		answer(q{SET synchronous_commit = local; SELECT pm.append('log_busy', 's', 'ok')}, 'shop');
	}, sub { answer('ALTER SYSTEM RESET synchronous_standby_names'); answer('SELECT pg_reload_conf()') } ],
	[ 'PmAttachedLog', 'the table of an attached log loses the index of its positions', sub { answer('ALTER TABLE store DROP CONSTRAINT store_id', 'shop') },
		sub { answer('ALTER TABLE store ADD CONSTRAINT store_id PRIMARY KEY (id)', 'shop') } ],
	[ 'PmReplicaStopped', 'the subscription of a replica log is disabled', sub { answer('ALTER SUBSCRIPTION far DISABLE') }, sub { answer('ALTER SUBSCRIPTION far ENABLE') } ],
	[ 'PmReplicaBehind', 'a subscription takes a long time to apply a change', sub {
		answer(q{INSERT INTO gate VALUES ('apply')});
		$node->safe_psql('other', q{INSERT INTO ballast VALUES (1)});
	}, sub { answer(q{DELETE FROM gate WHERE name = 'apply'}) } ],
	[ 'PmPartitionsHeld', 'a process manager is paused while a partition becomes full', sub {
		answer(q{SELECT pm.pause('parts'); SELECT pm.append('log_parts', 's', 'ok') FROM generate_series(1, 6)}, 'shop');
	}, sub { answer(q{SELECT pm.resume('parts')}, 'shop') } ],
	# As pg_restore leaves it in another cluster.
	[ 'PmCopyWaits', 'a dump was restored in another cluster', sub { answer(q{UPDATE pm_catalog.process_manager SET system_identifier = 1 WHERE name = 'paused'}) },
		sub { answer('SELECT pm.resume()', 'shop') } ],
	[ 'PmNoWorkers', 'pm.launcher is off', sub { answer('ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()') },
		sub { answer('ALTER SYSTEM SET pm.launcher = on; SELECT pg_reload_conf()') } ],
	[ 'PmNoScheduler', 'pm.launcher is off, and the scheduler has left', sub { answer('ALTER SYSTEM SET pm.launcher = off; SELECT pg_reload_conf()') },
		sub { answer('ALTER SYSTEM SET pm.launcher = on; SELECT pg_reload_conf()') } ],
	[ 'PmNotMonitored', 'the role of the exporters may not log in', sub {
		answer(q{ALTER ROLE pm_exporter NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pm_exporter'});
	}, sub { answer('ALTER ROLE pm_exporter LOGIN') } ],
);
is(join(' ', sort map { $_->[0] } @causes), join(' ', sort @alerts), 'there is a cause for each alert');

# The query tells the causes apart by the texts of pm.status. First those that do not get in each other's way.
unless ($ENV{PM_SOAK})
{
	my %flag = (PmHeldBack => [qw(held_back held)], PmStarved => [ 'starved', 'its neighbor' ], PmNoConsumer => [qw(no_consumer nobody)], PmWaiting => [qw(waiting reads)],
		PmCopyWaits => [qw(copy paused)], PmNoWorkers => [qw(no_worker busy)], PmStandbyMissing => [qw(standby busy)],
		PmAttachedLog => [qw(attached_problem stored)], PmReplicaStopped => [qw(replica_stopped far)], PmReplicaBehind => [qw(replica_behind_seconds far)],
		PmPartitionsHeld => [qw(partitions_held parts)]);
	my %made = map { $_->[0] => $_ } @causes;
	my ($status) = grep { /FROM pm.status/ } values %{ queries($file{'sql-exporter.yml'}) };

	my @alone = qw(PmNoWorkers PmReplicaBehind PmStandbyMissing);

	foreach my $names ([ grep { my $f = $_; !grep { $_ eq $f } @alone } sort keys %flag ], map { [$_] } @alone)
	{
		for my $is (1, 0)
		{
			$made{$_}[ $is ? 2 : 3 ]->() foreach @$names;
			foreach my $name (@$names)
			{
				my ($flag, $pm) = @{ $flag{$name} };

				ok(PmTest::wait_until($node, "SET ROLE pm_exporter; SELECT ($flag > 0)::int FROM ($status) s WHERE process_manager = '$pm'", $is),
					"$flag is $is: " . ($is ? '' : 'no longer: ') . $made{$name}[1]) or diag(answer('SELECT * FROM pm.status'));
			}
		}
	}
	@causes = $causes[0];
}
alert_ok(@$_) foreach @causes;
PmTest::figure($_) foreach 'alert            | cause                                                                        | to fire | to clear', @table;

PmTest::no_crash_ok($node);
done_testing();
