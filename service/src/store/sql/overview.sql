/* keypool: overview */
SELECT
    (SELECT count(DISTINCT (bucket, user_id)) FROM device) AS users,
    (SELECT count(*) FROM device) AS devices,
    o.available, o.reserved, o.expired,
    (SELECT count(*) FROM revoked) AS revoked,
    (SELECT count(*) FROM spend_log WHERE NOT last_resort) AS spent,
    (
        SELECT count(*) FROM last_resort
        WHERE not_after > $1 AND revoked_at IS NULL AND superseded_at IS NULL
    ) AS last_resort
FROM (
    SELECT
        count(*) FILTER (WHERE not_after > $1 AND (held_until IS NULL OR held_until <= $1)) AS available,
        count(*) FILTER (WHERE not_after > $1 AND held_until > $1) AS reserved,
        count(*) FILTER (WHERE not_after <= $1) AS expired
    FROM one_time
) o
