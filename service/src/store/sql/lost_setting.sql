/* keypool: lost_setting */
-- The settings that promises rest on and that are not as they were pinned, $1 with their values $2. Whatever the search path is, it has
-- to lead to the schema of the tables first.
SELECT s.name
FROM unnest($1::text[], $2::text[]) AS s (name, value)
WHERE current_setting(s.name, true) <> s.value
UNION ALL
SELECT 'synchronous_commit' WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')
UNION ALL
SELECT 'search_path' WHERE current_schema() IS DISTINCT FROM $3::text
