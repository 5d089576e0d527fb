-- Which database this is, and which tables: a restore makes others, even within a cluster. Noted with each fence, null by services
-- that did not know of it.
ALTER TABLE fence ADD COLUMN identity text;

-- One row that nothing changes. A restore of data alone writes it anew, and so with another xmin.
CREATE TABLE origin (
    one boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one)
);
INSERT INTO origin DEFAULT VALUES;

-- Nothing of keypool's empties a table. When one is emptied to be filled from a backup, that must show as well.
CREATE FUNCTION renew_origin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE %I.origin SET one = one', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
CREATE TRIGGER renew_origin AFTER TRUNCATE ON key_package FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE TRIGGER renew_origin AFTER TRUNCATE ON one_time FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE TRIGGER renew_origin AFTER TRUNCATE ON last_resort FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE TRIGGER renew_origin AFTER TRUNCATE ON revoked FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE TRIGGER renew_origin AFTER TRUNCATE ON spend_log FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
-- A restore may run with session_replication_role = replica, which disables other triggers.
ALTER TABLE key_package ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE one_time ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE last_resort ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE revoked ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE spend_log ENABLE ALWAYS TRIGGER renew_origin;
