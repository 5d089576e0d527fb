/* keypool: spend_rest */
-- What is spent less often: packages that somebody has seen before, those revoked while held, within the grace that open holds have,
-- and last-resort packages. The reservation may have an entry of an earlier hold.
-- Rows that another transaction has locked are passed over: the caller looks again.
WITH item AS (
    SELECT *
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bytea[], $8::text[], $9::text[])
        AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, group_id, holder, principal)
),
pick AS MATERIALIZED (
    SELECT i.*, r.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT r.ctid AS tid
        FROM revoked r
        WHERE r.bucket = i.bucket AND r.user_id = i.user_id AND r.device_id = i.device_id
          AND r.key_package_ref = i.key_package_ref
          AND r.reservation_id = i.reservation_id AND r.group_id = i.group_id AND r.holder = i.holder
          AND r.not_after > $10 AND r.revoked_at > $11
        FOR UPDATE SKIP LOCKED
    ) r
),
spent AS (
    DELETE FROM revoked r
    USING pick p
    WHERE r.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.item, p.bucket, p.user_id, p.device_id, p.key_package_ref, p.reservation_id, p.group_id, p.holder, p.principal,
              r.cipher_suite
),
seen_pick AS MATERIALIZED (
    SELECT i.*, o.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref
          AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.reservation_id = i.reservation_id AND o.group_id = i.group_id AND o.holder = i.holder
          AND o.not_after > $10 AND o.seen_by IS NOT NULL
          -- Nobody knows who took a quarantined package when its hold had lapsed.
          AND (o.held_until > $10 OR o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL))
        FOR UPDATE SKIP LOCKED
    ) o
),
seen AS (
    DELETE FROM one_time o
    USING seen_pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.item, p.bucket, p.user_id, p.device_id, p.key_package_ref, p.reservation_id, p.group_id, p.holder, p.principal,
              o.cipher_suite
),
logged AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, spent_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, principal, $10, $10
    FROM (SELECT * FROM spent UNION ALL SELECT * FROM seen) spent
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET spent_at = excluded.spent_at, principal = excluded.principal
    WHERE s.spent_at IS NULL
),
last_pick AS MATERIALIZED (
    SELECT i.item, s.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT s.ctid AS tid
        FROM spend_log s
        WHERE s.bucket = i.bucket AND s.user_id = i.user_id AND s.device_id = i.device_id
          AND s.reservation_id = i.reservation_id AND s.key_package_ref = i.key_package_ref
          AND s.last_resort AND s.spent_at IS NULL AND s.released_at IS NULL
          AND s.group_id = i.group_id AND s.holder = i.holder
          AND EXISTS (
              SELECT FROM last_resort l
              WHERE l.bucket = i.bucket AND l.user_id = i.user_id AND l.device_id = i.device_id
                AND l.cipher_suite = s.cipher_suite AND l.key_package_ref = i.key_package_ref
                AND l.not_after > $10 AND (l.revoked_at IS NULL OR l.revoked_at > $11)
          )
        FOR UPDATE SKIP LOCKED
    ) s
),
last AS (
    UPDATE spend_log s
    SET spent_at = $10
    FROM last_pick p
    WHERE s.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.item
)
SELECT item FROM spent
UNION ALL
SELECT item FROM seen
UNION ALL
SELECT item FROM last
