/* keypool: fences */
-- The newest fence, the newest of those that are up, and what is left of a replica's beats.
SELECT n.number AS newest, n.system_identifier, n.timeline,
       COALESCE((SELECT max(f.number) FROM fence f WHERE f.lifted_at IS NULL), 0) AS up,
       (SELECT b.number FROM beat b WHERE b.replica = $1) AS beat
FROM (VALUES (1)) AS one
LEFT JOIN (SELECT f.number, f.system_identifier, f.timeline FROM fence f ORDER BY f.number DESC LIMIT 1) n ON true
