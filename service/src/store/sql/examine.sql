/* keypool: examine */
SELECT
    current_setting('server_version_num')::int4 / 10000 AS version,
    current_user::text AS role,
    (
        SELECT r.rolsuper OR EXISTS (
            SELECT FROM pg_class c
            WHERE c.oid = to_regclass('one_time') AND pg_has_role(c.relowner, 'USAGE')
        )
        FROM pg_roles r WHERE r.rolname = current_user
    ) AS may_rewrite,
    COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
    current_setting('synchronous_standby_names') AS synchronous_standbys,
    current_setting('max_connections')::int4 AS max_connections
