-- setup.sql: pm, for the ordinary role bench. Runs after tables.sql.
RESET ROLE;
CREATE EXTENSION pm;
GRANT USAGE ON SCHEMA pm TO bench;
