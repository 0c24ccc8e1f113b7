# Two kinds of targets:
#
#   make, make install, make installcheck, make clean   as for any extension (PGXS)
#   make check                       all test suites, from nothing, on private servers
#   make check-regress check-isolation check-tap check-pgtap check-clients    one of them
#       TESTS="a b*"                 only the tests of these names
#       KEEP=1                       leave the temporary directory
#   make soak [SOAK=seconds]         the long form of the tests that have one; tests with a time run ten minutes, or SOAK
#   make check-majors [MAJORS="17 18 19"]   the suites on other major versions, in chroots, as root
#   make check-pg-upgrade            clusters with pm through pg_upgrade, 15 to 17 to 18 to 19, in a chroot, as root
#   make check-ha                    failover with Patroni and etcd: three servers on this machine
#   make check-assert                the suites on a server built with assertions
#   make check-valgrind              the regress suite on such a server, under valgrind
#   make lint [FILES="src/log/log.c"]    the project's rules, clang-tidy and cppcheck
#   make lint-house                  only the project's rules: layers, circles, lengths, format, commit subjects; takes seconds
#   make format [FILES=...]          clang-format over the C files, in place
#   make coverage [SUITES="regress"] which lines the suites run, into coverage/
#   make console [DB=...] [WRITE=1] [PORT=n]   a web page for process managers, on this machine; see doc/console.md
#   make bench [QUICK=1] [ROUNDS=n]  the benchmark, into bench/results
#       ONLY="dispatch idle"         only these sections
#   make demo [KEEP=1] [EVENTS=FILE] the demonstration
#   make dist                        the zip for PGXN, into dist/
#   make dist-check                  builds and tests from that zip; PGXN's client installs it
#   make deb [MAJORS="15 17 18 19"]  Debian packages, built and tested in clean chroots, into dist/deb; as root
#   make rpm                         the RPM, built with Debian's rpm, into dist/
#   make image [MAJORS="18 19"]      the files as an image volume has them, from the Debian packages, into dist/image
#   make release-check [STEPS="lint deb"]   everything that must hold before a version is released
#   make dev                         strict build in place, installed under PM_DEV_DIR
#
# PM_STRICT=1 builds with assertions on and every warning an error. PM_BITCODE=no builds no bitcode for JIT.

EXTENSION = pm
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pm.control)

MODULE_big = pm
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
HEADER_FILES = $(wildcard src/*.h src/*/*.h)
PGFILEDESC = "pm - process managers for event sourcing"

