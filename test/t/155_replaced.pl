# A call that names a log waits for its table and then acts on what it finds. A log that is dropped or
# replaced while the call waits is not confused with the one that it looked up, and no code runs as a role
# that does not own the table any more.
use strict;
use warnings FATAL => 'all';

use PmTest;
use Test::More;

my $node = PmTest::node('replaced', conf => "pm.poll_interval = '200ms'\n");

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE mallory LOGIN;
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE SCHEMA mallory AUTHORIZATION mallory;
CREATE SCHEMA alice AUTHORIZATION alice;
GRANT USAGE ON SCHEMA pm TO mallory, alice, bob;
GRANT USAGE ON SCHEMA mallory, alice TO PUBLIC;
CREATE TABLE ran (as_role text);
GRANT INSERT, SELECT ON ran TO PUBLIC;
SQL

sub ask
{
	my ($sql, $role) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, on_error_stop => 1,
		extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role // 'postgres' ]);
	return $rc == 0 ? $out : $err;
}

sub session { return PmTest::Session->new($node, user => $_[0]); }

# Sends the statement, and waits until it waits for a lock.
sub blocks
{
	my ($session, $sql) = @_;

	$session->send($sql);
	ok(PmTest::wait_until($node, "SELECT wait_event_type FROM pg_stat_activity WHERE pid = " . $session->pid, 'Lock'), "it waits: $sql");
	return;
}

sub answer_of
{
	my ($session) = @_;
	my $out = $session->wait(may_fail => 1);

	return $out . $session->error;
}

