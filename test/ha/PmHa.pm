# Three servers under Patroni, with etcd, for the tests in test/ha/. Everything listens on 127.0.0.1, on ports that were free.
#
#   my $ha = PmHa->new('name', synchronous => 1, ttl => 30, parameters => { 'pm.promotion_gap' => 1000 });
#   $ha->sql('CREATE EXTENSION pm');            # on the leader; dies on an error
#   my $node = $ha->leader;                     # 1, 2 or 3; waits until there is a leader
#   $ha->kill($node);                           # as if the machine had lost its power
#   $ha->start($node);                          # Patroni starts, and the server follows the leader again
#   $ha->cut_off($node);                        # Patroni does not reach etcd any more
#   $ha->reconnect($node);
#   my $writers = $ha->writers(8, log => 'orders');
#   my @told = $writers->stop;                  # the acknowledged events: [ id, position, node ]
package PmHa;

use strict;
use warnings FATAL => 'all';

use DBI;
use DBD::Pg ();
use File::Path qw(make_path remove_tree);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Run ();
use JSON::PP;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use constant NODES => 3;

# Seconds; Patroni wants loop_wait + 2 * retry_timeout <= ttl.
use constant { TTL => 10, LOOP_WAIT => 1, RETRY_TIMEOUT => 3 };

sub free_port
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1, ReuseAddr => 1)
	  or die "no free port: $!\n";
	return $socket->sockport;
}

sub spit
{
	my ($file, $text) = @_;
	open my $f, '>', $file or die "$file: $!\n";
	print $f $text;
	close $f or die "$file: $!\n";
	return;
}

# Starts a program that writes to a file. Returns its pid.
sub launch
{
	my ($log, @cmd) = @_;
	my $pid = fork // die "fork: $!\n";

	return $pid if $pid;
	setpgrp;
	open STDIN, '<', '/dev/null' or POSIX::_exit(126);
	open STDOUT, '>>', $log or POSIX::_exit(126);
	open STDERR, '>&', \*STDOUT or POSIX::_exit(126);
	{ no warnings; exec @cmd }
	POSIX::_exit(127);
}

# Waits until the code returns a true value, and returns it; returns undef after the timeout.
sub wait_for
{
	my ($timeout, $code) = @_;
	my $deadline = time + $timeout;

	while (1)
	{
		my $got = eval { $code->() };
		return $got if $got;
		return undef if time > $deadline;
		sleep 0.05;
	}
}

# ---- the cluster

# The parameters of pm's own server.conf, with which a server finds the library.
sub server_parameters
{
	my %parameters;

	open my $f, '<', $ENV{PM_SERVER_CONF} or die "PM_SERVER_CONF: $!\n";
	while (<$f>)
	{
		$parameters{$1} = $2 if /^\s*([\w.]+)\s*=\s*'?(.*?)'?\s*$/;
	}
	return %parameters;
}

sub new
{
	my ($class, $name, %opt) = @_;
	my $self = bless { name => $name, dir => "$ENV{PM_WORK}/$name", opt => \%opt, owner => $$, http => HTTP::Tiny->new(timeout => 2) }, $class;

	make_path("$self->{dir}/socket");
	$self->{etcd_port} = free_port();
	for my $n (1 .. NODES)
	{
		$self->{nodes}[$n] = { port => free_port(), rest => free_port(), etcd => free_port(), data => "$self->{dir}/node$n/data" };
		make_path("$self->{dir}/node$n");
	}
	$self->etcd_start;
	$self->reconnect($_) for 1 .. NODES;
	# The first node creates the database, the others copy it.
	for my $n (1 .. NODES)
	{
		$self->configure($n);
		$self->start($n);
		$self->leader if $n == 1;
	}
	$self->wait_members(NODES);
	$self->sql('CREATE EXTENSION pm');
	return $self;
}

sub etcd_start
{
	my ($self) = @_;
	my ($client, $peer) = ("http://127.0.0.1:$self->{etcd_port}", 'http://127.0.0.1:' . free_port());

	$self->{etcd} = launch("$self->{dir}/etcd.log", 'etcd', '--name', 'etcd', '--data-dir', "$self->{dir}/etcd",
		'--listen-client-urls', $client, '--advertise-client-urls', $client, '--listen-peer-urls', $peer,
		'--initial-advertise-peer-urls', $peer, '--initial-cluster', "etcd=$peer");
	wait_for(30, sub { $self->{http}->get("$client/health")->{success} }) or die "etcd does not start, see $self->{dir}/etcd.log\n";
	return;
}

