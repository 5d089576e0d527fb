/* keypool: lock_devices */
-- Makes the uploads of one device take turns, so that each counts what the one before has added.
INSERT INTO device AS d (bucket, user_id, device_id, last_upload_at)
SELECT i.bucket, i.user_id, i.device_id, $4
FROM unnest($1::int2[], $2::text[], $3::text[]) AS i (bucket, user_id, device_id)
ORDER BY i.bucket, i.user_id, i.device_id
ON CONFLICT (bucket, user_id, device_id) DO UPDATE
SET last_upload_at = GREATEST(d.last_upload_at, excluded.last_upload_at)
