/* keypool: fences */
-- Which database this is; the newest fence, and which database it was then, the newest of those that are up; and the beats of all
-- replicas. Change nothing about the identity: it is compared with what other versions have noted. What is to be added needs a
-- column of its own.
SELECT i.identity, i.is_whole, n.number AS newest, n.system_identifier, n.timeline,
       (
           SELECT f.identity FROM fence f WHERE f.identity IS NOT NULL ORDER BY f.number DESC LIMIT 1
       ) AS noted_identity,
       COALESCE((SELECT max(f.number) FROM fence f WHERE f.lifted_at IS NULL), 0) AS up,
       b.replicas, b.numbers, b.beaten_at
FROM (
    SELECT array_agg(b.replica) AS replicas, array_agg(b.number) AS numbers, array_agg(b.beaten_at) AS beaten_at
    FROM beat b
) b
CROSS JOIN (
    -- Numbers of the database and of tables change when they are made anew, the row's xmin when it is written anew. A VACUUM, also
    -- one that freezes or rewrites, and a change of name or owner leave them as they are.
    SELECT format(
               'database %s, tables %s, origin %s',
               (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()),
               (
                   SELECT string_agg(COALESCE(to_regclass(t.name)::oid::text, '-'), ' ' ORDER BY t.n)
                   FROM unnest(ARRAY[
                       'key_package', 'one_time', 'last_resort', 'revoked', 'spend_log', 'pool', 'device', 'fence'
                   ]) WITH ORDINALITY AS t (name, n)
               ),
               (SELECT o.xmin FROM origin o WHERE o.one)
           ) AS identity,
           -- Without one of its tables, a database can't be told from another.
           NOT EXISTS (
               SELECT FROM unnest(ARRAY[
                   'key_package', 'one_time', 'last_resort', 'revoked', 'spend_log', 'pool', 'device', 'fence'
               ]) AS t (name)
               WHERE to_regclass(t.name) IS NULL
           ) AS is_whole
) i
LEFT JOIN (SELECT f.number, f.system_identifier, f.timeline FROM fence f ORDER BY f.number DESC LIMIT 1) n ON true
