/* keypool-bench: books */
-- What must be zero: packages that are not in exactly one place, and pools whose books don't balance; and how many are spent.
WITH place AS (
    SELECT bucket, key_package_ref FROM one_time
    UNION ALL
    SELECT bucket, key_package_ref FROM spend_log WHERE spent_at IS NOT NULL AND NOT last_resort
    UNION ALL
    SELECT bucket, key_package_ref FROM revoked
),
places AS (
    SELECT bucket, key_package_ref, count(*) AS count FROM place GROUP BY bucket, key_package_ref
),
package AS (
    SELECT bucket, key_package_ref, user_id, device_id, cipher_suite FROM key_package WHERE NOT last_resort
),
stored AS (
    SELECT bucket, user_id, device_id, cipher_suite, count(*) AS count
    FROM package
    GROUP BY bucket, user_id, device_id, cipher_suite
)
SELECT
    (
        SELECT count(*)
        FROM package
        FULL JOIN places USING (bucket, key_package_ref)
        WHERE user_id IS NULL OR count IS DISTINCT FROM 1
    ) AS misplaced,
    (
        SELECT count(*)
        FROM pool
        FULL JOIN stored USING (bucket, user_id, device_id, cipher_suite)
        WHERE COALESCE(accepted - purged, 0) <> COALESCE(count, 0)
    ) AS unbalanced,
    (SELECT count(*) FROM spend_log WHERE spent_at IS NOT NULL AND NOT last_resort) AS spent