my $mallorys_table = <<'SQL';
CREATE TABLE mallory.plog (position bigint, stream text, version bigint, type text, data jsonb, metadata jsonb);
INSERT INTO mallory.plog VALUES (1, 's', 1);
CREATE TRIGGER t BEFORE INSERT OR DELETE ON mallory.plog FOR EACH ROW EXECUTE FUNCTION mallory.trg();
SQL
my $mallorys_log = <<'SQL';
SELECT pm.create_log('mallory.plog');
GRANT SELECT, DELETE ON mallory.plog TO mallory, alice;
SELECT pm.append('mallory.plog', 's', 't'), pm.append('mallory.plog', 's', 't');
SQL
ask(<<'SQL', 'mallory');
CREATE FUNCTION mallory.trg() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION mallory.ok(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
SQL

# ---- a log of one role in the schema of another, who replaces it while it is being trimmed

for my $role ('postgres', 'alice')
{
	ask($mallorys_log);
	my ($mallory, $trimmer) = (session('mallory'), session($role));
	$trimmer->do("SELECT count(*) FROM mallory.plog; SELECT pm.high_water_mark('mallory.plog')");
	$mallory->do("BEGIN; SELECT pm.register('mp', 'mallory.ok', '{mallory.plog}', start_at => 'end')");
	blocks($trimmer, "SELECT pm.trim('mallory.plog', 2)");
	# The table cannot be dropped while it is being trimmed: there is a deadlock, or it is dropped first.
	$mallory->send("DROP TABLE mallory.plog CASCADE; $mallorys_table; COMMIT");
	answer_of($mallory);
	like(answer_of($trimmer), qr/^2$|does not exist|deadlock detected/m, "trimmed by $role: the log, or nothing");
	is(ask('SELECT count(*) FROM ran'), 0, 'no code of the table in its place has run');
	$_->quit for ($mallory, $trimmer);
	ask('DROP TABLE IF EXISTS mallory.plog CASCADE; TRUNCATE ran');
	ask("SELECT pm.unregister('mp')", 'mallory');
}

# ---- replaced before the table is locked

for my $call ("SELECT pm.trim('mallory.plog', 2)", "SELECT pm.append('mallory.plog', 's', 't')")
{
	ask($mallorys_log);
	my ($mallory, $caller) = (session('mallory'), session('postgres'));
	$caller->do("SELECT pm.high_water_mark('mallory.plog')");
	$mallory->do('BEGIN; DROP TABLE mallory.plog CASCADE');
	blocks($caller, $call);
	$mallory->do("$mallorys_table; COMMIT");
	like(answer_of($caller), qr/event log "mallory\.plog" does not exist/, "$call: it is not a log any more");
	is(ask('SELECT (SELECT count(*) FROM ran), (SELECT count(*) FROM mallory.plog)'), '0|1', 'the other table is unchanged');
	$_->quit for ($mallory, $caller);
	ask('DROP TABLE mallory.plog CASCADE; TRUNCATE ran');
}

# ---- the schema is renamed, and another one takes its name

ask($mallorys_log);
{
	my ($mallory, $trimmer) = (session('mallory'), session('postgres'));
	$trimmer->do("SELECT pm.high_water_mark('mallory.plog')");
	ask('GRANT CREATE ON DATABASE postgres TO mallory');
	$mallory->do("BEGIN; SELECT pm.register('mp', 'mallory.ok', '{mallory.plog}', start_at => 'end')");
	blocks($trimmer, "SELECT pm.trim('mallory.plog', 1)");
	(my $other = $mallorys_table) =~ s/FUNCTION mallory\./FUNCTION real./;
	$mallory->do("ALTER SCHEMA mallory RENAME TO real; CREATE SCHEMA mallory; $other; COMMIT");
	is(answer_of($trimmer), '1', 'a log whose schema was renamed meanwhile is trimmed');
	is(ask('SELECT (SELECT count(*) FROM ran), (SELECT count(*) FROM mallory.plog), (SELECT count(*) FROM real.plog)'), '0|1|1', 'nothing else is');
	$_->quit for ($mallory, $trimmer);
	ask("SELECT pm.unregister('mp')", 'mallory');
	ask('DROP SCHEMA mallory CASCADE; ALTER SCHEMA real RENAME TO mallory; DROP TABLE mallory.plog CASCADE; TRUNCATE ran');
}

# ---- pm.drop_log, which leaves the table

for my $call ("SELECT pm.trim('alice.t', 100)", "SELECT pm.append('alice.t', 's', 't')", "SELECT pm.append_all('alice.t', 's', '[{\"type\": \"t\"}]')")
{
	ask("SELECT pm.create_log('alice.t'); INSERT INTO alice.t (stream, type) SELECT 's', 't' FROM generate_series(1, 5)", 'alice');
	my ($alice, $operator) = (session('alice'), session('postgres'));
	$operator->do("SELECT pm.high_water_mark('alice.t')");
	$alice->do("BEGIN; SELECT pm.drop_log('alice.t')");
	blocks($operator, $call);
	$alice->do('COMMIT');
	like(answer_of($operator), qr/event log "alice\.t" does not exist/, "$call: it is not a log any more");
	is(ask("SELECT (SELECT count(*) FROM alice.t), (SELECT count(*) FROM pm_catalog.trimmed WHERE log = 'alice.t')"), '5|0', 'its table is unchanged');
	$_->quit for ($alice, $operator);
	ask('DROP TABLE alice.t', 'alice');
}

# ---- a call of pm.trim that waits delays no other session

ask("SELECT pm.create_log('alice.t'); GRANT SELECT ON alice.t TO bob; INSERT INTO alice.t (stream, type) VALUES ('s', 't')", 'alice');
ask('CREATE SCHEMA bob AUTHORIZATION bob');
ask('CREATE FUNCTION bob.ok(e pm.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$', 'bob');
{
	my ($bob, $alice) = (session('bob'), session('alice'));
	$bob->do("BEGIN; SELECT pm.register('bp', 'bob.ok', '{alice.t}', start_at => 'end')");
	blocks($alice, "SELECT pm.trim('alice.t', 1)");
	is(ask("SELECT pm.append('alice.t', 's', 't'); SELECT pm.high_water_mark('alice.t')", 'alice'), "2\n2", 'events are appended and read meanwhile');
	$bob->do('COMMIT');
	is(answer_of($alice), '1', 'then the log is trimmed');
	$_->quit for ($bob, $alice);
	ask("SELECT pm.unregister('bp')", 'bob');
	ask('DROP TABLE alice.t', 'alice');
}

PmTest::no_crash_ok($node);
$node->stop('fast');
done_testing();
