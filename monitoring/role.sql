-- The role as which the exporters read the views of pm. Run this as a superuser in each database that is monitored:
--
--     psql -f role.sql shop
--
-- The role is a member of pg_monitor only: it sees the state of all process managers, but no events, instances or error
-- messages. Give it a password, or a line in pg_hba.conf.
SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'pm_exporter') AS exists \gset
\if :exists
\else
CREATE ROLE pm_exporter LOGIN CONNECTION LIMIT 10 IN ROLE pg_monitor;
\endif
-- So that functions of other users do not run as this role.
ALTER ROLE pm_exporter SET search_path = pg_catalog;
ALTER ROLE pm_exporter SET default_transaction_read_only = on;
ALTER ROLE pm_exporter SET statement_timeout = '10s';
-- With many process managers, compiling a query would take longer than running it.
ALTER ROLE pm_exporter SET jit = off;
GRANT USAGE ON SCHEMA pm TO pm_exporter;
