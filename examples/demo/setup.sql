-- An ordinary role that owns everything in the demo. It may use pm and nothing else that is special.
CREATE EXTENSION pm;
CREATE ROLE :"role" LOGIN;
CREATE SCHEMA AUTHORIZATION :"role";
GRANT CREATE ON DATABASE demo TO :"role";
GRANT USAGE ON SCHEMA pm TO :"role";
