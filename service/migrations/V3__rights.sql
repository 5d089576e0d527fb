-- What a role that does not own the tables, as the service's own should be, can do with rows of the record of what was handed
-- out. The database's clock counts here, because the service is what is guarded against.
ALTER TABLE spend_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY read ON spend_log FOR SELECT USING (true);
CREATE POLICY append ON spend_log FOR INSERT WITH CHECK (true);
-- A last-resort package is logged when it is handed out. That it was spent or given back is noted later.
CREATE POLICY note ON spend_log FOR UPDATE USING (last_resort) WITH CHECK (last_resort);
CREATE POLICY purge ON spend_log FOR DELETE USING (logged_at < clock_timestamp() - interval '30 days');

-- A tombstone stays until its package could no longer be accepted.
ALTER TABLE key_package ENABLE ROW LEVEL SECURITY;
CREATE POLICY read ON key_package FOR SELECT USING (true);
CREATE POLICY append ON key_package FOR INSERT WITH CHECK (true);
CREATE POLICY purge ON key_package FOR DELETE USING (not_after < clock_timestamp());
