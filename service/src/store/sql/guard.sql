-- Sets the triggers of V5 as it did. What was done without them is not known: so the database counts as another one.
UPDATE origin SET one = one;
CREATE OR REPLACE TRIGGER renew_origin AFTER TRUNCATE ON key_package FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE OR REPLACE TRIGGER renew_origin AFTER TRUNCATE ON one_time FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE OR REPLACE TRIGGER renew_origin AFTER TRUNCATE ON last_resort FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE OR REPLACE TRIGGER renew_origin AFTER TRUNCATE ON revoked FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
CREATE OR REPLACE TRIGGER renew_origin AFTER TRUNCATE ON spend_log FOR EACH STATEMENT EXECUTE FUNCTION renew_origin();
ALTER TABLE key_package ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE one_time ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE last_resort ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE revoked ENABLE ALWAYS TRIGGER renew_origin;
ALTER TABLE spend_log ENABLE ALWAYS TRIGGER renew_origin;
