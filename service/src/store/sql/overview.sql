/* keypool: overview */
SELECT
    (SELECT count(DISTINCT (bucket, user_id)) FROM device) AS users,
    (SELECT count(*) FROM device) AS devices,
    o.available, o.reserved, o.expired, o.quarantined,
    (SELECT count(*) FROM revoked) AS revoked,
    (SELECT count(*) FROM spend_log WHERE NOT last_resort) AS spent,
    (
        SELECT count(*) FROM last_resort
        WHERE not_after > $1 AND revoked_at IS NULL AND superseded_at IS NULL
    ) AS last_resort
FROM (
    SELECT
        count(*) FILTER (WHERE is_free AND NOT is_quarantined) AS available,
        count(*) FILTER (WHERE not_after > $1 AND NOT is_free) AS reserved,
        count(*) FILTER (WHERE not_after <= $1) AS expired,
        count(*) FILTER (WHERE is_free AND is_quarantined) AS quarantined
    FROM (
        SELECT not_after,
               not_after > $1 AND (held_until IS NULL OR held_until <= $1) AS is_free,
               fence < (SELECT COALESCE(max(f.number), 0) FROM fence f WHERE f.lifted_at IS NULL) AS is_quarantined
        FROM one_time
    ) o
) o
