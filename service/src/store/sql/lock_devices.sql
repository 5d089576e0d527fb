/* keypool: lock_devices */
-- Makes the uploads of one device take turns, so that each counts what the one before has added. A new device is left out if the
-- user has as many as it may, of those that have uploaded lately. A device of which another
-- transaction has locked a row that an upload changes is passed over: its row is not written by this transaction then, and
-- upload leaves it alone.
WITH item AS (
    SELECT * FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
),
pick AS MATERIALIZED (
    SELECT i.*, d.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT d.ctid AS tid
        FROM device d
        WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
        FOR UPDATE SKIP LOCKED
    ) d
),
pool_pick AS MATERIALIZED (
    SELECT i.tid
    FROM pick i
    CROSS JOIN LATERAL (
        SELECT FROM pool p
        WHERE p.bucket = i.bucket AND p.user_id = i.user_id AND p.device_id = i.device_id
        FOR UPDATE SKIP LOCKED
    ) p
),
last_resort_pick AS MATERIALIZED (
    SELECT i.tid
    FROM pick i
    CROSS JOIN LATERAL (
        SELECT FROM last_resort l
        WHERE l.bucket = i.bucket AND l.user_id = i.user_id AND l.device_id = i.device_id AND l.superseded_at IS NULL
        FOR UPDATE SKIP LOCKED
    ) l
),
known AS (
    UPDATE device d
    SET last_upload_at = GREATEST(d.last_upload_at, $4)
    FROM pick p
    WHERE d.ctid = p.tid -- locked above, so it has not moved
      AND (SELECT count(*) FROM pool_pick o WHERE o.tid = p.tid) = (
          SELECT count(*) FROM pool o
          WHERE o.bucket = p.bucket AND o.user_id = p.user_id AND o.device_id = p.device_id
      )
      AND (SELECT count(*) FROM last_resort_pick o WHERE o.tid = p.tid) = (
          SELECT count(*) FROM last_resort l
          WHERE l.bucket = p.bucket AND l.user_id = p.user_id AND l.device_id = p.device_id AND l.superseded_at IS NULL
      )
),
newcomer AS (
    SELECT i.*, row_number() OVER (PARTITION BY i.bucket, i.user_id ORDER BY i.device_id) AS nth
    FROM item i
    WHERE NOT EXISTS (
        SELECT FROM device d
        WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.device_id = i.device_id
        OFFSET 0
    )
)
INSERT INTO device AS d (bucket, user_id, device_id, last_upload_at)
SELECT i.bucket, i.user_id, i.device_id, $4
FROM newcomer i
WHERE i.nth + (
    SELECT count(*) FROM device d WHERE d.bucket = i.bucket AND d.user_id = i.user_id AND d.last_upload_at > $6
) <= $5
ORDER BY i.bucket, i.user_id, i.device_id
ON CONFLICT (bucket, user_id, device_id) DO UPDATE
SET last_upload_at = GREATEST(d.last_upload_at, excluded.last_upload_at)