# The install script is made of modules; their names give the order.
SQL_MODULES = $(sort $(wildcard src/sql/*.sql))
SQL_SCRIPT = $(EXTENSION)--$(EXTVERSION).sql
# Scripts of released versions are for CREATE EXTENSION ... VERSION, and for the test of upgrades.
DATA = $(sort $(wildcard src/sql/upgrade/$(EXTENSION)--*--*.sql)) \
	$(filter-out %/$(SQL_SCRIPT), $(sort $(wildcard src/sql/released/$(EXTENSION)--*.sql)))
DATA_built = $(SQL_SCRIPT)

# pg_regress: these first, in this order; then whatever else is in sql/.
REGRESS_FIRST =
REGRESS_ALL = $(sort $(patsubst sql/%.sql,%,$(wildcard sql/*.sql)))
REGRESS = $(filter $(REGRESS_ALL),$(REGRESS_FIRST)) $(filter-out $(REGRESS_FIRST),$(REGRESS_ALL))
REGRESS_OPTS = --inputdir=. --load-extension=pm

ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation --load-extension=pm

EXTRA_CLEAN = $(EXTENSION)--*.sql .build-flags $(addprefix test/isolation/,results regression.diffs regression.out)

PG_CPPFLAGS = -Isrc
# Only what is marked PGDLLEXPORT is exported (compat.h).
PG_CFLAGS += -fvisibility=hidden
ifeq ($(PM_STRICT),1)
PG_CPPFLAGS += -DUSE_ASSERT_CHECKING
PG_CFLAGS += -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare
endif

PG_CONFIG ?= pg_config

# ---- targets of our own need no PostgreSQL yet, so PGXS is read only for others

OWN_TARGETS = check check-majors check-pg-upgrade check-ha check-assert check-valgrind lint lint-house format coverage check-regress check-isolation check-tap check-pgtap check-clients soak bench demo console dev dist dist-check deb \
	rpm image release-check
GOALS = $(or $(MAKECMDGOALS),all)

ifneq ($(filter-out $(OWN_TARGETS),$(GOALS)),)

PGXS := $(shell $(PG_CONFIG) --pgxs)

# A server with JIT wants bitcode, with which it can inline small functions. None is built with
# PM_BITCODE=no, or on a machine without the server's clang.
SERVER_CLANG := $(shell sed -n 's/^CLANG *= *//p' $(dir $(PGXS))../Makefile.global 2>/dev/null)
ifeq ($(shell command -v $(or $(SERVER_CLANG),clang) 2>/dev/null),)
PM_BITCODE = no
endif
ifeq ($(PM_BITCODE),no)
override with_llvm = no
endif

include $(PGXS)

# Objects follow the headers, and the flags and server they were built with.
$(OBJS) $(OBJS:.o=.bc): $(HEADER_FILES) .build-flags

BUILD_FLAGS = $(VERSION) $(includedir_server) strict=$(PM_STRICT) $(PG_CPPFLAGS) $(PG_CFLAGS) $(COPT)
.build-flags: FORCE
	@echo '$(BUILD_FLAGS)' | cmp -s - $@ || echo '$(BUILD_FLAGS)' > $@

$(SQL_SCRIPT): $(SQL_MODULES) pm.control
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; \
	  cat /dev/null $(SQL_MODULES); } > $@.tmp && mv $@.tmp $@

# Prints a variable, for the test scripts: make -s print-REGRESS
print-%:
	@echo $($*)

endif

# PGXS has a rule of this name, which only says that it cannot.
ifneq ($(filter check,$(GOALS)),)
check:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/check.sh regress isolation tap pgtap clients
endif

check-regress check-isolation check-tap check-pgtap check-clients: check-%:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/check.sh $*

check-majors:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/majors.sh $(MAJORS)

check-pg-upgrade:
	@bash test/harness/pg_upgrade.sh

check-ha:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/ha.sh

check-assert:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/assert.sh

check-valgrind:
	@TESTS='$(TESTS)' KEEP='$(KEEP)' bash test/harness/assert.sh valgrind regress

lint:
	@bash test/harness/lint.sh $(FILES)

lint-house:
	@perl test/harness/house.pl

format:
	@find $(or $(FILES),src examples bench) -name '*.[ch]' -print0 | xargs -0 clang-format -i

coverage:
	@TESTS='$(TESTS)' bash test/harness/coverage.sh $(SUITES)

# The long form of every test that has one (that is, of every test that reads PM_SOAK), one after
# the other. SOAK is the duration of the tests that run for a certain time.
SOAK_TESTS = $(sort $(patsubst test/t/%.pl,%,$(shell grep -l PM_SOAK test/t/*.pl)))
SOAK_CLIENTS = $(foreach f,$(shell grep -l PM_SOAK clients/*/test/*.test.js clients/*/test/test_*.py examples/*/test/*.test.js 2>/dev/null),\
	$(word 2,$(subst /, ,$f))_$(patsubst test_%,%,$(basename $(basename $(notdir $f)))))
SOAK_CLIENTS += $(patsubst console/test/%.test.js,console_%,$(shell grep -l PM_SOAK console/test/*.test.js 2>/dev/null))
SOAK_CLOCKS = PM_UPGRADE_SECONDS PM_STRESS_SECONDS PM_LATE_SECONDS PM_HELD_SECONDS PM_FUZZ_SECONDS
soak:
	@PM_SOAK=1 $(if $(SOAK),$(addsuffix ='$(SOAK)',$(SOAK_CLOCKS))) PM_FILE_TIMEOUT=$$(($(or $(SOAK),600) + 1800)) \
		PM_TAP_JOBS=$${PM_TAP_JOBS:-1} TESTS='$(or $(TESTS),$(SOAK_TESTS) $(SOAK_CLIENTS))' KEEP='$(KEEP)' \
		bash test/harness/check.sh tap clients

demo:
	@KEEP='$(KEEP)' EVENTS='$(EVENTS)' bash examples/demo/run.sh

console:
	@bash console/run.sh

bench:
	@QUICK='$(QUICK)' ROUNDS='$(ROUNDS)' KEEP='$(KEEP)' bash bench/run.sh $(ONLY)

dev:
	@bash test/harness/dev.sh

dist:
	@bash packaging/dist.sh

dist-check:
	@bash packaging/dist-check.sh

deb:
	@bash packaging/deb.sh $(MAJORS)

rpm:
	@bash packaging/rpm.sh

image:
	@bash packaging/image.sh $(MAJORS)

release-check:
	@bash packaging/release-check.sh $(STEPS)

.PHONY: $(OWN_TARGETS) FORCE
FORCE:
