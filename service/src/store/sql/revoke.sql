/* keypool: revoke */
-- Revokes what matches every condition that is not null. $6 keeps some refs, $5 selects some, $9 keeps what was uploaded later. A
-- hold that lapsed on a quarantined package is forgotten: others may have held the package since, of whom this database knows
-- nothing. The bytes go at once: no call returns those of a revoked package. Rows are locked in the order of their keys, as by every
-- statement that waits for several; they may have moved before that, so that they are found again by their keys.
WITH pick AS MATERIALIZED (
    SELECT o.key_package_ref
    FROM one_time o
    WHERE o.bucket = $1 AND o.user_id = $2 AND ($3::text IS NULL OR o.device_id = $3)
      AND ($5::bytea[] IS NULL OR o.key_package_ref = ANY ($5))
      AND ($6::bytea[] IS NULL OR o.key_package_ref <> ALL ($6))
      AND o.not_after > $4
      AND EXISTS (
          SELECT FROM key_package k
          WHERE k.bucket = o.bucket AND k.key_package_ref = o.key_package_ref
            AND ($7::bytea IS NULL OR k.credential = $7)
            AND ($8::bytea IS NULL OR k.signature_key = $8)
            AND ($9::timestamptz IS NULL OR k.uploaded_at <= $9)
          OFFSET 0
      )
    ORDER BY o.key_package_ref || '' -- by an expression, so that no index is read for the order's sake
    FOR UPDATE
),
gone AS (
    DELETE FROM one_time o
    WHERE o.bucket = $1 AND o.user_id = $2
      AND o.key_package_ref = ANY (ARRAY(SELECT p.key_package_ref FROM pick p))
    RETURNING o.bucket, o.user_id, o.device_id, o.key_package_ref, o.cipher_suite, o.not_after,
              o.held_until, o.reservation_id, o.group_id, o.holder,
              o.held_until > $4
              OR o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL) AS keeps_hold
),
kept AS (
    INSERT INTO revoked (
        bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, revoked_at,
        held_until, reservation_id, group_id, holder
    )
    SELECT bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, $4,
           CASE WHEN keeps_hold THEN held_until END, CASE WHEN keeps_hold THEN reservation_id END,
           CASE WHEN keeps_hold THEN group_id END, CASE WHEN keeps_hold THEN holder END
    FROM gone
),
-- Before it is forgotten, that it has lapsed is on record.
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, $4, held_until
    FROM gone
    WHERE held_until IS NOT NULL AND NOT keeps_hold
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
),
last_pick AS MATERIALIZED (
    SELECT l.key_package_ref
    FROM last_resort l
    WHERE l.bucket = $1 AND l.user_id = $2 AND ($3::text IS NULL OR l.device_id = $3)
      AND ($5::bytea[] IS NULL OR l.key_package_ref = ANY ($5))
      AND ($6::bytea[] IS NULL OR l.key_package_ref <> ALL ($6))
      AND l.revoked_at IS NULL AND l.not_after > $4
      AND EXISTS (
          SELECT FROM key_package k
          WHERE k.bucket = l.bucket AND k.key_package_ref = l.key_package_ref
            AND ($7::bytea IS NULL OR k.credential = $7)
            AND ($8::bytea IS NULL OR k.signature_key = $8)
            AND ($9::timestamptz IS NULL OR k.uploaded_at <= $9)
          OFFSET 0
      )
    ORDER BY l.device_id, l.cipher_suite, l.key_package_ref
    FOR UPDATE
),
last AS (
    UPDATE last_resort l
    SET revoked_at = $4, bytes = 0
    WHERE l.bucket = $1 AND l.user_id = $2
      AND l.key_package_ref = ANY (ARRAY(SELECT p.key_package_ref FROM last_pick p))
    RETURNING l.bucket, l.key_package_ref
),
bytes_pick AS MATERIALIZED (
    SELECT k.tid
    FROM (SELECT bucket, key_package_ref FROM gone UNION ALL SELECT bucket, key_package_ref FROM last) r
    CROSS JOIN LATERAL (
        SELECT k.ctid AS tid
        FROM key_package k
        WHERE k.bucket = r.bucket AND k.key_package_ref = r.key_package_ref
        FOR UPDATE
    ) k
),
emptied AS (
    UPDATE key_package k
    SET key_package = '', credential = '', signature_key = ''
    FROM bytes_pick p
    WHERE k.ctid = p.tid -- locked above, so it has not moved
)
SELECT key_package_ref FROM gone
UNION ALL
SELECT key_package_ref FROM last
ORDER BY 1
