/* keypool: fences */
-- The newest fence, the newest of those that are up, and the beats of all replicas.
SELECT n.number AS newest, n.system_identifier, n.timeline,
       COALESCE((SELECT max(f.number) FROM fence f WHERE f.lifted_at IS NULL), 0) AS up,
       b.replicas, b.numbers, b.beaten_at
FROM (
    SELECT array_agg(b.replica) AS replicas, array_agg(b.number) AS numbers, array_agg(b.beaten_at) AS beaten_at
    FROM beat b
) b
LEFT JOIN (SELECT f.number, f.system_identifier, f.timeline FROM fence f ORDER BY f.number DESC LIMIT 1) n ON true
