-- Run once, by the database's image as its superuser: the service's login, which owns its database and may make
-- the roles of its own that it gives up power to, and nothing else.
\getenv password POSTGRES_PASSWORD
CREATE ROLE eventlogger LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE eventlogger OWNER eventlogger;
-- The image insists on a password for its superuser; without one nobody logs in as him over the network.
ALTER ROLE CURRENT_USER PASSWORD NULL;
