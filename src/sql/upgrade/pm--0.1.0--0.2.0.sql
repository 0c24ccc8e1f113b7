\echo Use "ALTER EXTENSION pm UPDATE TO '0.2.0'" to load this file. \quit

-- Each change here is also in a module of the install script, src/sql/*.sql: an updated extension has the same objects as a
-- new one (test/t/210_upgrade.pl compares them).