# Passes on what it gets on one port to another one, until it is killed.
sub relay
{
	my ($from, $to) = @_;
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $from, Listen => 50, ReuseAddr => 1) // return;
	my $select = IO::Select->new($listener);
	my %other;

	while (my @ready = $select->can_read)
	{
		for my $socket (@ready)
		{
			if ($socket == $listener)
			{
				my $client = $listener->accept // next;
				my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $to) // next;
				@other{ $client, $server } = ($server, $client);
				$select->add($client, $server);
				next;
			}
			next unless my $peer = $other{$socket};
			my $data;
			next if sysread($socket, $data, 65536) && syswrite($peer, $data);
			$select->remove($socket, $peer);
			delete @other{ $socket, $peer };
			close $_ for $socket, $peer;
		}
	}
	return;
}

# Each node reaches etcd through a relay of its own.
sub reconnect
{
	my ($self, $n) = @_;
	my $pid = fork // die "fork: $!\n";

	if (!$pid)
	{
		local $SIG{PIPE} = 'IGNORE';
		relay($self->{nodes}[$n]{etcd}, $self->{etcd_port});
		POSIX::_exit(1);
	}
	$self->{nodes}[$n]{relay} = $pid;
	return;
}

sub cut_off
{
	my ($self, $n) = @_;

	signal('KILL', $self->{nodes}[$n]{relay});
	waitpid $self->{nodes}[$n]{relay}, 0 if $self->{nodes}[$n]{relay};
	$self->{nodes}[$n]{relay} = undef;
	return;
}

# The configuration of a node. JSON is YAML.
sub configure
{
	my ($self, $n) = @_;
	my $node = $self->{nodes}[$n];
	my %opt = %{ $self->{opt} };
	my %conf = (
		scope => 'pm', name => "node$n",
		restapi => { listen => "127.0.0.1:$node->{rest}", connect_address => "127.0.0.1:$node->{rest}" },
		etcd3 => { hosts => "127.0.0.1:$node->{etcd}", use_proxies => JSON::PP::true },
		bootstrap => {
			dcs => {
				ttl => $opt{ttl} // TTL, loop_wait => LOOP_WAIT, retry_timeout => RETRY_TIMEOUT,
				# The remaining node is promoted, however far it lags, so that events are lost: the tests need that.
				maximum_lag_on_failover => 1 << 30,
				# A leader whose server crashes gives up the leadership at once.
				master_start_timeout => 0,
				synchronous_mode => $opt{synchronous} ? JSON::PP::true : JSON::PP::false,
				synchronous_mode_strict => $opt{synchronous} ? JSON::PP::true : JSON::PP::false,
				postgresql => {
					use_pg_rewind => JSON::PP::true, use_slots => JSON::PP::true,
					parameters => {
						wal_level => 'replica', hot_standby => 'on', wal_log_hints => 'on', max_connections => 60,
						max_worker_processes => 32, max_prepared_transactions => 20, wal_keep_size => '256MB',
					},
				},
			},
			initdb => [ { encoding => 'UTF8' }, { locale => 'C.UTF-8' } ],
		},
		postgresql => {
			listen => "127.0.0.1:$node->{port}", connect_address => "127.0.0.1:$node->{port}",
			data_dir => $node->{data}, bin_dir => $ENV{PM_BINDIR}, pgpass => "$self->{dir}/node$n/pgpass",
			authentication => {
				superuser => { username => 'postgres' }, replication => { username => 'replicator' }, rewind => { username => 'postgres' },
			},
			pg_hba => [ 'local all all trust', 'host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust' ],
			remove_data_directory_on_rewind_failure => JSON::PP::true,
			parameters => {
				server_parameters(), unix_socket_directories => "$self->{dir}/socket", fsync => 'off', log_min_messages => 'warning',
				restart_after_crash => 'off', logging_collector => 'off', %{ $opt{parameters} || {} },
			},
		},
		tags => {}, log => { level => 'INFO' },
	);

	spit("$self->{dir}/node$n/patroni.yml", JSON::PP->new->canonical->pretty->encode(\%conf));
	return;
}

