/* keypool: vouch */
-- A device has the private keys of these packages: those that are quarantined may be handed out again. A hold that lapsed is
-- forgotten: others may have held the package since, of whom this database knows nothing.
WITH pick AS MATERIALIZED (
    SELECT o.bucket, o.key_package_ref, o.user_id, o.device_id, o.cipher_suite,
           o.held_until, o.reservation_id, o.group_id, o.holder
    FROM one_time o
    WHERE o.bucket = $1 AND o.user_id = $2 AND o.device_id = $3 AND o.key_package_ref = ANY ($4)
      AND o.fence < (SELECT COALESCE(max(u.number), 0) FROM fence u WHERE u.lifted_at IS NULL)
    ORDER BY o.key_package_ref || '' -- by an expression, so that no index is read for the order's sake
    FOR UPDATE
),
lapsed AS (
    INSERT INTO spend_log AS s (
        bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, last_resort,
        group_id, holder, logged_at, lapsed_at
    )
    SELECT bucket, user_id, device_id, reservation_id, key_package_ref, cipher_suite, false,
           group_id, holder, $5, held_until
    FROM pick
    WHERE held_until <= $5
    ON CONFLICT (bucket, user_id, device_id, reservation_id, holder, key_package_ref) DO UPDATE
    SET lapsed_at = excluded.lapsed_at
    WHERE s.spent_at IS NULL
)
UPDATE one_time o
SET fence = f.number,
    held_until = CASE WHEN o.held_until > $5 THEN o.held_until END,
    reservation_id = CASE WHEN o.held_until > $5 THEN o.reservation_id END,
    group_id = CASE WHEN o.held_until > $5 THEN o.group_id END,
    holder = CASE WHEN o.held_until > $5 THEN o.holder END,
    asked_at = CASE WHEN o.held_until > $5 THEN o.asked_at END,
    reserved_at = CASE WHEN o.held_until > $5 THEN o.reserved_at END,
    seen_by = CASE WHEN o.held_until <= $5 THEN o.holder ELSE o.seen_by END
FROM (SELECT max(n.number) AS number FROM fence n) f
WHERE o.bucket = $1 AND o.user_id = $2 AND o.key_package_ref = ANY (ARRAY(SELECT p.key_package_ref FROM pick p))
RETURNING 1
