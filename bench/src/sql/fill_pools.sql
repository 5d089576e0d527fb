/* keypool-bench: fill_pools */
WITH filled AS (
    SELECT DISTINCT bucket, user_id FROM bench.package($1, $2, $3, $4, $4, 1, $7)
),
known AS (
    INSERT INTO device (bucket, user_id, device_id, last_upload_at)
    SELECT bucket, user_id, $6, $7 FROM filled
    ON CONFLICT (bucket, user_id, device_id) DO NOTHING
)
INSERT INTO pool AS p (bucket, user_id, device_id, cipher_suite, accepted)
SELECT bucket, user_id, $6, 1, $5::bigint - $4::bigint + 1 FROM filled
ON CONFLICT (bucket, user_id, device_id, cipher_suite) DO UPDATE SET accepted = p.accepted + excluded.accepted
