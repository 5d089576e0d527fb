/* keypool: missing_rights */
SELECT n.privilege || COALESCE(' (' || n.column_name || ')', '') || ' ON ' || n.table_name AS missing
FROM unnest($1::text[], $2::text[], $3::text[]) AS n (table_name, column_name, privilege)
WHERE NOT CASE
    WHEN n.column_name IS NULL THEN has_table_privilege(n.table_name, n.privilege)
    ELSE has_column_privilege(n.table_name, n.column_name, n.privilege)
END
UNION ALL
-- Row security hides rows, unless a policy for the role lets all through. Those of keypool's own that don't: see V3.
SELECT 'rows, by row security, for ' || n.privilege || ' ON ' || n.table_name
FROM (SELECT DISTINCT table_name, privilege FROM unnest($1::text[], $3::text[]) AS n (table_name, privilege)) n
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT p.polpermissive) AS restrictive,
           count(*) FILTER (WHERE p.polpermissive AND CASE n.privilege
               WHEN 'INSERT' THEN COALESCE(pg_get_expr(p.polwithcheck, p.polrelid), pg_get_expr(p.polqual, p.polrelid)) = 'true'
               WHEN 'SELECT' THEN pg_get_expr(p.polqual, p.polrelid) = 'true'
               ELSE n.table_name IN ('spend_log', 'key_package') OR pg_get_expr(p.polqual, p.polrelid) = 'true'
           END) AS permissive
    FROM pg_policy p
    WHERE p.polrelid = n.table_name::regclass
      AND p.polcmd IN ('*', CASE n.privilege WHEN 'SELECT' THEN 'r' WHEN 'INSERT' THEN 'a' WHEN 'UPDATE' THEN 'w' ELSE 'd' END)
      AND EXISTS (SELECT FROM unnest(p.polroles) AS r (id) WHERE r.id = 0 OR pg_has_role(r.id, 'USAGE'))
) p
WHERE row_security_active(n.table_name) AND (p.permissive = 0 OR p.restrictive > 0)
