/* keypool: lock_devices */
-- Makes the uploads of one device take turns, so that each counts what the one before has added. A device whose row another
-- transaction has locked is passed over: its row is not written by this transaction then, and upload leaves it alone.
WITH item AS (
    SELECT * FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
),
pick AS MATERIALIZED (
    SELECT d.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT d.ctid AS tid
        FROM device d
        WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
        FOR UPDATE SKIP LOCKED
    ) d
),
known AS (
    UPDATE device d
    SET last_upload_at = GREATEST(d.last_upload_at, $4)
    FROM pick p
    WHERE d.ctid = p.tid -- locked above, so it has not moved
)
INSERT INTO device AS d (bucket, user_id, device_id, last_upload_at)
SELECT i.bucket, i.user_id, i.device_id, $4
FROM item i
WHERE NOT EXISTS (
    SELECT FROM device d
    WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
    OFFSET 0
)
ORDER BY i.bucket, i.user_id, i.device_id
ON CONFLICT (bucket, user_id, device_id) DO UPDATE
SET last_upload_at = GREATEST(d.last_upload_at, excluded.last_upload_at)
