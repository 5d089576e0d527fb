/* keypool: missing_rights */
SELECT n.privilege || COALESCE(' (' || n.column_name || ')', '') || ' ON ' || n.table_name AS missing
FROM unnest($1::text[], $2::text[], $3::text[]) AS n (table_name, column_name, privilege)
WHERE NOT CASE
    WHEN n.column_name IS NULL THEN has_table_privilege(n.table_name, n.privilege)
    ELSE has_column_privilege(n.table_name, n.column_name, n.privilege)
END
