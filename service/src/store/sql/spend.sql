/* keypool: spend */
-- A package that another transaction has locked is passed over: the caller looks again.
WITH item AS (
    SELECT *
    FROM unnest($1::int4[], $2::int2[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::bytea[], $8::text[], $9::text[])
        AS i (item, bucket, user_id, device_id, key_package_ref, reservation_id, group_id, holder, principal)
),
pick AS MATERIALIZED (
    SELECT i.*, o.tid
    FROM item i
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = i.bucket AND o.key_package_ref = i.key_package_ref
          AND o.user_id = i.user_id AND o.device_id = i.device_id
          AND o.reservation_id = i.reservation_id AND o.group_id = i.group_id AND o.holder = i.holder
          AND o.not_after > $10 AND o.seen_by IS NULL -- else there may be an entry: spend_rest
          -- Nobody knows who took a quarantined package when its hold had lapsed.
          AND (o.held_until > $10 OR o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL))
        FOR UPDATE SKIP LOCKED
    ) o
),
spent AS (
    DELETE FROM one_time o
    USING pick p
    WHERE o.ctid = p.tid -- locked above, so it has not moved
    RETURNING p.item, p.bucket, p.user_id, p.device_id, p.key_package_ref, p.reservation_id, p.group_id, p.holder, p.principal,
              o.cipher_suite
),
logged AS (
    INSERT INTO spend_log (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, principal, logged_at, spent_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, principal, $10, $10
    FROM spent
)
SELECT item FROM spent
