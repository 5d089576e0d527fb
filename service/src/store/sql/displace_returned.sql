/* keypool: displace_returned */
-- Revokes packages that were seen and that others can't be handed, where they fill a pool that has room for others: as many as are
-- needed, the soonest to expire first. Their holders may still spend them for a while.
WITH wanted AS (
    SELECT *
    FROM unnest($1::int2[], $2::text[], $3::text[], $4::int4[], $5::int8[])
        AS w (bucket, user_id, device_id, cipher_suite, packages)
),
room AS MATERIALIZED (
    SELECT w.bucket, w.user_id, w.device_id, w.cipher_suite, LEAST(w.packages, $7 - o.others) AS packages
    FROM wanted w
    CROSS JOIN LATERAL (
        SELECT count(*) AS others
        FROM one_time o
        WHERE o.bucket = w.bucket AND o.user_id = w.user_id AND o.device_id = w.device_id
          AND o.cipher_suite = w.cipher_suite AND o.not_after > $6
          AND NOT (o.returns > 0 AND COALESCE(o.held_until <= $6, true))
    ) o
    WHERE o.others < $7
),
pick AS MATERIALIZED (
    SELECT o.tid
    FROM room r
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = r.bucket AND o.user_id = r.user_id AND o.device_id = r.device_id
          AND o.cipher_suite = r.cipher_suite AND o.not_after > $6
          AND o.returns > 0 AND COALESCE(o.held_until <= $6, true)
        ORDER BY o.not_after
        LIMIT r.packages
        FOR UPDATE SKIP LOCKED
    ) o
),
gone AS (
    DELETE FROM one_time o
    USING pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING o.*
),
revoked AS (
    INSERT INTO revoked (
        bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, revoked_at,
        held_until, reservation_id, group_id, holder
    )
    SELECT bucket, user_id, device_id, key_package_ref, cipher_suite, not_after, $6,
           held_until, reservation_id, group_id, holder
    FROM gone
),
bytes_pick AS MATERIALIZED (
    SELECT k.tid
    FROM gone g
    CROSS JOIN LATERAL (
        SELECT k.ctid AS tid
        FROM key_package k
        WHERE k.bucket = g.bucket AND k.key_package_ref = g.key_package_ref AND k.key_package <> ''
        FOR UPDATE SKIP LOCKED
    ) k
),
emptied AS (
    UPDATE key_package k
    SET key_package = '', credential = '', signature_key = ''
    FROM bytes_pick p
    WHERE k.ctid = p.tid -- locked above, so it has not moved
)
SELECT count(*) AS packages FROM gone