sub start
{
	my ($self, $n) = @_;

	$self->{nodes}[$n]{patroni} = launch("$self->{dir}/node$n/patroni.log", 'patroni', "$self->{dir}/node$n/patroni.yml");
	return;
}

# The members of the cluster, by name, as Patroni lists them.
sub members
{
	my ($self) = @_;

	for my $n (1 .. NODES)
	{
		my $answer = $self->{http}->get("http://127.0.0.1:$self->{nodes}[$n]{rest}/cluster");
		return map { $_->{name} => $_ } @{ decode_json($answer->{content})->{members} } if $answer->{success};
	}
	return;
}

# Waits until the given number of members run, one of them as the leader.
sub wait_members
{
	my ($self, $count, $timeout) = @_;
	my %last;

	wait_for($timeout // 120, sub {
		%last = $self->members;
		my @running = grep { $_->{state} =~ /^(?:running|streaming)$/ } values %last;
		return @running >= $count && grep { $_->{role} eq 'leader' } @running;
	}) or die "Patroni's members do not run: " . encode_json(\%last) . "; see $self->{dir}/node*/patroni.log\n";
	return;
}

# Waits until all other nodes stream from the leader. One that does not is made again, as an operator would do it (patronictl
# reinit): after two primaries, its history can differ from that of the leader without Patroni
# noticing. Returns the number of such nodes. A node that runs but does not follow yet does not
# know the leader's timeline. If the leader is lost then, that node begins a timeline with the
# same number, and pg_rewind takes the two histories for one: indexes are damaged.
sub wait_streaming
{
	my ($self) = @_;
	my $made = 0;

	while ($made <= NODES)
	{
		my %streams;
		my $leader;
		return $made if wait_for(120, sub {
			$leader = $self->leader(timeout => 1);
			%streams = map { $_ => 1 } split /\n/, $self->ask($leader, q{SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' AND pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) < 1000000});
			return keys %streams >= NODES - 1;
		});
		my ($n) = grep { $_ != ($leader // 0) && !$streams{"node$_"} } 1 .. NODES;
		$self->kill($n);
		remove_tree($self->{nodes}[$n]{data});
		$self->start($n);
		$made++;
	}
	die "not all nodes stream; see $self->{dir}/node*/patroni.log\n";
}

# The node that Patroni calls the leader, and whose server is writable.
sub leader
{
	my ($self, %opt) = @_;
	my $not = $opt{not} // 0;

	return wait_for($opt{timeout} // 120, sub {
		for my $n (grep { $_ != $not } 1 .. NODES)
		{
			next unless $self->{http}->get("http://127.0.0.1:$self->{nodes}[$n]{rest}/primary")->{success};
			return $n if $self->ask($n, 'SELECT NOT pg_is_in_recovery()') eq '1';
		}
		return undef;
	}) // die "there is no leader; see $self->{dir}/node*/patroni.log\n";
}

# When a node was promoted: the time at which it wrote the history file of its timeline.
sub promoted_at
{
	my ($self, $n) = @_;

	return wait_for(30, sub {
		my @times = sort { $b <=> $a } map { (Time::HiRes::stat($_))[9] } glob "$self->{nodes}[$n]{data}/pg_wal/*.history";
		return $times[0];
	}) // die "node $n has no timeline of its own\n";
}

# How often pg_rewind has brought a node back.
sub rewinds
{
	my ($self) = @_;
	my $count = 0;

	for my $n (1 .. NODES)
	{
		open my $f, '<', "$self->{dir}/node$n/patroni.log" or next;
		$count += grep { /pg_rewind exit code=0/ } <$f>;
	}
	return $count;
}

# ---- SQL

sub connect_to
{
	my ($self, $n, %opt) = @_;
	my $user = $opt{user} // 'postgres';

	return DBI->connect("dbi:Pg:dbname=postgres;host=127.0.0.1;port=$self->{nodes}[$n]{port};connect_timeout=3", $user, '',
		{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_server_prepare => 0 });
}

# The result of a query on one node: a line for each row, columns separated by |.
sub ask
{
	my ($self, $n, $sql, %opt) = @_;
	my $dbh = $self->connect_to($n, %opt);
	my $rows = $dbh->selectall_arrayref($sql);

	$dbh->disconnect;
	return join "\n", map { join '|', map { $_ // '' } @$_ } @$rows;
}

# For the functions of PmTest: statements on the leader, by psql.
sub psql
{
	my ($self, $database, $sql, %opt) = @_;
	my ($out, $err) = ('', '');
	my $n = eval { $self->leader(timeout => 5) } // return (2, '', "there is no leader\n");
	my @cmd = (qw(psql -XAtq -v ON_ERROR_STOP=1 -h 127.0.0.1), '-p', $self->{nodes}[$n]{port}, '-d', $database, '-U', $opt{user} // 'postgres');

	IPC::Run::run(\@cmd, '<', \$sql, '>', \$out, '2>', \$err);
	my $rc = $? >> 8;
	chomp $out;
	return ($rc, $out, $err);
}

sub safe_psql
{
	my ($self, @args) = @_;
	my ($rc, $out, $err) = $self->psql(@args);

	die "psql: $err\n$args[1]\n" if $rc;
	return $out;
}

# Statements on the leader.
sub sql
{
	my ($self, $sql, %opt) = @_;
	my $dbh = $self->connect_to($self->leader, %opt);

	$dbh->do($sql);
	$dbh->disconnect;
	return;
}

# Repeats a query on the leader until it returns the expected answer.
sub wait_answer
{
	my ($self, $sql, $expected, $timeout) = @_;
	my $last = '';

	return 1 if wait_for($timeout // 120, sub { $last = $self->ask($self->leader(timeout => 1), $sql); return $last eq $expected; });
	diag("waited for: $sql\nexpected: $expected\nlast answer: $last");
	return 0;
}

# ---- accidents

sub postmaster
{
	my ($self, $n) = @_;

	open my $f, '<', "$self->{nodes}[$n]{data}/postmaster.pid" or return undef;
	chomp(my $pid = <$f> // '');
	return $pid =~ /^\d+$/ && -d "/proc/$pid" ? $pid : undef;
}

# The processes of a server.
sub processes
{
	my ($self, $n) = @_;
	my $postmaster = $self->postmaster($n) // return;
	my @pids = ($postmaster);

	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $f, '<', $stat or next;
		my $line = <$f> // next;
		push @pids, $1 if $line =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
	}
	return @pids;
}

sub signal { my ($signal, @pids) = @_; kill $signal, grep { defined } @pids; return; }

# Kills Patroni and the server at once, and waits until none of their processes is left.
sub kill
{
	my ($self, $n) = @_;
	my @server = $self->processes($n);

	signal('KILL', $self->{nodes}[$n]{patroni}, @server);
	waitpid $self->{nodes}[$n]{patroni}, 0;
	$self->{nodes}[$n]{patroni} = undef;
	wait_for(30, sub { !grep { -d "/proc/$_" } @server });
	return;
}

sub stop
{
	my ($self) = @_;

	return if $self->{stopped}++ || $$ != $self->{owner};
	for my $n (1 .. NODES)
	{
		signal('CONT', $self->{nodes}[$n]{patroni}, $self->processes($n));
		$self->kill($n) if $self->{nodes}[$n]{patroni};
	}
	$self->cut_off($_) for 1 .. NODES;
	signal('KILL', $self->{etcd});
	waitpid $self->{etcd}, 0 if $self->{etcd};
	return;
}

# Hands the leadership over, as an operator does.
sub switch_over
{
	my ($self) = @_;
	my $from = $self->leader;
	# Patroni answers when the switch-over is complete.
	my $answer = HTTP::Tiny->new(timeout => 60)->post("http://127.0.0.1:$self->{nodes}[$from]{rest}/switchover", { content => encode_json({ leader => "node$from" }) });

	die "the switch-over is refused: $answer->{content}\n" unless $answer->{success};
	return ($from, $self->leader(not => $from));
}

# ---- clients

# Starts processes that run the code until they are stopped. Each gets its own number, and a function that writes a line to
# the file of its results. Returns an object whose stop() ends them and returns the lines, split at blanks.
sub clients
{
	my ($self, $count, $code) = @_;
	my $clients = bless { pids => [], files => [], owner => $$ }, 'PmHa::Clients';

	for my $i (1 .. $count)
	{
		my $file = "$self->{dir}/client-" . ++$self->{clients};
		my $pid = fork // die "fork: $!\n";
		if (!$pid)
		{
			my $stop = 0;
			local $SIG{TERM} = sub { $stop = 1; };
			open my $f, '>', $file or POSIX::_exit(1);
			$f->autoflush(1);
			eval { $code->($i, sub { print $f join(' ', @_), "\n" }, sub { $stop }); 1 } or print $f "failed $@\n";
			close $f;
			POSIX::_exit(0);
		}
		push @{ $clients->{pids} }, $pid;
		push @{ $clients->{files} }, $file;
	}
	return $clients;
}

# A connection to whichever node is writable, or undef.
sub connect_writable
{
	my ($self, $user) = @_;
	my $hosts = join ',', ('127.0.0.1') x NODES;
	my $ports = join ',', map { $self->{nodes}[$_]{port} } 1 .. NODES;

	return eval {
		DBI->connect("dbi:Pg:dbname=postgres;host=$hosts;port=$ports;target_session_attrs=read-write;connect_timeout=2", $user, '',
			{ RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_server_prepare => 0 });
	};
}

# Runs a query with a timeout, because a stopped server does not answer. Returns its rows, or undef after an error or a
# timeout; then the connection must not be used again.
sub query_within
{
	my ($dbh, $seconds, $sql, @args) = @_;
	my $deadline = time + $seconds;

	return eval {
		my $sth = $dbh->prepare($sql, { pg_async => DBD::Pg::PG_ASYNC() });
		$sth->execute(@args);
		until ($dbh->pg_ready)
		{
			die "no answer\n" if time > $deadline;
			sleep 0.001;
		}
		$dbh->pg_result;
		$sth->fetchall_arrayref;
	};
}

# Closes a connection without telling the server, which may not answer.
sub abandon
{
	my ($dbh) = @_;

	return unless $dbh;
	POSIX::close($dbh->{pg_socket});
	$dbh->{InactiveDestroy} = 1;
	return;
}

# Writers that append events with ids, each to streams of its own, and repeat an append until it is acknowledged. They write
# lines "told ID POSITION NODE". Options: log; pause: seconds between two events; type: a function of the event's number; node:
# only this one, whatever it is.
sub writers
{
	my ($self, $count, %opt) = @_;
	my $round = ++$self->{rounds};

	return $self->clients($count, sub {
		my ($i, $note, $stop) = @_;
		my ($dbh, $n) = (undef, 0);
		my $sql = q{SELECT p, inet_server_port() FROM pm.append($1, $2, $3, jsonb_build_object('id', $4::text), id => $4) p};

		until ($stop->())
		{
			my $id = "$round-$i-$n";
			$dbh //= ($opt{node} ? eval { $self->connect_to($opt{node}, user => 'app') } : $self->connect_writable('app')) // do { sleep 0.1; next };
			my $rows = query_within($dbh, 3, $sql, $opt{log}, "w$i-" . $n % 5, $opt{type} ? $opt{type}->($n) : 'placed', $id);
			if ($rows && @$rows)
			{
				my ($node) = grep { $self->{nodes}[$_]{port} == $rows->[0][1] } 1 .. NODES;
				$note->('told', $id, $rows->[0][0], $node);
				$n++;
				sleep $opt{pause} if $opt{pause};
				next;
			}
			abandon($dbh);
			$dbh = undef;
			sleep 0.05;
		}
	});
}

DESTROY { local ($., $@, $!, $^E, $?); $_[0]->stop if $_[0]{owner} == $$; }

package PmHa::Clients;

use strict;
use warnings FATAL => 'all';

# Ends the clients, and returns the lines that they have written so far, split.
sub stop
{
	my ($self) = @_;
	my @lines;

	kill 'TERM', @{ $self->{pids} };
	waitpid $_, 0 for @{ $self->{pids} };
	$self->{pids} = [];
	return $self->noted;
}

sub noted
{
	my ($self) = @_;
	my @lines;

	for my $file (@{ $self->{files} })
	{
		open my $f, '<', $file or next;
		push @lines, map { chomp; [ split / / ] } grep { /\n\z/ } <$f>;
	}
	return @lines;
}

DESTROY { local ($., $@, $!, $^E, $?); kill 'KILL', @{ $_[0]{pids} } if $_[0]{owner} == $$; }

1;
