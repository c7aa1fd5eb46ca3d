-- Executed once, when the volume of PostgreSQL is new: a role and a database each for Dagster's storage and the
-- warehouse, of which neither can connect to the other's. compose.yaml mounts it, and the files of the passwords.
\set dagster_password `cat /run/secrets/dagster_password`
\set warehouse_password `cat /run/secrets/warehouse_password`
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE warehouse LOGIN PASSWORD :'warehouse_password';
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE warehouse OWNER warehouse;
REVOKE CONNECT ON DATABASE dagster, warehouse FROM PUBLIC;
