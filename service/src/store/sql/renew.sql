/* keypool: renew */
-- A reservation asks again for what it holds: a hold that lapsed and that nobody took over begins anew. Not so a quarantined
-- package's, not even one that lasts: it may have been given back, and others may have been handed the package, before the
-- database forgot. Whoever was told of the hold may still spend it. A row that another transaction has locked is passed over.
WITH want AS (
    SELECT *
    FROM unnest($1::int2[], $2::bytea[], $3::text[], $4::bytea[], $5::text[], $6::timestamptz[], $9::int2[])
        WITH ORDINALITY AS w (bucket, key_package_ref, reservation_id, group_id, holder, held_until, returns, item)
),
pick AS MATERIALIZED (
    SELECT w.item, w.held_until, w.returns, o.tid
    FROM want w
    CROSS JOIN LATERAL (
        SELECT o.ctid AS tid
        FROM one_time o
        WHERE o.bucket = w.bucket AND o.key_package_ref = w.key_package_ref
          AND o.reservation_id = w.reservation_id AND o.group_id = w.group_id AND o.holder = w.holder
          AND o.fence >= (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL)
        FOR UPDATE SKIP LOCKED
    ) o
)
UPDATE one_time o
SET held_until = CASE WHEN o.held_until > $7 THEN o.held_until ELSE LEAST(p.held_until, COALESCE(o.reserved_at, o.asked_at) + make_interval(secs => $8)) END,
    returns = GREATEST(o.returns, p.returns), reserved_at = COALESCE(o.reserved_at, o.asked_at), asked_at = GREATEST($7, o.asked_at + interval '1 microsecond')
FROM pick p
WHERE o.ctid = p.tid -- locked above, so it has not moved
RETURNING (p.item - 1)::int4 AS item, o.held_until, o.asked_at
